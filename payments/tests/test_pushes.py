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


def ask(payment=None, *, phone=PHONE, now=NOON):
    payment = payment or create_payment()
    return push_requests.request_push(payment_id=payment.pk, phone=phone, created_by_id=payment.payer_id, now=now)


def sent(push, now=NOON):
    """Send a push and return it as it stands then."""
    try:
        sending.send(push_id=push.pk, now=now)
    finally:
        push.refresh_from_db()
    return push


def pay(push, code="UKN7XK41ZQ"):
    """Let the money of a push come, as its callback reports it."""
    result = StkResult("m", "ws_CO_1", "0", "", amount=push.amount, receipt_code=code, moved_at=NOON)
    if push.checkout_request_id:
        result = replace(result, checkout_request_id=push.checkout_request_id)
    stk_results.apply_stk_result(push_id=push.pk, result=result, source="callback", now=NOON)
    push.refresh_from_db()


# --- Asked for -----------------------------------------------------------------------------------


def test_asking_leaves_a_push_a_waiting_payment_and_a_job_that_holds_ids_only():
    push = ask(create_payment(amount=1500))

    assert (push.status, push.amount, push.token_hash) == (PushStatus.CREATED, 1500, None)
    push.payment.refresh_from_db()
    assert push.payment.status == PaymentStatus.PROCESSING
    assert list(ProcrastinateJob.objects.values_list("task_name", "args")) == [
        ("payments.send_push", {"push_id": push.pk})
    ]


def test_a_prompt_asks_for_what_payment_and_companions_still_owe():
    head = create_payment(amount=1500)
    create_payment(head.payer, amount=400, group_payment_id=head.pk)
    gone = create_payment(head.payer, amount=70, group_payment_id=head.pk)
    cancellation.cancel_payment(payment_id=gone.pk, by_id=head.payer_id, now=NOON)

    assert ask(head).amount == 1900


def test_a_head_that_is_paid_is_prompted_for_what_its_companions_owe(wire):
    wire.push()
    head = create_payment(amount=1500)
    companion = create_payment(head.payer, amount=400, group_payment_id=head.pk)
    pay(make_push(head, amount=1500))

    push = sent(ask(head))

    assert (push.status, push.amount) == (PushStatus.SENT, 400)
    pay(push, code="UKN7XK42ZQ")
    companion.refresh_from_db()
    assert companion.status == PaymentStatus.PAID
    with pytest.raises(transitions.InvalidTransition):
        ask(head)


@pytest.mark.parametrize("first", ["head", "companion"])
def test_a_head_and_its_companion_are_not_prompted_for_one_after_the_other(first):
    head = create_payment(amount=1000)
    companion = create_payment(head.payer, amount=700, group_payment_id=head.pk)
    earlier, later = (head, companion) if first == "head" else (companion, head)
    ask(earlier, phone="254711000001")

    with pytest.raises(push_requests.PushOpen):
        ask(later, phone="254711000002")


def test_two_companions_may_be_paid_by_two_phones():
    head = create_payment(amount=1000)
    one, other = (create_payment(head.payer, amount=700, group_payment_id=head.pk) for _ in range(2))

    assert [ask(one, phone="254711000001").amount, ask(other, phone="254711000002").amount] == [700, 700]


def buy_and_cancel(payer, by_id, n):
    payment = create_payment(payer)
    push_requests.request_push(payment_id=payment.pk, phone=f"25471100{n:04d}", created_by_id=by_id, now=NOON)
    cancellation.cancel_payment(payment_id=payment.pk, by_id=by_id, now=NOON)


def test_a_member_may_not_ask_ever_more_phones():
    member = MemberFactory()
    for n in range(push_requests.MAX_PER_PAYER):
        buy_and_cancel(member, member.pk, n)

    with pytest.raises(push_requests.PushTooSoon) as refused:
        buy_and_cancel(member, member.pk, n=99)

    assert refused.value.retry_after == 3600


def test_staff_may_ask_many_members_phones():
    staff = MemberFactory()

    for n in range(push_requests.MAX_PER_PAYER + 1):
        buy_and_cancel(MemberFactory(), staff.pk, n)

    assert StkPush.objects.count() == push_requests.MAX_PER_PAYER + 1


def test_a_second_prompt_for_a_payment_is_refused_while_one_is_open():
    payment = ask().payment

    with pytest.raises(push_requests.PushOpen):
        ask(payment, phone="254711111111")


def test_a_second_prompt_on_a_phone_is_refused_while_one_is_open():
    ask()

    with pytest.raises(push_requests.PushOpen):
        ask()
    assert StkPush.objects.count() == ProcrastinateJob.objects.count() == 1


def test_a_decided_payment_is_not_prompted_for():
    with pytest.raises(transitions.InvalidTransition):
        ask(create_payment(amount=0))


def test_more_than_m_pesa_moves_at_once_is_not_asked_for(settings):
    with pytest.raises(push_requests.AmountOverLimit):
        ask(create_payment(amount=settings.MPESA_MAX_AMOUNT + 1))


@pytest.mark.parametrize(("code", "seconds"), [("17", 125), ("1001", 60), ("26", 120), ("busy", 120), ("locked", 60)])
def test_a_phone_rests_as_m_pesa_asks_after_such_an_end(code, seconds):
    make_push(phone=PHONE, status=PushStatus.FAILED, result_code=code, ended_at=NOON)

    with pytest.raises(push_requests.PushTooSoon) as refused:
        ask(now=NOON + timedelta(seconds=seconds - 1))
    assert refused.value.retry_after == 2
    assert ask(now=NOON + timedelta(seconds=seconds)).status == PushStatus.CREATED


def test_a_cancelled_prompt_can_be_followed_at_once():
    make_push(phone=PHONE, status=PushStatus.CANCELLED, result_code="1032", ended_at=NOON)

    assert ask().status == PushStatus.CREATED


def test_the_fourth_prompt_on_a_phone_in_ten_minutes_is_refused_whoever_asks():
    for minute in range(3):
        at = NOON + timedelta(minutes=minute)
        make_push(phone=PHONE, status=PushStatus.CANCELLED, result_code="1032", sent_at=at, ended_at=at)

    with pytest.raises(push_requests.PushTooSoon) as refused:
        ask(now=NOON + timedelta(minutes=5))
    assert refused.value.retry_after == 301
    assert ask(now=NOON + timedelta(minutes=10)).status == PushStatus.CREATED


# --- Sent ----------------------------------------------------------------------------------------


def test_an_accepted_push_is_sent_named_and_asked_about_in_twenty_seconds(wire):
    wire.push()

    push = sent(ask())

    assert (push.status, push.sent_at) == (PushStatus.SENT, NOON)
    assert push.checkout_request_id == ACCEPTED["CheckoutRequestID"]
    assert push.merchant_request_id == ACCEPTED["MerchantRequestID"]
    assert push.next_check_at == NOON + timedelta(seconds=20)


def test_the_callback_address_holds_the_token_of_which_only_the_hash_is_kept(wire, settings):
    settings.PUBLIC_URL = "https://club.example"
    wire.push()

    push = sent(ask())

    start, _, token = wire.bodies(PUSH)[0]["CallBackURL"].rstrip("/").rpartition("/")
    assert start == "https://club.example/api/v1/callbacks/stk"
    assert callback_tokens.is_ours(token)
    assert callback_tokens.hash_of(token) == push.token_hash


def test_a_push_is_sent_once_however_often_its_job_runs(wire):
    wire.push()
    push = ask()

    for _ in range(3):
        sent(push)

    assert len(wire.sent(PUSH)) == 1


def test_a_payment_cancelled_meanwhile_is_not_prompted_for(wire):
    push = ask()
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
def test_a_refused_push_fails_and_its_payment_may_be_prompted_again(wire, answer, code):
    wire.push(**answer)

    push = sent(ask())

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
def test_an_unknown_outcome_is_never_sent_again(wire, answer):
    wire.push(**answer)
    push = ask()

    for _ in range(3):
        sent(push)

    push.payment.refresh_from_db()
    assert (push.status, push.payment.status) == (PushStatus.UNKNOWN, PaymentStatus.PROCESSING)
    assert push.next_check_at == NOON + queries.NO_ID_WAIT
    assert len(wire.sent(PUSH)) == 1


def test_a_push_that_provably_was_not_sent_is_tried_once_more(wire):
    wire.push(body=requests.ConnectTimeout())
    wire.push()

    assert sent(ask()).status == PushStatus.SENT
    assert len(wire.sent(PUSH)) == 2


def test_a_push_that_cannot_be_sent_twice_fails_with_a_clear_word(wire):
    wire.push(body=requests.ConnectTimeout())

    push = sent(ask())

    assert (push.status, push.result_code) == (PushStatus.FAILED, "not_sent")
    assert len(wire.sent(PUSH)) == 2


def test_a_busy_safaricom_leaves_the_push_waiting_for_the_next_run(wire):
    wire.push(**refusal("500.003.02", "Error Occurred: Spike Arrest Violation", 500), headers={"Retry-After": "7"})
    push = ask()

    with pytest.raises(Busy) as busy:
        sent(push)

    assert busy.value.retry_after == 7
    assert (push.status, push.token_hash, push.sent_at) == (PushStatus.CREATED, None, None)


def test_a_push_that_stayed_busy_too_long_is_dropped_not_sent_late(wire):
    push = ask()

    sent(push, now=NOON + sending.MAX_SEND_DELAY)

    assert (push.status, push.result_code) == (PushStatus.FAILED, "busy")
    assert len(wire.calls) == 0


def test_a_callback_that_overtakes_the_answer_only_leaves_the_names_to_write(wire):
    push = ask()

    def answer(request):
        pay(push)
        return 200, {}, json.dumps(ACCEPTED)

    wire.add_callback("POST", settings.DARAJA_BASE_URL + PUSH, callback=answer)

    sent(push)

    assert (push.status, push.next_check_at) == (PushStatus.SUCCEEDED, None)
    assert push.checkout_request_id == ACCEPTED["CheckoutRequestID"]


def test_a_name_given_twice_is_looked_at_by_a_person(wire):
    make_push(checkout_request_id=ACCEPTED["CheckoutRequestID"])
    wire.push()

    push = sent(ask())

    assert (push.status, push.checkout_request_id) == (PushStatus.UNKNOWN, None)
    assert ReviewItem.objects.get().reason == "contradiction"


@pytest.mark.django_db(transaction=True)
def test_a_push_is_never_sent_inside_a_transaction(wire):
    wire.push()
    push = ask()

    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
        sending.send(push_id=push.pk, now=NOON)

    assert wire.sent(PUSH) == []


@pytest.mark.django_db(transaction=True)
def test_no_database_connection_is_held_during_a_call(wire):
    held = []

    def answer(request):
        held.append(connection.connection)
        return 200, {}, json.dumps(ACCEPTED)

    wire.add_callback("POST", settings.DARAJA_BASE_URL + PUSH, callback=answer)

    sent(ask())

    assert held == [None]


def test_a_database_that_blinks_loses_no_answer_and_sends_no_second_prompt(wire, monkeypatch):
    wire.push()
    push, real, tries = ask(), sending._write_outcome, []

    def blink(*args, **kwargs):
        tries.append(1)
        if len(tries) < 3:
            raise OperationalError
        real(*args, **kwargs)

    monkeypatch.setattr(sending, "_write_outcome", blink)
    monkeypatch.setattr(sending.time, "sleep", lambda seconds: None)

    assert sent(push).status == PushStatus.SENT
    assert (len(tries), len(wire.sent(PUSH))) == (3, 1)


def test_an_answer_that_cannot_be_recorded_leaves_a_push_for_the_sweep(wire, monkeypatch):
    wire.push()
    push = ask()

    def fail(*args, **kwargs):
        raise OperationalError

    monkeypatch.setattr(sending, "_write_outcome", fail)
    monkeypatch.setattr(sending.time, "sleep", lambda seconds: None)

    with pytest.raises(OperationalError):
        sent(push)

    assert (push.status, len(wire.sent(PUSH))) == (PushStatus.SENDING, 1)


# --- Ended ---------------------------------------------------------------------------------------


def test_nothing_is_written_over_a_success():
    push = make_push()
    pay(push)

    closing.end(push, status=PushStatus.FAILED, result_code="1032", result_desc="", now=NOON)

    push.refresh_from_db()
    assert (push.status, push.result_code) == (PushStatus.SUCCEEDED, "0")


def overdue_push():
    """A push that was asked about in vain for a day, and its review item."""
    push = make_push(checks=5)
    queries.record_query(push_id=push.pk, now=NOON + timedelta(days=1))
    push.refresh_from_db()
    return push, ReviewItem.objects.get(push=push)


def test_dismissing_an_overdue_prompt_lets_go_of_it():
    push, item = overdue_push()
    manager = MemberFactory()

    review_decisions.dismiss_item(item_id=item.pk, reason="not in the statement", by_id=manager.pk, now=NOON)

    push.refresh_from_db()
    push.payment.refresh_from_db()
    assert (push.status, push.payment.status) == (PushStatus.TIMED_OUT, PaymentStatus.FAILED)
    assert ask(push.payment, phone=push.phone).status == PushStatus.CREATED


def test_money_that_comes_after_all_settles_the_question_itself():
    push, item = overdue_push()

    pay(push)

    item.refresh_from_db()
    assert (push.status, item.status, item.resolution) == (PushStatus.SUCCEEDED, "resolved", "The push has ended.")


def test_money_still_counts_after_a_person_let_go():
    push, _ = overdue_push()
    closing.close_unknown(push_id=push.pk, now=NOON)

    pay(push)

    push.payment.refresh_from_db()
    assert (push.status, push.payment.status) == (PushStatus.SUCCEEDED, PaymentStatus.PAID)


def test_a_push_still_being_asked_about_is_not_let_go():
    push = make_push(status=PushStatus.UNKNOWN)

    assert closing.close_unknown(push_id=push.pk, now=NOON) is False
    push.refresh_from_db()
    assert push.status == PushStatus.UNKNOWN
