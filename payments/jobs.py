"""The jobs of payments. They take ids only, may run twice, and leave the deciding to the services they call."""

import random
import time

from procrastinate import JobContext, RetryDecision, builtin_tasks
from procrastinate.contrib.django import app
from procrastinate.jobs import Job
from procrastinate.retry import BaseRetryStrategy

from api.clock import now
from payments import recovery
from payments.callbacks import inbox
from payments.daraja.errors import Busy
from payments.desk import code_checks
from payments.pushes import sending
from payments.services import cancellation, listeners

KEEP_FINISHED = 7 * 24  # hours
KEEP_FAILED = 90 * 24  # hours
AT_MOST = 10.0  # seconds one job applies callbacks; a worker that is asked to stop waits for its jobs


class Patient(BaseRetryStrategy):
    """Try again for ever, ever more slowly up to ten minutes; after Busy, when Safaricom asks us to.

    A payment job never ends in silence: what it works on ends it, by success, refusal or a review item.
    """

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision:
        """Return when to try again."""
        seconds = exception.retry_after if isinstance(exception, Busy) else min(600, 5 * 2 ** min(job.attempts, 10))
        spread = random.uniform(1.0, 1.25)  # noqa: S311 - so that many do not come back at once
        return RetryDecision(retry_in={"seconds": round(seconds * spread)})


PATIENT = Patient()


# --- One thing each -------------------------------------------------------------------------------


@app.task(name="payments.send_push", retry=PATIENT)
def send_push(push_id: int) -> None:
    """Send a prompt."""
    sending.send(push_id=push_id, now=now())


@app.task(name="payments.confirm_push", retry=PATIENT)
def confirm_push(push_id: int) -> None:
    """Ask whether Safaricom knows of a success that its callback told."""
    recovery.confirm_success(push_id=push_id, now=now())


@app.task(name="payments.ask_about_code", retry=PATIENT)
def ask_about_code(check_id: int) -> None:
    """Ask Safaricom what became of an M-Pesa code."""
    code_checks.ask(check_id=check_id, now=now())


@app.task(name="payments.retry_listeners", retry=PATIENT)
def retry_listeners(payment_id: int) -> None:
    """Tell the listeners of a payment again; comes back while one of them fails."""
    if not listeners.retry_listeners(payment_id=payment_id, now=now()):
        raise ListenersFailed(f"payment {payment_id}")


@app.task(name=inbox.APPLY_LEFT, queueing_lock=inbox.APPLY_LEFT, lock=inbox.APPLY_LEFT, priority=5)
def apply_left() -> None:
    """Apply what came while the web server had no room for it.

    One runs at a time, so that a crowd of callbacks does not keep prompts from being sent. Should its worker die and
    the lock stay, what waits is applied by keep_callbacks_moving.
    """
    deadline = time.monotonic() + AT_MOST
    while inbox.apply_waiting(now=now(), limit=100):
        if time.monotonic() > deadline:
            inbox.call_worker()
            break


class ListenersFailed(Exception):
    """A listener still fails; its review item is open, and the job comes again."""


# --- From time to time ----------------------------------------------------------------------------
# A queueing lock keeps one run waiting at most. None has a lock: the holder of one may be dead.


@app.periodic(cron="* * * * * */10")
@app.task(name="payments.rescue_stalled_jobs", queueing_lock="payments.rescue_stalled_jobs", priority=10)
def rescue_stalled_jobs(timestamp: int) -> None:
    """Free the jobs of dead workers."""
    recovery.rescue_stalled_jobs()


@app.periodic(cron="* * * * * */10")
@app.task(name="payments.keep_callbacks_moving", queueing_lock="payments.keep_callbacks_moving", priority=5)
def keep_callbacks_moving(timestamp: int) -> None:
    """Drain the spool, then apply what waits in the inbox."""
    inbox.drain_spool(now=now())
    inbox.apply_waiting(now=now())


@app.periodic(cron="* * * * * */10")
@app.task(name="payments.check_pushes", queueing_lock="payments.check_pushes")
def check_pushes(timestamp: int) -> None:
    """Ask about the open prompts whose time has come."""
    recovery.check_due_pushes(now=now())


@app.periodic(cron="* * * * * */15")
@app.task(name="payments.find_lost_pushes", queueing_lock="payments.find_lost_pushes")
def find_lost_pushes(timestamp: int) -> None:
    """Find pushes whose job or worker is gone."""
    recovery.requeue_lost_pushes(now=now())
    recovery.mark_lost_calls_unknown(now=now())


@app.periodic(cron="* * * * *")
@app.task(name="payments.expire_due", queueing_lock="payments.expire_due")
def expire_due(timestamp: int) -> None:
    """Show as expired what waited too long."""
    cancellation.expire_due(now=now())


@app.periodic(cron="* * * * *")
@app.task(name="payments.check_claims", queueing_lock="payments.check_claims")
def check_claims(timestamp: int) -> None:
    """Stop waiting for answers that do not come, then look into the claims that nothing has answered."""
    code_checks.end_silent(now=now())
    code_checks.check_claims(now=now())


@app.periodic(cron="*/10 * * * *")
@app.task(name="payments.retry_listeners_due", queueing_lock="payments.retry_listeners_due")
def retry_listeners_due(timestamp: int) -> None:
    """Retry what listeners failed to hear, should its own job be gone."""
    recovery.retry_listeners_due(now=now())


@app.periodic(cron="20 3 * * *")
@app.task(name="payments.purge_bodies", queueing_lock="payments.purge_bodies")
def purge_bodies(timestamp: int) -> None:
    """Empty old raw bodies."""
    recovery.purge_bodies(now=now())


@app.periodic(cron="40 3 * * *")
@app.task(name="payments.remove_old_jobs", queueing_lock="payments.remove_old_jobs", pass_context=True)
async def remove_old_jobs(context: JobContext, timestamp: int) -> None:
    """Remove finished jobs after a week, and failed ones after three months."""
    await builtin_tasks.remove_old_jobs(context, max_hours=KEEP_FINISHED)
    await builtin_tasks.remove_old_jobs(
        context, max_hours=KEEP_FAILED, remove_failed=True, remove_cancelled=True, remove_aborted=True
    )
