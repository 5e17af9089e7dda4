"""The product and the simulator, over real HTTP both ways: whatever goes wrong, no shilling is lost or invented."""

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
from payments.simulator.faults import ANSWER_FAULTS, CALLBACK_FAULTS, MAGIC_PHONES, QUERY_FAULTS, TWIN_FAULTS
from payments.simulator.options import Options
from payments.simulator.server import Simulator
from payments.tests.factories import create_payment

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True), pytest.mark.server]

AGO = timedelta(minutes=8)  # within the skew that evidence allows between Safaricom's clock and ours
# Whoever knows the secret address of a prompt can lie to it: the address is the only proof there is.
BELIEVED = {"forged"}


@pytest.fixture
def simulator(settings, live_server, free_apply_slots):
    simulator = Simulator(Options(speed=200, seed=5, rule_17="off"), poll=0.01)
    simulator.start()
    settings.DARAJA_SIMULATOR_URL = settings.DARAJA_BASE_URL = simulator.url
    settings.PUBLIC_URL = live_server.url
    yield simulator
    simulator.stop()


def phone_of(name):
    return next(phone for phone, how in MAGIC_PHONES.items() if name in how.as_dict().values())


def ask(name, amount=1500):
    """Ask some minutes ago, so that the checks of those minutes can be made at once."""
    then = timezone.now() - AGO
    payment = create_payment(amount=amount, now=then)
    push = push_requests.request_push(
        payment_id=payment.pk, phone=phone_of(name), created_by_id=payment.payer_id, now=then
    )
    with contextlib.suppress(DarajaError):  # the worker would try again
        sending.send(push_id=push.pk, now=then)
    return push


def settle(simulator, checks=(25, 70, 210, 420)):
    """Let callbacks come, and the healing jobs run, as the minutes would."""
    then = timezone.now() - AGO
    for seconds in checks:
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 0.25:
            waiting = "SELECT 1 FROM prompts WHERE status IN ('open', 'answering') OR pays_late_at IS NOT NULL"
            owed = "SELECT 1 FROM deliveries WHERE state = 'waiting' OR (http_status IS NULL AND error IS NULL)"
            if simulator.book.row(waiting) or simulator.book.row(owed):
                quiet_since = time.monotonic()
            time.sleep(0.02)
        inbox.apply_waiting(now=timezone.now())
        recovery.query_due_pushes(now=then + timedelta(seconds=seconds))


def books_agree():
    with connection.cursor() as cursor:
        for each in INVARIANTS:
            if each.quiet:
                continue
            cursor.execute(each.sql)
            assert cursor.fetchall() == [], each.promise
    return differences(simulator_debits())


@pytest.mark.parametrize("name", sorted(set(CALLBACK_FAULTS) - BELIEVED))
def test_whatever_befalls_a_callback_the_books_agree_with_the_phones(simulator, name):
    if name == "forged_id":
        simulator.options.speed = 4  # the answer to the push comes first: before it there is no id to compare
    push = ask(name)

    settle(simulator)

    push.refresh_from_db()
    debits = simulator_debits()
    assert books_agree() == []
    assert (push.status == PushStatus.SUCCEEDED) == bool(debits)
    assert (push.payment.status == PaymentStatus.PAID) == bool(debits)


@pytest.mark.parametrize("name", sorted(ANSWER_FAULTS))
def test_whatever_befalls_the_answer_the_books_agree_with_the_phones(simulator, name):
    push = ask(name)

    settle(simulator)

    push.refresh_from_db()
    assert books_agree() == []
    assert (push.payment.status == PaymentStatus.PAID) == bool(simulator_debits())


@pytest.mark.parametrize("name", sorted(QUERY_FAULTS))
def test_whatever_a_query_says_the_books_agree_with_the_phones(simulator, name):
    push = ask(name)

    settle(simulator)

    push.refresh_from_db()
    assert books_agree() == []
    assert push.payment.status == PaymentStatus.PAID


def test_a_callback_that_lies_about_the_amount_is_shown_to_a_person(simulator):
    ask("wrong_amount")

    settle(simulator)

    assert ReviewItem.objects.filter(reason=ReviewReason.AMOUNT_DIFFERS).exists()
    assert books_agree() == []


def test_a_receipt_number_that_comes_twice_is_shown_to_a_person(simulator):
    first = ask("same_code", amount=100)  # nothing has been paid from this phone yet, so that its code is its own
    settle(simulator)
    second = ask("same_code")

    settle(simulator)

    first.refresh_from_db()
    second.refresh_from_db()
    assert first.payment.status == PaymentStatus.PAID
    assert ReviewItem.objects.filter(reason=ReviewReason.CODE_USED_TWICE).exists()


def test_whoever_knows_a_prompts_secret_address_is_believed(simulator):
    ask("forged")

    settle(simulator)

    assert simulator_debits() == []
    assert [line.split(":")[0] for line in books_agree()] == ["invented"]


@pytest.mark.parametrize("name", sorted(TWIN_FAULTS))
def test_money_told_on_two_channels_is_counted_once(simulator, settings, name):
    confirmation, validation = (
        settings.PUBLIC_URL + reverse(f"payments:c2b-{kind}", args=[settings.C2B_SECRET])
        for kind in ("confirmation", "validation")
    )
    client.register_c2b_urls(confirmation_url=confirmation, validation_url=validation, when_silent="Completed")
    push = ask(name)

    settle(simulator)

    push.refresh_from_db()
    assert books_agree() == []
    assert push.payment.status == PaymentStatus.PAID
    assert Receipt.objects.count() == 1
