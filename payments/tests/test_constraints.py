"""Every constraint of payments refuses a statement here, so that none can be removed unnoticed.

The triggers are in config/tests/test_edits_from_inside.py.
"""

import pytest
from django.db import IntegrityError, connection, transaction

from payments.daraja.messages import C2bMessage, StkResult
from payments.desk import cash_sessions, desk_receipts, refunds, voids
from payments.evidence import c2b_confirmations, stk_results
from payments.models import Callback, CodeCheck, CodeClaim, ReviewItem, TaxNumber
from payments.tests.factories import NOON, MemberFactory, make_push

pytestmark = [pytest.mark.django_db, pytest.mark.server]

# A statement that breaks each constraint; %(name)s are ids from the fixture `rows` below.
BREAKS_CONSTRAINT = {
    "allocation_is_of_money": "UPDATE payments_allocation SET amount = 0",
    "cash_session_closed_is_counted": "UPDATE payments_cashsession SET closed_at = now()",
    "cash_session_open_once_per_cashier": """
        INSERT INTO payments_cashsession (cashier_id, opened_at, opening_float, note)
        SELECT cashier_id, now(), 0, '' FROM payments_cashsession""",
    "claim_code_is_canonical": "UPDATE payments_codeclaim SET code = 'tkn0000009'",
    "claim_with_money_has_not_ended": "UPDATE payments_codeclaim SET receipt_id = %(deposit)s, ended_at = now()",
    "code_check_code_is_canonical": "UPDATE payments_codecheck SET code = 'TKN 000009'",
    "code_check_end_has_a_moment": "UPDATE payments_codecheck SET status = 'unclear'",
    "code_check_found_has_its_receipt": "UPDATE payments_codecheck SET status = 'found', ended_at = now()",
    "code_check_open_once_per_code": "UPDATE payments_codecheck SET code = 'TKN0000009'",
    "ledger_entry_is_of_a_receipt_or_a_drawer": """
        INSERT INTO payments_ledgerentry (transaction, account, amount, at)
        VALUES (gen_random_uuid(), 'mpesa', 1, now())""",
    "ledger_entry_moves_money": """
        INSERT INTO payments_ledgerentry (transaction, account, amount, receipt_id, at)
        VALUES (gen_random_uuid(), 'mpesa', 0, %(deposit)s, now())""",
    "ledger_member_stands_on_member_credit_only": """
        INSERT INTO payments_ledgerentry (transaction, account, amount, receipt_id, at)
        VALUES (gen_random_uuid(), 'member_credit', 1, %(deposit)s, now())""",
    "payment_deposit_has_come_or_not": "UPDATE payments_payment SET deposit_paid_at = NULL WHERE id = %(paid)s",
    "payment_deposit_is_part_of_it": "UPDATE payments_payment SET deposit = 1501 WHERE id = %(open)s",
    "payment_is_not_its_own_head": "UPDATE payments_payment SET head_id = id WHERE id = %(open)s",
    "payment_never_holds_more_than_due": "UPDATE payments_payment SET amount_paid = 1501 WHERE id = %(paid)s",
    "payment_paid_has_a_moment": "UPDATE payments_payment SET paid_at = NULL WHERE id = %(paid)s",
    "payment_paid_is_covered": "UPDATE payments_payment SET amount_due = 1600, deposit = 1 WHERE id = %(paid)s",
    "payment_partially_paid_lacks_some": "UPDATE payments_payment SET status = 'partially_paid' WHERE id = %(open)s",
    "payments_codecheck_token_hash_key": "UPDATE payments_codecheck SET token_hash = 'same'",
    "payments_codeclaim_code_key": "UPDATE payments_codeclaim SET code = 'TKN0000009'",
    "payments_codeclaim_receipt_id_key": "UPDATE payments_codeclaim SET receipt_id = %(deposit)s",
    "payments_payment_reference_key": "UPDATE payments_payment SET reference = 'K0000000'",
    "payments_receipt_code_key": "UPDATE payments_receipt SET code = 'TKN0000009'",
    "payments_receipt_number_key": "UPDATE payments_receipt SET number = '2026-000001'",
    "payments_receipt_push_id_key": "UPDATE payments_receipt SET push_id = %(push)s",
    "payments_stkpush_checkout_request_id_key": "UPDATE payments_stkpush SET checkout_request_id = 'ws_CO_1'",
    "payments_stkpush_token_hash_key": "UPDATE payments_stkpush SET token_hash = 'same'",
    "push_asks_for_money": "UPDATE payments_stkpush SET amount = 0",
    "push_open_once_per_payment": "UPDATE payments_stkpush SET status = 'sent', payment_id = %(open)s",
    "push_open_once_per_phone": "UPDATE payments_stkpush SET status = 'sent', phone = '254700000000'",
    "push_sent_has_a_token": "UPDATE payments_stkpush SET token_hash = NULL",
    "receipt_cents_are_less_than_a_shilling": "UPDATE payments_receipt SET cents = 100",
    "receipt_code_is_canonical": "UPDATE payments_receipt SET code = 'tkn0000009' WHERE id = %(deposit)s",
    "receipt_gives_back_no_more_than_came": "UPDATE payments_receipt SET amount_refunded = amount + 1",
    "receipt_is_of_money": "UPDATE payments_receipt SET amount = 0 WHERE id = %(paying)s",
    "receipt_of_cash_has_a_session": "UPDATE payments_receipt SET cash_session_id = NULL WHERE id = %(cash)s",
    "receipt_of_the_desk_is_numbered": "UPDATE payments_receipt SET number = NULL WHERE id = %(cash)s",
    "receipt_of_the_desk_is_voided_by_a_second_person": """
        UPDATE payments_receipt SET reversed_at = now(), reversed_by_id = recorded_by_id WHERE id = %(cash)s""",
    "refund_has_a_reason": """
        INSERT INTO payments_refund (receipt_id, amount, paid_from, reason, made_by_id, made_at)
        VALUES (%(deposit)s, 1, 'mpesa', '', %(staff)s, now())""",
    "refund_is_of_money": """
        INSERT INTO payments_refund (receipt_id, amount, paid_from, reason, made_by_id, made_at)
        VALUES (%(deposit)s, 0, 'mpesa', 'ill', %(staff)s, now())""",
    "refund_of_cash_has_a_session": """
        INSERT INTO payments_refund (receipt_id, amount, paid_from, reason, made_by_id, made_at)
        VALUES (%(deposit)s, 1, 'cash', 'ill', %(staff)s, now())""",
    "review_end_has_a_moment": "UPDATE payments_reviewitem SET status = 'resolved'",
    "review_says_a_thing_of_a_receipt_once": """
        INSERT INTO payments_reviewitem (receipt_id, reason, status, detail, suggested_members, created_at, resolution)
        SELECT receipt_id, reason, status, detail, '{}', now(), '' FROM payments_reviewitem""",
    "tax_number_is_canonical": """
        INSERT INTO payments_taxnumber (receipt_id, number, noted_by_id, noted_at)
        VALUES (%(deposit)s, 'none', %(staff)s, now())""",
    "void_request_is_confirmed_by_a_second_person": """
        UPDATE payments_voidrequest SET decided_at = now(), decided_by_id = asked_by_id, is_confirmed = true""",
    "void_request_is_decided_by_somebody": "UPDATE payments_voidrequest SET decided_at = now()",
    "void_request_waits_once_per_receipt": """
        INSERT INTO payments_voidrequest (receipt_id, reason, asked_by_id, asked_at)
        SELECT receipt_id, reason, asked_by_id, now() FROM payments_voidrequest""",
}

# Without the `_check` constraints that Django adds for a PositiveIntegerField: our own constraints are stricter.
DECLARED = """
SELECT conname FROM pg_constraint
WHERE contype IN ('c', 'u', 'x') AND starts_with(conrelid::regclass::text, 'payments_') AND conname NOT LIKE '%_check'
UNION
SELECT indexrelid::regclass::text FROM pg_index
WHERE indisunique AND NOT indisprimary AND starts_with(indrelid::regclass::text, 'payments_')
"""


@pytest.fixture
def rows():
    """Create two rows of each table with a unique column, and one of each other table; return their ids."""
    staff, manager = MemberFactory.create_batch(2)
    paying, asked = make_push(), make_push()
    result = StkResult(paying.merchant_request_id, paying.checkout_request_id, "0", "", 1500, "TKN0000001", NOON)
    stk_results.apply_stk_result(push_id=paying.pk, result=result, source="callback", now=NOON)
    deposit = C2bMessage("TKN0000002", NOON, 1500, "174379", "gym", "", "", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=deposit, now=NOON)
    item = ReviewItem.objects.get()
    refunds.record_refund(
        receipt_id=item.receipt_id, amount=100, paid_from="mpesa", reason="too much", by_id=manager.pk, now=NOON
    )
    cash_sessions.open_session(cashier_id=staff.pk, opening_float=0, now=NOON)
    cash = desk_receipts.record_receipt(
        channel="cash", amount=500, by_id=staff.pk, now=NOON, member_id=paying.payment.payer_id
    )
    voids.ask_void(receipt_id=cash.pk, reason="typed twice", by_id=staff.pk, now=NOON)
    TaxNumber.objects.create(receipt=cash, number="KRA123", noted_by=staff, noted_at=NOON)
    Callback.objects.create(source="stk", body=b"{}", received_at=NOON)
    for code in ("TKN0000003", "TKN0000004"):
        CodeClaim.objects.create(code=code, payment=asked.payment, claimed_by=staff, claimed_at=NOON)
        CodeCheck.objects.create(code=code, created_at=NOON)
    return {
        "staff": staff.pk,
        "push": asked.pk,
        "paid": paying.payment_id,
        "open": asked.payment_id,
        "paying": paying.receipt.pk,
        "deposit": item.receipt_id,
        "cash": cash.pk,
    }


def test_every_constraint_is_listed_here():
    with connection.cursor() as cursor:
        cursor.execute(DECLARED)
        declared = {name for (name,) in cursor.fetchall()}

    assert declared == set(BREAKS_CONSTRAINT)


def refusing_constraint(statement, rows):
    """Return the name of the constraint that refuses a statement, or None."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement, rows if "%(" in statement else None)
    except IntegrityError as error:
        return error.__cause__.diag.constraint_name
    return None


def test_each_constraint_refuses_its_statement(rows):
    refusals = {constraint: refusing_constraint(statement, rows) for constraint, statement in BREAKS_CONSTRAINT.items()}

    assert {constraint: by for constraint, by in refusals.items() if by != constraint} == {}
