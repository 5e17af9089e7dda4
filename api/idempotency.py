"""The Idempotency-Key header: a request sent twice, because its answer was lost, is done once."""

import hashlib
import json
import re

from api.errors import Conflict, Invalid

KEY = re.compile(r"\A[\x21-\x7e]{1,64}\Z")  # whole: a form's field searches


class InvalidIdempotencyKey(Invalid):
    """A key is 1 to 64 printable characters."""

    code, message = "invalid_idempotency_key", "Idempotency-Key must be 1 to 64 printable characters."


class IdempotencyKeyReused(Conflict):
    """A key stands for one request: the same caller sent it before with another body."""

    code, message = "idempotency_key_reused", "This Idempotency-Key was used for another request."


def idempotency(request) -> dict[str, str | None]:
    """Return what services take of a request: its key (None without one), and what tells another request apart.

    The fingerprint is the SHA-256 of the address and the parsed body, whatever the order of its names.

    :raises InvalidIdempotencyKey: the key is too long, or not printable ASCII
    """
    key = request.headers.get("Idempotency-Key")
    if key is not None and not KEY.fullmatch(key):
        raise InvalidIdempotencyKey
    return {"idempotency_key": key, "body_fingerprint": fingerprint(request.path, request.data)}


def fingerprint(address: str, body: dict) -> str:
    """Return the SHA-256 of what a request asked, in hexadecimal."""
    return hashlib.sha256(json.dumps([address, body], sort_keys=True).encode()).hexdigest()
