"""A prompt ends; nothing is written over a success."""

from datetime import datetime

from django.db import transaction

from payments.models import PushStatus, ReviewReason, StkPush
from payments.pushes.rows import lock, needs_review
from payments.services import push_progress, review_items

S = PushStatus


def end(push: StkPush, *, status: PushStatus, result_code: str, result_desc: str, now: datetime) -> None:
    """Write how a locked push ended; it is not asked about again. Nothing is written over a success."""
    if needs_review(push):
        review_items.close_for_push(
            push_id=push.pk, reason=ReviewReason.OVERDUE_UNKNOWN, resolution="It ended.", now=now
        )
    if push.status != S.SUCCEEDED:
        _write_end(push, status=status, code=result_code, why=result_desc, now=now)


@transaction.atomic
def fail_unsent(*, push_id: int, code: str, why: str, now: datetime) -> bool:
    """End a push that was never sent; return whether it was one."""
    push = lock(push_id)
    if push.status != S.CREATED:
        return False
    end_without_money(push, status=S.FAILED, code=code, why=why, now=now)
    return True


@transaction.atomic
def close_unknown(*, push_id: int, now: datetime) -> bool:
    """Let go of a push of which a person found no money, so that its phone and payment can be prompted again.

    Returns whether it was one that waited for a person. Should its money turn up after all, it still counts.
    """
    push = lock(push_id)
    if not needs_review(push):
        return False
    end_without_money(push, status=S.TIMED_OUT, code="closed", why="A person found no money for it.", now=now)
    return True


def end_without_money(push: StkPush, *, status: PushStatus, code: str, why: str, now: datetime) -> None:
    _write_end(push, status=status, code=code, why=why, now=now)
    push_progress.mark_push_ended(push.payment, push, now)


def _write_end(push: StkPush, *, status: PushStatus, code: str, why: str, now: datetime) -> None:
    push.status, push.result_code, push.result_desc = status, code, why[:255]
    push.ended_at, push.next_check_at = now, None
    push.save(update_fields=["status", "result_code", "result_desc", "ended_at", "next_check_at"])
