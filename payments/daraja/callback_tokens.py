"""The secret tokens in callback URLs. They can be recognised as ours without the database.

While the database is not available no token can be looked up, and callbacks to guessed URLs must not fill the spool.
"""

import base64
import hashlib
import secrets

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac

RANDOM_LENGTH = 32  # characters of 6 random bits each; the signature follows them


def generate() -> str:
    """Return a new token for one callback URL. Only its hash is stored."""
    random_part = secrets.token_urlsafe(RANDOM_LENGTH * 6 // 8)
    return random_part + _signature(random_part, settings.SECRET_KEY)


def hash_of(token: str) -> str:
    """Return the stored form of a token: its SHA-256 in hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


def is_ours(token: str) -> bool:
    """Return whether a token was generated with our present or an earlier SECRET_KEY, however long ago."""
    random_part, signature = token[:RANDOM_LENGTH], token[RANDOM_LENGTH:]
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return any(constant_time_compare(signature, _signature(random_part, key)) for key in keys)


def _signature(random_part: str, key: str) -> str:
    digest = salted_hmac("payments.daraja.callback_tokens", random_part, secret=key, algorithm="sha256").digest()
    return base64.urlsafe_b64encode(digest[:15]).decode()  # 120 bits: 20 characters, unpadded
