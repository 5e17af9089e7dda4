"""The row locks of each service, and their order: members, then payments, then receipts.

test_races shows what some of these locks prevent. This shows that each of them is taken.
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


def locks_taken_by(call):
    """Run a call; return the locks that it takes, in order."""
    with CaptureQueriesContext(connection) as captured:
        call()
    found = []
    for query in captured:
        if advisory := re.search(r"pg_advisory_xact_lock\((\d+), ", query["sql"]):
            found += [ADVISORY[int(advisory[1])]] if int(advisory[1]) in ADVISORY else []
        elif (lock := LOCK.search(query["sql"])) and lock[1] in NAMES:  # listeners also lock their own tables
            tables = re.findall(r'"(\w+)"', lock[2]) if lock[2] else [lock[1]]
            found.append(" ".join(NAMES[table] for table in tables) + (lock[3] or "").lower())
    return found


CALLS = {}


def locks(*expected):
    """Register a function that prepares rows and returns a call, with the locks expected of the call."""

    def register(prepare):
        CALLS[prepare.__name__] = (prepare, list(expected))
        return prepare

    return register


# --- Evidence from Safaricom -----------------------------------------------------------------------------


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
def callback_of_success():
    return callback(make_push())


@locks("members", "push payments", "payments")
def callback_for_a_group_payment():
    push = make_push()
    create_payment(payer=push.payment.payer, group_payment_id=push.payment_id)
    return callback(push)


@locks("members", "push payments", "receipts")
def repeated_callback():
    again = callback(make_push())
    again()
    return again


@locks("members", "push payments", "payments")  # the grouped payments, whose status changes too
def callback_of_failure():
    return callback(make_push(), result_code=1032)


@locks("amount", "members", "push payments", "receipts")
def success_by_query():
    return query(make_push())


@locks("amount", "members", "push payments", "receipts", "members nowait", "allocations payments")
def success_by_query_of_money_matched_by_phone():
    owner = create_payment().payer
    push = make_push(phone=owner.phone_number)
    confirmation("", sender=push.phone)()
    return query(push)


@locks("members", "payments", "payments", "receipts")
def confirmation_with_a_reference():
    return confirmation(create_payment().reference)


@locks("members", "payments", "receipts")
def confirmation_with_a_member_number():
    return confirmation(create_payment().payer.member_number)


@locks("code", "receipts")
def unmatched_confirmation():
    return confirmation("gym")


@locks("amount", "members", "payments", "receipts", "receipts")
def till_confirmation_after_a_query():
    push = make_push(create_payment(MemberFactory(phone_number="254712345678")), phone="254712345678")
    query(push)()
    return confirmation("", sender=push.phone)


FIRST = ["members", "payments", "payments", "receipts"]


@locks(*FIRST, *FIRST, "receipts")
def confirmation_overtaken_by_its_repetition():
    again = confirmation(create_payment().reference)
    insert = receipts.insert

    def insert_after_the_repetition(receipt):
        with patch.object(receipts, "insert", insert):
            again()
        return insert(receipt)

    def call():
        with (
            patch.object(receipts, "insert", insert_after_the_repetition),
            patch.object(inbox, "APPLY_SLOT", threading.Semaphore(2)),
        ):
            again()

    return call


@locks("callback skip locked", "code", "receipts")
def apply_waiting_callbacks():
    with patch.object(inbox, "APPLY_SLOT", threading.Semaphore(0)):
        confirmation("gym")()
    return lambda: inbox.apply_waiting(now=now())


@locks("callback", "code", "receipts")
def replay_callback():
    confirmation("gym")()
    stored = Callback.objects.get()
    return lambda: inbox.replay(callback_id=stored.pk, now=NOON)


# --- Payments and pushes -----------------------------------------------------------------------------


@locks("members")
def create_single_payment():
    payer = MemberFactory()
    return lambda: create_payment(payer)


@locks("members", "payments")
def create_grouped_payment():
    group_payment = create_payment()
    return lambda: create_payment(group_payment.payer, group_payment_id=group_payment.pk)


@locks("members", "payments", "payments")  # the second are the payments that its money may complete
def cancel_payment():
    payment = create_payment()
    return lambda: cancellation.cancel_payment(payment_id=payment.pk, by_id=payment.payer_id, now=NOON)


@locks("members skip locked", "payments skip locked")
def expire_payment():
    payment = create_payment()
    return lambda: cancellation.expire_due(now=payment.expires_at)


@locks("members", "payments")
def retry_listeners():
    payment = create_payment()
    return lambda: listeners.retry_listeners(payment_id=payment.pk, now=NOON)


@locks("members", "payments", "payments", "payments")  # the grouped payments: their status, then what they owe
def request_push():
    payment = create_payment()
    return lambda: push_requests.request_push(payment_id=payment.pk, phone="254712345678", created_by_id=None, now=NOON)


@locks("members", "payments", "push", "payments")
def fail_unsent_push():
    push = make_push(status="created")
    return lambda: closing.fail_unsent(push_id=push.pk, result_code="busy", result_desc="", now=NOON)


# --- Actions of staff --------------------------------------------------------------------------------------


def unmatched_item():
    confirmation("gym")()
    return ReviewItem.objects.get()


def assigned_item():
    item = unmatched_item()
    assign_to(create_payment(), item)()
    return item


def assign_to(payment, item):
    manager = MemberFactory()
    return lambda: review_decisions.assign_money(item_id=item.pk, payment_id=payment.pk, by_id=manager.pk, now=NOON)


def prepare_cash_receipt():
    cashier, payment = MemberFactory(), create_payment()
    cash_sessions.open_session(cashier_id=cashier.pk, opening_float=0, now=NOON)
    return partial(
        desk_receipts.record_receipt, channel="cash", amount=1500, payment_id=payment.pk, by_id=cashier.pk, now=NOON
    )


@locks("members", "receipts", "item", "payments")  # unmatched money pays no payment yet
def assign_money():
    return assign_to(create_payment(), unmatched_item())


@locks("members", "payments", "receipts", "item", "allocations payments")
def undo_assignment():
    item, manager = assigned_item(), MemberFactory()
    return lambda: review_decisions.undo_assignment(item_id=item.pk, by_id=manager.pk, now=NOON)


@locks("item")
def dismiss_item():
    item, manager = unmatched_item(), MemberFactory()
    return lambda: review_decisions.dismiss_item(item_id=item.pk, reason="no owner", by_id=manager.pk, now=NOON)


@locks("members", "payments", "receipts", "allocations payments")
def record_refund():
    receipt, manager = assigned_item().receipt, MemberFactory()
    refund = partial(refunds.record_refund, receipt_id=receipt.pk, paid_from="mpesa", reason="ill", by_id=manager.pk)
    return lambda: refund(now=NOON)


@locks("members", "payments", "receipts", "allocations payments")
def reverse_receipt():
    receipt = assigned_item().receipt
    return lambda: reversals.reverse_receipt(receipt_id=receipt.pk, reason="sent back", by_id=None, now=NOON)


@locks("members", "payments", "drawer")
def record_cash():
    return prepare_cash_receipt()


@locks("members", "payments", "receipts", "drawer", "allocations payments")
def void_cash():
    receipt, manager = prepare_cash_receipt()(), MemberFactory()
    return lambda: voids.void_receipt(receipt_id=receipt.pk, reason="typed twice", by_id=manager.pk, now=NOON)


@locks("members", "payments", "receipts")
def request_void():
    receipt = prepare_cash_receipt()()
    return lambda: voids.ask_void(receipt_id=receipt.pk, reason="typed twice", by_id=receipt.recorded_by_id, now=NOON)


@locks("drawer")
def close_session():
    receipt = prepare_cash_receipt()()
    return lambda: cash_sessions.close_session(cashier_id=receipt.recorded_by_id, counted=1500, now=NOON)


@locks("code")
def report_code():
    payment, cashier = create_payment(), MemberFactory()
    return lambda: reported_codes.report_code(code="TKN1AB2C3D", payment_id=payment.pk, by_id=cashier.pk, now=NOON)


@locks("code", "members", "receipts", "payments")
def report_code_of_unmatched_money():
    unmatched_item()
    return report_code()


@pytest.mark.parametrize("name", CALLS)
def test_service_locks_its_rows_in_order(name):
    prepare, expected = CALLS[name]
    call = prepare()

    assert locks_taken_by(call) == expected
