"""Refunds of a receipt and of a member's credit."""

from functools import partial

import pytest
from django.db import IntegrityError, transaction

from api.idempotency import IdempotencyKey, IdempotencyKeyReused
from payments.daraja.messages import C2bMessage
from payments.desk import cash_sessions, desk_receipts, refunds, reported_codes, review_decisions, voids
from payments.evidence import c2b_confirmations
from payments.models import Account, Channel, LedgerEntry, Receipt, Refund, ReviewItem
from payments.services import creation, ledger, locks, ownership, reversals
from payments.signals import payment_unpaid
from payments.tests.factories import NOON, MemberFactory, create_payment
from payments.tests.threads import run_together

pytestmark = [pytest.mark.django_db, pytest.mark.server]

KEY, OTHER_BODY = IdempotencyKey("k", "a"), IdempotencyKey("k", "b")


@pytest.fixture
def manager():
    return MemberFactory(role="Manager")


@pytest.fixture
def session(manager):
    return cash_sessions.open_session(cashier_id=manager.pk, opening_float=1000, now=NOON)


@pytest.fixture
def unpaid():
    """The ids that the signal `payment_unpaid` carried."""
    told = []

    def listen(*, payment_id, **kwargs):
        told.append(payment_id)

    payment_unpaid.connect(listen)
    yield told
    payment_unpaid.disconnect(listen)


def receive(payment=None, amount=1500, code="TKN1AB2C3D", account=None):
    account = payment.reference if payment else account or "gym"
    message = C2bMessage(code, NOON, amount, "174379", account, "", "JANE", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=NOON)
    return Receipt.objects.get(code=code)


def refund_receipt(manager, receipt=None, amount=None, paid_from=Account.MPESA, reason="moved away", **asked):
    if receipt is not None:
        asked["receipt_id"] = receipt.pk
    return refunds.record_refund(amount=amount, paid_from=paid_from, reason=reason, by_id=manager.pk, now=NOON, **asked)


def status(payment):
    payment.refresh_from_db()
    return payment.status, payment.amount_paid


def credit(member):
    return -ledger.balance(Account.MEMBER_CREDIT, member_id=member.pk)


@pytest.mark.parametrize("of", ["receipt", "credit"])
def test_staff_cannot_record_a_refund_of_their_own_money(manager, of):
    receipt = receive(account=manager.member_number)

    with pytest.raises(ownership.OwnMoney):
        refund_receipt(manager, receipt) if of == "receipt" else refund_receipt(manager, member_id=manager.pk)

    assert credit(manager) == 1500


# --- Of a receipt ---


def test_full_refund_marks_the_payment_refunded_and_sends_the_signal(manager, unpaid):
    payment = create_payment(amount=1500)
    receipt = receive(payment)

    [refund] = refund_receipt(manager, receipt)

    assert (refund.amount, refund.paid_from, refund.reason) == (1500, "mpesa", "moved away")
    assert (status(payment), unpaid) == (("refunded", 0), [payment.pk])
    assert payment.events.last().evidence == "refund: moved away"
    receipt.refresh_from_db()
    assert (receipt.amount_refunded, receipt.amount_held, receipt.reversed_at) == (1500, 0, None)
    assert [ledger.balance(each) for each in (Account.MPESA, Account.SALES, Account.MEMBER_CREDIT)] == [0, 0, 0]


def test_unallocated_money_is_refunded_first(manager, unpaid):
    payment = create_payment(amount=1500)
    receipt = receive(payment, amount=2000)

    refund_receipt(manager, receipt, amount=500)

    assert (status(payment), unpaid, credit(payment.payer)) == (("paid", 1500), [], 0)


def test_partial_refund_leaves_the_payment_partially_paid(manager, unpaid):
    payment = create_payment(amount=1500)
    receipt = receive(payment, amount=2000)

    refund_receipt(manager, receipt, amount=700)

    assert (status(payment), unpaid) == (("partially_paid", 1300), [payment.pk])
    assert list(payment.allocations.filter(undone_at=None).values_list("amount", "rule")) == [(1300, "reference")]
    assert (credit(payment.payer), ledger.balance(Account.MPESA)) == (0, 1300)


def test_newest_allocation_is_refunded_first(manager):
    member = MemberFactory()
    first = create_payment(member, amount=1000)
    receipt = receive(first, amount=3000)
    second = create_payment(member, amount=1500)

    refund_receipt(manager, receipt, amount=600)

    assert (status(first), status(second)) == (("paid", 1000), ("partially_paid", 1400))


def test_refund_may_use_another_account_than_the_receipt(manager, session):
    receipt = receive(create_payment(amount=1500))

    refund_receipt(manager, receipt, amount=1000, paid_from=Account.CASH)

    assert (ledger.balance(Account.MPESA), ledger.balance(Account.CASH)) == (1500, -1000)


def test_refund_of_unmatched_money_resolves_its_review_item(manager):
    receipt = receive()

    refund_receipt(manager, receipt)

    assert ledger.balance(Account.UNMATCHED) == 0
    assert ReviewItem.objects.get().status == "resolved"
    payment = create_payment()
    with pytest.raises(reported_codes.CodeAlreadyUsed):
        reported_codes.report_code(code=receipt.code, payment_id=payment.pk, by_id=manager.pk, now=NOON)


def test_rest_of_partly_refunded_unmatched_money_can_be_assigned(manager):
    refund_receipt(manager, receive(amount=2000), amount=500)
    payment = create_payment(amount=1500)

    item = ReviewItem.objects.get()
    review_decisions.assign_money(item_id=item.pk, payment_id=payment.pk, by_id=manager.pk, now=NOON)
    assert (status(payment), credit(payment.payer)) == (("paid", 1500), 0)
    review_decisions.undo_assignment(item_id=item.pk, by_id=manager.pk, now=NOON)

    assert (status(payment), ledger.balance(Account.UNMATCHED)) == (("pending", 0), -1500)


def test_assignment_cannot_be_undone_after_a_full_refund(manager):
    receive()
    payment = create_payment(amount=1500)
    item = ReviewItem.objects.get()
    review_decisions.assign_money(item_id=item.pk, payment_id=payment.pk, by_id=manager.pk, now=NOON)
    refund_receipt(manager, Receipt.objects.get())

    with pytest.raises(review_decisions.NotUndoable):
        review_decisions.undo_assignment(item_id=item.pk, by_id=manager.pk, now=NOON)


def test_refund_is_at_most_what_the_receipt_holds(manager):
    receipt = receive(create_payment(amount=1500))
    refund_receipt(manager, receipt, amount=1000)

    with pytest.raises(refunds.MoreThanHeld):
        refund_receipt(manager, receipt, amount=501)
    refund_receipt(manager, receipt, amount=500)
    with pytest.raises(refunds.MoreThanHeld):
        refund_receipt(manager, receipt)

    with pytest.raises(IntegrityError, match="receipt_gives_back_no_more"), transaction.atomic():
        Receipt.objects.update(amount_refunded=1501)


def test_reversed_receipt_cannot_be_refunded(manager):
    receipt = receive(create_payment(amount=1500))
    reversals.reverse_receipt(receipt_id=receipt.pk, reason="by Safaricom", by_id=None, now=NOON)

    with pytest.raises(refunds.MoreThanHeld):
        refund_receipt(manager, receipt)


def test_refund_of_money_that_never_arrived_is_a_loss(manager):
    payment = create_payment(amount=1500)
    receipt = receive(payment)
    refund_receipt(manager, receipt, amount=400)

    reversals.reverse_receipt(
        receipt_id=receipt.pk, reason="counted twice", by_id=None, now=NOON, returned_to_payer=False
    )

    assert status(payment) == ("pending", 0)
    assert (ledger.balance(Account.REFUNDS), ledger.balance(Account.MPESA)) == (400, -400)


@pytest.mark.parametrize("amount", [0, -1, 1.5, True])
def test_refund_needs_whole_shillings(manager, amount):
    with pytest.raises(creation.InvalidAmount):
        refund_receipt(manager, receive(create_payment()), amount=amount)


def test_refund_needs_a_reason_and_a_receipt(manager):
    receipt = receive(create_payment())

    with pytest.raises(ownership.ReasonNeeded):
        refund_receipt(manager, receipt, reason=" ")
    with pytest.raises(locks.ReceiptNotFound):
        refund_receipt(manager, receipt_id=0)


# --- Of a member's credit ---


def test_credit_is_refunded_from_its_oldest_receipts(manager):
    member = MemberFactory()
    for number in range(3):
        receive(code=f"TKN000000{number}", amount=500, account=member.member_number)

    made = refund_receipt(manager, member_id=member.pk, amount=800)

    assert [(each.receipt.code, each.amount) for each in made] == [("TKN0000000", 500), ("TKN0000001", 300)]
    assert credit(member) == 700
    payment = create_payment(member, amount=700)
    assert status(payment) == ("paid", 700)


def test_refund_is_at_most_the_members_credit(manager):
    member = MemberFactory()
    payment = create_payment(member, amount=1500)
    receive(payment, amount=2000)

    for amount in (501, 2000):
        with pytest.raises(refunds.MoreThanHeld):
            refund_receipt(manager, member_id=member.pk, amount=amount)
    with pytest.raises(ownership.OwnerNeeded):
        refund_receipt(manager, member_id=0)

    assert (status(payment), Refund.objects.count()) == (("paid", 1500), 0)


# --- Repeated calls ---


def test_repeated_idempotency_key_records_one_refund(manager):
    receipt = receive(create_payment(amount=1500))

    first = refund_receipt(manager, receipt, amount=500, idempotency_key=KEY)

    assert refund_receipt(manager, receipt, amount=500, idempotency_key=KEY) == first
    assert Refund.objects.count() == 1
    with pytest.raises(IdempotencyKeyReused):
        refund_receipt(manager, receipt, amount=600, idempotency_key=OTHER_BODY)


@pytest.mark.django_db(transaction=True)
def test_concurrent_refunds_never_exceed_the_receipt():
    manager = MemberFactory(role="Manager")
    receipt = receive(create_payment(amount=1500))

    made = run_together(*[partial(refund_receipt, manager, receipt, amount=1000)] * 6)

    assert sorted(type(each).__name__ for each in made) == ["MoreThanHeld"] * 5 + ["list"]
    assert list(Refund.objects.values_list("amount", flat=True)) == [1000]


@pytest.mark.django_db(transaction=True)
def test_concurrent_requests_with_one_key_record_one_refund():
    manager = MemberFactory(role="Manager")
    held = [receive(create_payment(amount=1500), code=f"TKN000000{place}") for place in range(4)]

    made = run_together(
        *[partial(refund_receipt, manager, receipt, amount=100, idempotency_key=KEY) for receipt in held]
    )

    assert made == [[Refund.objects.get()]] * 4


# --- Cash sessions ---


def test_cash_refund_comes_from_the_callers_open_session(manager):
    receipt = receive(create_payment())

    with pytest.raises(cash_sessions.NoOpenSession):
        refund_receipt(manager, receipt, paid_from=Account.CASH)


def test_cash_refund_is_at_most_the_expected_cash(manager, session):
    receipt = receive(create_payment(amount=1500))

    with pytest.raises(refunds.NotEnoughCash):
        refund_receipt(manager, receipt, amount=1001, paid_from=Account.CASH)
    refund_receipt(manager, receipt, amount=1000, paid_from=Account.CASH)

    assert cash_sessions.expected_cash(session) == 0


@pytest.mark.parametrize(("counted", "booked"), [(1300, []), (1310, [("cash", 10), ("over_short", -10)])])
def test_ledger_matches_the_counted_cash(manager, session, counted, booked):
    payment = create_payment(amount=500)
    receipt = desk_receipts.record_receipt(
        channel=Channel.CASH, amount=500, payment_id=payment.pk, by_id=manager.pk, now=NOON
    )
    refund_receipt(manager, receipt, amount=200, paid_from=Account.CASH)

    session = cash_sessions.close_session(cashier_id=manager.pk, counted=counted, now=NOON)

    assert (session.expected, session.difference) == (1300, counted - 1300)
    assert ledger.balance(Account.CASH) == counted - session.opening_float
    entries = LedgerEntry.objects.filter(cash_session=session).order_by("pk")
    assert list(entries.values_list("account", "amount")) == booked


def test_ledger_entry_belongs_to_a_receipt_or_a_session():
    with pytest.raises(IntegrityError, match="of_a_receipt_or_a_drawer"), transaction.atomic():
        LedgerEntry.objects.create(
            transaction="6f06f471-0000-4000-8000-000000000000", account="cash", amount=1, at=NOON
        )


def test_partly_refunded_receipt_cannot_be_voided(manager, session):
    payment = create_payment(amount=500)
    receipt = desk_receipts.record_receipt(
        channel=Channel.CASH, amount=500, payment_id=payment.pk, by_id=manager.pk, now=NOON
    )
    refund_receipt(manager, receipt, amount=200, paid_from=Account.CASH)

    with pytest.raises(voids.NotVoidable):
        voids.void_receipt(receipt_id=receipt.pk, reason="typo", by_id=MemberFactory().pk, now=NOON)
