"""The whole journey over HTTP: our client, the simulated Safaricom, and its callbacks to our server."""

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
    """A simulated Safaricom that sends its callbacks to the live server."""
    simulator = Simulator(Options(expires_in="string"))
    simulator.start()
    settings.DARAJA_BASE_URL, settings.PUBLIC_URL = simulator.url, live_server.url
    settings.CLUB_CLOCK_FILE = None
    yield simulator
    simulator.stop()


def request_push(amount=1500):
    payment = create_payment(amount=amount, now=timezone.now())
    return push_requests.request_push(payment_id=payment.pk, phone=PHONE, created_by_id=None, now=timezone.now())


def prompts(safaricom):
    return requests.get(f"{safaricom.url}/control/prompts/", params={"phone": PHONE}, timeout=5).json()["prompts"]


def answer(safaricom, action="pay"):
    """Answer the newest prompt on the phone as its owner would."""
    prompt = prompts(safaricom)[-1]
    where = f"{safaricom.url}/control/prompts/{prompt['checkout_request_id']}/answer/"
    assert requests.post(where, json={"action": action}, timeout=5).ok


def debits(safaricom):
    return requests.get(f"{safaricom.url}/control/book/", timeout=5).json()["debits"]


def wait_until(condition, seconds=20):
    """Wait for a condition to become true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def status_of(push):
    push.refresh_from_db()
    push.payment.refresh_from_db()
    return push.status, push.payment.status


PAID = (PushStatus.SUCCEEDED, PaymentStatus.PAID)


def test_push_confirmed_with_the_pin_pays(safaricom):
    push = request_push()
    sending.send(push_id=push.pk, now=timezone.now())
    assert [(prompt["amount"], prompt["reference"]) for prompt in prompts(safaricom)] == [
        (1500, push.payment.reference)
    ]

    answer(safaricom)

    wait_until(lambda: status_of(push) == PAID)
    receipt = Receipt.objects.get()
    assert [(debit["code"], debit["amount"]) for debit in debits(safaricom)] == [(receipt.code, receipt.amount)]


@pytest.mark.parametrize(
    ("action", "status"), [("cancel", "cancelled"), ("wrong_pin", "failed"), ("no_funds", "failed")]
)
def test_push_without_money_sets_the_payment_to_failed(safaricom, action, status):
    push = request_push()
    sending.send(push_id=push.pk, now=timezone.now())

    answer(safaricom, action)

    wait_until(lambda: status_of(push) == (status, PaymentStatus.FAILED))
    assert debits(safaricom) == []


@pytest.mark.parametrize("fault", ["lost_answer", "error_after", "garbage", "empty", "half_json"])
def test_push_with_a_lost_answer_is_paid_by_its_callback(safaricom, fault):
    safaricom.faults.enqueue(fault, phone=PHONE)
    push = request_push()
    for _ in range(2):
        sending.send(push_id=push.pk, now=timezone.now())
    assert status_of(push) == (PushStatus.UNKNOWN, PaymentStatus.PROCESSING)

    answer(safaricom)

    wait_until(lambda: status_of(push) == PAID)
    assert (len(debits(safaricom)), Receipt.objects.count()) == (1, 1)


def test_lost_callback_is_recovered_by_a_query(safaricom):
    safaricom.faults.enqueue("lost_callback", phone=PHONE)
    push = request_push()
    sending.send(push_id=push.pk, now=timezone.now())
    answer(safaricom)
    wait_until(lambda: debits(safaricom))

    recovery.query_due_pushes(now=timezone.now() + timedelta(seconds=25))

    assert status_of(push) == PAID
    assert (Receipt.objects.get().amount, Receipt.objects.get().code, Callback.objects.count()) == (1500, None, 0)


def test_query_leaves_an_open_push_open(safaricom):
    push = request_push()
    sending.send(push_id=push.pk, now=timezone.now())

    recovery.query_due_pushes(now=timezone.now() + timedelta(seconds=25))

    assert status_of(push) == (PushStatus.SENT, PaymentStatus.PROCESSING)


@pytest.mark.parametrize("fault", ["html_502", "error_500", "cut_before"])
def test_push_with_an_unclear_answer_is_not_sent_again(safaricom, fault):
    safaricom.faults.enqueue(fault, phone=PHONE)
    push = request_push()

    for _ in range(2):
        sending.send(push_id=push.pk, now=timezone.now())

    assert (status_of(push)[0], prompts(safaricom)) == (PushStatus.UNKNOWN, [])


def test_invalidated_access_token_is_renewed(safaricom):
    push = request_push()
    sending.send(push_id=push.pk, now=timezone.now())
    answer(safaricom, "cancel")
    wait_until(lambda: status_of(push)[0] == PushStatus.CANCELLED)
    safaricom.faults.enqueue("token_invalid", phone=PHONE)

    again = request_push(amount=1600)
    sending.send(push_id=again.pk, now=timezone.now())

    assert status_of(again)[0] == PushStatus.SENT


# --- kill -9 ----------------------------------------------------------------------------------------


def environment(safaricom, **variables):
    """Return the environment of a process that works on the test's database."""
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
        **variables,
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


def run_recovery(minutes):
    """Run the recovery jobs as if so many minutes had passed."""
    later = timezone.now() + timedelta(minutes=minutes)
    recovery.requeue_lost_pushes(now=later)
    recovery.mark_lost_calls_unknown(now=later)
    recovery.query_due_pushes(now=later)


def test_worker_killed_after_the_claim_sends_no_push(safaricom):
    push = request_push()

    send_and_die(safaricom, push, at="push claimed")
    sending.send(push_id=push.pk, now=timezone.now())  # its job, rescued
    run_recovery(minutes=2)

    assert status_of(push) == (PushStatus.UNKNOWN, PaymentStatus.PROCESSING)
    assert prompts(safaricom) == []
    run_recovery(minutes=6)
    assert status_of(push) == (PushStatus.TIMED_OUT, PaymentStatus.FAILED)
    assert ReviewItem.objects.get().reason == "overdue_unknown"
    later = timezone.now() + timedelta(minutes=7)
    again = push_requests.request_push(payment_id=push.payment_id, phone=PHONE, created_by_id=None, now=later)
    assert again.status == PushStatus.CREATED


@pytest.mark.parametrize("failpoint", ["push answered", "push recorded"])
def test_push_of_a_worker_killed_after_the_call_pays_once(safaricom, failpoint):
    push = request_push()

    send_and_die(safaricom, push, at=failpoint)
    sending.send(push_id=push.pk, now=timezone.now())
    run_recovery(minutes=2)
    answer(safaricom)

    wait_until(lambda: status_of(push) == PAID)
    assert (len(prompts(safaricom)), len(debits(safaricom)), Receipt.objects.count()) == (1, 1, 1)


def worker(safaricom, **variables):
    command = [sys.executable, "-W", "ignore", "manage.py", "procrastinate", "worker"]
    return subprocess.Popen(  # noqa: S603 - our own interpreter and code
        command,
        env=environment(safaricom, **variables),
        cwd=settings.BASE_DIR,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_new_worker_runs_the_job_of_a_killed_worker(safaricom):
    push = request_push()
    first = worker(safaricom, FAILPOINT="push answered")
    assert first.wait(timeout=60) == -signal.SIGKILL
    job = ProcrastinateJob.objects.get(task_name="payments.send_push", args={"push_id": push.pk})
    assert job.status == "doing"
    with connection.cursor() as cursor:  # longer than two heartbeats
        cursor.execute("UPDATE procrastinate_workers SET last_heartbeat = last_heartbeat - interval '21 seconds'")

    second = worker(safaricom)
    try:
        wait_until(lambda: ProcrastinateJob.objects.get(pk=job.pk).status == "succeeded", seconds=60)
        answer(safaricom)
        wait_until(lambda: status_of(push) == PAID)
    finally:
        second.terminate()
        second.wait(timeout=60)
    assert len(prompts(safaricom)) == len(debits(safaricom)) == 1


def test_code_check_pays_when_no_confirmation_came(safaricom):
    payment, cashier = create_payment(amount=1500, now=timezone.now()), MemberFactory()
    pay = {"phone": PHONE, "account": "GYM FEES", "amount": 1500, "business": settings.DARAJA_SHORTCODE}
    assert requests.post(f"{safaricom.url}/control/paybill/", json=pay, timeout=5).ok
    [debit] = debits(safaricom)
    reported = reported_codes.report_code(
        code=debit["code"], payment_id=payment.pk, by_id=cashier.pk, now=timezone.now()
    )
    forged = reported_codes.report_code(code="TKN0000009", payment_id=payment.pk, by_id=cashier.pk, now=timezone.now())

    for code in (debit["code"], forged.code):
        check = code_checks.request_check(code=code, by_id=cashier.pk, now=timezone.now())
        code_checks.send(check_id=check.pk, now=timezone.now())

    wait_until(lambda: sorted(CodeCheck.objects.values_list("status", flat=True)) == ["found", "no_money"])
    reported.refresh_from_db()
    forged.refresh_from_db()
    payment.refresh_from_db()
    assert (payment.status, reported.receipt.code, reported.receipt.amount) == ("paid", debit["code"], 1500)
    assert forged.ended_why == "M-Pesa does not know this code."
