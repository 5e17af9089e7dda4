"""How passwords are hashed, and how many at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher

from api.errors import Unavailable

WAIT = 1.0  # seconds: a dozen hashes
turns = BoundedSemaphore(settings.PASSWORD_HASHES_AT_ONCE)


class TooBusyToHash(Unavailable):
    """More people log in at this moment than memory is set aside for."""

    code, message = "busy", "Many people are logging in right now. Please try again in a moment."


class Argon2idHasher(Argon2PasswordHasher):
    """Argon2id at 19 MiB, two passes, one lane: the OWASP Password Storage Cheat Sheet's first choice.

    A process makes PASSWORD_HASHES_AT_ONCE of them at a time, so that a flood of log-ins cannot take the memory.

    :raises TooBusyToHash: no turn came within a second
    """

    memory_cost = 19 * 1024
    time_cost = 2
    parallelism = 1

    def encode(self, password, salt):
        with _turn():
            return super().encode(password, salt)

    def verify(self, password, encoded):
        with _turn():
            return super().verify(password, encoded)


@contextmanager
def _turn() -> Iterator[None]:
    if not turns.acquire(timeout=WAIT):
        raise TooBusyToHash
    try:
        yield
    finally:
        turns.release()
