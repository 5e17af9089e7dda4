"""What each verb locks, and in which order: members, then payments, then receipts.

The races show what some of these locks are for. This shows that each of them is taken, whatever a race can show.
"""

import re
import threading
from functools import partial
from unittest.mock import patch

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from api import advisory_locks
from api.clock import now
from payments.callbacks import inbox
from payments.daraja.messages import StkResult
from payments.desk import cash_sessions, desk_receipts, refunds, reported_codes, review_decisions, voids
from payments.evidence import receipts, stk_results
from payments.models import Callback, ReviewItem
from payments.pushes import closing, push_requests
from payments.services import cancellation, listeners, reversals
from payments.tests.bodies import c2b_body, stk_body
from payments.tests.factories import NOON, MemberFactory, create_payment, make_push

pytestmark = [pytest.mark.django_db, pytest.mark.server]

LOCK = re.compile(r'FROM "(\w+)".*FOR NO KEY UPDATE(?: OF ([\w", ]+?))?( NOWAIT| SKIP LOCKED)?$', re.DOTALL)
NAMES = {
    "accounts_customuser": "members",
    "payments_payment": "payments",
    "payments_receipt": "receipts",
    "payments_stkpush": "push",
    "payments_allocation": "allocations",
    "payments_cashsession": "drawer",
    "payments_reviewitem": "item",
    "payments_callback": "callback",
}
ADVISORY = {advisory_locks.CODE: "code", advisory_locks.AMOUNT: "amount"}


def locks_of(act):
    """Run a verb; return what it locked, in order."""
    with CaptureQueriesContext(connection) as captured:
        act()
    found = []
    for query in captured:
        if advisory := re.search(r"pg_advisory_xact_lock\((\d+), ", query["sql"]):
            found += [ADVISORY[int(advisory[1])]] if int(advisory[1]) in ADVISORY else []
        elif (lock := LOCK.search(query["sql"])) and lock[1] in NAMES:  # listeners lock tables of their own
            tables = re.findall(r'"(\w+)"', lock[2]) if lock[2] else [lock[1]]
            found.append(" ".join(NAMES[table] for table in tables) + (lock[3] or "").lower())
    return found


VERBS = {}


def locks(*expected):
    """Say what a verb locks. What is decorated prepares the rows and returns the verb."""

    def note(prepare):
        VERBS[prepare.__name__] = (prepare, list(expected))
        return prepare

    return note


# --- Safaricom's evidence -----------------------------------------------------------------------------


def post(name, secret, body):
    address = reverse(f"payments:{name}", args=[secret])
    return lambda: Client().post(address, body, content_type="application/json")


def callback(push, **result):
    return post("stk-callback", push.raw_token, stk_body(push, **result))


def confirmation(account, code="TKN1AB2C3D", sender=""):
    body = c2b_body(amount=1500, account=account, code=code, moved_at=NOON, sender=sender)
    return post("c2b-confirmation", settings.C2B_SECRET, body)


def query(push):
    result = StkResult(push.merchant_request_id, push.checkout_request_id, "0", "")
    return lambda: stk_results.apply_stk_result(push_id=push.pk, result=result, source="query", now=NOON)


@locks("members", "push payments")
def a_callback():
    return callback(make_push())


@locks("members", "push payments", "payments")
def a_callback_for_a_payment_with_companions():
    push = make_push()
    create_payment(payer=push.payment.payer, group_payment_id=push.payment_id)
    return callback(push)


@locks("members", "push payments", "receipts")
def a_callback_that_comes_again():
    again = callback(make_push())
    again()
    return again


@locks("members", "push payments", "payments")  # the companions, whose status follows
def a_failure():
    return callback(make_push(), result_code=1032)


@locks("amount", "members", "push payments", "receipts")
def a_success_by_query():
    return query(make_push())


@locks("amount", "members", "push payments", "receipts", "members nowait", "allocations payments")
def a_success_by_query_of_money_that_a_till_gave_to_the_phones_owner():
    owner = create_payment().payer
    push = make_push(phone=owner.phone_number)
    confirmation("", sender=push.phone)()
    return query(push)


@locks("members", "payments", "payments", "receipts")
def a_confirmation_that_names_a_payment():
    return confirmation(create_payment().reference)


@locks("members", "payments", "receipts")
def a_confirmation_that_names_a_member():
    return confirmation(create_payment().payer.member_number)


@locks("code", "receipts")
def a_confirmation_that_names_nobody():
    return confirmation("gym")


@locks("amount", "members", "payments", "receipts", "receipts")
def a_tills_confirmation_of_a_prompt_learnt_by_query():
    push = make_push(create_payment(MemberFactory(phone_number="254712345678")), phone="254712345678")
    query(push)()
    return confirmation("", sender=push.phone)


FIRST = ["members", "payments", "payments", "receipts"]


@locks(*FIRST, *FIRST, "receipts")
def a_confirmation_whose_twin_comes_between_looking_and_writing():
    again = confirmation(create_payment().reference)
    insert = receipts.insert

    def after_the_twin(receipt):
        with patch.object(receipts, "insert", insert):
            again()
        return insert(receipt)

    def act():
        # The twin comes within the other's request.
        with (
            patch.object(receipts, "insert", after_the_twin),
            patch.object(inbox, "APPLY_SLOT", threading.Semaphore(2)),
        ):
            again()

    return act


@locks("callback skip locked", "code", "receipts")
def a_callback_that_was_left():
    with patch.object(inbox, "APPLY_SLOT", threading.Semaphore(0)):
        confirmation("gym")()
    return lambda: inbox.apply_waiting(now=now())


@locks("callback", "code", "receipts")
def a_replay():
    confirmation("gym")()
    kept = Callback.objects.get()
    return lambda: inbox.replay(callback_id=kept.pk, now=NOON)


# --- Payments and prompts -----------------------------------------------------------------------------


@locks("members")
def opening_a_payment():
    payer = MemberFactory()
    return lambda: create_payment(payer)


@locks("members", "payments")
def opening_a_companion():
    head = create_payment()
    return lambda: create_payment(head.payer, group_payment_id=head.pk)


@locks("members", "payments")
def cancelling():
    payment = create_payment()
    return lambda: cancellation.cancel_payment(payment_id=payment.pk, by_id=payment.payer_id, now=NOON)


@locks("members skip locked", "payments skip locked")
def expiring():
    payment = create_payment()
    return lambda: cancellation.expire_due(now=payment.expires_at)


@locks("members", "payments")
def telling_the_listeners_again():
    payment = create_payment()
    return lambda: listeners.retry_listeners(payment_id=payment.pk, now=NOON)


@locks("members", "payments", "payments", "payments")  # the companions: their status, then what they owe
def asking_for_a_prompt():
    payment = create_payment()
    return lambda: push_requests.request_push(payment_id=payment.pk, phone="254712345678", created_by_id=None, now=NOON)


@locks("members", "payments", "push", "payments")
def dropping_a_prompt():
    push = make_push(status="created")
    return lambda: closing.fail_unsent(push_id=push.pk, result_code="busy", result_desc="", now=NOON)


# --- What staff do --------------------------------------------------------------------------------------


def unmatched():
    confirmation("gym")()
    return ReviewItem.objects.get()


def assigned():
    item = unmatched()
    assigning_to(create_payment(), item)()
    return item


def assigning_to(payment, item):
    manager = MemberFactory()
    return lambda: review_decisions.assign_money(item_id=item.pk, payment_id=payment.pk, by_id=manager.pk, now=NOON)


def cash():
    cashier, payment = MemberFactory(), create_payment()
    cash_sessions.open_session(cashier_id=cashier.pk, opening_float=0, now=NOON)
    return partial(
        desk_receipts.record_receipt, channel="cash", amount=1500, payment_id=payment.pk, by_id=cashier.pk, now=NOON
    )


@locks("members", "receipts", "item", "payments")  # nobody's money pays nothing yet
def assigning():
    return assigning_to(create_payment(), unmatched())


@locks("members", "payments", "receipts", "item", "allocations payments")
def undoing_an_assignment():
    item, manager = assigned(), MemberFactory()
    return lambda: review_decisions.undo_assignment(item_id=item.pk, by_id=manager.pk, now=NOON)


@locks("item")
def dismissing():
    item, manager = unmatched(), MemberFactory()
    return lambda: review_decisions.dismiss_item(item_id=item.pk, reason="nobody asks", by_id=manager.pk, now=NOON)


@locks("members", "payments", "receipts", "allocations payments")
def recording_a_refund():
    receipt, manager = assigned().receipt, MemberFactory()
    refund = partial(refunds.record_refund, receipt_id=receipt.pk, paid_from="mpesa", reason="ill", by_id=manager.pk)
    return lambda: refund(now=NOON)


@locks("members", "payments", "receipts", "allocations payments")
def reversing():
    receipt = assigned().receipt
    return lambda: reversals.reverse_receipt(receipt_id=receipt.pk, reason="sent back", by_id=None, now=NOON)


@locks("members", "payments", "drawer")
def taking_cash():
    return cash()


@locks("members", "payments", "receipts", "drawer", "allocations payments")
def voiding_cash():
    receipt, manager = cash()(), MemberFactory()
    return lambda: voids.void_receipt(receipt_id=receipt.pk, reason="typed twice", by_id=manager.pk, now=NOON)


@locks("members", "payments", "receipts")
def asking_for_a_void():
    receipt = cash()()
    return lambda: voids.ask_void(receipt_id=receipt.pk, reason="typed twice", by_id=receipt.recorded_by_id, now=NOON)


@locks("drawer")
def counting_a_drawer():
    receipt = cash()()
    return lambda: cash_sessions.close_session(cashier_id=receipt.recorded_by_id, counted=1500, now=NOON)


@locks("code")
def claiming_a_code():
    payment, cashier = create_payment(), MemberFactory()
    return lambda: reported_codes.report_code(code="TKN1AB2C3D", payment_id=payment.pk, by_id=cashier.pk, now=NOON)


@locks("code", "members", "receipts", "payments")
def claiming_a_code_whose_money_is_here():
    unmatched()
    return claiming_a_code()


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_locks_what_it_touches_members_first(verb):
    prepare, expected = VERBS[verb]
    act = prepare()

    assert locks_of(act) == expected
