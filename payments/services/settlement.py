"""Settlement: the money of a receipt goes to payments."""

from collections.abc import Sequence
from datetime import datetime

from django.db.models import Max

from payments.models import Account, AllocationRule, Payment, PaymentStatus, Receipt
from payments.services import allocation, listeners
from payments.services.allocation import Share
from payments.services.transitions import change_status
from payments.signals import payment_paid

S = PaymentStatus


def apply_money(
    *, receipt: Receipt, from_account: Account, shares: Sequence[Share], by_id: int | None, now: datetime
) -> None:
    """Allocate all the money that a receipt holds, and send `payment_paid` for each payment that it completes.

    It completes a payment by reaching the minimum payment or the amount due. Money that is not in `shares` becomes
    credit of the receipt's member, or unmatched money. Runs in the caller's transaction with the member, payments and
    receipt locked.
    """
    allocation.allocate(
        receipt=receipt, from_account=from_account, amount=receipt.amount_held, shares=shares, by_id=by_id, now=now
    )
    _add_shares(receipt, shares, by_id=by_id, now=now)


def apply_credit(*, receipt: Receipt, shares: Sequence[Share], now: datetime) -> None:
    """Allocate the part of a member's receipt that is in `shares` from their credit; else as `apply_money`."""
    amount = sum(share.amount for share in shares)
    allocation.allocate(
        receipt=receipt, from_account=Account.MEMBER_CREDIT, amount=amount, shares=shares, by_id=None, now=now
    )
    _add_shares(receipt, shares, by_id=None, now=now)


def _add_shares(receipt: Receipt, shares: Sequence[Share], *, by_id: int | None, now: datetime) -> None:
    """Add the allocated shares to their payments, and announce those that they complete."""
    evidence = f"receipt {receipt.pk}"
    completed = [
        share.payment
        for share in shares
        if add_money(share.payment, share.amount, evidence=evidence, by_id=by_id, now=now, moved_at=receipt.paid_at)
    ]
    for payment in completed:
        listeners.announce(payment_paid, payment, now=now)


def add_money(
    payment: Payment, amount: int, *, evidence: str, by_id: int | None, now: datetime, moved_at: datetime
) -> bool:
    """Add `amount` (whole KES) to a locked payment; return whether it reached the minimum payment or the amount due."""
    had_money = payment.amount_paid > 0
    payment.amount_paid += amount
    if had_money and payment.amount_paid >= payment.deposit:
        # The date of completion is the date of the money that moved last, in whatever order the reports came.
        earlier = payment.allocations.filter(undone_at__isnull=True).exclude(rule=AllocationRule.CREDIT)
        moved_at = max(moved_at, earlier.aggregate(last=Max("receipt__paid_at"))["last"] or moved_at)
    # Money may be older than the payment (credit, a paybill payment that was matched later): it counts from then on.
    moved_at = max(moved_at, payment.created_at)
    reached_minimum = payment.deposit_paid_at is None and payment.amount_paid >= payment.deposit
    if reached_minimum:
        payment.deposit_paid_at = moved_at
    if payment.amount_owed:
        change_status(payment, to=S.PARTIALLY_PAID, evidence=evidence, by_id=by_id, now=now)
    else:
        change_status(payment, to=S.PAID, evidence=evidence, by_id=by_id, now=now, paid_at=moved_at)
    return reached_minimum or not payment.amount_owed
