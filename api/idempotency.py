"""The Idempotency-Key header: a request that is repeated because its answer was lost takes effect once.

A service does this in its transaction:

1. It locks the caller's row, so that a second request with the same key waits for the first.
2. It calls `find_results`. If there are results, they are the answer.
3. It does the work and calls `store_results`.

So the key and the work are stored together, or neither. Without the lock, the unique constraint of the table refuses
the second request, and its work is rolled back.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from django.db.models import Model

from api.errors import Conflict, Invalid
from api.models import IdempotencyRecord

KEY = re.compile(r"\A[\x21-\x7e]{1,64}\Z")  # \A and \Z, because a form's RegexField searches


class InvalidIdempotencyKey(Invalid):
    """The key is not 1 to 64 printable ASCII characters."""

    code, message = "invalid_idempotency_key", "Idempotency-Key must be 1 to 64 printable characters."


class IdempotencyKeyReused(Conflict):
    """The same caller used this key before, for a request with another path or body."""

    code, message = "idempotency_key_reused", "This Idempotency-Key was used for another request."


class IdempotencyKey(NamedTuple):
    """The key of a request with its fingerprint. A repeat has both; another request has another fingerprint."""

    key: str
    fingerprint: str


def read_key(request) -> IdempotencyKey | None:
    """Return the request's key and fingerprint, or None without a key.

    :raises InvalidIdempotencyKey: the key is not 1 to 64 printable ASCII characters
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not KEY.fullmatch(key):
        raise InvalidIdempotencyKey
    return IdempotencyKey(key, fingerprint(request.path, request.data))


def fingerprint(path: str, body: dict) -> str:
    """Return the SHA-256 of a request's path and parsed body, in hexadecimal. The order of names does not matter."""
    return hashlib.sha256(json.dumps([path, body], sort_keys=True).encode()).hexdigest()


def find_results(idempotency_key: IdempotencyKey | None, *, caller_id: int) -> list[int]:
    """Return the ids that the caller's first request with this key had as results; none for a new key.

    :raises IdempotencyKeyReused: that request had another path or body
    """
    if idempotency_key is None:
        return []
    earlier = IdempotencyRecord.objects.filter(caller=caller_id, key=idempotency_key.key).first()
    if earlier is None:
        return []
    if earlier.fingerprint != idempotency_key.fingerprint:
        raise IdempotencyKeyReused
    return earlier.results


def store_results(
    idempotency_key: IdempotencyKey | None, rows: Iterable[Model], *, caller_id: int, now: datetime
) -> None:
    """Store the ids of the rows that are the result, at least one, with the key. Without a key, store nothing."""
    if idempotency_key is not None:
        IdempotencyRecord.objects.create(
            caller_id=caller_id,
            key=idempotency_key.key,
            fingerprint=idempotency_key.fingerprint,
            results=[row.pk for row in rows],
            created_at=now,
        )
