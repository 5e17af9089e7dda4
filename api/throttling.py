"""Rate limits, counted in PostgreSQL: one row for each key, changed by one atomic statement, for all processes."""

import hashlib
import hmac
from contextlib import suppress
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection

from api import phones
from api.errors import TooMany
from api.models import Counter

COUNT = """
INSERT INTO api_counter AS stored (key, count, resets_at) VALUES (%(key)s, 1, %(resets_at)s)
ON CONFLICT (key) DO UPDATE SET
    count = CASE WHEN stored.resets_at <= %(now)s THEN 1 ELSE stored.count + 1 END,
    resets_at = CASE WHEN stored.resets_at <= %(now)s THEN excluded.resets_at ELSE stored.resets_at END
RETURNING count, resets_at
"""


def hashed(identifier: str) -> str:
    """Return a keyed hash of a phone number, e-mail address or username, for use in a key.

    All ways to write one identifier have the same hash, so that they share one limit.
    """
    with suppress(phones.InvalidPhoneNumber):
        identifier = phones.normalise(identifier)
    # PostgreSQL compares identifiers in upper case, where more letters are equal than in lower case.
    identifier = identifier.upper().lower()
    return hmac.new(settings.SECRET_KEY.encode(), identifier.encode(), hashlib.sha256).hexdigest()[:32]


def count(key: str, limit: int, window_seconds: int, now: datetime, *, refusal: type[TooMany] = TooMany) -> int:
    """Count one more attempt for `key`, and return the number of attempts in the current window.

    This runs in the caller's transaction. Call it outside a transaction that may be rolled back.

    :raises TooMany: (or `refusal`) there were more than `limit` attempts. It has the seconds until the window ends
    """
    with connection.cursor() as cursor:
        cursor.execute(COUNT, {"key": key, "now": now, "resets_at": now + timedelta(seconds=window_seconds)})
        counted, resets_at = cursor.fetchone()
    if counted > limit:
        wait = max(1, int((resets_at - now).total_seconds()))
        raise refusal(retry_after=wait, is_first=counted == limit + 1)
    return counted


def reset(key: str) -> None:
    """Delete the counter of `key`, for example after a correct password."""
    Counter.objects.filter(key=key).delete()


def delete_expired(now: datetime) -> int:
    """Delete the counters whose window has ended, and return their number. It may run twice."""
    return Counter.objects.filter(resets_at__lt=now).delete()[0]
