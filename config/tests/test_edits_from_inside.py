"""Edits of money and access with plain SQL, under the role of the application: refused, or found by the audit.

Each edit names the trigger that refuses it, or the invariant that finds it. docs/architecture.md lists them by column.
"""

from datetime import time

import pytest
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from psycopg import sql

from accounts.models import SecurityEvent
from api.models import Change, Export
from config.management.commands.audit_books import installed_invariants, offending_rows
from payments.daraja.messages import C2bMessage, StkResult
from payments.desk import cash_sessions, desk_receipts, refunds, voids
from payments.evidence import c2b_confirmations, stk_results
from payments.models import Callback, CodeClaim, ReviewItem, TaxNumber
from payments.tests.factories import make_push
from subscriptions.models import FreezeKind, Visit
from subscriptions.services import catalog, free_periods, freezes
from subscriptions.tests.factories import NOON, TODAY, MemberFactory, PlanFactory, create_payment, granted, pending

pytestmark = [pytest.mark.django_db, pytest.mark.server, pytest.mark.breaks_the_books]

# The rights of the application's role, with TRUNCATE: the triggers refuse it too. docs/operations.md leaves it out.
ROLE = """
CREATE ROLE {0};
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public TO {0};
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {0};
"""
REFUSED = "refused"
TRIGGERS = """
SELECT tgname FROM pg_trigger
WHERE NOT tgisinternal AND tgrelid::regclass::text ~ '^(accounts|api|payments|subscriptions)_'
"""
# By table: (who refuses or finds it, the statements). %(name)s are ids from the fixture `ids`.
EDITS = {
    "payment": [
        ("payment_terms_stay", "UPDATE payments_payment SET payer_id = %(staff)s WHERE id = %(paid)s"),
        ("payment_terms_stay", "UPDATE payments_payment SET amount_due = amount_due + 500 WHERE id = %(open)s"),
        ("payment_terms_stay", "UPDATE payments_payment SET reference = 'K0000000' WHERE id = %(paid)s"),
        ("payment_terms_stay", "UPDATE payments_payment SET head_id = %(open)s WHERE id = %(paid)s"),
        ("payment_minimum_stays", "UPDATE payments_payment SET deposit = 1 WHERE id = %(open)s"),
        ("payment_minimum_stays", "UPDATE payments_payment SET deposit = 1 WHERE id = %(paid)s"),
        (
            "payment_moments_move_with_money",
            "UPDATE payments_payment SET deposit_paid_at = now() WHERE id = %(paid)s",
        ),
        ("payment_moments_move_with_money", "UPDATE payments_payment SET paid_at = now() WHERE id = %(paid)s"),
        (
            "payment_agrees",
            "UPDATE payments_payment SET amount_paid = 1, status = 'partially_paid' WHERE id = %(open)s",
        ),
        ("P11", "UPDATE payments_payment SET status = 'failed' WHERE id = %(open)s"),
        ("P11", "UPDATE payments_payment SET status = 'refunded', paid_at = NULL WHERE id = %(paid)s"),
    ],
    "history": [
        ("paymentevent_append_only", "DELETE FROM payments_paymentevent"),
        ("paymentevent_append_only", "UPDATE payments_paymentevent SET by_id = %(staff)s"),
        ("paymentevent_is_not_truncated", "TRUNCATE payments_paymentevent"),
    ],
    "receipt": [
        ("receipt_terms_stay", "UPDATE payments_receipt SET amount = 1600 WHERE id = %(paying)s"),
        ("receipt_terms_stay", "UPDATE payments_receipt SET number = '2026-000009' WHERE id = %(cash)s"),
        ("receipt_terms_stay", "UPDATE payments_receipt SET recorded_by_id = %(manager)s WHERE id = %(cash)s"),
        ("receipt_agrees", "UPDATE payments_receipt SET amount_refunded = 1 WHERE id = %(paying)s"),
        (
            "receipt_channel_stays",
            "UPDATE payments_receipt SET channel = 'bank' WHERE id = %(cash)s",
        ),
        ("receipt_code_stays", "UPDATE payments_receipt SET code = 'TKN0000009' WHERE id = %(paying)s"),
        ("receipt_code_stays", "UPDATE payments_receipt SET code = NULL WHERE id = %(paying)s"),
        ("receipt_code_stays", "UPDATE payments_receipt SET code = 'TKN0000009' WHERE id = %(cash)s"),
        ("receipt_guess_is_of_a_push", "UPDATE payments_receipt SET push_guessed = true WHERE id = %(paying)s"),
        ("receipt_guess_is_of_a_push", "UPDATE payments_receipt SET push_guessed = true WHERE id = %(unmatched)s"),
        (
            "receipt_details_come_with_the_code",
            "UPDATE payments_receipt SET paid_at = paid_at - interval '1 day' WHERE id = %(cash)s",
        ),
        (
            "receipt_details_come_with_the_code",
            "UPDATE payments_receipt SET account_typed = 'another' WHERE id = %(unmatched)s",
        ),
        ("receipt_stays_reversed", "UPDATE payments_receipt SET reversed_at = NULL WHERE id = %(voided)s"),
        ("receipt_stays_reversed", "UPDATE payments_receipt SET reversed_by_id = %(member)s WHERE id = %(voided)s"),
        ("receipt_owner_agrees", "UPDATE payments_receipt SET member_id = %(staff)s WHERE id = %(paying)s"),
        ("receipt_owner_agrees", "UPDATE payments_receipt SET member_id = %(staff)s WHERE id = %(cash)s"),
        ("receipt_owner_agrees", "UPDATE payments_receipt SET member_id = %(staff)s WHERE id = %(unmatched)s"),
        ("receipt_owner_agrees", "UPDATE payments_receipt SET member_id = NULL WHERE id = %(cash)s"),
        (
            "P04",
            "UPDATE payments_receipt SET reversed_at = now(), reversed_by_id = %(manager)s WHERE id = %(cash)s",
        ),
        ("P05", "UPDATE payments_receipt SET push_id = NULL WHERE id = %(paying)s"),
        ("P23", "UPDATE payments_receipt SET amount_refunded = 0 WHERE id = %(unmatched)s"),
    ],
    "allocation": [
        ("allocation_terms_stay", "UPDATE payments_allocation SET rule = 'by_hand'"),
        (
            "allocation_terms_stay",
            "UPDATE payments_allocation SET undone_by_id = %(manager)s WHERE undone_at IS NOT NULL",
        ),
        ("allocation_is_kept", "DELETE FROM payments_allocation WHERE undone_at IS NOT NULL"),
        ("allocation_agrees", "UPDATE payments_allocation SET undone_at = now() WHERE receipt_id = %(paying)s"),
        ("allocation_is_not_truncated", "TRUNCATE payments_allocation"),
        (
            "P27",
            "INSERT INTO payments_allocation (receipt_id, payment_id, amount, rule, created_at)"
            " VALUES (%(cash)s, %(foreign)s, 100, 'by_hand', now());"
            "UPDATE payments_payment SET amount_paid = 100, status = 'partially_paid' WHERE id = %(foreign)s",
        ),
    ],
    "ledger": [
        ("ledgerentry_append_only", "DELETE FROM payments_ledgerentry"),
        ("ledgerentry_append_only", "UPDATE payments_ledgerentry SET made_by_id = %(staff)s"),
        (
            "ledgerentry_sums_to_zero",
            "INSERT INTO payments_ledgerentry (transaction, account, amount, receipt_id, at)"
            " VALUES (gen_random_uuid(), 'mpesa', 1, %(cash)s, now())",
        ),
        ("ledgerentry_is_not_truncated", "TRUNCATE payments_ledgerentry"),
        (
            "P09",
            "INSERT INTO payments_ledgerentry (transaction, account, member_id, amount, receipt_id, at)"
            " VALUES ('00000000-0000-4000-8000-000000000000', 'member_credit', %(staff)s, -900, %(cash)s, now()),"
            " ('00000000-0000-4000-8000-000000000000', 'sales', NULL, 900, %(cash)s, now())",
        ),
    ],
    "push": [
        ("push_terms_stay", "UPDATE payments_stkpush SET payment_id = %(foreign)s WHERE id = %(push)s"),
        ("push_terms_stay", "UPDATE payments_stkpush SET amount = 1 WHERE id = %(push)s"),
        ("push_terms_stay", "UPDATE payments_stkpush SET phone = '254700000000' WHERE id = %(push)s"),
        ("P05", "UPDATE payments_stkpush SET status = 'succeeded' WHERE id = %(push)s"),
    ],
    "callback": [
        ("callback_evidence_stays", "UPDATE payments_callback SET body = 'another'"),
        ("callback_is_kept", "DELETE FROM payments_callback"),
    ],
    "desk": [
        ("refund_append_only", "UPDATE payments_refund SET made_by_id = %(staff)s"),
        ("refund_append_only", "DELETE FROM payments_refund"),
        ("refund_is_not_truncated", "TRUNCATE payments_refund"),
        ("taxnumber_append_only", "DELETE FROM payments_taxnumber"),
        ("taxnumber_is_not_truncated", "TRUNCATE payments_taxnumber"),
        ("claim_terms_stay", "UPDATE payments_codeclaim SET payment_id = %(foreign)s"),
        ("cash_session_stays", "UPDATE payments_cashsession SET opening_float = 100 WHERE closed_at IS NULL"),
        ("cash_session_stays", "UPDATE payments_cashsession SET note = 'fine' WHERE closed_at IS NOT NULL"),
        ("cash_session_is_kept", "DELETE FROM payments_cashsession WHERE closed_at IS NOT NULL"),
        ("void_request_stays", "UPDATE payments_voidrequest SET asked_by_id = %(member)s WHERE decided_at IS NULL"),
        (
            "void_request_stays",
            "UPDATE payments_voidrequest SET decided_by_id = %(member)s WHERE decided_at IS NOT NULL",
        ),
        ("void_request_is_kept", "DELETE FROM payments_voidrequest"),
        ("voidrequest_is_not_truncated", "TRUNCATE payments_voidrequest"),
        ("P19", "UPDATE payments_receiptcounter SET last = last - 1"),
    ],
    "review item": [
        ("review_evidence_stays", "UPDATE payments_reviewitem SET detail = 'nothing'"),
        ("review_evidence_stays", "UPDATE payments_reviewitem SET receipt_id = %(paying)s"),
        ("review_is_kept", "DELETE FROM payments_reviewitem"),
        ("reviewitem_is_not_truncated", "TRUNCATE payments_reviewitem"),
        ("P10", "UPDATE payments_reviewitem SET status = 'resolved', resolved_at = now()"),
    ],
    "period": [
        (
            "subscription_terms_stay",
            "UPDATE subscriptions_subscription SET interval_count = 2, base_ends_on = base_ends_on + 30,"
            " ends_on = ends_on + 30 WHERE id = %(period)s",
        ),
        ("subscription_terms_stay", "UPDATE subscriptions_subscription SET price = 1 WHERE id = %(period)s"),
        ("subscription_terms_stay", "UPDATE subscriptions_subscription SET member_id = %(staff)s WHERE id = %(pack)s"),
        ("subscription_terms_stay", "UPDATE subscriptions_subscription SET visits = 99 WHERE id = %(pack)s"),
        (
            "subscription_imported_stays",
            "UPDATE subscriptions_subscription SET base_ends_on = base_ends_on + 365, ends_on = ends_on + 365"
            " WHERE id = %(imported)s",
        ),
        (
            "subscription_imported_stays",
            "UPDATE subscriptions_subscription SET fact = 'revoked' WHERE id = %(imported)s",
        ),
        (
            "subscription_starts_in_order",
            "UPDATE subscriptions_subscription SET not_before = not_before + 365, anchor_on = anchor_on + 365,"
            " starts_on = starts_on + 365, base_ends_on = base_ends_on + 365, ends_on = ends_on + 365"
            " WHERE id = %(period)s",
        ),
        (
            "subscription_starts_in_order",
            "UPDATE subscriptions_subscription SET starts_on = starts_on + 365, base_ends_on = base_ends_on + 365,"
            " ends_on = ends_on + 365 WHERE id = %(imported)s",
        ),
        ("subscription_is_kept", "DELETE FROM subscriptions_subscription WHERE id = %(imported)s"),
        ("S02", "UPDATE subscriptions_subscription SET fact = 'cancelled' WHERE id = %(pack)s"),
        (
            "S04",
            "UPDATE subscriptions_subscription SET base_ends_on = base_ends_on + 30, ends_on = ends_on + 30"
            " WHERE id = %(period)s",
        ),
        ("S05", "UPDATE subscriptions_subscription SET ends_on = ends_on + 30 WHERE id = %(period)s"),
        (
            "S07",
            "UPDATE subscriptions_subscription SET cut_on = starts_on + 1, ends_on = starts_on + 1"
            " WHERE id = %(period)s",
        ),
        (
            "S11",
            "UPDATE subscriptions_subscription SET fact = 'revoked' WHERE id = %(pack)s;"
            "UPDATE subscriptions_subscription SET fact = 'granted', not_before = not_before + 61,"
            " anchor_on = anchor_on + 61, starts_on = starts_on + 61, base_ends_on = base_ends_on + 61,"
            " ends_on = ends_on + 61 WHERE id = %(pack)s",
        ),
    ],
    "visit": [
        ("visit_stays", "UPDATE subscriptions_visit SET decision = 'deny'"),
        ("visit_stays", "UPDATE subscriptions_visit SET at = at - interval '1 year'"),
        ("visit_keeps_its_period", "UPDATE subscriptions_visit SET subscription_id = %(period)s"),
        ("visit_keeps_its_period", "UPDATE subscriptions_visit SET subscription_id = NULL"),
        ("visit_is_kept", "DELETE FROM subscriptions_visit"),
        ("visit_is_not_truncated", "TRUNCATE subscriptions_visit"),
    ],
    "freeze and closure": [
        ("freeze_stays", "UPDATE subscriptions_freeze SET ends_on = ends_on + 30"),
        ("freeze_stays", "UPDATE subscriptions_freeze SET kind = 'member'"),
        ("freeze_keeps_its_member", "UPDATE subscriptions_freeze SET subscription_id = %(pack)s"),
        ("freeze_is_kept", "DELETE FROM subscriptions_freeze"),
        ("freeze_is_not_truncated", "TRUNCATE subscriptions_freeze"),
        ("closure_stays", "UPDATE subscriptions_closure SET ends_on = ends_on + 30"),
        ("S05", "DELETE FROM subscriptions_closure"),
    ],
    "price list": [
        ("plan_change_is_recorded", "UPDATE subscriptions_plan SET price = 1"),
        ("plan_change_is_recorded", "UPDATE subscriptions_plan SET visits = 99, closes_at = NULL"),
        ("plangroup_change_is_recorded", "UPDATE subscriptions_plangroup SET opens_gate = NOT opens_gate"),
    ],
    "audit": [
        ("securityevent_append_only", "DELETE FROM accounts_securityevent"),
        ("securityevent_is_not_truncated", "TRUNCATE accounts_securityevent"),
        ("export_is_kept", "DELETE FROM api_export"),
        ("export_stays", "UPDATE api_export SET asked_by_id = %(manager)s"),
        ("export_is_not_truncated", "TRUNCATE api_export"),
        ("change_append_only", "UPDATE api_change SET before = '{}'"),
        ("change_append_only", "DELETE FROM api_change"),
        ("change_is_not_truncated", "TRUNCATE api_change"),
    ],
}


@pytest.fixture
def ids():
    """Create a row of each kind that the edits change, with the services; return their ids."""
    member, staff, manager = MemberFactory.create_batch(3)
    period = pending(PlanFactory(), member)
    paying = make_push(period.payment)
    result = StkResult(paying.merchant_request_id, paying.checkout_request_id, "0", "", 1500, "TKN0000001", NOON)
    stk_results.apply_stk_result(push_id=paying.pk, result=result, source="callback", now=NOON)
    c2b_confirmations.apply_c2b(
        message=C2bMessage("TKN0000002", NOON, 1500, "174379", "gym", "", "", "Pay Bill", ""), now=NOON
    )
    unmatched = ReviewItem.objects.get().receipt_id
    refunds.record_refund(
        receipt_id=unmatched, amount=100, paid_from="mpesa", reason="too much", by_id=manager.pk, now=NOON
    )
    cash_sessions.open_session(cashier_id=staff.pk, opening_float=0, now=NOON)
    wrong = create_payment(MemberFactory(), amount=700)
    voided = desk_receipts.record_receipt(channel="cash", amount=700, by_id=staff.pk, now=NOON, payment_id=wrong.pk)
    asked = voids.ask_void(receipt_id=voided.pk, reason="typed twice", by_id=staff.pk, now=NOON)
    voids.confirm_void(request_id=asked.pk, by_id=manager.pk, now=NOON)
    cash = desk_receipts.record_receipt(channel="cash", amount=500, by_id=staff.pk, now=NOON, member_id=member.pk)
    voids.ask_void(receipt_id=cash.pk, reason="typed twice", by_id=staff.pk, now=NOON)
    cash_sessions.open_session(cashier_id=manager.pk, opening_float=0, now=NOON)
    cash_sessions.close_session(cashier_id=manager.pk, counted=0, now=NOON)
    TaxNumber.objects.create(receipt=cash, number="KRA123", noted_by=staff, noted_at=NOON)
    asking = make_push(create_payment(MemberFactory(), amount=1000, deposit=400))
    foreign = create_payment(MemberFactory())
    Callback.objects.create(source="stk", body=b"{}", received_at=NOON)
    CodeClaim.objects.create(code="TKN0000003", payment=asking.payment, claimed_by=staff, claimed_at=NOON)
    pack = granted(PlanFactory(visits=1), MemberFactory())
    Visit.objects.create(member=pack.member, subscription=pack, at=NOON, decision="allow", reason="active")
    imported = free_periods.import_period(
        member_id=MemberFactory().pk,
        plan=PlanFactory(),
        starts_on=TODAY,
        ends_on=TODAY.replace(month=12),
        by_id=staff.pk,
        now=NOON,
    )
    freezes.freeze(
        subscription_id=period.pk,
        starts_on=TODAY.replace(day=5),
        ends_on=TODAY.replace(day=8),
        kind=FreezeKind.STAFF,
        by_id=staff.pk,
        now=NOON,
    )
    freezes.create_closure(
        starts_on=TODAY.replace(day=20), ends_on=TODAY.replace(day=22), reason="Repairs", by_id=staff.pk, now=NOON
    )
    SecurityEvent.objects.create(event="login", at=NOON)
    Export.objects.create(asked_by=staff, asked_at=NOON, page="receipts", file_format="csv", state="waiting")
    Change.objects.create(at=NOON, table="x", row="1", kind="changed", before={}, after={})
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # TRUNCATE needs that nothing is left to check
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
    return {
        "member": member.pk,
        "staff": staff.pk,
        "manager": manager.pk,
        "period": period.pk,
        "paid": period.payment_id,
        "paying": paying.receipt.pk,
        "unmatched": unmatched,
        "voided": voided.pk,
        "cash": cash.pk,
        "push": asking.pk,
        "open": asking.payment_id,
        "foreign": foreign.pk,
        "pack": pack.pk,
        "imported": imported.pk,
    }


@pytest.fixture
def application_role():
    """A role that is no superuser and owns nothing. It ends with the test's transaction."""
    role = sql.Identifier(f"application_of_{connection.settings_dict['NAME']}")
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL(ROLE).format(role))
    return role


def found_by(statement, ids, role) -> set[str]:
    """Run an edit under the role, then undo it. Return the invariants that it breaks, or {REFUSED}."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql.SQL("SET LOCAL ROLE {}").format(role))
            cursor.execute("SET CONSTRAINTS ALL DEFERRED")
            for each in statement.split(";"):
                cursor.execute(each, ids)
                assert cursor.rowcount != 0, f"This changes no row: {each}"
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("RESET ROLE")
            found = {each.code for each in installed_invariants() if not each.quiet and offending_rows(each)}
            transaction.set_rollback(True)
            return found
    except IntegrityError:
        return {REFUSED}


def found_without(trigger, statement, ids, role) -> set[str]:
    """As found_by, without one trigger."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = %s", [trigger])
        [table] = cursor.fetchone()
        cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")
        found = found_by(statement, ids, role)
        transaction.set_rollback(True)
        return found


@pytest.mark.parametrize("table", EDITS)
def test_each_edit_from_inside_is_refused_or_found(table, ids, application_role):
    missed = []
    for expected, statement in EDITS[table]:
        found = found_by(statement, ids, application_role)
        if is_invariant(expected):
            is_found = expected in found
        else:
            is_found = found == {REFUSED} and REFUSED not in found_without(expected, statement, ids, application_role)
        if not is_found:
            missed.append((expected, statement, found))

    assert missed == []


def is_invariant(name):
    return name in {each.code for each in installed_invariants()}


def test_recorded_changes_of_the_price_list_are_accepted(ids):
    plan = PlanFactory(code="swim", group__name="Pool", price=1000)
    changes = [
        {"price": 900},
        {"price": 800, "opens_at": time(6), "closes_at": time(9)},
        {"visits": 5},
        {"visits": None},
    ]

    for change in changes:
        catalog.edit_plan(plan_id=plan.pk, by_id=ids["staff"], now=NOON, **change)
    catalog.edit_plan_group(group_id=plan.group_id, by_id=None, now=NOON, name="Swimming", opens_gate=False)

    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def test_every_trigger_is_tested_here():
    with connection.cursor() as cursor:
        cursor.execute(TRIGGERS)
        triggers = {name for (name,) in cursor.fetchall()}

    assert triggers == {name for edits in EDITS.values() for name, _ in edits if not is_invariant(name)}


def test_every_trigger_and_invariant_is_documented():
    page = (settings.BASE_DIR / "docs/architecture.md").read_text(encoding="utf-8")
    names = {name for edits in EDITS.values() for name, _ in edits if not name.endswith("_is_not_truncated")}

    assert {name for name in names - {f"S0{n}" for n in range(1, 8)} if name not in page} == set()
