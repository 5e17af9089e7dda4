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


def test_a_hash_meets_its_like_in_any_case_and_shows_nothing_of_it():
    assert throttling.hashed("Asha@Example.com") == throttling.hashed("asha@example.com")
    assert "asha" not in throttling.hashed("asha@example.com")
