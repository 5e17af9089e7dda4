"""The end of an STK push. A push that has succeeded is never changed."""

from datetime import datetime

from django.db import transaction

from payments.models import PushStatus, ReviewReason, StkPush
from payments.pushes.rows import lock
from payments.services import push_progress, review_items

S = PushStatus
CLOSED = "closed"  # the result code of a push that we ended without knowing how it ended


def end(push: StkPush, *, status: PushStatus, result_code: str, result_desc: str, now: datetime) -> None:
    """Write how a locked push ended, and close its review item. Nothing is written over a success."""
    if push.result_code == CLOSED:
        review_items.close_for_push(
            push_id=push.pk, reason=ReviewReason.OVERDUE_UNKNOWN, resolution="The push has ended.", now=now
        )
    if push.status != S.SUCCEEDED:
        _write_end(push, status=status, result_code=result_code, result_desc=result_desc, now=now)


@transaction.atomic
def fail_unsent(*, push_id: int, result_code: str, result_desc: str, now: datetime) -> bool:
    """Fail a push that was never sent; return whether it was one."""
    push = lock(push_id)
    if push.status != S.CREATED:
        return False
    end_without_money(push, status=S.FAILED, result_code=result_code, result_desc=result_desc, now=now)
    return True


def close_overdue(push: StkPush, *, now: datetime) -> None:
    """End a locked push after its last query, and open a review item: staff must look for its money.

    Its prompt has left the phone long ago, so its phone and its payment can get another push. If its money comes after
    all, it still pays the payment, and the item is closed.
    """
    end_without_money(
        push, status=S.TIMED_OUT, result_code=CLOSED, result_desc="Its end was not known after the last query.", now=now
    )
    detail = "Safaricom did not report how this push ended. Look for the money in the M-Pesa statement."
    review_items.open_item(
        reason=ReviewReason.OVERDUE_UNKNOWN, detail=detail, push_id=push.pk, payment_id=push.payment_id, now=now
    )


def end_without_money(push: StkPush, *, status: PushStatus, result_code: str, result_desc: str, now: datetime) -> None:
    """End a locked push with `status`, which is not a success, and update its payment."""
    _write_end(push, status=status, result_code=result_code, result_desc=result_desc, now=now)
    push_progress.mark_push_ended(push.payment, push, now)


def _write_end(push: StkPush, *, status: PushStatus, result_code: str, result_desc: str, now: datetime) -> None:
    push.status, push.result_code, push.result_desc = status, result_code, result_desc[:255]
    push.ended_at, push.next_check_at = max(now, push.created_at), None  # the clock may have been set back
    push.save(update_fields=["status", "result_code", "result_desc", "ended_at", "next_check_at"])
