"""Settlement: the money of a receipt goes to payments."""

from collections.abc import Sequence
from datetime import datetime

from payments.models import Account, Receipt
from payments.services import allocation, credit, listeners
from payments.services.allocation import Share
from payments.services.transitions import add_money
from payments.signals import payment_paid


def apply_money(
    *,
    receipt: Receipt,
    from_account: Account,
    shares: Sequence[Share],
    by_id: int | None,
    now: datetime,
    may_renew: bool = False,
) -> None:
    """Allocate all the money that a receipt holds, and send `payment_paid` for each payment that it completes.

    It completes a payment by reaching the minimum payment or the amount due. Money that is not in `shares` becomes
    credit of the receipt's member, or unmatched money. With `may_renew` the payer named the member and no payment, so
    that this credit may buy the next period: `credit_arrived` is sent. Runs in the caller's transaction with the
    member, payments and receipt locked.
    """
    allocation.allocate(
        receipt=receipt, from_account=from_account, amount=receipt.amount_held, shares=shares, by_id=by_id, now=now
    )
    _add_shares(receipt, shares, by_id=by_id, now=now)
    if may_renew and receipt.member_id is not None and receipt.amount_held > sum(share.amount for share in shares):
        listeners.announce_credit(receipt, now=now)


def apply_credit(*, receipt: Receipt, shares: Sequence[Share], now: datetime) -> None:
    """Allocate the part of a member's receipt that is in `shares` from their credit; else as `apply_money`."""
    amount = sum(share.amount for share in shares)
    allocation.allocate(
        receipt=receipt, from_account=Account.MEMBER_CREDIT, amount=amount, shares=shares, by_id=None, now=now
    )
    _add_shares(receipt, shares, by_id=None, now=now)


def _add_shares(receipt: Receipt, shares: Sequence[Share], *, by_id: int | None, now: datetime) -> None:
    """Add the allocated shares to their payments, and announce those that they complete, alone or with credit."""
    evidence = f"receipt {receipt.pk}"
    completed = [
        share.payment
        for share in shares
        if add_money(share.payment, share.amount, evidence=evidence, by_id=by_id, now=now, moved_at=receipt.paid_at)
    ]
    for payment in completed:
        listeners.announce(payment_paid, payment, now=now)
    for share in shares:
        if share.payment.amount_owed:
            credit.complete(share.payment, now=now)
