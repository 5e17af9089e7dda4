"""Held money: a confirmation that may, or may not, be the money of an STK push whose success has no code yet.

Money with an M-Pesa code is certain, so it is always stored. A success by query is certain too, but has no code. When
amount and time agree, and neither account nor sender says whether both are one payment, the receipt with the code is
unmatched money with an open review item `possible_double`. While that is open the money is *held*: it cannot be
assigned, refunded or spent. The hold ends when

- the push's callback, or a Transaction Status result with the sender's phone, decides it;
- staff decide it: the same money, or other money (payments.desk.review_decisions).

"Same money" writes the code on the push's receipt and reverses the held receipt as a duplicate. "Other money" makes
the held receipt ordinary unmatched money. A receipt that staff had assigned before the doubt arose has the same review
item, but is not held.

Money with cents is held, too, by a review item `amount_with_cents`: until its code was checked and staff take the whole
shillings (payments.desk.review_decisions).
"""

from datetime import datetime

from django.db.models import QuerySet

from payments.models import Receipt, ReviewItem, ReviewReason, ReviewStatus, StkPush
from payments.services import review_items


def hold(receipt: Receipt, push: StkPush, *, now: datetime, callback_id: int | None = None) -> None:
    """Open the review item about a receipt that may be the money of a push. Without an owner its money is held.

    A repeated call changes nothing. Staff have decided about a push once for all.
    """
    if ReviewItem.objects.filter(receipt=receipt, push=push, reason=ReviewReason.POSSIBLE_DOUBLE).exists():
        return
    if receipt.member_id is None:
        review_items.close_for_receipt(
            receipt_id=receipt.pk,
            reason=ReviewReason.UNMATCHED,
            resolution="It is held: it may be the money of an STK push.",
            now=now,
        )
    review_items.open_item(
        reason=ReviewReason.POSSIBLE_DOUBLE,
        detail=(
            f"KES {receipt.amount:,} with code {receipt.code} may be the STK push for {push.payment.reference},"
            " which was paid but has no code yet. Decide if it is the same money."
        ),
        receipt_id=receipt.pk,
        push_id=push.pk,
        payment_id=push.payment_id,
        callback_id=callback_id,
        now=now,
    )


def open_items(receipt: Receipt) -> QuerySet[ReviewItem]:
    """Return the open items about a receipt that may be the money of a push, oldest first."""
    items = ReviewItem.objects.filter(receipt=receipt, reason=ReviewReason.POSSIBLE_DOUBLE, status=ReviewStatus.OPEN)
    return items.select_related("push__payment").order_by("pk")


def is_held(receipt: Receipt) -> bool:
    """Return whether a receipt's money is held."""
    return receipt.member_id is None and (open_items(receipt).exists() or cents_items(receipt).exists())


def hold_cents(receipt: Receipt, *, now: datetime, callback_id: int | None = None) -> None:
    """Open the review item about a receipt with cents, which holds its money. A repeated call changes nothing."""
    review_items.open_item(
        reason=ReviewReason.AMOUNT_WITH_CENTS,
        detail=(
            f"KES {receipt.amount:,}.{receipt.cents:02} was paid with code {receipt.code}. When the code was checked,"
            f" take KES {receipt.amount:,}; {receipt.cents} cents are left."
        ),
        receipt_id=receipt.pk,
        callback_id=callback_id,
        now=now,
    )


def cents_items(receipt: Receipt) -> QuerySet[ReviewItem]:
    """Return the items that hold a receipt because of its cents, open or dismissed."""
    items = ReviewItem.objects.filter(receipt=receipt, reason=ReviewReason.AMOUNT_WITH_CENTS)
    return items.exclude(status=ReviewStatus.RESOLVED)


def pushes_of(receipt: Receipt) -> set[int]:
    """Return the pushes that a receipt was compared with, decided or not."""
    items = ReviewItem.objects.filter(receipt=receipt, reason=ReviewReason.POSSIBLE_DOUBLE, push__isnull=False)
    return set(items.values_list("push_id", flat=True))


def close_items(receipt: Receipt, *, resolution: str, now: datetime) -> None:
    """Resolve the items about a receipt whose money has been found: it is unmatched no more, and not held."""
    for reason in (ReviewReason.UNMATCHED, ReviewReason.POSSIBLE_DOUBLE):
        review_items.close_for_receipt(receipt_id=receipt.pk, reason=reason, resolution=resolution, now=now)
