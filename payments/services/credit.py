"""Member credit: the money of a member's receipts that no payment uses, and the rules by which payments use it."""

from datetime import datetime

from payments.models import (
    Account,
    AllocationRule,
    Payment,
    PaymentStatus,
    Receipt,
    ReviewItem,
    ReviewReason,
    ReviewStatus,
)
from payments.services import allocation, listeners
from payments.services.allocation import PAYABLE, Share
from payments.services.transitions import add_money
from payments.signals import payment_paid


def available(member_id: int) -> int:
    """Return the member's credit that nothing reserves, in whole KES.

    Money for a closed payment is reserved while its review item is open: staff may have to return it.
    """
    return sum(each.unspent for each in _receipts(member_id))


def spend(payment: Payment, *, by_id: int | None, now: datetime) -> None:
    """Allocate the payer's credit to a new payment, oldest receipt first. The caller has locked the payer.

    The payment counts as paid now, not at the receipt's `paid_at`: a period that is bought with credit starts today.
    """
    _allocate(payment, allocation.receipts_with_credit(payment.payer_id), by_id=by_id, now=now, moved_at=now)


def complete(payment: Payment, *, now: datetime) -> None:
    """Spend the payer's credit on a locked payment, if that brings the payment to its minimum payment or beyond.

    Credit that gives no access stays credit. A payment whose minimum payment was reached is a debt: it takes any
    credit. `payment_paid` is sent when the payment is completed. The caller has locked the payer.
    """
    before = payment.deposit_paid_at
    if not _take(payment, without=None, now=now, moved_at=now):
        return
    if not payment.amount_owed or (before is None and payment.deposit_paid_at is not None):
        listeners.announce(payment_paid, payment, now=now)


def complete_open(member_id: int, *, now: datetime) -> None:
    """Spend the member's credit on the open payments that it completes: debts first, then the oldest.

    The caller has locked the member. Expired payments take only money that names them.
    """
    payments = [each for each in allocation.lock_open_payments(member_id) if each.status != PaymentStatus.EXPIRED]
    for payment in sorted(payments, key=lambda each: each.deposit_paid_at is None):
        complete(payment, now=now)


def replace_lost(payment: Payment, *, without: Receipt, was_reached_at: datetime | None, now: datetime) -> None:
    """Replace money that a locked payment has lost, by other credit of its payer. The caller has locked the payer.

    `without`: the receipt whose money leaves. `was_reached_at`: the time when the payment had reached its minimum
    payment. The payment keeps this time. Nothing is replaced for a payment that had not reached it, or when the credit
    is not enough.
    """
    if was_reached_at is not None:
        _take(payment, without=without, now=now, moved_at=was_reached_at)


def covers(payment: Payment, *, without: Receipt) -> bool:
    """Return whether the payer's credit, except that of one receipt, covers the whole minimum payment."""
    return sum(each.unspent for each in _receipts(payment.payer_id, without)) >= payment.deposit


def _receipts(member_id: int, without: Receipt | None = None) -> list[Receipt]:
    """Return the member's receipts with credit that nothing reserves, oldest first."""
    left_out = {None if without is None else without.pk}
    receipts = [each for each in allocation.receipts_with_credit(member_id) if each.pk not in left_out]
    if receipts:
        items = ReviewItem.objects.filter(
            reason=ReviewReason.LATE_MONEY, status=ReviewStatus.OPEN, receipt__in=receipts
        )
        left_out.update(items.values_list("receipt", flat=True))
    return [each for each in receipts if each.pk not in left_out]


def _take(payment: Payment, *, without: Receipt | None, now: datetime, moved_at: datetime) -> bool:
    """Spend the payer's credit on the payment if it reaches the minimum payment; return whether money was spent."""
    if payment.status not in PAYABLE or not payment.amount_owed:
        return False
    receipts = _receipts(payment.payer_id, without)
    credit = sum(each.unspent for each in receipts)
    if not credit or payment.amount_paid + credit < payment.deposit:
        return False
    _allocate(payment, receipts, by_id=None, now=now, moved_at=moved_at)
    return True


def _allocate(
    payment: Payment, receipts: list[Receipt], *, by_id: int | None, now: datetime, moved_at: datetime
) -> None:
    for receipt in receipts:
        if not payment.amount_owed:
            break
        part = min(receipt.unspent, payment.amount_owed)
        allocation.allocate(
            receipt=receipt,
            from_account=Account.MEMBER_CREDIT,
            amount=part,
            shares=[Share(payment, part, AllocationRule.CREDIT)],
            by_id=by_id,
            now=now,
        )
        add_money(payment, part, evidence=f"credit of receipt {receipt.pk}", by_id=by_id, now=now, moved_at=moved_at)
