"""What a person must look at: opening review items and ending them."""

from datetime import datetime

from payments.models import ReviewItem, ReviewReason, ReviewStatus


def open_item(
    *,
    reason: ReviewReason,
    detail: str,
    now: datetime,
    receipt_id: int | None = None,
    payment_id: int | None = None,
    push_id: int | None = None,
    callback_id: int | None = None,
    suggested_members: list[int] | None = None,
) -> ReviewItem:
    """Open a review item, or return the open one that already says this of the same receipt, push or payment.

    `detail` is one plain sentence for staff, without secrets or whole phone numbers. What differs between two pieces
    of evidence stands in it: what says something else is an item of its own.
    """
    same = ReviewItem.objects.filter(reason=reason, status=ReviewStatus.OPEN, detail=detail[:255])
    if receipt_id is not None:
        same = same.filter(receipt_id=receipt_id)
    elif push_id is not None:
        same = same.filter(push_id=push_id)
    elif payment_id is not None:
        same = same.filter(payment_id=payment_id)
    else:
        same = same.filter(callback_id=callback_id)
    return same.first() or create_item(
        reason=reason,
        detail=detail,
        receipt_id=receipt_id,
        payment_id=payment_id,
        push_id=push_id,
        callback_id=callback_id,
        suggested_members=suggested_members or [],
        now=now,
    )


def create_item(*, reason: ReviewReason, detail: str, now: datetime, **about) -> ReviewItem:
    """Open a review item of its own."""
    return ReviewItem.objects.create(reason=reason, detail=detail[:255], created_at=now, **about)


def close_for_payment(
    *, payment_id: int, reason: ReviewReason, resolution: str, now: datetime, detail: str | None = None
) -> None:
    """Resolve the open items of a payment that the product itself has dealt with; those that say `detail`, if given."""
    found = ReviewItem.objects.filter(payment_id=payment_id, reason=reason, status=ReviewStatus.OPEN)
    if detail is not None:
        found = found.filter(detail=detail)
    found.update(status=ReviewStatus.RESOLVED, resolution=resolution, resolved_at=now)


def close_for_receipt(*, receipt_id: int, reason: ReviewReason, resolution: str, now: datetime) -> None:
    """Resolve the item of a receipt that the product itself has dealt with, also one that was dismissed before."""
    found = ReviewItem.objects.filter(receipt_id=receipt_id, reason=reason).exclude(status=ReviewStatus.RESOLVED)
    found.update(status=ReviewStatus.RESOLVED, resolution=resolution, resolved_at=now, resolved_by=None)


def close_for_push(*, push_id: int, reason: ReviewReason, resolution: str, now: datetime) -> None:
    """Resolve the open item of a push that the product itself has dealt with."""
    ReviewItem.objects.filter(push_id=push_id, reason=reason, status=ReviewStatus.OPEN).update(
        status=ReviewStatus.RESOLVED, resolution=resolution, resolved_at=now
    )
