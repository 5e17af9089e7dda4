"""Which payment money goes to, and the rows that say so.

Exact match first, then the oldest payment that is waited for; what is left over is the member's credit. An expired
payment is paid by money that names it (its reference, its prompt, a claim, staff); of other money only by a sum that
is exactly what it owes while nothing is waited for, and not for long, so that a forgotten order swallows no renewal.
Callers hold the locks (member, then payments, then receipt); payments.services writes what follows for the payments.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection
from django.db.models import F, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from payments.models import Account, Allocation, AllocationRule, Payment, PaymentStatus, Receipt
from payments.services import ledger

# A payment that takes money when it comes.
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
    """What one payment gets: whole KES, and the rule that gave it."""

    payment: Payment
    amount: int
    rule: AllocationRule


def divide(
    amount: int, *, moved_at: datetime, first: Sequence[Payment], rule: AllocationRule, others: Sequence[Payment] = ()
) -> tuple[list[Share], int]:
    """Return who gets how much of `amount`, which moved then, and what is left over.

    `first` are the payments the money was meant for, in order; then of `others` (oldest first) the one that
    needs exactly the rest, else each in turn. Payments that take no money are passed over, and of `others` expired
    ones too, but for the only one not yet forgotten that needs exactly the rest when no other takes any.
    """
    shares = []
    waited_for = [payment for payment in others if payment.status != PaymentStatus.EXPIRED]
    remembered = waited_for or [payment for payment in others if moved_at < payment.matches_until]

    def give(payment: Payment, why: AllocationRule) -> None:
        nonlocal amount
        part = min(amount, payment.amount_owed)
        if part > 0 and payment.status in PAYABLE:
            shares.append(Share(payment, part, why))
            amount -= part

    for payment in first:
        give(payment, rule)
    exact = [payment for payment in remembered if amount and payment.amount_owed == amount]
    if exact and (waited_for or len(exact) == 1):
        give(exact[0], AllocationRule.EXACT)
    else:
        for payment in waited_for:
            give(payment, AllocationRule.OLDEST)
    return shares, amount


def lock_open_payments(member_id: int) -> list[Payment]:
    """Lock and return the member's payments that take money, oldest first."""
    payments = Payment.objects.filter(payer_id=member_id, status__in=PAYABLE, amount_due__gt=F("amount_paid"))
    return list(payments.order_by("created_at", "pk").select_for_update(no_key=True))


def with_unspent(receipts: QuerySet) -> QuerySet:
    """Annotate receipts with `unspent`: the part that is here and that no live allocation uses, in whole KES."""
    used = Coalesce(Sum("allocations__amount", filter=Q(allocations__undone_at__isnull=True)), 0)
    return receipts.annotate(unspent=F("amount") - F("amount_refunded") - used)


def receipts_with_credit(member_id: int) -> list[Receipt]:
    """Return the member's receipts that hold unspent money (`unspent`), oldest first."""
    mine = Receipt.objects.filter(member_id=member_id, reversed_at__isnull=True)
    return list(with_unspent(mine).filter(unspent__gt=0).order_by("paid_at", "pk"))


def allocate(
    *,
    receipt: Receipt,
    from_account: Account,
    amount: int,
    shares: Sequence[Share],
    by_id: int | None,
    now: datetime,
) -> None:
    """Write the allocations, and one posting that takes `amount` from an account and puts it where it belongs.

    What the shares leave over stands as the receipt's member's credit, or as unmatched money when nobody owns it.
    Nothing is written of nothing: all of a receipt may have been given back.
    """
    if not amount:
        return
    rest = amount - sum(share.amount for share in shares)
    owner = receipt.member_id if from_account == Account.MEMBER_CREDIT else None
    left_on = Account.UNMATCHED if receipt.member_id is None else Account.MEMBER_CREDIT
    statement, values = ledger.insertion(
        receipt_id=receipt.pk,
        legs=[
            ledger.Leg(from_account, amount, member_id=owner),
            *(ledger.Leg(Account.SALES, -share.amount, payment_id=share.payment.pk) for share in shares),
            ledger.Leg(left_on, -rest, member_id=receipt.member_id),
        ],
        by_id=by_id,
        at=now,
    )
    if shares:
        # One statement: an allocation never stands without its posting.
        statement = f"WITH given AS ({INSERT}{', '.join([ROW] * len(shares))}) {statement}"
        rows = ((receipt.pk, share.payment.pk, share.amount, share.rule, by_id, now) for share in shares)
        values = [*(value for row in rows for value in row), *values]
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def release(live: Allocation, *, to_account: Account, by_id: int | None, now: datetime) -> None:
    """End a live allocation: move its money from sales to `to_account`."""
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
