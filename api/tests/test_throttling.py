"""Rate limits: counters in PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from django.db import connection
from django.utils import timezone

from api import throttling
from api.errors import TooMany
from api.models import Counter

pytestmark = pytest.mark.server

NOW = timezone.now()
THREADS, LIMIT = 40, 7


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("state", ["new", "running", "over"])
def test_limit_holds_for_concurrent_requests(state):
    if state != "new":
        resets_at = NOW + timedelta(seconds=60 if state == "running" else -1)
        Counter.objects.create(key="login", count=0 if state == "running" else 99, resets_at=resets_at)
    barrier = Barrier(THREADS)

    def attempt(_):
        barrier.wait()
        try:
            throttling.count("login", LIMIT, 60, NOW)
            return True
        except TooMany:
            return False
        finally:
            connection.close()

    with ThreadPoolExecutor(THREADS) as threads:
        allowed = sum(threads.map(attempt, range(THREADS)))

    assert allowed == LIMIT
    assert Counter.objects.get().count == THREADS


@pytest.mark.django_db
def test_refusal_has_the_seconds_to_wait():
    throttling.count("login", 1, 60, NOW)

    with pytest.raises(TooMany) as refused:
        throttling.count("login", 1, 60, NOW + timedelta(seconds=18))

    assert refused.value.retry_after == 42


@pytest.mark.django_db
def test_new_window_starts_at_one():
    for _ in range(3):
        throttling.count("login", 3, 60, NOW)

    assert throttling.count("login", 3, 60, NOW + timedelta(seconds=60)) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Asha@Example.com", "asha@example.com"),
        ("0712345678", "254712345678"),
        ("0712 345 678", "+254 (712) 345-678"),
        ("asha", "a\u017fha"),  # PostgreSQL's upper() makes both ASHA in most locales
    ],
)
def test_spellings_of_one_identifier_have_one_hash(one, other):
    assert throttling.hashed(one) == throttling.hashed(other)


@pytest.mark.parametrize("text", ["asha@example.com", "254712345678"])
def test_hash_does_not_show_the_identifier(text):
    assert not {text, text[:6]} & {throttling.hashed(text), throttling.hashed(text)[:6]}
    assert throttling.hashed(text) != throttling.hashed(text + "0")
