"""Jobs of accounts: send codes and notices, and delete old rows every night."""

from procrastinate import RetryStrategy
from procrastinate.contrib.django import app

from accounts.services import cleanup, code_requests, notices, one_time_codes, two_factor
from api import retries
from api.clock import now


@app.task(name="accounts.send_code", retry=RetryStrategy(max_attempts=4, exponential_wait=3))
def send_code(code_id: int) -> None:
    """Send a one-time code by SMS or e-mail."""
    one_time_codes.deliver(code_id=code_id, now=now())


@app.task(name="accounts.answer_code_request", retry=RetryStrategy(max_attempts=4, exponential_wait=3))
def answer_code_request(code_id: int) -> None:
    """Look up who asked for a code, and send it."""
    code_requests.answer(code_id=code_id, now=now())


@app.task(name="accounts.send_login_code", retry=RetryStrategy(max_attempts=4, exponential_wait=3))
def send_login_code(pending_id: str) -> None:
    """Send the code of a guarded login by SMS or e-mail."""
    two_factor.deliver_login_code(pending_id=pending_id, now=now())


@app.task(name="accounts.send_notice", retry=RetryStrategy(max_attempts=8, exponential_wait=3))
def send_notice(notice_id: int) -> None:
    """Send a notice about a user's access by SMS or e-mail."""
    notices.deliver(notice_id=notice_id, now=now())


@app.periodic(cron="10 3 * * *")
@app.task(name="accounts.forget_old", retry=retries.NIGHTLY, queueing_lock="accounts.forget_old")
def delete_old(timestamp: int) -> None:
    """Delete old login sessions, codes, notices and counters."""
    cleanup.delete_old(now=now())


@app.periodic(cron="15 3 * * *")
@app.task(name="accounts.forget_unproved", retry=retries.NIGHTLY, queueing_lock="accounts.forget_unproved")
def delete_unverified(timestamp: int) -> None:
    """Delete registrations that were not verified in time."""
    cleanup.delete_unverified(now=now())
