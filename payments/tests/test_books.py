"""The books: each invariant is broken on purpose and caught, and the database refuses what triggers forbid."""

import uuid
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from procrastinate.contrib.django import app

from config.management.commands.audit_books import offending_rows
from payments.daraja.messages import PushAccepted, StkResult
from payments.desk import refunds
from payments.evidence import stk_results
from payments.invariants import INVARIANTS
from payments.models import Callback, Payment, Receipt
from payments.pushes import push_requests, sending
from payments.tests.factories import NOON, MemberFactory, create_payment, make_push
from payments.tests.invariants import broken_invariants
from payments.tests.triggers import triggers_off

pytestmark = [pytest.mark.django_db, pytest.mark.server]


def paid_push(amount=1500, code="TKN1AB2C3D", payer=None, now=NOON):
    push = make_push(create_payment(payer, amount=amount, now=now), sent_at=now)
    result = StkResult(push.merchant_request_id, push.checkout_request_id, "0", "", amount, code, now)
    stk_results.apply_stk_result(push_id=push.pk, result=result, source="callback", now=now)
    return push


def sql(statement, *params):
    with connection.cursor() as cursor:
        cursor.execute(statement, params)


def plant(fault, ids):
    with triggers_off(), connection.cursor() as cursor:
        cursor.execute(fault, ids if "%(" in fault else None)


def commit_time_checks():
    sql("SET CONSTRAINTS ALL IMMEDIATE")


@contextmanager
def database_refuses(text):
    """Expect the database to refuse the block, at a statement or at the commit."""
    with pytest.raises(IntegrityError, match=text), transaction.atomic():  # noqa: PT012 (the commit may refuse too)
        yield
        commit_time_checks()


def audit():
    out = StringIO()
    call_command("audit_books", stdout=out)
    return out.getvalue()


def test_audit_passes_when_all_invariants_hold():
    paid_push()

    assert "invariants hold" in audit()


FAULTS = {
    "P01": [
        "ALTER TABLE payments_receipt DROP CONSTRAINT receipt_code_is_canonical",
        "UPDATE payments_receipt SET code = ' tkn1ab2c3d' WHERE code = 'TKN0000002'",
    ],
    "P02": [
        "UPDATE payments_payment SET amount_paid = 700, status = 'partially_paid', paid_at = NULL,"
        " deposit_paid_at = NULL WHERE id = %(p)s"
    ],
    "P03": ["DELETE FROM payments_ledgerentry WHERE account = 'sales' AND payment_id = %(p)s"],
    "P04": ["UPDATE payments_receipt SET amount = 1600 WHERE id = %(r)s"],
    "P05": ["UPDATE payments_receipt SET push_id = NULL WHERE id = %(r)s"],
    "P06": [
        "INSERT INTO payments_callback (source, body, headers, received_at, outcome, error, attempts)"
        " VALUES ('stk', '', '{}', now() - interval '3 minutes', 'new', '', 0)"
    ],
    "P07": ["UPDATE payments_allocation SET amount = 1501 WHERE receipt_id = %(r)s"],
    "P08": ["UPDATE payments_ledgerentry SET account = 'refunds' WHERE account = 'sales' AND payment_id = %(p)s"],
    "P09": ["UPDATE payments_allocation SET undone_at = now() WHERE receipt_id = %(r)s"],
    "P10": ["UPDATE payments_receipt SET member_id = NULL WHERE id = %(r)s"],
    "P11": [
        "INSERT INTO payments_paymentevent (payment_id, from_status, to_status, evidence, at)"
        " VALUES (%(p)s, 'paid', 'failed', '', now())"
    ],
    "P12": [
        "UPDATE payments_stkpush SET status = 'sent', created_at = now() - interval '27 hours' WHERE id = %(s)s",
    ],
    "P13": [
        "DROP INDEX push_open_once_per_phone",
        "UPDATE payments_stkpush SET status = 'sent', phone = '254700000000'",
    ],
    "P14": ["UPDATE payments_payment SET paid_at = created_at - interval '1 second' WHERE id = %(p)s"],
    "P15": [
        "INSERT INTO procrastinate_jobs (queue_name, task_name, args, status, attempts, priority, abort_requested)"
        " VALUES ('default', 'payments.send_push', '{}', 'failed', 1, 0, false)"
    ],
    "P16": [
        "INSERT INTO procrastinate_jobs (queue_name, task_name, args, status, attempts, priority, abort_requested)"
        """ VALUES ('default', 'x', '{"phone": "254712345678"}', 'succeeded', 1, 0, false)"""
    ],
    "P17": ["UPDATE payments_receipt SET member_id = NULL WHERE id = %(r)s"],
    "P18": [
        "INSERT INTO payments_reviewitem"
        " (reason, status, detail, payment_id, suggested_members, created_at, resolution)"
        " VALUES ('listener_failed', 'open', '', %(p)s, '{}', now() - interval '2 days', '')"
    ],
    "P19": ["INSERT INTO payments_receiptcounter (year, last) VALUES (2026, 1)"],
    "P20": [
        "INSERT INTO payments_codeclaim (code, payment_id, claimed_by_id, claimed_at, receipt_id, ended_why)"
        " SELECT 'OTHER00000', id, payer_id, now(), %(r)s, '' FROM payments_payment WHERE id = %(p)s"
    ],
    "P21": [
        "INSERT INTO payments_callback (source, push_id, body, headers, received_at, outcome, error, attempts)"
        " VALUES ('stk', %(s)s, '', '{}', now(), 'applied', '', 1)",
        "UPDATE payments_receipt SET push_id = NULL WHERE id = %(r)s",
    ],
    "P23": ["UPDATE payments_receipt SET amount_refunded = 1 WHERE id = %(r)s"],
    "P24": [
        "INSERT INTO payments_cashsession (cashier_id, opened_at, opening_float, closed_at, expected, counted, note)"
        " SELECT payer_id, now(), 100, now(), 100, 90, '' FROM payments_payment WHERE id = %(p)s"
    ],
    "P22": [
        "DELETE FROM payments_allocation WHERE receipt_id = %(r)s",
        "UPDATE payments_payment SET status = 'processing', amount_paid = 0, paid_at = NULL, deposit_paid_at = NULL"
        " WHERE id = %(p)s",
    ],
    "P25": [
        "INSERT INTO payments_reviewitem"
        " (reason, detail, status, receipt_id, push_id, suggested_members, created_at, resolution)"
        " VALUES ('possible_double', '', 'open', %(r)s, %(s)s, '{}', now(), '')"
    ],
    "P27": ["UPDATE payments_receipt SET member_id = %(other)s WHERE id = %(r)s"],
    "P28": [
        "DELETE FROM payments_allocation WHERE receipt_id = %(r)s",
        "UPDATE payments_payment SET status = 'pending', amount_paid = 0, paid_at = NULL, deposit_paid_at = NULL"
        " WHERE id = %(p)s",
    ],
    "P30": ["UPDATE payments_receipt SET cents = 65 WHERE id = %(r)s"],
    "P26": ["UPDATE payments_receipt SET code = NULL, created_at = now() - interval '2 days' WHERE id = %(r)s"],
}


@pytest.mark.breaks_the_books
@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda invariant: invariant.code)
def test_audit_catches_each_broken_invariant(invariant):
    push = paid_push()
    paid_push(code="TKN0000002", payer=push.payment.payer)
    receipt, other = Receipt.objects.get(push=push), MemberFactory()
    commit_time_checks()
    assert broken_invariants() == {}

    for fault in FAULTS[invariant.code]:
        plant(fault, {"p": push.payment_id, "r": receipt.pk, "s": push.pk, "other": other.pk})

    assert offending_rows(invariant) != []
    with pytest.raises(CommandError, match="broken"):
        audit()


@pytest.mark.breaks_the_books
def test_payment_paid_after_its_history_row_is_caught():
    push = paid_push()
    plant("UPDATE payments_payment SET paid_at = paid_at + interval '1 hour' WHERE id = %(p)s", {"p": push.payment_id})

    assert list(broken_invariants()) == ["P14"]


@pytest.mark.parametrize("code", ["0", "1032"])
def test_clock_that_was_set_back_breaks_no_invariant(code):
    payment, earlier = create_payment(now=NOON), NOON - timedelta(hours=1)
    push = push_requests.request_push(payment_id=payment.pk, phone="254712345678", created_by_id=None, now=NOON)
    sending._claim(push.pk, now=earlier)
    sending._record(push.pk, PushAccepted("29115-1", "ws_CO_1"), now=earlier)
    push.refresh_from_db()
    money = (1500, "TKN1AB2C3D", earlier) if code == "0" else ()

    result = StkResult("29115-1", "ws_CO_1", code, "", *money)
    stk_results.apply_stk_result(push_id=push.pk, result=result, source="callback", now=earlier + timedelta(minutes=1))

    push.refresh_from_db()
    assert push.status == ("succeeded" if code == "0" else "cancelled")
    assert broken_invariants() == {}


def test_failed_periodic_job_is_reported_until_its_next_success():
    job = (
        "INSERT INTO procrastinate_jobs"
        " (queue_name, task_name, args, status, attempts, priority, abort_requested, queueing_lock)"
        " VALUES ('default', 'payments.expire_due', '{}', '%s', 1, 0, false, 'payments.expire_due')"
    )
    plant(job % "succeeded", {})
    plant(job % "failed", {})
    [invariant] = [each for each in INVARIANTS if each.code == "P15"]
    assert len(offending_rows(invariant)) == 1

    plant(job % "succeeded", {})

    assert offending_rows(invariant) == []


def test_every_periodic_job_is_tried_again():
    tasks = [periodic.task for periodic in app.periodic_registry.periodic_tasks.values()]

    assert len(tasks) > 8
    assert [task.name for task in tasks if task.retry_strategy is None] == []


def test_invariants_hold_under_a_club_clock_ahead_of_time():
    paid_push(now=NOON + timedelta(days=4000))

    assert broken_invariants() == {}


def test_database_refuses_a_refund_of_allocated_money():
    paid_push()

    with database_refuses("exceed its money"):
        Receipt.objects.update(amount_refunded=1)


def test_database_refuses_allocations_over_the_receipt():
    receipt = Receipt.objects.get(push=paid_push())
    payment = create_payment(amount=10)

    with database_refuses("exceed its money"):
        Payment.objects.filter(pk=payment.pk).update(amount_paid=10, status="paid", paid_at=NOON, deposit_paid_at=NOON)
        payment.allocations.create(receipt=receipt, amount=10, rule="by_hand", created_at=NOON)


def test_database_refuses_amount_paid_without_allocations():
    payment = create_payment(amount=10)

    with database_refuses("does not count"):
        Payment.objects.filter(pk=payment.pk).update(amount_paid=10, status="paid", paid_at=NOON, deposit_paid_at=NOON)


def test_database_refuses_released_money_in_amount_paid():
    receipt = Receipt.objects.get(push=paid_push())

    with database_refuses("does not count"):
        receipt.allocations.update(undone_at=NOON)


def test_database_refuses_to_reverse_a_receipt_with_allocations():
    paid_push()

    with database_refuses("exceed its money"):
        Receipt.objects.update(reversed_at=NOON)


def test_database_refuses_a_posting_that_does_not_sum_to_zero():
    receipt = Receipt.objects.get(push=paid_push())

    with database_refuses("does not sum to zero"):
        receipt.ledger_entries.create(transaction=uuid.uuid4(), account="mpesa", amount=1, at=NOON)


@pytest.mark.parametrize("table", ["payments_ledgerentry", "payments_paymentevent"])
def test_database_refuses_to_change_ledger_and_history(table):
    paid_push()

    for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET at = now()"):  # noqa: S608
        with database_refuses("append-only"):
            sql(statement)


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM payments_callback",
        "UPDATE payments_callback SET body = 'other'",
        "UPDATE payments_callback SET source = 'stk'",
        "UPDATE payments_callback SET headers = '{\"a\": 1}'",
        "UPDATE payments_callback SET peer = '192.0.2.1'",
        "UPDATE payments_callback SET received_at = now()",
        "UPDATE payments_callback SET body = ''",
    ],
)
def test_database_refuses_to_change_a_stored_callback(change):
    Callback.objects.create(source="c2b_confirmation", body=b"{}", received_at=NOON, outcome="unmatched")

    with database_refuses("append-only"):
        sql(change)


@pytest.mark.parametrize("outcome", ["applied", "duplicate"])
def test_body_of_an_applied_callback_may_be_emptied(outcome):
    callback = Callback.objects.create(source="c2b_confirmation", body=b"{}", received_at=NOON, outcome=outcome)

    sql("UPDATE payments_callback SET body = '', attempts = 2, outcome = 'review'")

    callback.refresh_from_db()
    assert (bytes(callback.body), callback.attempts, callback.outcome) == (b"", 2, "review")


@pytest.mark.parametrize("change", ["DELETE FROM payments_refund", "UPDATE payments_refund SET amount = 1"])
def test_database_refuses_to_change_a_refund(change):
    receipt = Receipt.objects.get(push=paid_push())
    refunds.record_refund(
        receipt_id=receipt.pk, amount=100, paid_from="mpesa", reason="asked", by_id=MemberFactory().pk, now=NOON
    )

    with database_refuses("append-only"):
        sql(change)


def test_payment_reference_is_never_used_twice(monkeypatch):
    taken = create_payment(payer=MemberFactory()).reference
    drawn = iter([taken, "K0000000"])
    monkeypatch.setattr("payments.matching.references.generate", lambda: next(drawn))

    assert create_payment().reference == "K0000000"
