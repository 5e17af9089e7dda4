"""Messages sent by the worker."""

from procrastinate import RetryStrategy
from procrastinate.contrib.django import app

from accounts.services import cleanup, notices, one_time_codes
from api.clock import now


@app.task(name="accounts.send_code", retry=RetryStrategy(max_attempts=4, exponential_wait=3))
def send_code(code_id: int) -> None:
    """Send one short code by SMS or e-mail."""
    one_time_codes.deliver(code_id=code_id, now=now())


@app.task(name="accounts.send_notice", retry=RetryStrategy(max_attempts=8, exponential_wait=3))
def send_notice(notice_id: int) -> None:
    """Tell somebody by SMS or e-mail what happened to their access."""
    notices.deliver(notice_id=notice_id, now=now())


@app.periodic(cron="10 3 * * *")
@app.task(name="accounts.forget_old", queueing_lock="accounts.forget_old")
def forget_old(timestamp: int) -> None:
    """Delete what access left behind long ago."""
    cleanup.forget_old(now=now())


@app.periodic(cron="15 3 * * *")
@app.task(name="accounts.forget_unproved", queueing_lock="accounts.forget_unproved")
def forget_unproved(timestamp: int) -> None:
    """Delete registrations that nobody proved in time."""
    cleanup.forget_unproved(now=now())
