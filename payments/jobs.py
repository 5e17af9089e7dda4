"""The background jobs of payments. They carry ids only, may run twice, and leave all decisions to services."""

import random
import time

from procrastinate import JobContext, RetryDecision, builtin_tasks
from procrastinate.contrib.django import app
from procrastinate.jobs import Job
from procrastinate.retry import BaseRetryStrategy

from api import retries
from api.clock import now
from payments import recovery
from payments.callbacks import inbox
from payments.daraja.errors import Busy
from payments.desk import code_checks
from payments.pushes import sending
from payments.services import cancellation, listeners

KEEP_FINISHED = 7 * 24  # hours
KEEP_FAILED = 90 * 24  # hours
MAX_RUN = 10.0  # seconds that one job applies callbacks; a stopping worker waits for its jobs


class RetryForever(BaseRetryStrategy):
    """Retry without end, with growing delays of up to ten minutes; after Busy, when Safaricom says so.

    A payment job never gives up silently. Its subject ends it: by success, by refusal or by a review item.
    """

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision:
        """Return when to run the job again."""
        seconds = exception.retry_after if isinstance(exception, Busy) else min(600, 5 * 2 ** min(job.attempts, 10))
        spread = random.uniform(1.0, 1.25)  # noqa: S311 - jitter, so that many jobs do not come back at once
        return RetryDecision(retry_in={"seconds": round(seconds * spread)})


RETRY_FOREVER = RetryForever()


class ListenersFailed(Exception):
    """A listener failed again. Its review item stays open, and the job is retried."""


# --- Jobs about one row ---------------------------------------------------------------------------


@app.task(name="payments.send_push", retry=RETRY_FOREVER)
def send_push(push_id: int) -> None:
    """Send an STK push."""
    sending.send(push_id=push_id, now=now())


@app.task(name="payments.confirm_push", retry=RETRY_FOREVER)
def confirm_push(push_id: int) -> None:
    """Ask Safaricom to confirm a success that only a callback reported."""
    recovery.confirm_success(push_id=push_id, now=now())


@app.task(name="payments.ask_about_code", retry=RETRY_FOREVER)
def ask_about_code(check_id: int) -> None:
    """Ask Safaricom for the status of an M-Pesa code."""
    code_checks.send(check_id=check_id, now=now())


@app.task(name="payments.retry_listeners", retry=RETRY_FOREVER)
def retry_listeners(payment_id: int) -> None:
    """Send a payment's signals again; the job is retried while a listener fails."""
    if not listeners.retry_listeners(payment_id=payment_id, now=now()):
        raise ListenersFailed(f"payment {payment_id}")


@app.task(name=inbox.APPLY_JOB, retry=retries.OFTEN, queueing_lock=inbox.APPLY_JOB, lock=inbox.APPLY_JOB, priority=5)
def apply_left() -> None:
    """Apply the callbacks that the web server had no room to apply.

    Only one such job runs at a time, so that many callbacks do not stop pushes from being sent. If its worker dies and
    the lock stays, keep_callbacks_moving applies the callbacks.
    """
    deadline = time.monotonic() + MAX_RUN
    while inbox.apply_waiting(now=now(), limit=100):
        if time.monotonic() > deadline:
            inbox.defer_apply_job()
            break


# --- Periodic jobs --------------------------------------------------------------------------------
# Each is tried again when it fails. A queueing lock keeps at most one run in the queue. None has a lock: the worker
# that holds it may be dead.


@app.periodic(cron="* * * * * */10")
@app.task(
    name="payments.rescue_stalled_jobs", retry=retries.OFTEN, queueing_lock="payments.rescue_stalled_jobs", priority=10
)
def rescue_stalled_jobs(timestamp: int) -> None:
    """Put the jobs of dead workers back into the queue."""
    recovery.rescue_stalled_jobs()


@app.periodic(cron="* * * * * */10")
@app.task(
    name="payments.keep_callbacks_moving",
    retry=retries.OFTEN,
    queueing_lock="payments.keep_callbacks_moving",
    priority=5,
)
def keep_callbacks_moving(timestamp: int) -> None:
    """Move spooled callbacks into the callback inbox, then apply the new ones."""
    inbox.drain_spool(now=now())
    inbox.apply_waiting(now=now())


@app.periodic(cron="* * * * * */10")
@app.task(name="payments.check_pushes", retry=retries.OFTEN, queueing_lock="payments.check_pushes")
def check_pushes(timestamp: int) -> None:
    """Query the open pushes that are due."""
    recovery.query_due_pushes(now=now())


@app.periodic(cron="* * * * * */15")
@app.task(name="payments.find_lost_pushes", retry=retries.OFTEN, queueing_lock="payments.find_lost_pushes")
def find_lost_pushes(timestamp: int) -> None:
    """Recover pushes that have lost their job or their worker."""
    recovery.requeue_lost_pushes(now=now())
    recovery.mark_lost_calls_unknown(now=now())


@app.periodic(cron="* * * * *")
@app.task(name="payments.expire_due", retry=retries.OFTEN, queueing_lock="payments.expire_due")
def expire_due(timestamp: int) -> None:
    """Expire the payments that were not paid in time."""
    cancellation.expire_due(now=now())


# From 9:25 to 20:25 in Nairobi (cron is in UTC): it sends messages to members.
@app.periodic(cron="25 6-17 * * *")
@app.task(name="payments.expire_orders", retry=retries.OFTEN, queueing_lock="payments.expire_orders")
def expire_orders(timestamp: int) -> None:
    """End the orders that got no money for ORDER_LIFETIME_DAYS."""
    cancellation.expire_orders(now=now())


@app.periodic(cron="* * * * *")
@app.task(name="payments.check_claims", retry=retries.OFTEN, queueing_lock="payments.check_claims")
def check_claims(timestamp: int) -> None:
    """End code checks that got no answer, then check the reported codes that have no evidence yet."""
    code_checks.end_unanswered(now=now())
    code_checks.check_reported_codes(now=now())
    code_checks.check_held_codes(now=now())


@app.periodic(cron="*/10 * * * *")
@app.task(name="payments.retry_listeners_due", retry=retries.OFTEN, queueing_lock="payments.retry_listeners_due")
def retry_listeners_due(timestamp: int) -> None:
    """Retry failed listeners, in case their own job is gone."""
    recovery.retry_failed_listeners(now=now())


@app.periodic(cron="5 * * * *")
@app.task(name="payments.report_missing_codes", retry=retries.NIGHTLY, queueing_lock="payments.report_missing_codes")
def report_missing_codes(timestamp: int) -> None:
    """Show staff the successes by query whose M-Pesa code does not arrive."""
    recovery.report_missing_codes(now=now())


@app.periodic(cron="20 3 * * *")
@app.task(name="payments.purge_bodies", retry=retries.NIGHTLY, queueing_lock="payments.purge_bodies")
def purge_bodies(timestamp: int) -> None:
    """Empty old raw callback bodies."""
    recovery.purge_bodies(now=now())


@app.periodic(cron="40 3 * * *")
@app.task(
    name="payments.remove_old_jobs", retry=retries.NIGHTLY, queueing_lock="payments.remove_old_jobs", pass_context=True
)
async def remove_old_jobs(context: JobContext, timestamp: int) -> None:
    """Delete finished jobs after a week, and failed ones after three months."""
    await builtin_tasks.remove_old_jobs(context, max_hours=KEEP_FINISHED)
    await builtin_tasks.remove_old_jobs(
        context, max_hours=KEEP_FAILED, remove_failed=True, remove_cancelled=True, remove_aborted=True
    )
