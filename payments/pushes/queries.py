"""Queries about an open STK push: when Safaricom is asked about it, until its end is known or staff must look."""

import logging
import random
from datetime import datetime, timedelta

from django.db import transaction
from procrastinate.contrib.django import app as jobs

from payments.models import PushStatus, ReviewReason, StkPush
from payments.pushes import closing
from payments.pushes.rows import lock, sent_or_created_at
from payments.services import review_items

logger = logging.getLogger(__name__)

S = PushStatus

# When an open push is queried, counted from the moment it was sent. After the last query staff must look.
QUERY_AFTER = (
    timedelta(seconds=20),
    timedelta(seconds=60),
    timedelta(minutes=3),
    timedelta(minutes=15),
    timedelta(hours=1),
    timedelta(hours=24),
)
# A push without a checkout request ID cannot be queried: its worker was killed in mid-call, or the answer was lost.
# Only its callback reports its end. After this time no prompt is on a phone any more (docs/decisions/0012).
NO_ID_WAIT = timedelta(minutes=3)
# Long enough for Safaricom's answer to a push, which its callback has overtaken, to be recorded.
CONFIRM_AFTER = {"seconds": 20}


def next_query_at(push: StkPush, *, now: datetime) -> datetime | None:
    """Return when to query a sent push next, or None after the last query.

    A random delay is added, so that many queries are not due at once. Missed queries are made up at the pace of the
    first one.
    """
    if push.checks >= len(QUERY_AFTER):
        return None
    spread = random.uniform(1.0, 1.1)  # noqa: S311 - jitter, no secret
    planned = sent_or_created_at(push) + QUERY_AFTER[push.checks] * spread
    return max(planned, now + QUERY_AFTER[0])


@transaction.atomic
def record_query(*, push_id: int, now: datetime) -> None:
    """Count a query that did not show the end of an open push. After the last one, close it for staff to review.

    A push that has ended is not changed.
    """
    push = lock(push_id)
    if push.status not in (S.SENT, S.UNKNOWN):
        return
    push.checks += 1
    push.next_check_at = next_query_at(push, now=now) if push.checkout_request_id else None
    push.save(update_fields=["checks", "next_check_at"])
    if push.next_check_at is None:
        logger.warning("Push %s: its end is not known after the last query; staff must review it.", push.pk)
        closing.close_overdue(push, now=now)


@transaction.atomic
def postpone_query(*, push_id: int, until: datetime) -> None:
    """Set the time of an open push's next query to `until`: this time Safaricom could not be asked."""
    push = lock(push_id)
    if push.status in (S.SENT, S.UNKNOWN) and push.next_check_at is not None:
        push.next_check_at = until
        push.save(update_fields=["next_check_at"])


@transaction.atomic
def mark_unknown(*, push_id: int, now: datetime) -> bool:
    """Set a push whose worker died during the call to `unknown`; return whether it was one. It is never sent again."""
    push = lock(push_id)
    if push.status != S.SENDING:
        return False
    push.status, push.next_check_at = S.UNKNOWN, now + NO_ID_WAIT
    push.result_desc = "The worker stopped before it could record Safaricom's answer."
    push.save(update_fields=["status", "next_check_at", "result_desc"])
    return True


def store_request_ids(push: StkPush, *, merchant_request_id: str, checkout_request_id: str) -> None:
    """Store the request IDs from a successful callback on a locked push that has none from Safaricom's own answer.

    Only the secret callback URL vouches for such a success (docs/decisions/0013). It counts at once. A job that
    commits with the money asks Safaricom about the ID soon after.
    """
    push.merchant_request_id, push.checkout_request_id = merchant_request_id, checkout_request_id
    push.save(update_fields=["merchant_request_id", "checkout_request_id"])
    jobs.configure_task("payments.confirm_push", schedule_in=CONFIRM_AFTER).defer(push_id=push.pk)


def report_contradiction(*, push_id: int, detail: str, now: datetime) -> None:
    """Open a review item for evidence that contradicts a push. The money stays where it is until staff decide."""
    review_items.open_item(reason=ReviewReason.CONTRADICTION, detail=detail, push_id=push_id, now=now)
