"""The rate of our calls to Safaricom and the breaker that stops them, shared by all processes through one row.

Safaricom publishes no numbers; over its rate it answers "Spike Arrest Violation" or "Quota Violation" (Daraja portal,
error codes). Each verb is one statement, so no two processes can pass on the strength of the same reading.
"""

from django.conf import settings
from django.db import connection

from payments.daraja.errors import Busy
from payments.daraja.identity import app_key

BURST = 2  # seconds' worth of calls that may come at once
TRIP_AT = 5  # failures in a row
REST = 30  # seconds without calls after that, then one call to try

MAKE = """
INSERT INTO payments_darajagate (app, next_at, failures, open_until)
VALUES (%s, clock_timestamp(), 0, clock_timestamp()) ON CONFLICT DO NOTHING
"""
# The generic cell rate algorithm: `next_at` runs ahead of the clock by what the burst has used.
ENTER = """
UPDATE payments_darajagate
SET next_at = greatest(next_at, clock_timestamp()) + make_interval(secs => %(interval)s),
    open_until = CASE WHEN failures >= %(trip_at)s
        THEN clock_timestamp() + make_interval(secs => %(rest)s) ELSE open_until END
WHERE app = %(app)s
    AND next_at <= clock_timestamp() + make_interval(secs => %(burst)s)
    AND (failures < %(trip_at)s OR open_until <= clock_timestamp())
"""
WAIT = """
SELECT extract(epoch FROM greatest(
    next_at - make_interval(secs => %(burst)s),
    CASE WHEN failures >= %(trip_at)s THEN open_until ELSE next_at - make_interval(secs => %(burst)s) END
) - clock_timestamp())
FROM payments_darajagate WHERE app = %(app)s
"""
FAILED = """
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


def enter(*, urgent: bool = True) -> None:
    """Take one call's place in the rate. Calls that can wait leave half of the burst to the urgent ones.

    :raises Busy: the rate is used up or the breaker is open; nothing was called
    """
    numbers = _numbers(BURST if urgent else BURST / 2)
    with connection.cursor() as cursor:
        while True:
            cursor.execute(ENTER, numbers)
            if cursor.rowcount:
                return
            cursor.execute(WAIT, numbers)
            if found := cursor.fetchone():
                break
            cursor.execute(MAKE, [numbers["app"]])  # the first call ever, perhaps several at once
    seconds = float(found[0])
    raise Busy("Our own limit holds this call back.", retry_after=max(1.0, seconds))


def note_success() -> None:
    """Note that Safaricom answered: the breaker closes. Writes only when there is something to forget."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE payments_darajagate SET failures = 0 WHERE app = %s AND failures > 0", [app_key()])


def note_failure() -> None:
    """Note that Safaricom could not be reached or made no sense; too many in a row stop all calls for a while."""
    with connection.cursor() as cursor:
        cursor.execute(FAILED, _numbers(BURST))


def back_off(seconds: float) -> None:
    """Hold all calls back for so long: Safaricom said that we call too often."""
    with connection.cursor() as cursor:
        cursor.execute(BACK_OFF, {**_numbers(BURST), "seconds": seconds})


def _numbers(burst: float) -> dict:
    rate = settings.DARAJA_CALLS_PER_SECOND
    return {"app": app_key(), "interval": 1 / rate, "burst": burst - 1 / rate, "trip_at": TRIP_AT, "rest": REST}
