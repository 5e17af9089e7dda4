"""The password hasher: Argon2id, with a limit on concurrent hashes in a process."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher

from api.errors import Unavailable

WAIT = 1.0  # seconds: a dozen hashes
slots = BoundedSemaphore(settings.PASSWORD_HASHES_AT_ONCE)


class TooBusyToHash(Unavailable):
    """More concurrent logins than the memory set aside for hashing allows."""

    code, message = "busy", "Many people are logging in right now. Please try again in a moment."


class Argon2idHasher(Argon2PasswordHasher):
    """Argon2id with 19 MiB, two passes and one lane: the first choice of OWASP's Password Storage Cheat Sheet.

    A process computes at most PASSWORD_HASHES_AT_ONCE hashes at a time, so that a flood of logins cannot use up the
    memory.

    :raises TooBusyToHash: no slot became free within a second
    """

    memory_cost = 19 * 1024
    time_cost = 2
    parallelism = 1

    def encode(self, password, salt):
        with _slot():
            return super().encode(password, salt)

    def verify(self, password, encoded):
        with _slot():
            return super().verify(password, encoded)


@contextmanager
def _slot() -> Iterator[None]:
    if not slots.acquire(timeout=WAIT):
        raise TooBusyToHash
    try:
        yield
    finally:
        slots.release()
