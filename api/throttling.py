"""Limits that hold across processes: one atomic statement on one row per key."""

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
INSERT INTO api_counter AS kept (key, count, resets_at) VALUES (%(key)s, 1, %(resets_at)s)
ON CONFLICT (key) DO UPDATE SET
    count = CASE WHEN kept.resets_at <= %(now)s THEN 1 ELSE kept.count + 1 END,
    resets_at = CASE WHEN kept.resets_at <= %(now)s THEN excluded.resets_at ELSE kept.resets_at END
RETURNING count, resets_at
"""


def hashed(identifier: str) -> str:
    """Return a keyed hash of a phone, e-mail or name: equal ones meet however they are typed, none can be read back.

    A limit on a number would not hold if each way to write it had a limit of its own.
    """
    with suppress(phones.InvalidPhoneNumber):
        identifier = phones.normalise(identifier)
    # PostgreSQL compares in upper case, where more letters meet than in lower case.
    identifier = identifier.upper().lower()
    return hmac.new(settings.SECRET_KEY.encode(), identifier.encode(), hashlib.sha256).hexdigest()[:32]


def count(key: str, limit: int, window_seconds: int, now: datetime, *, refusal: type[TooMany] = TooMany) -> int:
    """Count one more try for `key` and return how many there were in the running window.

    Runs in the caller's transaction: count outside of one that may be rolled back.

    :raises TooMany: or `refusal`: there were more than `limit`; says in how many seconds the window ends
    """
    with connection.cursor() as cursor:
        cursor.execute(COUNT, {"key": key, "now": now, "resets_at": now + timedelta(seconds=window_seconds)})
        counted, resets_at = cursor.fetchone()
    if counted > limit:
        wait = max(1, int((resets_at - now).total_seconds()))
        raise refusal(retry_after=wait, is_first=counted == limit + 1)
    return counted


def reset(key: str) -> None:
    """Begin the count of `key` anew: whoever it is has shown that they may."""
    Counter.objects.filter(key=key).delete()


def delete_expired(now: datetime) -> int:
    """Delete the counters whose window is over; return how many. Twice is harmless."""
    return Counter.objects.filter(resets_at__lt=now).delete()[0]
