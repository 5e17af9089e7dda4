"""The password hasher limits concurrent hashes, so that a flood of logins cannot use up the memory."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from argon2.exceptions import HashingError
from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher, make_password

from accounts import hashers
from accounts.models import CustomUser, SecurityEvent
from accounts.tests.factories import PASSWORD, UserFactory
from api.tests.clients import browser

ARGON2ID = ["accounts.hashers.Argon2idHasher"]


@pytest.fixture
def hasher():
    return hashers.Argon2idHasher()


@pytest.fixture
def two_slots(monkeypatch):
    monkeypatch.setattr(hashers, "slots", threading.BoundedSemaphore(2))
    monkeypatch.setattr(hashers, "WAIT", 0.05)


@pytest.fixture
def all_slots_taken(two_slots):
    for _ in range(2):
        hashers.slots.acquire()


@pytest.mark.parametrize("work", ["encode", "verify"])
def test_concurrent_hashes_are_limited_to_the_slots(hasher, two_slots, monkeypatch, work):
    monkeypatch.setattr(hashers, "WAIT", 10)
    both_in, at_work, most = threading.Barrier(2), [], []

    def slowly(*args):
        at_work.append(1)
        most.append(len(at_work))
        both_in.wait(timeout=10)  # two hashes must run at the same time to pass
        at_work.pop()

    monkeypatch.setattr(Argon2PasswordHasher, work, slowly)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: getattr(hasher, work)("password", "salt"), range(8)))

    assert max(most) == 2
    assert len(most) == 8


def test_hash_without_a_free_slot_is_refused(hasher, all_slots_taken):
    with pytest.raises(hashers.TooBusyToHash):
        hasher.encode("password", "saltsalt")


def test_failed_hash_releases_its_slot(hasher, two_slots):
    for _ in range(3):
        with pytest.raises(HashingError):
            hasher.encode("password", "short")


def test_number_of_slots_comes_from_the_setting():
    taken = 0
    while hashers.slots.acquire(blocking=False):
        taken += 1
    for _ in range(taken):
        hashers.slots.release()

    assert taken == settings.PASSWORD_HASHES_AT_ONCE


def test_hasher_verifies_its_own_hashes(hasher):
    encoded = hasher.encode("password", "saltsalt")

    assert (hasher.verify("password", encoded), hasher.verify("another", encoded)) == (True, False)


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["known", "unknown"])
def test_login_without_a_free_slot_is_503_for_any_identifier(settings, two_slots, name):
    settings.PASSWORD_HASHERS = ARGON2ID
    UserFactory(username="known", password=None)
    CustomUser.objects.update(password=make_password(PASSWORD))
    client = browser()
    client.raise_request_exception = False
    for _ in range(2):
        hashers.slots.acquire()

    answer = client.post("/api/v1/auth/login/", {"identifier": name, "password": PASSWORD})

    assert (answer.status_code, answer["Retry-After"]) == (503, "2")
    assert answer.json()["error"] == {
        "type": "server_error",
        "code": "busy",
        "message": "Many people are logging in right now. Please try again in a moment.",
        "details": [],
    }
    assert not SecurityEvent.objects.exists()
