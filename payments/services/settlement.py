"""Money comes into payments."""

from collections.abc import Sequence
from datetime import datetime

from django.db.models import Max

from payments.models import Account, AllocationRule, Payment, PaymentStatus, Receipt
from payments.services import allocation
from payments.services.allocation import Share
from payments.services.listeners import announce_paid
from payments.services.transitions import change_status

S = PaymentStatus


def apply_money(
    *,
    receipt: Receipt,
    from_account: Account,
    shares: Sequence[Share],
    by_id: int | None,
    now: datetime,
    amount: int | None = None,
) -> list[Payment]:
    """Put a receipt's money where it belongs and tell the listeners of each payment whose deposit or rest it completes.

    Runs inside the caller's transaction with member, payments and receipt locked. `amount` is the part of the
    receipt that is being placed, all that is left of it by default. Returns the payments that were told of.
    """
    allocation.allocate(
        receipt=receipt,
        from_account=from_account,
        amount=receipt.amount_held if amount is None else amount,
        shares=shares,
        by_id=by_id,
        now=now,
    )
    covered = [
        share.payment
        for share in shares
        if add_money(
            share.payment,
            share.amount,
            evidence=f"receipt {receipt.pk}",
            by_id=by_id,
            now=now,
            moved_at=receipt.paid_at,
        )
    ]
    for payment in covered:
        announce_paid(payment=payment, now=now)
    return covered


def add_money(
    payment: Payment, amount: int, *, evidence: str, by_id: int | None, now: datetime, moved_at: datetime
) -> bool:
    """Add money to a locked payment; return whether that completed its deposit or the rest."""
    had_money = payment.amount_paid > 0
    payment.amount_paid += amount
    if had_money and payment.amount_paid >= payment.deposit:
        # The money that reaches it is the one that moved last, in whatever order we learnt of them.
        earlier = payment.allocations.filter(undone_at__isnull=True).exclude(rule=AllocationRule.CREDIT)
        moved_at = max(moved_at, earlier.aggregate(last=Max("receipt__paid_at"))["last"] or moved_at)
    # Money from before the payment existed (credit, a deposit found later) covers it from its first moment.
    moved_at = max(moved_at, payment.created_at)
    completes = payment.deposit_paid_at is None and payment.amount_paid >= payment.deposit
    if completes:
        payment.deposit_paid_at = moved_at
    if payment.amount_owed:
        change_status(payment, to=S.PARTIALLY_PAID, evidence=evidence, by_id=by_id, now=now)
    else:
        change_status(payment, to=S.PAID, evidence=evidence, by_id=by_id, now=now, paid_at=moved_at)
    return completes or not payment.amount_owed
