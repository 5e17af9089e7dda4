"""The Idempotency-Key header: a request that is repeated because its answer was lost takes effect once."""

import hashlib
import json
import re

from api.errors import Conflict, Invalid

KEY = re.compile(r"\A[\x21-\x7e]{1,64}\Z")  # \A and \Z, because a form's RegexField searches


class InvalidIdempotencyKey(Invalid):
    """The key is not 1 to 64 printable ASCII characters."""

    code, message = "invalid_idempotency_key", "Idempotency-Key must be 1 to 64 printable characters."


class IdempotencyKeyReused(Conflict):
    """The same caller used this key before, for a request with another path or body."""

    code, message = "idempotency_key_reused", "This Idempotency-Key was used for another request."


def idempotency(request) -> dict[str, str | None]:
    """Return the request's key (None without one) and its fingerprint, as keyword arguments for a service.

    :raises InvalidIdempotencyKey: the key is not 1 to 64 printable ASCII characters
    """
    key = request.headers.get("Idempotency-Key")
    if key is not None and not KEY.fullmatch(key):
        raise InvalidIdempotencyKey
    return {"idempotency_key": key, "body_fingerprint": fingerprint(request.path, request.data)}


def fingerprint(path: str, body: dict) -> str:
    """Return the SHA-256 of a request's path and parsed body, in hexadecimal. The order of names does not matter."""
    return hashlib.sha256(json.dumps([path, body], sort_keys=True).encode()).hexdigest()
