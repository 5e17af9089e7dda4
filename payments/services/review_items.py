"""Review items: open one when staff must decide something, close it when the system has settled it."""

from datetime import datetime

from django.db.models import QuerySet

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
    """Open a review item, or return the open item of the same reason, detail and receipt (or push, or payment).

    `detail` is one plain sentence for staff, without secrets or whole phone numbers. It contains what differs between
    two pieces of evidence, so that different evidence opens different items.
    """
    same = ReviewItem.objects.filter(reason=reason, status=ReviewStatus.OPEN, detail=detail[:255])
    if receipt_id is not None:
        same = same.filter(receipt_id=receipt_id)
    elif push_id is not None:
        same = same.filter(push_id=push_id)
    elif payment_id is not None:
        same = same.filter(payment_id=payment_id)
    elif callback_id is not None:
        same = same.filter(callback_id=callback_id)
    else:
        same = same.filter(callback__isnull=True)
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


def create_item(*, reason: ReviewReason, detail: str, now: datetime, **fields) -> ReviewItem:
    """Open a review item without looking for an equal one."""
    return ReviewItem.objects.create(reason=reason, detail=detail[:255], created_at=now, **fields)


def open_items_of(*, payment_id: int, reason: ReviewReason) -> QuerySet[ReviewItem]:
    """Return a payment's open items of this reason."""
    return ReviewItem.objects.filter(payment_id=payment_id, reason=reason, status=ReviewStatus.OPEN)


def close_for_payment(
    *, payment_id: int, reason: ReviewReason, resolution: str, now: datetime, detail: str | None = None
) -> None:
    """Resolve a payment's open items of this reason, and of this `detail` if given."""
    items = open_items_of(payment_id=payment_id, reason=reason)
    if detail is not None:
        items = items.filter(detail=detail)
    items.update(status=ReviewStatus.RESOLVED, resolution=resolution, resolved_at=now)


def close_for_receipt(*, receipt_id: int, reason: ReviewReason, resolution: str, now: datetime) -> None:
    """Resolve a receipt's items of this reason, open or dismissed."""
    items = ReviewItem.objects.filter(receipt_id=receipt_id, reason=reason).exclude(status=ReviewStatus.RESOLVED)
    items.update(status=ReviewStatus.RESOLVED, resolution=resolution, resolved_at=now, resolved_by=None)


def close_for_push(*, push_id: int, reason: ReviewReason, resolution: str, now: datetime) -> None:
    """Resolve a push's open items of this reason."""
    items = ReviewItem.objects.filter(push_id=push_id, reason=reason, status=ReviewStatus.OPEN)
    items.update(status=ReviewStatus.RESOLVED, resolution=resolution, resolved_at=now)
