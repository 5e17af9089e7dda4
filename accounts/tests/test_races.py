"""Tabs that act at the same moment, with real threads on PostgreSQL."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from accounts.models import Authenticator, LoginSession
from accounts.services import enrolment, factors, sessions
from accounts.services.audit import Caller
from accounts.tests.authenticators import authenticator_of, code_of
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


def test_one_pending_log_in_becomes_one_session_however_many_right_codes_come_at_once():
    user = UserFactory()
    authenticator_of(user)
    codes = factors.replace_recovery_codes(user)
    token = factors.challenge(user=user, remember=True, now=now()).token

    answers = at_once(
        *[
            lambda code=code: sessions.finish_log_in(
                token=token, method=factors.RECOVERY, code=code, caller=Caller(), now=now()
            )
            for code in codes
        ]
    )

    assert LoginSession.objects.count() == 1
    assert [type(answer).__name__ for answer in answers].count("MfaExpired") == 9


def test_one_code_finishes_one_of_two_log_ins_at_once():
    user = UserFactory()
    device = authenticator_of(user)
    tokens = [factors.challenge(user=user, remember=True, now=now()).token for _ in range(4)]
    code = code_of(device)

    at_once(
        *[
            lambda token=token: sessions.finish_log_in(
                token=token, method=factors.TOTP, code=code, caller=Caller(), now=now()
            )
            for token in tokens
        ]
    )

    assert LoginSession.objects.count() == 1


def test_beginning_twice_at_once_leaves_one_app():
    user = UserFactory()

    at_once(*[lambda: enrolment.begin(user=user, now=now())] * 4)

    assert Authenticator.objects.count() == 1
