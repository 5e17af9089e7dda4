"""Allocations: which payments a receipt's money pays.

Money first pays the payments that it names (by reference, STK push, reported code, or a choice of staff), also when
they have expired. The rest pays an open payment of the same member that owes exactly that amount, else the member's
open payments, oldest first. The rest after that is the member's credit. An expired payment that is not named is paid
only if no other payment is open, it is the only one that owes exactly this amount, and `matches_until` has not passed:
a forgotten order must not use up the money for a renewal.

Callers lock the member, the payments and the receipt, in this order, and update the payments themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection
from django.db.models import F, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from payments.models import Account, Allocation, AllocationRule, Payment, PaymentStatus, Receipt
from payments.services import ledger

# A payment with one of these statuses accepts money.
PAYABLE = (
    PaymentStatus.PENDING,
    PaymentStatus.PROCESSING,
    PaymentStatus.PARTIALLY_PAID,
    PaymentStatus.FAILED,
    PaymentStatus.EXPIRED,
)

INSERT = "INSERT INTO payments_allocation (receipt_id, payment_id, amount, rule, made_by_id, created_at) VALUES "
ROW = "(%s, %s, %s, %s, %s, %s)"


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a receipt's money that goes to one payment, in whole KES, and the rule that chose the payment."""

    payment: Payment
    amount: int
    rule: AllocationRule


def divide(
    amount: int, *, moved_at: datetime, first: Sequence[Payment], rule: AllocationRule, others: Sequence[Payment] = ()
) -> tuple[list[Share], int]:
    """Divide `amount` between payments by the rules above; return the shares and the rest, in whole KES.

    `first` are the payments that the money names, in order, and get their share by `rule`. `others` are the member's
    other payments, oldest first. Payments that are not `PAYABLE` get nothing.
    """
    shares = []
    open_payments = [payment for payment in others if payment.status != PaymentStatus.EXPIRED]
    candidates = open_payments or [payment for payment in others if moved_at < payment.matches_until]

    def add_share(payment: Payment, payment_rule: AllocationRule) -> None:
        nonlocal amount
        part = min(amount, payment.amount_owed)
        if part > 0 and payment.status in PAYABLE:
            shares.append(Share(payment, part, payment_rule))
            amount -= part

    for payment in first:
        add_share(payment, rule)
    exact = [payment for payment in candidates if amount and payment.amount_owed == amount]
    if exact and (open_payments or len(exact) == 1):
        add_share(exact[0], AllocationRule.EXACT)
    else:
        for payment in open_payments:
            add_share(payment, AllocationRule.OLDEST)
    return shares, amount


def lock_open_payments(member_id: int) -> list[Payment]:
    """Lock and return the member's payments that accept money, oldest first."""
    payments = Payment.objects.filter(payer_id=member_id, status__in=PAYABLE, amount_due__gt=F("amount_paid"))
    return list(payments.order_by("created_at", "pk").select_for_update(no_key=True))


def receipts_with_credit(member_id: int) -> list[Receipt]:
    """Return the member's receipts that have credit left, oldest first; `unspent` is that credit in whole KES."""
    used = Coalesce(Sum("allocations__amount", filter=Q(allocations__undone_at__isnull=True)), 0)
    receipts: QuerySet = Receipt.objects.filter(member_id=member_id, reversed_at__isnull=True)
    with_credit = receipts.annotate(unspent=F("amount") - F("amount_refunded") - used).filter(unspent__gt=0)
    return list(with_credit.order_by("paid_at", "pk"))


def allocate(
    *,
    receipt: Receipt,
    from_account: Account,
    amount: int,
    shares: Sequence[Share],
    by_id: int | None,
    now: datetime,
) -> None:
    """Insert the allocations for `shares`, and post `amount` (whole KES) from `from_account` to sales.

    The part of `amount` that is not in `shares` is posted to the credit of the receipt's member, or to unmatched money
    if the receipt has no member. An amount of 0 changes nothing: a receipt may have been refunded in full.
    """
    if not amount:
        return
    rest = amount - sum(share.amount for share in shares)
    owner = receipt.member_id if from_account == Account.MEMBER_CREDIT else None
    statement, values = ledger.insert_statement(
        receipt_id=receipt.pk,
        legs=[
            ledger.Leg(from_account, amount, member_id=owner),
            *(ledger.Leg(Account.SALES, -share.amount, payment_id=share.payment.pk) for share in shares),
            ledger.Leg(ledger.unspent_account(receipt.member_id), -rest, member_id=receipt.member_id),
        ],
        by_id=by_id,
        at=now,
    )
    if shares:
        # One statement, so that no allocation exists without its posting.
        statement = f"WITH allocated AS ({INSERT}{', '.join([ROW] * len(shares))}) {statement}"
        rows = ((receipt.pk, share.payment.pk, share.amount, share.rule, by_id, now) for share in shares)
        values = [*(value for row in rows for value in row), *values]
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def release(live: Allocation, *, to_account: Account, by_id: int | None, now: datetime) -> None:
    """End a live allocation and post its money from sales to `to_account`."""
    live.undone_at, live.undone_by_id = now, by_id
    live.save(update_fields=["undone_at", "undone_by_id"])
    owner = live.receipt.member_id if to_account == Account.MEMBER_CREDIT else None
    ledger.post(
        receipt_id=live.receipt_id,
        legs=[
            ledger.Leg(Account.SALES, live.amount, payment_id=live.payment_id),
            ledger.Leg(to_account, -live.amount, member_id=owner),
        ],
        by_id=by_id,
        at=now,
    )
