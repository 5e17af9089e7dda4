"""Silence heals itself: what the periodic jobs do. Each verb may run twice, at once, and after hours of standstill.

One transaction per row; one bad row never stops the rest.
"""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from procrastinate.contrib.django.models import ProcrastinateJob

from payments.daraja import client, limits
from payments.daraja.errors import Busy, DarajaError, NotSent, Unknown
from payments.daraja.result_codes import Verdict, verdict
from payments.evidence import stk_results
from payments.models import Callback, CallbackOutcome, PushStatus, ReviewItem, ReviewReason, ReviewStatus, StkPush
from payments.pushes import push_requests, queries, rows
from payments.services import listeners

logger = logging.getLogger(__name__)

PASS = 45.0  # seconds one pass of checks may take; the next begins before that, and they share the work
HANDSET = timedelta(minutes=3)  # "no answer" before this is not the last word: a prompt may still be on the phone
CLAIM = timedelta(minutes=2)  # how long one process keeps a push to itself while it asks about it
CONFIRM_UNTIL = timedelta(hours=1)  # how long Safaricom may know nothing of a prompt that its callback paid
LOST_JOB = timedelta(seconds=30)
LOST_WORKER = timedelta(seconds=60)
SILENT_HEART = 20  # seconds; workers beat every ten, and are looked for every ten: within half a minute in all
BATCH = 500

# Oldest first; what another process is asking about right now is passed over.
CLAIM_CHECK = """
WITH due AS (
    SELECT id, next_check_at FROM payments_stkpush
    WHERE next_check_at <= %(now)s AND status IN ('sent', 'unknown')
    ORDER BY next_check_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE payments_stkpush push SET next_check_at = %(until)s FROM due WHERE push.id = due.id
RETURNING push.id, due.next_check_at
"""
# A job of a worker that is gone, or whose heart stopped.
STALLED = """
SELECT job.id FROM procrastinate_jobs job LEFT JOIN procrastinate_workers worker ON worker.id = job.worker_id
WHERE job.status = 'doing'
    AND (worker.id IS NULL OR worker.last_heartbeat < now() - make_interval(secs => %s))
ORDER BY job.id
"""


# --- Prompts --------------------------------------------------------------------------------------


def check_due_pushes(*, now: datetime, seconds: float = PASS) -> int:
    """Ask Safaricom about the open prompts whose time has come, within the rate; return how many were asked about."""
    deadline, asked = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute(CLAIM_CHECK, {"now": now, "until": now + CLAIM})
            claimed = cursor.fetchone()
        if claimed is None:
            break
        try:
            check_push(push_id=claimed[0], due_at=claimed[1], now=now)
            asked += 1
        except (Busy, NotSent):
            break
        except Exception:
            logger.exception("Push %s could not be checked; it is tried again.", claimed[0])
    return asked


def check_push(*, push_id: int, due_at: datetime, now: datetime) -> None:
    """Ask Safaricom how one open prompt ended, and act on it as on a callback; what is no end is asked again later.

    :raises Busy: too many calls, by our limit or theirs; the push keeps its turn, which was `due_at`
    :raises NotSent: Safaricom cannot be reached; the push keeps its turn
    """
    push = StkPush.objects.get(pk=push_id)
    if push.status not in (PushStatus.SENT, PushStatus.UNKNOWN):
        return
    if not push.checkout_request_id:
        queries.record_check(push_id=push_id, now=now)
        return
    try:
        limits.enter(urgent=False)
        result = client.query_stk(checkout_request_id=push.checkout_request_id, now=now)
    except (Busy, NotSent):
        queries.postpone_check(push_id=push_id, until=due_at)
        raise
    except DarajaError as error:
        logger.info("Push %s: nothing learnt: %s", push_id, error)
    else:
        said = verdict(result.result_code)
        # Codes of "no answer" have been seen while the prompt was still on the phone.
        too_soon = said == Verdict.TIMED_OUT and now < rows.requested_at(push) + HANDSET
        if said != Verdict.OPEN and not too_soon:
            stk_results.apply_stk_result(push_id=push_id, result=result, source="query", now=now)
    queries.record_check(push_id=push_id, now=now)  # changes nothing once it has ended


def confirm_success(*, push_id: int, now: datetime) -> None:
    """Ask Safaricom about a success that only a callback's secret address vouched for; a person looks at a doubt.

    :raises DarajaError: nothing was learnt; ask again later
    """
    push = StkPush.objects.get(pk=push_id)
    limits.enter(urgent=False)
    try:
        result = client.query_stk(checkout_request_id=push.checkout_request_id, now=now)
        if verdict(result.result_code) == Verdict.OPEN:
            raise Unknown(f"Safaricom says {result.result_code}.")
    except Busy:
        raise
    except DarajaError as error:
        if now < rows.requested_at(push) + CONFIRM_UNTIL:
            raise
        queries.report_contradiction(
            push_id=push_id, why=f"A callback paid this prompt; Safaricom does not confirm it: {error}", now=now
        )
        return
    if verdict(result.result_code) != Verdict.SUCCEEDED:
        why = f"A callback paid this prompt, and Safaricom says it ended with {result.result_code}. Look for the money."
        queries.report_contradiction(push_id=push_id, why=why, now=now)


def requeue_lost_pushes(*, now: datetime) -> int:
    """Give pushes that wait without a job a new one; return how many. A push too old to be sent is ended by it."""
    old = StkPush.objects.filter(status=PushStatus.CREATED, created_at__lte=now - LOST_JOB).order_by("created_at")
    waiting = list(old.values_list("pk", flat=True)[:BATCH])
    live = ProcrastinateJob.objects.filter(task_name="payments.send_push", status__in=("todo", "doing"))
    known = set(live.filter(args__push_id__in=waiting).values_list("args__push_id", flat=True))
    lost = [push_id for push_id in waiting if push_id not in known]
    return _each(lost, push_requests.defer_send, what="push that had lost its job")


def mark_lost_calls_unknown(*, now: datetime) -> int:
    """Call pushes unknown whose worker died in mid-call; return how many. They are never sent again."""
    stuck = StkPush.objects.filter(status=PushStatus.SENDING, sent_at__lte=now - LOST_WORKER).order_by("sent_at")
    ids = list(stuck.values_list("pk", flat=True)[:BATCH])
    return _each(
        ids, lambda push_id: queries.mark_unknown(push_id=push_id, now=now), what="push that had lost its worker"
    )


# --- Payments and callbacks -----------------------------------------------------------------------


def retry_listeners_due(*, now: datetime) -> int:
    """Tell again the news that a listener failed to hear; return for how many payments all was heard."""
    failed = ReviewItem.objects.filter(
        reason=ReviewReason.LISTENER_FAILED, status=ReviewStatus.OPEN, payment__isnull=False
    )
    ids = list(failed.order_by("created_at").values_list("payment_id", flat=True)[:BATCH])
    return _each(
        ids,
        lambda payment_id: listeners.retry_listeners(payment_id=payment_id, now=now),
        what="payment with untold news",
    )


def purge_bodies(*, now: datetime) -> int:
    """Empty the raw bodies of callbacks that were acted on long ago; return how many. The rows stay.

    What still waits, or was refused, keeps its bytes: they may be evidence.
    """
    before = now - timedelta(days=settings.CALLBACK_BODY_DAYS)
    done = (CallbackOutcome.APPLIED, CallbackOutcome.DUPLICATE)
    return Callback.objects.filter(outcome__in=done, received_at__lt=before).exclude(body=b"").update(body=b"")


# --- Jobs -----------------------------------------------------------------------------------------


def rescue_stalled_jobs() -> int:
    """Put jobs of dead workers back into the queue; return how many. procrastinate does not do it by itself."""
    with connection.cursor() as cursor:
        cursor.execute(STALLED, [SILENT_HEART])
        stalled = [row[0] for row in cursor.fetchall()]
    return _each(stalled, _rescue, what="job of a dead worker")


def _rescue(job_id: int) -> None:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT procrastinate_retry_job_v2(%s, now(), NULL, NULL, NULL)", [job_id])
    except IntegrityError:  # its like waits already, under the same queueing lock
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM procrastinate_jobs WHERE id = %s AND status = 'doing'", [job_id])


# --- One at a time -------------------------------------------------------------------------------


def _each(ids: list[int], heal: Callable[[int], bool | None], *, what: str) -> int:
    """Heal each; return how many were. What fails is logged, and the next run tries it again."""
    healed = 0
    for each in ids:
        try:
            if heal(each) is not False:
                healed += 1
                logger.warning("Healed: %s (%s).", what, each)
        except Exception:
            logger.exception("Not healed: %s (%s).", what, each)
    return healed
