"""An open prompt is asked about until its end is known, or a person must look."""

import logging
import random
from datetime import datetime, timedelta

from django.db import transaction
from procrastinate.contrib.django import app as jobs

from payments.models import PushStatus, ReviewReason, StkPush
from payments.pushes.rows import lock, requested_at
from payments.services import review_items

logger = logging.getLogger(__name__)

S = PushStatus

# When an open push is asked about, counted from the moment it was sent; after the last one a person looks.
CHECK_AFTER = (
    timedelta(seconds=20),
    timedelta(seconds=60),
    timedelta(minutes=3),
    timedelta(minutes=15),
    timedelta(hours=1),
    timedelta(hours=24),
)
# A push that Safaricom never named cannot be asked about: only its callback can tell, and comes within minutes.
NO_ID_WAIT = timedelta(minutes=15)
# By then the answer to the push, which the callback overtook, is recorded.
CONFIRM_AFTER = {"seconds": 20}


def next_check(push: StkPush, *, now: datetime) -> datetime | None:
    """Return when to ask about a sent push next, a little after its plan so that many do not come at once.

    A plan that was missed is caught up at the pace of the first check.
    """
    if push.checks >= len(CHECK_AFTER):
        return None
    spread = random.uniform(1.0, 1.1)  # noqa: S311 - jitter, no secret
    planned = requested_at(push) + CHECK_AFTER[push.checks] * spread
    return max(planned, now + CHECK_AFTER[0])


@transaction.atomic
def record_check(*, push_id: int, now: datetime) -> None:
    """Note that a push was asked about without learning its end; after the last time a person looks."""
    push = lock(push_id)
    if push.status not in (S.SENT, S.UNKNOWN):
        return
    push.checks += 1
    push.next_check_at = next_check(push, now=now) if push.checkout_request_id else None
    push.save(update_fields=["checks", "next_check_at"])
    if push.next_check_at is None:
        logger.warning("Push %s: nobody could tell its end; a person must look.", push.pk)
        detail = "Nobody could tell how this prompt ended. Look for the money in the M-Pesa statement."
        review_items.open_item(
            reason=ReviewReason.OVERDUE_UNKNOWN, detail=detail, push_id=push.pk, payment_id=push.payment_id, now=now
        )


@transaction.atomic
def postpone_check(*, push_id: int, until: datetime) -> None:
    """Ask about an open push later: this time it could not be asked at all."""
    push = lock(push_id)
    if push.status in (S.SENT, S.UNKNOWN) and push.next_check_at is not None:
        push.next_check_at = until
        push.save(update_fields=["next_check_at"])


@transaction.atomic
def mark_unknown(*, push_id: int, now: datetime) -> bool:
    """Call a push unknown whose worker died in mid-call; return whether it was one. It is never sent again."""
    push = lock(push_id)
    if push.status != S.SENDING:
        return False
    push.status, push.next_check_at = S.UNKNOWN, now + NO_ID_WAIT
    push.result_desc = "The worker ended before it could record what Safaricom said."
    push.save(update_fields=["status", "next_check_at", "result_desc"])
    return True


def store_request_ids(push: StkPush, *, merchant_request_id: str, checkout_request_id: str) -> None:
    """Keep the names that a success gives a locked push which Safaricom's own answer has not named.

    The secret address alone vouches for such a success (docs/decisions/0013). It counts at once, and Safaricom is
    asked about the name soon after, by a job that commits with the money.
    """
    push.merchant_request_id, push.checkout_request_id = merchant_request_id, checkout_request_id
    push.save(update_fields=["merchant_request_id", "checkout_request_id"])
    jobs.configure_task("payments.confirm_push", schedule_in=CONFIRM_AFTER).defer(push_id=push.pk)


def report_contradiction(*, push_id: int, why: str, now: datetime) -> None:
    """Let a person look at a success that Safaricom does not confirm. The money stands until then."""
    review_items.open_item(reason=ReviewReason.CONTRADICTION, detail=why, push_id=push_id, now=now)
