"""Secrets of a whole purchase must not be in logs, jobs, counters or the audit."""

import json
import logging
import re

import pytest
import responses
from django.conf import settings
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob

from accounts.models import SecurityEvent
from api.models import Counter
from api.tests.clients import browser
from payments.models import Payment, StkPush
from payments.tests.bodies import stk_body
from payments.tests.daraja_answers import PUSH, Wire
from subscriptions.tests.factories import PlanFactory

pytestmark = pytest.mark.django_db

PHONE = "254798765432"
PASSWORD = "canary-of-a-password"


@pytest.fixture
def wire(settings):
    settings.SMS_BACKEND = "phone"
    with Wire() as wire:
        wire.token()
        wire.push()
        wire.add(responses.POST, f"{settings.DARAJA_SIMULATOR_URL}/control/sms/", json={})
        yield wire


def run_newest_job(task: str) -> None:
    """Run the newest job of this task, as the worker does."""
    job = ProcrastinateJob.objects.filter(task_name=task).latest("id")
    app.tasks[task].func(**job.args)


def journey(wire) -> dict[str, str]:
    """Register, verify the phone, log in, buy and pay. Return the secrets that were used."""
    client, plan = browser(), PlanFactory()
    person = {"first_name": "Asha", "last_name": "Otieno", "phone_number": PHONE, "password": PASSWORD, "consent": True}
    client.post("/api/v1/auth/register/", person)
    run_newest_job("accounts.answer_code_request")
    code = re.search(r"\d{6}", wire.bodies("/control/sms/")[-1]["text"])[0]
    wrong = {"identifier": PHONE, "password": PASSWORD, "code": f"{(int(code) + 1) % 1_000_000:06d}"}
    client.post("/api/v1/auth/verify/", wrong)
    client.post("/api/v1/auth/verify/", {**wrong, "code": code})
    client.post("/api/v1/auth/login/", {"identifier": PHONE, "password": "canary-of-a-mistake"})
    client.post("/api/v1/auth/login/", {"identifier": PHONE, "password": PASSWORD})
    access, refresh = client.cookies["Authentication"].value, client.cookies["Refresh"].value
    client.post("/api/v1/subscriptions/", {"plan": plan.code})
    run_newest_job("payments.send_push")
    pushed = wire.bodies(PUSH)[-1]
    token = pushed["CallBackURL"].rstrip("/").rsplit("/", 1)[-1]
    body = stk_body(StkPush.objects.get(), amount=Payment.objects.get().amount_due)
    client.generic("POST", f"/api/v1/callbacks/stk/{token}x/", body, content_type="application/json")
    client.generic("POST", f"/api/v1/callbacks/stk/{token}/", body, content_type="application/json")
    client.post("/api/v1/auth/refresh/")
    return {
        "phone": PHONE,
        "phone as typed": PHONE.replace("254", "0", 1),
        "password": PASSWORD,
        "wrong password": "canary-of-a-mistake",
        "code": code,
        "access token": access,
        "refresh token": refresh,
        "next access token": client.cookies["Authentication"].value,
        "CSRF token": client.csrf_token,
        "callback token": token,
        "passkey": settings.DARAJA_PASSKEY,
        "push password": pushed["Password"],
        "consumer secret": settings.DARAJA_CONSUMER_SECRET,
        "Safaricom's token": wire.sent(PUSH)[-1].headers["Authorization"].split()[1],
        "signing key": settings.SECRET_KEY,
    }


def test_secrets_are_in_no_log_job_counter_or_audit(wire, caplog):
    caplog.set_level(logging.DEBUG)
    for name in ("procrastinate", "django", "django.server", "urllib3"):
        caplog.set_level(logging.DEBUG, logger=name)

    secrets = journey(wire)

    assert Payment.objects.get().status == "paid"
    records = {
        "log": [f"{record.getMessage()} {record.args} {record.exc_info}" for record in caplog.records],
        "jobs": [json.dumps(args) for args in ProcrastinateJob.objects.values_list("args", flat=True)],
        "counters": list(Counter.objects.values_list("key", flat=True)),
        "audit": [json.dumps(detail) for detail in SecurityEvent.objects.values_list("detail", flat=True)],
    }
    assert all(records.values()), "the journey left no records"
    found = [
        (name, where, line)
        for name, secret in secrets.items()
        for where, lines in records.items()
        for line in lines
        if secret in line
    ]
    assert found == []
