"""The product and the simulator over real HTTP: with every fault, the receipts agree with the debits."""

import contextlib
import time
from datetime import timedelta

import pytest
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from config.dev.simulator_comparison import differences, simulator_debits
from payments import recovery
from payments.callbacks import inbox
from payments.daraja import client
from payments.daraja.errors import DarajaError
from payments.invariants import INVARIANTS
from payments.models import PaymentStatus, PushStatus, Receipt, ReviewItem, ReviewReason
from payments.pushes import push_requests, sending
from payments.simulator.faults import ANSWER_FAULTS, CALLBACK_FAULTS, CONFIRMATION_FAULTS, MAGIC_PHONES, QUERY_FAULTS
from payments.simulator.options import Options
from payments.simulator.server import Simulator
from payments.tests.factories import create_payment

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True), pytest.mark.server]

AGO = timedelta(minutes=8)  # within the difference that is allowed between Safaricom's clock and ours
# The secret callback URL of a push is the only proof of its sender, so a forged callback to that URL is accepted.
ACCEPTED_FORGERIES = {"forged"}


@pytest.fixture
def simulator(settings, live_server, free_apply_slots):
    simulator = Simulator(Options(speed=200, seed=5, rule_17="off"), poll=0.01)
    simulator.start()
    settings.DARAJA_SIMULATOR_URL = settings.DARAJA_BASE_URL = simulator.url
    settings.PUBLIC_URL = live_server.url
    yield simulator
    simulator.stop()


def phone_of(name):
    return next(phone for phone, faults in MAGIC_PHONES.items() if name in faults.as_dict().values())


def send_push(name, amount=1500):
    """Send a push some minutes ago, so that its queries of those minutes can run at once."""
    then = timezone.now() - AGO
    payment = create_payment(amount=amount, now=then)
    push = push_requests.request_push(
        payment_id=payment.pk, phone=phone_of(name), created_by_id=payment.payer_id, now=then
    )
    with contextlib.suppress(DarajaError):  # the worker would retry
        sending.send(push_id=push.pk, now=then)
    return push


def wait_and_recover(simulator, checks=(25, 70, 210, 420)):
    """Wait until the simulator is quiet, then run the recovery jobs, once for each of these seconds after the push."""
    then = timezone.now() - AGO
    for seconds in checks:
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 0.25:
            unanswered = "SELECT 1 FROM prompts WHERE status IN ('open', 'answering') OR pays_late_at IS NOT NULL"
            undelivered = "SELECT 1 FROM deliveries WHERE state = 'waiting' OR (http_status IS NULL AND error IS NULL)"
            if simulator.book.row(unanswered) or simulator.book.row(undelivered):
                quiet_since = time.monotonic()
            time.sleep(0.02)
        inbox.apply_waiting(now=timezone.now())
        recovery.query_due_pushes(now=then + timedelta(seconds=seconds))


def book_differences():
    """Check the invariants, and return the differences from the simulator's book."""
    with connection.cursor() as cursor:
        for each in INVARIANTS:
            if each.quiet:
                continue
            cursor.execute(each.sql)
            assert cursor.fetchall() == [], each.promise
    return differences(simulator_debits())


@pytest.mark.parametrize("name", sorted(set(CALLBACK_FAULTS) - ACCEPTED_FORGERIES))
def test_books_agree_after_each_callback_fault(simulator, name):
    if name == "forged_id":
        simulator.options.speed = 4  # the answer must arrive before the callback, so that there is an id to compare
    push = send_push(name)

    wait_and_recover(simulator)

    push.refresh_from_db()
    debits = simulator_debits()
    assert book_differences() == []
    assert (push.status == PushStatus.SUCCEEDED) == bool(debits)
    assert (push.payment.status == PaymentStatus.PAID) == bool(debits)


@pytest.mark.parametrize("name", sorted(ANSWER_FAULTS))
def test_books_agree_after_each_fault_of_the_answer(simulator, name):
    push = send_push(name)

    wait_and_recover(simulator)

    push.refresh_from_db()
    assert book_differences() == []
    assert (push.payment.status == PaymentStatus.PAID) == bool(simulator_debits())


@pytest.mark.parametrize("name", sorted(QUERY_FAULTS))
def test_books_agree_after_each_query_fault(simulator, name):
    push = send_push(name)

    wait_and_recover(simulator)

    push.refresh_from_db()
    assert book_differences() == []
    assert push.payment.status == PaymentStatus.PAID


def test_callback_with_another_amount_becomes_a_review_item(simulator):
    send_push("wrong_amount")

    wait_and_recover(simulator)

    assert ReviewItem.objects.filter(reason=ReviewReason.AMOUNT_DIFFERS).exists()
    assert book_differences() == []


def test_code_that_is_used_twice_becomes_a_review_item(simulator):
    first = send_push("same_code", amount=100)  # the first payment of this phone, so that the code is new
    wait_and_recover(simulator)
    second = send_push("same_code")

    wait_and_recover(simulator)

    first.refresh_from_db()
    second.refresh_from_db()
    assert first.payment.status == PaymentStatus.PAID
    assert ReviewItem.objects.filter(reason=ReviewReason.CODE_USED_TWICE).exists()


def test_forged_callback_to_the_secret_url_is_accepted(simulator):
    send_push("forged")

    wait_and_recover(simulator)

    assert simulator_debits() == []
    assert [line.split(":")[0] for line in book_differences()] == ["invented"]


@pytest.mark.parametrize("name", sorted(CONFIRMATION_FAULTS))
def test_money_reported_on_two_channels_is_counted_once(simulator, settings, name):
    confirmation, validation = (
        settings.PUBLIC_URL + reverse(f"payments:c2b-{kind}", args=[settings.C2B_SECRET])
        for kind in ("confirmation", "validation")
    )
    client.register_c2b_urls(confirmation_url=confirmation, validation_url=validation, when_silent="Completed")
    push = send_push(name)

    wait_and_recover(simulator)

    push.refresh_from_db()
    assert book_differences() == []
    assert push.payment.status == PaymentStatus.PAID
    assert Receipt.objects.count() == 1
