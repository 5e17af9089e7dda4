"""Encryption of authenticator secrets, so that a copy of the database is not enough to log in.

AES-256-GCM with a key derived from SECRET_KEY. The owner's id is authenticated with the secret: a row copied to another
user cannot be decrypted. Secrets encrypted under SECRET_KEY_FALLBACKS can still be decrypted.
"""

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.utils.crypto import salted_hmac

NONCE_BYTES = 12  # NIST SP 800-38D, section 8.2.2: random nonces suffice for 2**32 messages under one key


class SealBroken(Exception):
    """The secret cannot be decrypted: another SECRET_KEY, another owner, or changed bytes."""


def seal(secret: bytes, *, owner: int) -> str:
    """Return `secret` encrypted for its owner: 64 characters for 20 bytes."""
    nonce = os.urandom(NONCE_BYTES)
    encrypted = _cipher(settings.SECRET_KEY).encrypt(nonce, secret, _associated_data(owner))
    return urlsafe_b64encode(nonce + encrypted).decode()


def open_seal(sealed: str, *, owner: int) -> bytes:
    """Decrypt what `seal` returned for this owner.

    :raises SealBroken: no key of SECRET_KEY and SECRET_KEY_FALLBACKS decrypts it
    """
    raw = urlsafe_b64decode(sealed)
    for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        try:
            return _cipher(key).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _associated_data(owner))
        except InvalidTag:
            continue
    raise SealBroken


def _cipher(key: str) -> AESGCM:
    return AESGCM(salted_hmac("accounts.seals", "", secret=key, algorithm="sha256").digest())


def _associated_data(owner: int) -> bytes:
    return f"person {owner}".encode()
