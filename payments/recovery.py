"""Recovery: the work of the periodic jobs, which finishes what callbacks, workers and listeners left open.

Each function may run twice, at the same time, and after hours without any run. One transaction per row: one bad row
never stops the others.
"""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, OuterRef
from procrastinate.contrib.django.models import ProcrastinateJob

from payments.daraja import client, limits
from payments.daraja.errors import Busy, DarajaError, NotSent, Unknown
from payments.daraja.result_codes import Verdict, verdict
from payments.evidence import stk_results
from payments.models import (
    Callback,
    CallbackOutcome,
    PushStatus,
    Receipt,
    ReviewItem,
    ReviewReason,
    ReviewStatus,
    StkPush,
)
from payments.pushes import push_requests, queries, rows
from payments.services import listeners, review_items

logger = logging.getLogger(__name__)

MAX_RUN = 45.0  # seconds that one run of queries may take; the next run starts earlier, and they share the work
TIMEOUT_TRUSTED_AFTER = timedelta(minutes=3)  # before this, a push with "no answer" may still be on the phone
CLAIM_FOR = timedelta(minutes=2)  # how long a process claims a push while it queries it
CONFIRM_FOR = timedelta(hours=1)  # how long Safaricom may not know a push that its callback paid
CODE_ARRIVES_WITHIN = timedelta(days=1)  # of a success by query; after this, staff look for the money
LOST_JOB_AFTER = timedelta(seconds=30)
LOST_WORKER_AFTER = timedelta(seconds=60)
DEAD_AFTER = 20  # seconds without a heartbeat; workers send one, and are checked, every ten seconds
BATCH = 500

# Oldest first; a push that another process is claiming is skipped.
CLAIM_DUE_PUSH = """
WITH due AS (
    SELECT id, next_check_at FROM payments_stkpush
    WHERE next_check_at <= %(now)s AND status IN ('sent', 'unknown')
    ORDER BY next_check_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE payments_stkpush push SET next_check_at = %(until)s FROM due WHERE push.id = due.id
RETURNING push.id, due.next_check_at
"""
# Running jobs whose worker is gone or has stopped sending heartbeats.
STALLED_JOBS = """
SELECT job.id FROM procrastinate_jobs job LEFT JOIN procrastinate_workers worker ON worker.id = job.worker_id
WHERE job.status = 'doing'
    AND (worker.id IS NULL OR worker.last_heartbeat < now() - make_interval(secs => %s))
ORDER BY job.id
"""


# --- Pushes ---------------------------------------------------------------------------------------


def query_due_pushes(*, now: datetime, seconds: float = MAX_RUN) -> int:
    """Query the open pushes whose `next_check_at` has passed, oldest first; return how many were queried.

    It stops after `seconds`, and when Safaricom is busy or cannot be reached.
    """
    deadline, queried = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute(CLAIM_DUE_PUSH, {"now": now, "until": now + CLAIM_FOR})
            claimed = cursor.fetchone()
        if claimed is None:
            break
        try:
            query_push(push_id=claimed[0], due_at=claimed[1], now=now)
            queried += 1
        except (Busy, NotSent):
            break
        except Exception:
            logger.exception("Push %s could not be queried; a later run tries again.", claimed[0])
    return queried


def query_push(*, push_id: int, due_at: datetime, now: datetime) -> None:
    """Query how one open push ended, and apply the answer like a callback's. Without an end, plan the next query.

    :raises Busy: our limit or Safaricom's is reached; the push keeps its place in the queue, `due_at`
    :raises NotSent: Safaricom cannot be reached; the push keeps its place in the queue
    """
    push = StkPush.objects.get(pk=push_id)
    if push.status not in (PushStatus.SENT, PushStatus.UNKNOWN):
        return
    if not push.checkout_request_id:
        queries.record_query(push_id=push_id, now=now)
        return
    try:
        limits.acquire(urgent=False)
        result = client.query_stk(checkout_request_id=push.checkout_request_id, now=now)
    except (Busy, NotSent):
        queries.postpone_query(push_id=push_id, until=due_at)
        raise
    except DarajaError as error:
        logger.info("Push %s: the query failed: %s", push_id, error)
    else:
        result_verdict = verdict(result.result_code)
        # Safaricom has answered "no answer" while the push was still on the phone.
        trusted_at = rows.sent_or_created_at(push) + TIMEOUT_TRUSTED_AFTER
        is_early_timeout = result_verdict == Verdict.TIMED_OUT and now < trusted_at
        if result_verdict != Verdict.OPEN and not is_early_timeout:
            stk_results.apply_stk_result(push_id=push_id, result=result, source="query", now=now)
    queries.record_query(push_id=push_id, now=now)  # changes nothing if the push has ended


def confirm_success(*, push_id: int, now: datetime) -> None:
    """Ask Safaricom to confirm a success that only the secret callback URL vouches for.

    If Safaricom denies it, or does not know it for an hour, a review item is opened. The money stays.

    :raises DarajaError: the query gave no answer; ask again later
    """
    push = StkPush.objects.get(pk=push_id)
    if push.checkout_request_id is None:
        return  # queries.store_request_ids queues this job together with the ID
    limits.acquire(urgent=False)
    try:
        result = client.query_stk(checkout_request_id=push.checkout_request_id, now=now)
        if verdict(result.result_code) == Verdict.OPEN:
            raise Unknown(f"Safaricom says {result.result_code}.")
    except Busy:
        raise
    except DarajaError as error:
        if now < rows.sent_or_created_at(push) + CONFIRM_FOR:
            raise
        detail = f"A callback paid this push, but Safaricom does not confirm it: {error}"
        queries.report_contradiction(push_id=push_id, detail=detail, now=now)
        return
    if verdict(result.result_code) != Verdict.SUCCEEDED:
        detail = (
            f"A callback paid this push, but Safaricom says that it ended with {result.result_code}."
            " Look for the money in the M-Pesa statement."
        )
        queries.report_contradiction(push_id=push_id, detail=detail, now=now)


def requeue_lost_pushes(*, now: datetime) -> int:
    """Queue a new job for each created push that has lost its job; return how many. The job fails a push too old."""
    old = StkPush.objects.filter(status=PushStatus.CREATED, created_at__lte=now - LOST_JOB_AFTER).order_by("created_at")
    created = list(old.values_list("pk", flat=True)[:BATCH])
    live = ProcrastinateJob.objects.filter(task_name="payments.send_push", status__in=("todo", "doing"))
    queued = set(live.filter(args__push_id__in=created).values_list("args__push_id", flat=True))
    lost = [push_id for push_id in created if push_id not in queued]
    return _recover_each(lost, push_requests.queue_send, what="push that had lost its job")


def mark_lost_calls_unknown(*, now: datetime) -> int:
    """Set pushes whose worker died during the call to `unknown`; return how many. They are never sent again."""
    lost = StkPush.objects.filter(status=PushStatus.SENDING, sent_at__lte=now - LOST_WORKER_AFTER).order_by("sent_at")
    ids = list(lost.values_list("pk", flat=True)[:BATCH])
    return _recover_each(
        ids, lambda push_id: queries.mark_unknown(push_id=push_id, now=now), what="push that had lost its worker"
    )


# --- Payments and callbacks -----------------------------------------------------------------------


def retry_failed_listeners(*, now: datetime) -> int:
    """Send the signals of payments with a failed listener again; return for how many payments all succeeded."""
    failed = ReviewItem.objects.filter(
        reason=ReviewReason.LISTENER_FAILED, status=ReviewStatus.OPEN, payment__isnull=False
    )
    ids = list(failed.order_by("created_at").values_list("payment_id", flat=True)[:BATCH])
    return _recover_each(
        ids,
        lambda payment_id: listeners.retry_listeners(payment_id=payment_id, now=now),
        what="payment with a failed listener",
    )


def purge_bodies(*, now: datetime) -> int:
    """Empty the raw bodies of callbacks that were applied more than `CALLBACK_BODY_DAYS` ago; return how many.

    The rows stay. Callbacks that were not applied keep their bodies, which may be evidence.
    """
    before = now - timedelta(days=settings.CALLBACK_BODY_DAYS)
    done = (CallbackOutcome.APPLIED, CallbackOutcome.DUPLICATE)
    return Callback.objects.filter(outcome__in=done, received_at__lt=before).exclude(body=b"").update(body=b"")


def report_missing_codes(*, now: datetime) -> int:
    """Open a review item for each success by query whose M-Pesa code has not arrived for a day; return how many."""
    told = ReviewItem.objects.filter(receipt=OuterRef("pk"), reason=ReviewReason.CODE_MISSING)
    late = Receipt.objects.filter(
        ~Exists(told), code=None, push__isnull=False, reversed_at=None, created_at__lte=now - CODE_ARRIVES_WITHIN
    )
    ids = list(late.order_by("created_at").values_list("pk", flat=True)[:BATCH])
    return _recover_each(
        ids, lambda receipt_id: _report_missing_code(receipt_id, now=now), what="receipt without an M-Pesa code"
    )


@transaction.atomic
def _report_missing_code(receipt_id: int, *, now: datetime) -> bool:
    waiting = Receipt.objects.filter(pk=receipt_id, code=None, push__isnull=False, reversed_at=None)
    receipt = waiting.select_related("push__payment").select_for_update(no_key=True, of=("self",)).first()
    if receipt is None or receipt.push is None:
        return False
    payment = receipt.push.payment
    review_items.open_item(
        reason=ReviewReason.CODE_MISSING,
        detail=(
            f"Safaricom reported that the STK push of KES {receipt.amount:,} for {payment.reference} was paid, but its"
            " M-Pesa code has not arrived. Look for it in the M-Pesa statement."
        ),
        receipt_id=receipt.pk,
        push_id=receipt.push_id,
        payment_id=payment.pk,
        now=now,
    )
    return True


# --- Jobs -----------------------------------------------------------------------------------------


def rescue_stalled_jobs() -> int:
    """Put the jobs of dead workers back into the queue; return how many. procrastinate does not do it by itself."""
    with connection.cursor() as cursor:
        cursor.execute(STALLED_JOBS, [DEAD_AFTER])
        stalled = [row[0] for row in cursor.fetchall()]
    return _recover_each(stalled, _rescue, what="job of a dead worker")


def _rescue(job_id: int) -> None:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT procrastinate_retry_job_v2(%s, now(), NULL, NULL, NULL)", [job_id])
    except IntegrityError:  # another job with the same queueing lock is already queued
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM procrastinate_jobs WHERE id = %s AND status = 'doing'", [job_id])


def _recover_each(ids: list[int], recover: Callable[[int], bool | None], *, what: str) -> int:
    """Call `recover` for each id; return how many did not return False. Errors are logged, and the next run retries."""
    recovered = 0
    for each in ids:
        try:
            if recover(each) is not False:
                recovered += 1
                logger.warning("Recovered: %s (%s).", what, each)
        except Exception:
            logger.exception("Not recovered: %s (%s).", what, each)
    return recovered
