"""Sealing the secrets of authenticator apps, so that a copy of the database alone logs nobody in.

AES-256-GCM under a key derived from SECRET_KEY. The owner's id is bound in: a row copied to somebody else opens
nothing. SECRET_KEY_FALLBACKS still open what they sealed.
"""

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.utils.crypto import salted_hmac

NONCE_BYTES = 12  # NIST SP 800-38D, section 8.2.2: random ones are good for 2**32 seals under one key


class SealBroken(Exception):
    """What was sealed cannot be opened: another SECRET_KEY, another owner, or changed bytes."""


def seal(secret: bytes, *, owner: int) -> str:
    """Return `secret` sealed for its owner: 64 characters for 20 bytes."""
    nonce = os.urandom(NONCE_BYTES)
    return urlsafe_b64encode(nonce + _cipher(settings.SECRET_KEY).encrypt(nonce, secret, _bound_to(owner))).decode()


def open_seal(sealed: str, *, owner: int) -> bytes:
    """Return what was sealed for this owner.

    :raises SealBroken: no key of ours opens it
    """
    raw = urlsafe_b64decode(sealed)
    for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        try:
            return _cipher(key).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _bound_to(owner))
        except InvalidTag:
            continue
    raise SealBroken


def _cipher(key: str) -> AESGCM:
    return AESGCM(salted_hmac("accounts.seals", "", secret=key, algorithm="sha256").digest())


def _bound_to(owner: int) -> bytes:
    return f"person {owner}".encode()
