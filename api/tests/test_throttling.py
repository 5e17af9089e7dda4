"""Limits hold across threads and processes: the counter is one atomic statement."""

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
def test_forty_at_once_against_a_limit_of_seven_let_seven_through(state):
    if state != "new":
        resets_at = NOW + timedelta(seconds=60 if state == "running" else -1)
        Counter.objects.create(key="door", count=0 if state == "running" else 99, resets_at=resets_at)
    barrier = Barrier(THREADS)

    def knock(_):
        barrier.wait()
        try:
            throttling.count("door", LIMIT, 60, NOW)
            return True
        except TooMany:
            return False
        finally:
            connection.close()

    with ThreadPoolExecutor(THREADS) as threads:
        through = sum(threads.map(knock, range(THREADS)))

    assert through == LIMIT
    assert Counter.objects.get().count == THREADS


@pytest.mark.django_db
def test_one_too_many_is_told_when_to_come_again():
    throttling.count("door", 1, 60, NOW)

    with pytest.raises(TooMany) as refused:
        throttling.count("door", 1, 60, NOW + timedelta(seconds=18))

    assert refused.value.retry_after == 42


@pytest.mark.django_db
def test_a_new_window_begins_from_one():
    for _ in range(3):
        throttling.count("door", 3, 60, NOW)

    assert throttling.count("door", 3, 60, NOW + timedelta(seconds=60)) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Asha@Example.com", "asha@example.com"),
        ("0712345678", "254712345678"),
        ("0712 345 678", "+254 (712) 345-678"),
        ("asha", "a\u017fha"),  # PostgreSQL's upper() makes both ASHA in most locales
    ],
)
def test_a_hash_meets_its_like_however_it_is_typed(one, other):
    assert throttling.hashed(one) == throttling.hashed(other)


@pytest.mark.parametrize("text", ["asha@example.com", "254712345678"])
def test_a_hash_shows_nothing_of_what_it_stands_for(text):
    assert not {text, text[:6]} & {throttling.hashed(text), throttling.hashed(text)[:6]}
    assert throttling.hashed(text) != throttling.hashed(text + "0")
