"""The tokens in the addresses that Safaricom calls back: secret, and known as ours without asking the database.

While the database is away nobody can look a token up, and what comes to a guessed address must not fill the spool.
"""

import base64
import hashlib
import secrets

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac

DRAWN = 32  # characters of 6 random bits each; the proof follows them


def draw() -> str:
    """Return a new token. It stands in one address and nowhere else; only its hash is kept."""
    drawn = secrets.token_urlsafe(DRAWN * 6 // 8)
    return drawn + _proof(drawn, settings.SECRET_KEY)


def hash_of(token: str) -> str:
    """Return what is stored of a token: its SHA-256, hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


def is_ours(token: str) -> bool:
    """Say whether we drew a token, with the present key or one of the last. It may be used up, or long ago."""
    drawn, proof = token[:DRAWN], token[DRAWN:]
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return any(constant_time_compare(proof, _proof(drawn, key)) for key in keys)


def _proof(drawn: str, key: str) -> str:
    digest = salted_hmac("payments.daraja.callback_tokens", drawn, secret=key, algorithm="sha256").digest()
    return base64.urlsafe_b64encode(digest[:15]).decode()  # 120 bits: 20 characters, unpadded
