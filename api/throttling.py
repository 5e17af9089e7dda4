"""Rate limits, counted in PostgreSQL: one row for each key, changed by one atomic statement, for all processes."""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection

from api import identifiers
from api.errors import TooMany
from api.models import Counter

COUNT = """
INSERT INTO api_counter AS stored (key, count, resets_at) SELECT unnest(%(keys)s::text[]), 1, %(resets_at)s
ON CONFLICT (key) DO UPDATE SET
    count = CASE WHEN stored.resets_at <= %(now)s THEN 1 ELSE stored.count + 1 END,
    resets_at = CASE WHEN stored.resets_at <= %(now)s THEN excluded.resets_at ELSE stored.resets_at END
RETURNING key, count, resets_at
"""
# The rows are locked in the order of `count_all`, so that concurrent calls cannot deadlock.
GIVE_BACK = """
WITH locked AS (SELECT key FROM api_counter WHERE key = ANY(%(keys)s) ORDER BY key COLLATE "C" FOR UPDATE)
UPDATE api_counter AS stored SET count = greatest(stored.count - 1, 0) FROM locked WHERE stored.key = locked.key
"""
RESET = """
WITH locked AS (SELECT key FROM api_counter WHERE key = ANY(%(keys)s) ORDER BY key COLLATE "C" FOR UPDATE)
DELETE FROM api_counter AS stored USING locked WHERE stored.key = locked.key
"""


@dataclass(frozen=True, slots=True)
class Counted:
    """The state of a counter after one more attempt."""

    attempts: int
    limit: int
    seconds_left: int

    @property
    def is_over(self) -> bool:
        """Whether there were more attempts than the limit allows."""
        return self.attempts > self.limit

    def require(self, refusal: type[TooMany] = TooMany) -> None:
        """:raises TooMany: (or `refusal`) there were too many attempts. It has the seconds until the window ends"""
        if self.is_over:
            raise refusal(retry_after=self.seconds_left, is_first=self.attempts == self.limit + 1)


def hashed(identifier: str) -> str:
    """Return a keyed hash of a phone number, e-mail address or username, for use in a key.

    All ways to write one identifier have the same hash, so that they share one limit.
    """
    folded = identifiers.fold(identifier)
    return hmac.new(settings.SECRET_KEY.encode(), folded.encode(), hashlib.sha256).hexdigest()[:32]


def count_all(limits: dict[str, int], window_seconds: int, now: datetime) -> dict[str, Counted]:
    """Count one more attempt for each key of `limits`, by one statement, and return the state of each counter.

    This runs in the caller's transaction. Call it outside a transaction that may be rolled back.
    """
    values: dict[str, Any] = {"keys": sorted(limits), "now": now, "resets_at": now + timedelta(seconds=window_seconds)}
    with connection.cursor() as cursor:  # sorted, so that concurrent calls lock the rows in one order
        cursor.execute(COUNT, values)
        return {
            key: Counted(attempts, limits[key], max(1, int((resets_at - now).total_seconds())))
            for key, attempts, resets_at in cursor.fetchall()
        }


def count(key: str, limit: int, window_seconds: int, now: datetime, *, refusal: type[TooMany] = TooMany) -> int:
    """Count one more attempt for `key`, and return the number of attempts in the current window.

    This runs in the caller's transaction. Call it outside a transaction that may be rolled back.

    :raises TooMany: (or `refusal`) there were more than `limit` attempts. It has the seconds until the window ends
    """
    counted = count_all({key: limit}, window_seconds, now)[key]
    counted.require(refusal)
    return counted.attempts


def give_back(*keys: str) -> None:
    """Take back one counted attempt of each key, because it was no guess: its caller proved who they are."""
    with connection.cursor() as cursor:
        cursor.execute(GIVE_BACK, {"keys": list(keys)})


def reset(*keys: str) -> None:
    """Delete the counters of these keys, for example after a correct password."""
    with connection.cursor() as cursor:
        cursor.execute(RESET, {"keys": list(keys)})


def delete_expired(now: datetime) -> int:
    """Delete the counters whose window has ended, and return their number. It may run twice."""
    return Counter.objects.filter(resets_at__lt=now).delete()[0]
