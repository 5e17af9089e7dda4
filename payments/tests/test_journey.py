"""The whole way over real HTTP: our client, the simulated Safaricom, and its callbacks to our own server."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import pytest
import requests
from django.conf import settings
from django.db import connection
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from payments import recovery
from payments.desk import code_checks, reported_codes
from payments.models import Callback, CodeCheck, PaymentStatus, PushStatus, Receipt, ReviewItem
from payments.pushes import push_requests, sending
from payments.simulator.options import Options
from payments.simulator.server import Simulator
from payments.tests.factories import MemberFactory, create_payment

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow, pytest.mark.server]

PHONE = "254712345678"
SEND = "import django; django.setup(); from django.utils import timezone; from payments.pushes import sending; "


@pytest.fixture
def safaricom(live_server, settings, free_apply_slots):
    """A simulated Safaricom that reports to our live server."""
    simulator = Simulator(Options(expires_in="string"))
    simulator.start()
    settings.DARAJA_BASE_URL, settings.PUBLIC_URL = simulator.url, live_server.url
    settings.CLUB_CLOCK_FILE = None
    yield simulator
    simulator.stop()


def ask(amount=1500):
    payment = create_payment(amount=amount, now=timezone.now())
    return push_requests.request_push(payment_id=payment.pk, phone=PHONE, created_by_id=None, now=timezone.now())


def prompts(safaricom):
    return requests.get(f"{safaricom.url}/control/prompts/", params={"phone": PHONE}, timeout=5).json()["prompts"]


def answer(safaricom, action="pay"):
    """Let the member answer the prompt on the phone."""
    prompt = prompts(safaricom)[-1]
    where = f"{safaricom.url}/control/prompts/{prompt['checkout_request_id']}/answer/"
    assert requests.post(where, json={"action": action}, timeout=5).ok


def debits(safaricom):
    return requests.get(f"{safaricom.url}/control/book/", timeout=5).json()["debits"]


def until(condition, seconds=20):
    """Wait for a condition, and fail when it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def status_of(push):
    push.refresh_from_db()
    push.payment.refresh_from_db()
    return push.status, push.payment.status


PAID = (PushStatus.SUCCEEDED, PaymentStatus.PAID)


def test_a_prompt_answered_with_the_pin_pays(safaricom):
    push = ask()
    sending.send(push_id=push.pk, now=timezone.now())
    assert [(prompt["amount"], prompt["reference"]) for prompt in prompts(safaricom)] == [
        (1500, push.payment.reference)
    ]

    answer(safaricom)

    until(lambda: status_of(push) == PAID)
    receipt = Receipt.objects.get()
    assert [(debit["code"], debit["amount"]) for debit in debits(safaricom)] == [(receipt.code, receipt.amount)]


@pytest.mark.parametrize(
    ("action", "status"), [("cancel", "cancelled"), ("wrong_pin", "failed"), ("no_funds", "failed")]
)
def test_a_prompt_that_brings_no_money_frees_the_payment(safaricom, action, status):
    push = ask()
    sending.send(push_id=push.pk, now=timezone.now())

    answer(safaricom, action)

    until(lambda: status_of(push) == (status, PaymentStatus.FAILED))
    assert debits(safaricom) == []


@pytest.mark.parametrize("fault", ["lost_answer", "error_after", "garbage", "empty", "half_json"])
def test_a_lost_answer_leaves_one_prompt_whose_callback_pays(safaricom, fault):
    safaricom.faults.enqueue(fault, phone=PHONE)
    push = ask()
    for _ in range(2):
        sending.send(push_id=push.pk, now=timezone.now())
    assert status_of(push) == (PushStatus.UNKNOWN, PaymentStatus.PROCESSING)

    answer(safaricom)

    until(lambda: status_of(push) == PAID)
    assert (len(debits(safaricom)), Receipt.objects.count()) == (1, 1)


def test_a_lost_callback_is_healed_by_asking(safaricom):
    safaricom.faults.enqueue("lost_callback", phone=PHONE)
    push = ask()
    sending.send(push_id=push.pk, now=timezone.now())
    answer(safaricom)
    until(lambda: debits(safaricom))

    recovery.query_due_pushes(now=timezone.now() + timedelta(seconds=25))

    assert status_of(push) == PAID
    assert (Receipt.objects.get().amount, Receipt.objects.get().code, Callback.objects.count()) == (1500, None, 0)


def test_an_open_prompt_that_is_asked_about_stays_open(safaricom):
    push = ask()
    sending.send(push_id=push.pk, now=timezone.now())

    recovery.query_due_pushes(now=timezone.now() + timedelta(seconds=25))

    assert status_of(push) == (PushStatus.SENT, PaymentStatus.PROCESSING)


@pytest.mark.parametrize("fault", ["html_502", "error_500", "cut_before"])
def test_an_answer_that_says_nothing_is_not_asked_twice(safaricom, fault):
    safaricom.faults.enqueue(fault, phone=PHONE)
    push = ask()

    for _ in range(2):
        sending.send(push_id=push.pk, now=timezone.now())

    assert (status_of(push)[0], prompts(safaricom)) == (PushStatus.UNKNOWN, [])


def test_a_token_that_another_ended_is_renewed(safaricom):
    push = ask()
    sending.send(push_id=push.pk, now=timezone.now())
    answer(safaricom, "cancel")
    until(lambda: status_of(push)[0] == PushStatus.CANCELLED)
    safaricom.faults.enqueue("token_invalid", phone=PHONE)

    again = ask(amount=1600)
    sending.send(push_id=again.pk, now=timezone.now())

    assert status_of(again)[0] == PushStatus.SENT


# --- kill -9 ----------------------------------------------------------------------------------------


def environment(safaricom, **more):
    """What a process of its own needs to work on the test's database."""
    where = connection.get_connection_params()
    names = {name: str(where[name]) for name in ("user", "host", "port", "password") if where.get(name)}
    query = "&".join(f"{name}={value}" for name, value in names.items())
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": f"postgresql:///{where['dbname']}?{query}",
        "DARAJA_ENVIRONMENT": "simulator",
        "DARAJA_SIMULATOR_URL": safaricom.url,
        "PUBLIC_URL": settings.PUBLIC_URL,
        **more,
    }


def send_and_die(safaricom, push, *, at):
    """Send a push in a process that is killed at a failpoint."""
    code = SEND + f"sending.send(push_id={push.pk}, now=timezone.now())"
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment(safaricom, FAILPOINT=at),
        cwd=settings.BASE_DIR,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def heal(minutes):
    """Do what the periodic jobs do, as if so many minutes had passed."""
    later = timezone.now() + timedelta(minutes=minutes)
    recovery.requeue_lost_pushes(now=later)
    recovery.mark_lost_calls_unknown(now=later)
    recovery.query_due_pushes(now=later)


def test_killed_after_the_claim_no_prompt_was_sent_and_none_will_be(safaricom):
    push = ask()

    send_and_die(safaricom, push, at="push claimed")
    sending.send(push_id=push.pk, now=timezone.now())  # its job, rescued
    heal(minutes=2)

    assert status_of(push) == (PushStatus.UNKNOWN, PaymentStatus.PROCESSING)
    assert prompts(safaricom) == []
    heal(minutes=20)
    assert ReviewItem.objects.get().reason == "overdue_unknown"


@pytest.mark.parametrize("place", ["push answered", "push recorded"])
def test_killed_after_the_call_the_one_prompt_still_pays_once(safaricom, place):
    push = ask()

    send_and_die(safaricom, push, at=place)
    sending.send(push_id=push.pk, now=timezone.now())
    heal(minutes=2)
    answer(safaricom)

    until(lambda: status_of(push) == PAID)
    assert (len(prompts(safaricom)), len(debits(safaricom)), Receipt.objects.count()) == (1, 1, 1)


def worker(safaricom, **more):
    command = [sys.executable, "-W", "ignore", "manage.py", "procrastinate", "worker"]
    return subprocess.Popen(  # noqa: S603 - our own interpreter and code
        command,
        env=environment(safaricom, **more),
        cwd=settings.BASE_DIR,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_a_new_worker_frees_the_job_of_one_that_was_killed(safaricom):
    push = ask()
    first = worker(safaricom, FAILPOINT="push answered")
    assert first.wait(timeout=60) == -signal.SIGKILL
    job = ProcrastinateJob.objects.get(task_name="payments.send_push", args={"push_id": push.pk})
    assert job.status == "doing"
    with connection.cursor() as cursor:  # two beats of silence
        cursor.execute("UPDATE procrastinate_workers SET last_heartbeat = last_heartbeat - interval '21 seconds'")

    second = worker(safaricom)
    try:
        until(lambda: ProcrastinateJob.objects.get(pk=job.pk).status == "succeeded", seconds=60)
        answer(safaricom)
        until(lambda: status_of(push) == PAID)
    finally:
        second.terminate()
        second.wait(timeout=60)
    assert len(prompts(safaricom)) == len(debits(safaricom)) == 1


def test_safaricom_is_asked_about_a_code_whose_confirmation_never_came(safaricom):
    payment, cashier = create_payment(amount=1500, now=timezone.now()), MemberFactory()
    pay = {"phone": PHONE, "account": "GYM FEES", "amount": 1500, "business": settings.DARAJA_SHORTCODE}
    assert requests.post(f"{safaricom.url}/control/paybill/", json=pay, timeout=5).ok
    [debit] = debits(safaricom)
    claim = reported_codes.report_code(code=debit["code"], payment_id=payment.pk, by_id=cashier.pk, now=timezone.now())
    forged = reported_codes.report_code(code="TKN0000009", payment_id=payment.pk, by_id=cashier.pk, now=timezone.now())

    for code in (debit["code"], forged.code):
        check = code_checks.request_check(code=code, by_id=cashier.pk, now=timezone.now())
        code_checks.send(check_id=check.pk, now=timezone.now())

    until(lambda: sorted(CodeCheck.objects.values_list("status", flat=True)) == ["found", "no_money"])
    claim.refresh_from_db()
    forged.refresh_from_db()
    payment.refresh_from_db()
    assert (payment.status, claim.receipt.code, claim.receipt.amount) == ("paid", debit["code"], 1500)
    assert forged.ended_why == "M-Pesa does not know this code."
