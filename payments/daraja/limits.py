"""The rate limit and the circuit breaker of our calls to Safaricom, shared by all processes through one row.

Safaricom publishes no numbers. Over its rate it answers "Spike Arrest Violation" or "Quota Violation" (Daraja portal,
error codes). Each change is one statement, so two processes can never use the same place in the rate.
"""

from django.conf import settings
from django.db import connection

from payments.daraja.errors import Busy
from payments.daraja.identity import app_key

BURST = 2  # the calls of this many seconds may be made at once
TRIP_AT = 5  # failures in a row
REST = 30  # seconds without calls after that, then one trial call
MOST_AHEAD = 900  # seconds; a time in the row that is further ahead was written before the clock was set back

INSERT = """
INSERT INTO payments_darajagate (app, next_at, failures, open_until)
VALUES (%s, clock_timestamp(), 0, clock_timestamp()) ON CONFLICT DO NOTHING
"""
# The generic cell rate algorithm: `next_at` is ahead of the clock by the part of the burst that is used.
ACQUIRE = """
UPDATE payments_darajagate
SET next_at = CASE WHEN next_at > clock_timestamp() + make_interval(secs => %(most_ahead)s)
        THEN clock_timestamp() ELSE greatest(next_at, clock_timestamp()) END + make_interval(secs => %(interval)s),
    open_until = CASE WHEN failures >= %(trip_at)s
        THEN clock_timestamp() + make_interval(secs => %(rest)s) ELSE open_until END
WHERE app = %(app)s
    AND next_at NOT BETWEEN clock_timestamp() + make_interval(secs => %(burst)s)
        AND clock_timestamp() + make_interval(secs => %(most_ahead)s)
    AND (failures < %(trip_at)s OR open_until NOT BETWEEN clock_timestamp()
        AND clock_timestamp() + make_interval(secs => %(most_ahead)s))
"""
READ_WAIT = """
SELECT extract(epoch FROM greatest(
    next_at - make_interval(secs => %(burst)s),
    CASE WHEN failures >= %(trip_at)s THEN open_until ELSE next_at - make_interval(secs => %(burst)s) END
) - clock_timestamp())
FROM payments_darajagate WHERE app = %(app)s
"""
ADD_FAILURE = """
UPDATE payments_darajagate
SET failures = failures + 1,
    open_until = CASE WHEN failures + 1 >= %(trip_at)s
        THEN clock_timestamp() + make_interval(secs => %(rest)s) ELSE open_until END
WHERE app = %(app)s
"""
BACK_OFF = """
UPDATE payments_darajagate
SET next_at = greatest(next_at, clock_timestamp() + make_interval(secs => %(burst)s + %(seconds)s))
WHERE app = %(app)s
"""


def acquire(*, urgent: bool = True) -> None:
    """Acquire a place in the rate for one call. Calls that are not urgent leave half of the burst to the urgent ones.

    :raises Busy: the rate is used up or the breaker is open; the call may not be made
    """
    numbers = _numbers(BURST if urgent else BURST / 2)
    with connection.cursor() as cursor:
        while True:
            cursor.execute(ACQUIRE, numbers)
            if cursor.rowcount:
                return
            cursor.execute(READ_WAIT, numbers)
            if found := cursor.fetchone():
                break
            cursor.execute(INSERT, [numbers["app"]])  # the first call of this app; several may be at once
    seconds = float(found[0])
    raise Busy("Our own limit of calls to Safaricom is reached.", retry_after=max(1.0, seconds))


def record_success() -> None:
    """Record that Safaricom answered, which closes the breaker. Nothing is written when there was no failure."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE payments_darajagate SET failures = 0 WHERE app = %s AND failures > 0", [app_key()])


def record_failure() -> None:
    """Record that Safaricom was not reached or its answer could not be read. Five in a row stop all calls for 30 s."""
    with connection.cursor() as cursor:
        cursor.execute(ADD_FAILURE, _numbers(BURST))


def back_off(seconds: float) -> None:
    """Stop all calls for some seconds, because Safaricom answered that we call too often."""
    with connection.cursor() as cursor:
        cursor.execute(BACK_OFF, {**_numbers(BURST), "seconds": seconds})


def _numbers(burst: float) -> dict:
    rate = settings.DARAJA_CALLS_PER_SECOND
    return {
        "app": app_key(),
        "interval": 1 / rate,
        "burst": burst - 1 / rate,
        "trip_at": TRIP_AT,
        "rest": REST,
        "most_ahead": MOST_AHEAD,
    }
