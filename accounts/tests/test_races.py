"""Tabs that act at the same moment, with real threads on PostgreSQL."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from accounts.models import LoginSession
from accounts.services import sessions
from accounts.services.audit import Caller
from accounts.tests.factories import UserFactory
from api.authentication import SessionRevoked
from api.clock import now

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(*calls):
    """Make the calls in threads that start together; return what each returned or raised."""
    barrier = threading.Barrier(len(calls))

    def run(call):
        barrier.wait()
        try:
            return call()
        except Exception as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def logged_in():
    return sessions.open_session(user=UserFactory(), amr=["pwd"], remember=True, caller=Caller(), now=now())


def test_twenty_tabs_that_refresh_at_once_rotate_once_and_all_stay_in():
    token = logged_in().refresh

    answers = at_once(*[lambda: sessions.refresh(token=token, caller=Caller(), now=now())] * 20)

    assert sorted(answer.rotated for answer in answers) == [False] * 19 + [True]
    assert LoginSession.objects.get().generation == 1


def test_a_logout_during_a_refresh_wins():
    tokens = logged_in()

    refreshed, _ = at_once(
        lambda: sessions.refresh(token=tokens.refresh, caller=Caller(), now=now()),
        lambda: sessions.log_out(refresh_token=tokens.refresh, session=None, caller=Caller(), now=now()),
    )

    latest = tokens.refresh if isinstance(refreshed, Exception) else refreshed.refresh
    with pytest.raises(SessionRevoked):
        sessions.refresh(token=latest, caller=Caller(), now=now())
