"""STK pushes: requested, sent, and ended."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
import requests
from django.conf import settings
from django.db import OperationalError, connection, transaction
from procrastinate.contrib.django.models import ProcrastinateJob

from payments.daraja import callback_tokens
from payments.daraja.errors import Busy
from payments.daraja.messages import StkResult
from payments.desk import review_decisions
from payments.evidence import stk_results
from payments.models import PaymentStatus, PushStatus, ReviewItem, StkPush
from payments.pushes import closing, push_requests, queries, sending
from payments.services import cancellation, transitions
from payments.tests.daraja_answers import ACCEPTED, PUSH, Wire, refusal
from payments.tests.factories import NOON, MemberFactory, create_payment, make_push

pytestmark = [pytest.mark.django_db, pytest.mark.server]

PHONE = "254712345678"


@pytest.fixture
def wire():
    with Wire() as wire:
        wire.token()
        yield wire


def request_push(payment=None, *, phone=PHONE, now=NOON):
    payment = payment or create_payment()
    return push_requests.request_push(payment_id=payment.pk, phone=phone, created_by_id=payment.payer_id, now=now)


def sent(push, now=NOON):
    """Send a push and return its new state."""
    try:
        sending.send(push_id=push.pk, now=now)
    finally:
        push.refresh_from_db()
    return push


def pay(push, code="UKN7XK41ZQ"):
    """Apply the success of a push, as its callback reports it."""
    result = StkResult("m", "ws_CO_1", "0", "", amount=push.amount, receipt_code=code, moved_at=NOON)
    if push.checkout_request_id:
        result = replace(result, checkout_request_id=push.checkout_request_id)
    stk_results.apply_stk_result(push_id=push.pk, result=result, source="callback", now=NOON)
    push.refresh_from_db()


# --- Requested -----------------------------------------------------------------------------------


def test_request_creates_a_push_and_a_job_with_ids_only():
    push = request_push(create_payment(amount=1500))

    assert (push.status, push.amount, push.token_hash) == (PushStatus.CREATED, 1500, None)
    push.payment.refresh_from_db()
    assert push.payment.status == PaymentStatus.PROCESSING
    assert list(ProcrastinateJob.objects.values_list("task_name", "args")) == [
        ("payments.send_push", {"push_id": push.pk})
    ]


def test_push_asks_for_what_the_group_still_owes():
    group_payment = create_payment(amount=1500)
    create_payment(group_payment.payer, amount=400, group_payment_id=group_payment.pk)
    cancelled = create_payment(group_payment.payer, amount=70, group_payment_id=group_payment.pk)
    cancellation.cancel_payment(payment_id=cancelled.pk, by_id=group_payment.payer_id, now=NOON)

    assert request_push(group_payment).amount == 1900


def test_push_for_a_paid_group_payment_asks_for_the_others(wire):
    wire.push()
    group_payment = create_payment(amount=1500)
    grouped = create_payment(group_payment.payer, amount=400, group_payment_id=group_payment.pk)
    pay(make_push(group_payment, amount=1500))

    push = sent(request_push(group_payment))

    assert (push.status, push.amount) == (PushStatus.SENT, 400)
    pay(push, code="UKN7XK42ZQ")
    grouped.refresh_from_db()
    assert grouped.status == PaymentStatus.PAID
    with pytest.raises(transitions.InvalidTransition):
        request_push(group_payment)


@pytest.mark.parametrize("first", ["group payment", "grouped payment"])
def test_group_payment_and_grouped_payment_never_have_open_pushes_together(first):
    group_payment = create_payment(amount=1000)
    grouped = create_payment(group_payment.payer, amount=700, group_payment_id=group_payment.pk)
    earlier, later = (group_payment, grouped) if first == "group payment" else (grouped, group_payment)
    request_push(earlier, phone="254711000001")

    with pytest.raises(push_requests.PushOpen):
        request_push(later, phone="254711000002")


def test_two_grouped_payments_may_have_pushes_on_two_phones():
    group_payment = create_payment(amount=1000)
    one, other = (create_payment(group_payment.payer, amount=700, group_payment_id=group_payment.pk) for _ in range(2))

    assert [request_push(one, phone="254711000001").amount, request_push(other, phone="254711000002").amount] == [
        700,
        700,
    ]


def request_and_cancel(payer, by_id, n):
    payment = create_payment(payer)
    push_requests.request_push(payment_id=payment.pk, phone=f"25471100{n:04d}", created_by_id=by_id, now=NOON)
    cancellation.cancel_payment(payment_id=payment.pk, by_id=by_id, now=NOON)


def test_member_has_a_limit_of_push_requests_per_hour():
    member = MemberFactory()
    for n in range(push_requests.MAX_PER_PAYER):
        request_and_cancel(member, member.pk, n)

    with pytest.raises(push_requests.PushTooSoon) as refused:
        request_and_cancel(member, member.pk, n=99)

    assert refused.value.retry_after == 3600


def test_staff_have_a_higher_limit_of_push_requests():
    staff = MemberFactory()

    for n in range(push_requests.MAX_PER_PAYER + 1):
        request_and_cancel(MemberFactory(), staff.pk, n)

    assert StkPush.objects.count() == push_requests.MAX_PER_PAYER + 1


def test_second_open_push_for_a_payment_is_refused():
    payment = request_push().payment

    with pytest.raises(push_requests.PushOpen):
        request_push(payment, phone="254711111111")


def test_second_open_push_on_a_phone_is_refused():
    request_push()

    with pytest.raises(push_requests.PushOpen):
        request_push()
    assert StkPush.objects.count() == ProcrastinateJob.objects.count() == 1


def test_payment_that_owes_nothing_gets_no_push():
    with pytest.raises(transitions.InvalidTransition):
        request_push(create_payment(amount=0))


def test_amount_over_the_limit_of_mpesa_is_refused(settings):
    with pytest.raises(push_requests.AmountOverLimit):
        request_push(create_payment(amount=settings.MPESA_MAX_AMOUNT + 1))


@pytest.mark.parametrize(("code", "seconds"), [("17", 125), ("1001", 60), ("26", 120), ("busy", 120), ("locked", 60)])
def test_phone_rests_as_long_as_the_result_code_requires(code, seconds):
    make_push(phone=PHONE, status=PushStatus.FAILED, result_code=code, ended_at=NOON)

    with pytest.raises(push_requests.PushTooSoon) as refused:
        request_push(now=NOON + timedelta(seconds=seconds - 1))
    assert refused.value.retry_after == 2
    assert request_push(now=NOON + timedelta(seconds=seconds)).status == PushStatus.CREATED


def test_cancelled_push_may_be_followed_at_once():
    make_push(phone=PHONE, status=PushStatus.CANCELLED, result_code="1032", ended_at=NOON)

    assert request_push().status == PushStatus.CREATED


def test_fourth_push_on_a_phone_in_ten_minutes_is_refused():
    for minute in range(3):
        at = NOON + timedelta(minutes=minute)
        make_push(phone=PHONE, status=PushStatus.CANCELLED, result_code="1032", sent_at=at, ended_at=at)

    with pytest.raises(push_requests.PushTooSoon) as refused:
        request_push(now=NOON + timedelta(minutes=5))
    assert refused.value.retry_after == 301
    assert request_push(now=NOON + timedelta(minutes=10)).status == PushStatus.CREATED


# --- Sent ----------------------------------------------------------------------------------------


def test_accepted_push_stores_its_ids_and_is_queried_after_20_seconds(wire):
    wire.push()

    push = sent(request_push())

    assert (push.status, push.sent_at) == (PushStatus.SENT, NOON)
    assert push.checkout_request_id == ACCEPTED["CheckoutRequestID"]
    assert push.merchant_request_id == ACCEPTED["MerchantRequestID"]
    assert push.next_check_at == NOON + timedelta(seconds=20)


def test_callback_url_holds_the_token_and_the_database_its_hash(wire, settings):
    settings.PUBLIC_URL = "https://club.example"
    wire.push()

    push = sent(request_push())

    start, _, token = wire.bodies(PUSH)[0]["CallBackURL"].rstrip("/").rpartition("/")
    assert start == "https://club.example/api/v1/callbacks/stk"
    assert callback_tokens.is_ours(token)
    assert callback_tokens.hash_of(token) == push.token_hash


def test_repeated_job_sends_the_push_once(wire):
    wire.push()
    push = request_push()

    for _ in range(3):
        sent(push)

    assert len(wire.sent(PUSH)) == 1


def test_push_of_a_payment_cancelled_meanwhile_is_not_sent(wire):
    push = request_push()
    cancellation.cancel_payment(payment_id=push.payment_id, by_id=push.payment.payer_id, now=NOON)

    sent(push)

    assert (push.status, push.result_code) == (PushStatus.CANCELLED, "withdrawn")
    assert wire.sent(PUSH) == []


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (refusal("400.002.02", "Bad Request - Invalid PhoneNumber", 400), "bad_phone"),
        (refusal("500.001.1001", "[CBS - ] No ICCID found", 500), "bad_phone"),
        (refusal("500.001.1001", "Unable to lock subscriber, a transaction is already in process", 500), "locked"),
        (refusal("500.001.1001", "Merchant does not exist", 500), "refused"),
        (refusal("400.002.02", "Bad Request - Invalid Amount", 400), "refused"),
    ],
)
def test_refused_push_fails_and_so_does_its_payment(wire, answer, code):
    wire.push(**answer)

    push = sent(request_push())

    push.payment.refresh_from_db()
    assert (push.status, push.result_code, push.payment.status) == (PushStatus.FAILED, code, PaymentStatus.FAILED)


@pytest.mark.parametrize(
    "answer",
    [
        {"body": requests.ReadTimeout()},
        {"body": requests.ConnectionError()},
        {"body": "<html>", "status": 502},
        {"body": "half a {"},
        refusal("500.001.1001", "Internal Server Error", 500),
    ],
)
def test_push_with_unknown_outcome_is_never_sent_again(wire, answer):
    wire.push(**answer)
    push = request_push()

    for _ in range(3):
        sent(push)

    push.payment.refresh_from_db()
    assert (push.status, push.payment.status) == (PushStatus.UNKNOWN, PaymentStatus.PROCESSING)
    assert push.next_check_at == NOON + queries.NO_ID_WAIT
    assert len(wire.sent(PUSH)) == 1


def test_push_that_was_not_sent_is_tried_once_more(wire):
    wire.push(body=requests.ConnectTimeout())
    wire.push()

    assert sent(request_push()).status == PushStatus.SENT
    assert len(wire.sent(PUSH)) == 2


def test_push_that_fails_to_connect_twice_is_not_sent(wire):
    wire.push(body=requests.ConnectTimeout())

    push = sent(request_push())

    assert (push.status, push.result_code) == (PushStatus.FAILED, "not_sent")
    assert len(wire.sent(PUSH)) == 2


def test_busy_safaricom_leaves_the_push_created_for_the_next_run(wire):
    wire.push(**refusal("500.003.02", "Error Occurred: Spike Arrest Violation", 500), headers={"Retry-After": "7"})
    push = request_push()

    with pytest.raises(Busy) as busy:
        sent(push)

    assert busy.value.retry_after == 7
    assert (push.status, push.token_hash, push.sent_at) == (PushStatus.CREATED, None, None)


def test_push_that_is_too_old_fails_and_is_not_sent(wire):
    push = request_push()

    sent(push, now=NOON + sending.MAX_SEND_DELAY)

    assert (push.status, push.result_code) == (PushStatus.FAILED, "busy")
    assert len(wire.calls) == 0


def test_answer_after_its_callback_only_adds_the_ids(wire):
    push = request_push()

    def answer(request):
        pay(push)
        return 200, {}, json.dumps(ACCEPTED)

    wire.add_callback("POST", settings.DARAJA_BASE_URL + PUSH, callback=answer)

    sent(push)

    assert (push.status, push.next_check_at) == (PushStatus.SUCCEEDED, None)
    assert push.checkout_request_id == ACCEPTED["CheckoutRequestID"]


def test_checkout_request_id_of_another_push_opens_a_review_item(wire):
    make_push(checkout_request_id=ACCEPTED["CheckoutRequestID"])
    wire.push()

    push = sent(request_push())

    assert (push.status, push.checkout_request_id) == (PushStatus.UNKNOWN, None)
    assert ReviewItem.objects.get().reason == "contradiction"


@pytest.mark.django_db(transaction=True)
def test_push_is_never_sent_inside_a_transaction(wire):
    wire.push()
    push = request_push()

    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
        sending.send(push_id=push.pk, now=NOON)

    assert wire.sent(PUSH) == []


@pytest.mark.django_db(transaction=True)
def test_no_database_connection_is_held_during_the_call(wire):
    held = []

    def answer(request):
        held.append(connection.connection)
        return 200, {}, json.dumps(ACCEPTED)

    wire.add_callback("POST", settings.DARAJA_BASE_URL + PUSH, callback=answer)

    sent(request_push())

    assert held == [None]


def test_answer_is_recorded_again_after_a_database_error(wire, monkeypatch):
    wire.push()
    push, real, tries = request_push(), sending._write_outcome, []

    def fail_twice(*args, **kwargs):
        tries.append(1)
        if len(tries) < 3:
            raise OperationalError
        real(*args, **kwargs)

    monkeypatch.setattr(sending, "_write_outcome", fail_twice)
    monkeypatch.setattr(sending.time, "sleep", lambda seconds: None)

    assert sent(push).status == PushStatus.SENT
    assert (len(tries), len(wire.sent(PUSH))) == (3, 1)


def test_push_whose_answer_cannot_be_recorded_stays_sending(wire, monkeypatch):
    wire.push()
    push = request_push()

    def fail(*args, **kwargs):
        raise OperationalError

    monkeypatch.setattr(sending, "_write_outcome", fail)
    monkeypatch.setattr(sending.time, "sleep", lambda seconds: None)

    with pytest.raises(OperationalError):
        sent(push)

    assert (push.status, len(wire.sent(PUSH))) == (PushStatus.SENDING, 1)


# --- Ended ---------------------------------------------------------------------------------------


def test_succeeded_push_is_never_changed():
    push = make_push()
    pay(push)

    closing.end(push, status=PushStatus.FAILED, result_code="1032", result_desc="", now=NOON)

    push.refresh_from_db()
    assert (push.status, push.result_code) == (PushStatus.SUCCEEDED, "0")


def overdue_push():
    """Return a push whose end is not known after a day of queries, and its review item."""
    push = make_push(checks=5)
    queries.record_query(push_id=push.pk, now=NOON + timedelta(days=1))
    push.refresh_from_db()
    return push, ReviewItem.objects.get(push=push)


def test_overdue_push_frees_its_phone_and_payment_without_staff():
    push, item = overdue_push()

    push.payment.refresh_from_db()
    assert (push.status, push.result_code, item.status) == (PushStatus.TIMED_OUT, "closed", "open")
    assert push.payment.status == PaymentStatus.FAILED
    again = request_push(push.payment, phone=push.phone, now=NOON + timedelta(days=1))
    assert again.status == PushStatus.CREATED


def test_dismissing_the_item_of_an_overdue_push_changes_no_push():
    push, item = overdue_push()
    again = request_push(push.payment, phone=push.phone, now=NOON + timedelta(days=1))

    review_decisions.dismiss_item(item_id=item.pk, reason="not in the statement", by_id=MemberFactory().pk, now=NOON)

    again.refresh_from_db()
    assert again.status == PushStatus.CREATED


def test_late_failure_of_an_overdue_push_closes_its_review_item():
    push, item = overdue_push()

    outcome = stk_results.apply_stk_result(
        push_id=push.pk,
        result=StkResult(push.merchant_request_id, push.checkout_request_id, "1032", "Cancelled"),
        source="callback",
        now=NOON + timedelta(days=1),
    )

    push.refresh_from_db()
    item.refresh_from_db()
    assert (outcome.outcome, push.status, push.result_code) == ("applied", PushStatus.CANCELLED, "1032")
    assert (item.status, item.resolution) == ("resolved", "The push has ended.")


def test_late_success_closes_the_review_item_of_an_overdue_push():
    push, item = overdue_push()

    pay(push)

    item.refresh_from_db()
    assert (push.status, item.status, item.resolution) == (PushStatus.SUCCEEDED, "resolved", "The push has ended.")


def test_late_success_pays_after_an_overdue_push_was_closed():
    push, _ = overdue_push()

    pay(push)

    push.payment.refresh_from_db()
    assert (push.status, push.payment.status) == (PushStatus.SUCCEEDED, PaymentStatus.PAID)
