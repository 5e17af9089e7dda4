"""Desk receipts, cash sessions, voids, reversals, reported codes, and the assignment of unmatched money."""

from datetime import timedelta
from functools import partial

import pytest
from django.db import IntegrityError, transaction

from api.idempotency import IdempotencyKey, IdempotencyKeyReused
from payments.daraja.messages import C2bMessage
from payments.desk import cash_sessions, desk_receipts, refunds, reported_codes, review_decisions, voids
from payments.evidence import c2b_confirmations
from payments.models import Account, CashSession, Channel, CodeClaim, Receipt, ReviewItem
from payments.services import cancellation, creation, ledger, ownership, reversals
from payments.tests.factories import NOON, MemberFactory, create_payment
from payments.tests.threads import run_together

pytestmark = [pytest.mark.django_db, pytest.mark.server]

KEY, OTHER_BODY = IdempotencyKey("k", "a"), IdempotencyKey("k", "b")


@pytest.fixture
def cashier():
    return MemberFactory()


@pytest.fixture
def session(cashier):
    return cash_sessions.open_session(cashier_id=cashier.pk, opening_float=1000, now=NOON)


def record(cashier, payment=None, amount=1500, channel=Channel.CASH, **owner):
    owner = owner or {"payment_id": payment.pk}
    return desk_receipts.record_receipt(
        channel=channel, amount=amount, by_id=cashier.pk, now=NOON, note="FT2630", **owner
    )


def c2b(amount=1500, code="TKN1AB2C3D", account="gym", sender=""):
    message = C2bMessage(code, NOON, amount, "174379", account, sender, "JANE", "Pay Bill", "")
    return c2b_confirmations.apply_c2b(message=message, now=NOON)


def status(payment):
    payment.refresh_from_db()
    return payment.status, payment.amount_paid


# --- Cash and bank ---


def test_cash_pays_a_payment_with_a_numbered_receipt(cashier, session):
    payment = create_payment(amount=1500)

    receipt = record(cashier, payment)

    assert (receipt.number, receipt.cash_session, receipt.recorded_by) == ("2026-000001", session, cashier)
    assert status(payment) == ("paid", 1500)
    assert ledger.balance(Account.CASH) == 1500


def test_repeated_idempotency_key_records_one_receipt(cashier, session):
    payment = create_payment(amount=1500)

    first = record(cashier, payment_id=payment.pk, idempotency_key=KEY)

    assert record(cashier, payment_id=payment.pk, idempotency_key=KEY) == first
    assert Receipt.objects.count() == 1
    with pytest.raises(IdempotencyKeyReused):
        record(cashier, payment_id=payment.pk, amount=5, idempotency_key=OTHER_BODY)


def test_idempotency_keys_are_per_person(cashier, session):
    colleague = MemberFactory()

    first = record(cashier, member_id=MemberFactory().pk, idempotency_key=KEY)

    second = record(colleague, member_id=MemberFactory().pk, channel=Channel.BANK, idempotency_key=KEY)
    assert first != second


@pytest.mark.django_db(transaction=True)
def test_concurrent_requests_with_one_key_record_one_receipt():
    cashier, members = MemberFactory(), MemberFactory.create_batch(6)
    cash_sessions.open_session(cashier_id=cashier.pk, opening_float=0, now=NOON)

    taken = run_together(*[partial(record, cashier, member_id=member.pk, idempotency_key=KEY) for member in members])

    assert taken == [Receipt.objects.get()] * 6


def test_failed_receipt_leaves_no_gap_in_the_numbers(cashier, session):
    record(cashier, create_payment())
    with pytest.raises(ownership.OwnerNeeded):
        desk_receipts.record_receipt(channel=Channel.CASH, amount=5, by_id=cashier.pk, now=NOON, payment_id=0)

    assert record(cashier, create_payment()).number == "2026-000002"


def test_cash_for_a_member_pays_open_payments_then_becomes_credit(cashier, session):
    member = MemberFactory()
    payment = create_payment(member, amount=1000)

    record(cashier, member_id=member.pk, amount=1200)

    assert status(payment) == ("paid", 1000)
    assert ledger.balance(Account.MEMBER_CREDIT, member_id=member.pk) == -200


def test_cash_needs_an_open_cash_session(cashier):
    with pytest.raises(cash_sessions.NoOpenSession):
        record(cashier, create_payment())


def test_bank_transfer_needs_no_cash_session(cashier):
    payment = create_payment(amount=1500)

    record(cashier, payment, channel=Channel.BANK)

    assert status(payment) == ("paid", 1500)
    assert ledger.balance(Account.BANK) == 1500


@pytest.mark.parametrize("end", ["cancelled", "paid"])
def test_cash_for_a_closed_or_paid_payment_is_refused(cashier, session, end):
    payment = close(create_payment(amount=1500), end, cashier)
    other = create_payment(payment.payer, amount=9000)

    with pytest.raises(ownership.PaymentTakesNoMoney):
        record(cashier, payment)

    assert status(other) == ("pending", 0)


def close(payment, end, cashier):
    """Cancel a payment, or pay it."""
    if end == "cancelled":
        return cancellation.cancel_payment(payment_id=payment.pk, by_id=cashier.pk, now=NOON)
    record(cashier, payment, amount=payment.amount_owed)
    return payment


def test_bank_transfer_needs_its_bank_reference(cashier):
    for note in ("", "  "):
        with pytest.raises(desk_receipts.BankReferenceNeeded):
            desk_receipts.record_receipt(
                channel=Channel.BANK, amount=5, by_id=cashier.pk, member_id=MemberFactory().pk, now=NOON, note=note
            )


@pytest.mark.parametrize("channel", [Channel.CASH, Channel.BANK])
def test_staff_cannot_record_their_own_money(cashier, session, channel):
    for owner in ({"member_id": cashier.pk}, {"payment_id": create_payment(cashier).pk}):
        with pytest.raises(ownership.OwnMoney):
            record(cashier, channel=channel, **owner)


def test_mpesa_money_cannot_be_recorded_by_hand(cashier):
    with pytest.raises(desk_receipts.NotDeskMoney):
        record(cashier, create_payment(), channel=Channel.MPESA_C2B)


@pytest.mark.parametrize("amount", [0, -5, 1.5, True])
def test_desk_receipt_needs_whole_shillings(cashier, session, amount):
    with pytest.raises(creation.InvalidAmount):
        record(cashier, create_payment(), amount=amount)


# --- Cash sessions ---


def test_cashier_has_one_open_session(cashier, session):
    with pytest.raises(cash_sessions.SessionOpen):
        cash_sessions.open_session(cashier_id=cashier.pk, opening_float=0, now=NOON)


@pytest.mark.parametrize(("counted", "difference", "items"), [(2500, 0, 0), (2510, 10, 1), (2400, -100, 1)])
def test_count_differences_become_review_items(cashier, session, counted, difference, items):
    record(cashier, create_payment(amount=1500))
    voided = record(cashier, create_payment(amount=1500))
    voids.void_receipt(receipt_id=voided.pk, reason="typed twice", by_id=MemberFactory().pk, now=NOON)

    session = cash_sessions.close_session(cashier_id=cashier.pk, counted=counted, now=NOON)

    assert (session.expected, session.difference) == (2500, difference)
    assert ReviewItem.objects.filter(reason="cash_differs").count() == items


def test_session_with_negative_expected_cash_can_be_closed(cashier):
    cash_sessions.open_session(cashier_id=cashier.pk, opening_float=0, now=NOON)
    mistyped = record(cashier, create_payment(amount=1500))
    c2b(amount=1000)
    mpesa = Receipt.objects.get(channel="mpesa_c2b")
    refunds.record_refund(receipt_id=mpesa.pk, paid_from=Account.CASH, reason="not ours", by_id=cashier.pk, now=NOON)
    voids.void_receipt(receipt_id=mistyped.pk, reason="never came", by_id=MemberFactory().pk, now=NOON)

    session = cash_sessions.close_session(cashier_id=cashier.pk, counted=0, now=NOON)

    assert (session.expected, session.difference) == (-1000, 1000)


# --- Voids ---


def test_voided_receipt_makes_its_payment_payable_again(cashier, session):
    payment = create_payment(amount=1500)
    receipt = record(cashier, payment)

    voids.void_receipt(receipt_id=receipt.pk, reason="wrong member", by_id=MemberFactory().pk, now=NOON)

    assert status(payment) == ("pending", 0)
    assert ledger.balance(Account.CASH) == 0


def test_cashier_cannot_void_their_own_receipt(cashier, session):
    receipt = record(cashier, create_payment())

    with pytest.raises(voids.SecondPersonNeeded):
        voids.void_receipt(receipt_id=receipt.pk, reason="oops", by_id=cashier.pk, now=NOON)


def test_database_refuses_a_void_by_the_cashier(cashier, session):
    receipt = record(cashier, create_payment())

    with pytest.raises(IntegrityError, match="second_person"), transaction.atomic():
        reversals.reverse_receipt(receipt_id=receipt.pk, reason="oops", by_id=cashier.pk, now=NOON)


def test_void_needs_a_reason_and_happens_once(cashier, session):
    receipt, other = record(cashier, create_payment()), MemberFactory()
    with pytest.raises(ownership.ReasonNeeded):
        voids.void_receipt(receipt_id=receipt.pk, reason=" ", by_id=other.pk, now=NOON)
    voids.void_receipt(receipt_id=receipt.pk, reason="wrong", by_id=other.pk, now=NOON)

    with pytest.raises(voids.NotVoidable):
        voids.void_receipt(receipt_id=receipt.pk, reason="wrong", by_id=other.pk, now=NOON)


def test_void_after_the_count_becomes_a_review_item(cashier, session):
    receipt = record(cashier, create_payment(amount=1500))
    cash_sessions.close_session(cashier_id=cashier.pk, counted=2500, now=NOON)

    voids.void_receipt(receipt_id=receipt.pk, reason="bad note", by_id=MemberFactory().pk, now=NOON + timedelta(days=1))

    assert list(ReviewItem.objects.values_list("reason", "receipt", "detail")) == [
        (
            "cash_differs",
            receipt.pk,
            f"Receipt 2026-000001 of KES 1,500 was voided after cash session {session.pk} was counted.",
        )
    ]


def test_void_that_waited_for_the_count_is_dated_after_it(cashier, session):
    """The void carries an earlier time. The invariant P24 compares it with the time of the count."""
    receipt = record(cashier, create_payment(amount=1500))
    session = cash_sessions.close_session(cashier_id=cashier.pk, counted=2500, now=NOON + timedelta(seconds=1))

    voided = voids.void_receipt(receipt_id=receipt.pk, reason="bad note", by_id=MemberFactory().pk, now=NOON)

    assert voided.reversed_at > session.closed_at


def test_count_that_waited_for_a_void_is_not_dated_before_it(cashier, session):
    receipt = record(cashier, create_payment(amount=1500))
    later = NOON + timedelta(seconds=1)
    voided = voids.void_receipt(receipt_id=receipt.pk, reason="bad note", by_id=MemberFactory().pk, now=later)

    session = cash_sessions.close_session(cashier_id=cashier.pk, counted=1000, now=NOON)

    assert (session.difference, session.closed_at) == (0, voided.reversed_at)


def test_void_releases_spent_credit_from_the_payments_it_paid(cashier, session):
    member = MemberFactory()
    receipt = record(cashier, member_id=member.pk, amount=1500)
    payment = create_payment(member, amount=1000)
    assert status(payment) == ("paid", 1000)

    voids.void_receipt(receipt_id=receipt.pk, reason="bad note", by_id=MemberFactory().pk, now=NOON)

    assert status(payment) == ("pending", 0)
    assert ledger.balance(Account.MEMBER_CREDIT, member_id=member.pk) == 0


# --- Reversals ---


def test_reversal_leaves_the_payment_refunded_or_partially_paid(cashier, session):
    payment = create_payment(amount=1500)
    record(cashier, payment, amount=500)
    c2b(amount=1000, account=payment.reference)
    mpesa = Receipt.objects.get(channel="mpesa_c2b")

    for _ in range(2):
        reversals.reverse_receipt(receipt_id=mpesa.pk, reason="reversed by Safaricom", by_id=None, now=NOON)

    assert status(payment) == ("partially_paid", 500)
    assert ledger.balance(Account.MPESA) == 0


# --- Reported codes ---


def test_reported_code_pays_only_after_safaricom_confirms_it(cashier):
    payment = create_payment(amount=1500)

    reported = reported_codes.report_code(code=" tkn1 ab2c3d", payment_id=payment.pk, by_id=cashier.pk, now=NOON)
    assert (reported.code, reported.receipt, status(payment)) == ("TKN1AB2C3D", None, ("pending", 0))
    c2b(account="wrong", code="TKN1AB2C3D")

    reported.refresh_from_db()
    assert (reported.receipt.code, status(payment)) == ("TKN1AB2C3D", ("paid", 1500))


def test_reported_code_assigns_unmatched_money_at_once(cashier):
    c2b(account="wrong")
    payment = create_payment(amount=1500)

    for _ in range(2):
        reported_codes.report_code(code="TKN1AB2C3D", payment_id=payment.pk, by_id=cashier.pk, now=NOON)

    assert status(payment) == ("paid", 1500)
    assert ReviewItem.objects.get().status == "resolved"


def test_reported_code_assigns_money_of_a_dismissed_item(cashier):
    c2b(account="wrong")
    item = ReviewItem.objects.get()
    review_decisions.dismiss_item(item_id=item.pk, reason="Nobody asks.", by_id=cashier.pk, now=NOON)
    payment = create_payment(amount=1500)

    reported_codes.report_code(code="TKN1AB2C3D", payment_id=payment.pk, by_id=cashier.pk, now=NOON)

    item.refresh_from_db()
    assert (status(payment), item.status, item.resolved_by) == (("paid", 1500), "resolved", None)
    review_decisions.undo_assignment(item_id=item.pk, by_id=cashier.pk, now=NOON)
    assert status(payment) == ("pending", 0)


def test_reported_code_counts_for_one_payment(cashier):
    first, second = create_payment(amount=1500), create_payment(amount=1500)
    c2b(account=first.reference)

    with pytest.raises(reported_codes.CodeAlreadyUsed):
        reported_codes.report_code(code="TKN1AB2C3D", payment_id=second.pk, by_id=cashier.pk, now=NOON)
    reported_codes.report_code(code="TKN0000009", payment_id=first.pk, by_id=cashier.pk, now=NOON)
    with pytest.raises(reported_codes.CodeAlreadyUsed):
        reported_codes.report_code(code="TKN0000009", payment_id=second.pk, by_id=cashier.pk, now=NOON)


def test_code_can_be_reported_again_after_its_assignment_was_undone(cashier):
    wrong, right = create_payment(amount=1500), create_payment(amount=1500)
    c2b(account="wrong")
    reported_codes.report_code(code="TKN1AB2C3D", payment_id=wrong.pk, by_id=cashier.pk, now=NOON)
    review_decisions.undo_assignment(item_id=ReviewItem.objects.get().pk, by_id=cashier.pk, now=NOON)

    reported_codes.report_code(code="TKN1AB2C3D", payment_id=right.pk, by_id=cashier.pk, now=NOON)

    assert (status(wrong), status(right)) == (("pending", 0), ("paid", 1500))


def test_reported_code_ends_when_its_payment_takes_no_money(cashier):
    payment = create_payment(amount=1500)
    reported_codes.report_code(code="TKN1AB2C3D", payment_id=payment.pk, by_id=cashier.pk, now=NOON)
    cancellation.cancel_payment(payment_id=payment.pk, by_id=cashier.pk, now=NOON)
    c2b(account="wrong", code="TKN0000002")
    receipt = Receipt.objects.get()

    reported_codes.settle_code(code="TKN1AB2C3D", receipt_id=receipt.pk, by_id=cashier.pk, now=NOON)

    reported = CodeClaim.objects.get()
    assert (reported.receipt, reported.ended_at) == (None, NOON)
    assert ledger.balance(Account.UNMATCHED) == -1500


@pytest.mark.parametrize(
    "code", ["TKN-1AB2C3", "\u017fKN1AB2C3D", "", "PAID", "TKN1AB2C3", "TKN1AB2C3D4", "0712345678"]
)
def test_text_that_cannot_be_a_code_is_refused(cashier, code):
    with pytest.raises(reported_codes.InvalidCode):
        reported_codes.report_code(code=code, payment_id=create_payment().pk, by_id=cashier.pk, now=NOON)


def test_staff_cannot_report_a_code_for_themselves(cashier):
    c2b(amount=1500)

    with pytest.raises(ownership.OwnMoney):
        reported_codes.report_code(code="TKN1AB2C3D", payment_id=create_payment(cashier).pk, by_id=cashier.pk, now=NOON)

    assert ledger.balance(Account.UNMATCHED) == -1500


# --- Unmatched money ---


def assign(cashier, **owner):
    item = ReviewItem.objects.get(reason="unmatched")
    return review_decisions.assign_money(item_id=item.pk, by_id=cashier.pk, now=NOON, **owner)


def test_assignment_pays_the_payment_and_resolves_the_item(cashier):
    c2b(amount=2000, account="wrong")
    payment = create_payment(amount=1500)

    item = assign(cashier, payment_id=payment.pk)

    assert (item.status, item.resolved_by_id) == ("resolved", cashier.pk)
    assert status(payment) == ("paid", 1500)
    assert ledger.balance(Account.MEMBER_CREDIT, member_id=payment.payer_id) == -500
    assert ledger.balance(Account.UNMATCHED) == 0


def test_assignment_to_a_member_without_payments_becomes_credit(cashier):
    c2b(amount=2000, account="wrong")
    member = MemberFactory()

    assign(cashier, member_id=member.pk)

    assert ledger.balance(Account.MEMBER_CREDIT, member_id=member.pk) == -2000


def test_undone_assignment_can_be_assigned_again(cashier):
    c2b(amount=2000, account="wrong")
    payment = create_payment(amount=1500)
    item = assign(cashier, payment_id=payment.pk)
    spent = create_payment(payment.payer, amount=300)

    review_decisions.undo_assignment(item_id=item.pk, by_id=cashier.pk, now=NOON)

    assert (status(payment), status(spent)) == (("pending", 0), ("pending", 0))
    assert ledger.balance(Account.UNMATCHED) == -2000
    assert ReviewItem.objects.get().status == "open"
    right = create_payment(amount=2000)
    assign(cashier, payment_id=right.pk)
    assert status(right) == ("paid", 2000)


def test_money_is_assigned_once_and_undone_only_when_assigned(cashier):
    c2b(account="wrong")
    item = ReviewItem.objects.get()
    with pytest.raises(review_decisions.NotUndoable):
        review_decisions.undo_assignment(item_id=item.pk, by_id=cashier.pk, now=NOON)
    payment = create_payment(amount=1500)
    assign(cashier, payment_id=payment.pk)

    with pytest.raises(review_decisions.NotAssignable):
        assign(cashier, payment_id=payment.pk)


def test_assignment_needs_an_existing_owner(cashier):
    c2b(account="wrong")

    for owner in ({}, {"payment_id": 0}, {"member_id": 0}):
        with pytest.raises(ownership.OwnerNeeded):
            assign(cashier, **owner)


def test_staff_cannot_assign_money_to_themselves(cashier):
    c2b(account="wrong")

    with pytest.raises(ownership.OwnMoney):
        assign(cashier, member_id=cashier.pk)

    assert ReviewItem.objects.get().status == "open"


def test_second_review_item_cannot_assign_or_return_the_money(cashier):
    """Otherwise the first item would stay open, and its assignment could not be undone."""
    c2b(amount=2000)
    c2b(amount=900)
    other = ReviewItem.objects.get(reason="code_used_twice")

    with pytest.raises(review_decisions.NotAssignable):
        review_decisions.assign_money(item_id=other.pk, member_id=MemberFactory().pk, by_id=cashier.pk, now=NOON)
    with pytest.raises(review_decisions.NotAssignable):
        refunds.send_back(item_id=other.pk, paid_from=Account.BANK, reason="theirs", by_id=cashier.pk, now=NOON)

    assert ledger.balance(Account.UNMATCHED) == -2000


@pytest.mark.parametrize("end", ["cancelled", "paid"])
def test_money_is_not_assigned_to_a_closed_or_paid_payment(cashier, session, end):
    payment = close(create_payment(amount=1500), end, cashier)
    other = create_payment(payment.payer, amount=9000)
    c2b(account="wrong")

    with pytest.raises(ownership.PaymentTakesNoMoney):
        assign(cashier, payment_id=payment.pk)

    assert (status(other), ReviewItem.objects.get().status) == (("pending", 0), "open")


def test_dismissal_needs_a_reason_and_moves_no_money(cashier):
    c2b(account="wrong")
    item = ReviewItem.objects.get()
    with pytest.raises(ownership.ReasonNeeded):
        review_decisions.dismiss_item(item_id=item.pk, reason=" ", by_id=cashier.pk, now=NOON)

    review_decisions.dismiss_item(item_id=item.pk, reason="sent back by hand", by_id=cashier.pk, now=NOON)

    assert ledger.balance(Account.UNMATCHED) == -1500
    with pytest.raises(review_decisions.AlreadyDecided):
        review_decisions.dismiss_item(item_id=item.pk, reason="again", by_id=cashier.pk, now=NOON)


def test_cashier_can_open_another_session_after_closing(cashier, session):
    cash_sessions.close_session(cashier_id=cashier.pk, counted=1000, now=NOON)

    cash_sessions.open_session(cashier_id=cashier.pk, opening_float=0, now=NOON)

    assert CashSession.objects.count() == 2
