"""Concurrent requests to accounts, with real threads on PostgreSQL."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest
from django.core import mail
from django.db import connection, transaction
from django.test import Client

from accounts.forms import PersonForm
from accounts.models import (
    Authenticator,
    CodePurpose,
    CustomUser,
    LoginSession,
    OneTimeCode,
    PendingLogin,
    SecurityEvent,
)
from accounts.services import (
    code_requests,
    contact_details,
    login_sessions,
    one_time_codes,
    passwords,
    registration,
    two_factor,
    two_factor_setup,
)
from accounts.services.audit import Caller
from accounts.tests.authenticators import authenticator_of, code_of
from accounts.tests.factories import PASSWORD, UserFactory
from accounts.tests.test_admin import form
from accounts.tests.worker import look_up
from api.authentication import SessionRevoked
from api.clock import now
from api.tests.clients import BrowserClient, logged_in_as

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.server]

REFRESH, LOGOUT, ME = "/api/v1/auth/refresh/", "/api/v1/auth/logout/", "/api/v1/auth/me/"


@pytest.fixture(params=[False, True], ids=["services' transactions", "ATOMIC_REQUESTS"])
def atomic_requests(request):
    """Run the test twice: without ATOMIC_REQUESTS, as in the product, and with it."""
    connection.settings_dict["ATOMIC_REQUESTS"] = request.param
    yield
    connection.settings_dict["ATOMIC_REQUESTS"] = False


def at_once(*calls):
    """Run the calls in threads that start together; return the result or exception of each."""
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
    return login_sessions.open_session(user=UserFactory(), amr=["pwd"], remember=True, caller=Caller(), now=now())


def test_twenty_concurrent_refreshes_rotate_once():
    token = logged_in().refresh

    answers = at_once(*[lambda: login_sessions.refresh(token=token, caller=Caller(), now=now())] * 20)

    assert sorted(answer.rotated for answer in answers) == [False] * 19 + [True]
    assert LoginSession.objects.get().generation == 1


def tabs_of(client, count):
    """Return clients with the cookies and the CSRF token of one browser."""
    tabs = [BrowserClient() for _ in range(count)]
    for tab in tabs:
        tab.cookies.load({name: cookie.value for name, cookie in client.cookies.items()})
        tab.csrf_token = client.csrf_token
    return tabs


def test_twenty_concurrent_refresh_requests_rotate_once(atomic_requests):
    tabs = tabs_of(logged_in_as(UserFactory()), 20)

    answers = at_once(*[lambda tab=tab: tab.post(REFRESH) for tab in tabs])

    assert [answer.status_code for answer in answers] == [200] * 20
    assert LoginSession.objects.get().generation == 1
    assert SecurityEvent.objects.filter(event="refresh").count() == 1
    assert [tab.get(ME).status_code for tab in tabs] == [200] * 20
    # Only the tab that rotated the session changed the CSRF token.
    assert len({answer.cookies["csrftoken"].value for answer in answers if "csrftoken" in answer.cookies}) == 1


def test_concurrent_reuse_after_the_grace_revokes_once(atomic_requests):
    client = logged_in_as(UserFactory())
    thieves = tabs_of(client, 20)
    client.post(REFRESH)
    LoginSession.objects.update(rotated_at=now() - timedelta(seconds=11))

    answers = at_once(*[lambda tab=tab: tab.post(REFRESH) for tab in thieves])

    errors = {answer.json()["error"]["code"] for answer in answers}
    assert errors <= {"refresh_reused", "session_revoked", "csrf_failed"}
    assert "refresh_reused" in errors
    assert SecurityEvent.objects.filter(event="refresh_reused").count() == 1
    assert LoginSession.objects.get().revoke_reason == "refresh_reused"
    assert client.get(ME).status_code == 401
    assert client.post(REFRESH).json()["error"]["code"] == "session_revoked"


def test_logout_during_concurrent_refreshes_wins(atomic_requests):
    client = logged_in_as(UserFactory())
    leaving, *tabs = tabs_of(client, 8)

    at_once(lambda: leaving.post(LOGOUT), *[lambda tab=tab: tab.post(REFRESH) for tab in tabs])

    assert LoginSession.objects.get().revoked_at is not None
    assert [tab.get(ME).status_code for tab in (client, *tabs)] == [401] * 8


@pytest.mark.parametrize("has_app", [False, True])
def test_login_with_a_password_changed_meanwhile_opens_no_session(monkeypatch, has_app):
    user = UserFactory()
    if has_app:
        authenticator_of(user)
    session = login_sessions.open_session(user=user, amr=["pwd"], remember=True, caller=Caller(), now=now()).session
    changing = []

    def meanwhile(person):
        # The login has checked the old password and is about to open a session.
        changing.append(threading.Thread(target=change_password, args=[session]))
        changing[0].start()
        changing[0].join(timeout=0.5)
        return has_app

    monkeypatch.setattr(two_factor, "has_second_factor", meanwhile)
    login_sessions.log_in(identifier=user.username, password=PASSWORD, remember=True, caller=Caller(), now=now())
    changing[0].join()

    assert LoginSession.objects.filter(revoked_at=None).count() == 1  # the one of the password change
    assert not PendingLogin.objects.filter(used_at=None).exists()


@pytest.mark.parametrize("change", [{"is_active": False}, {"password": "another"}], ids=["deactivated", "changed"])
def test_account_changed_during_the_password_check_gets_no_session(monkeypatch, change):
    user = UserFactory()
    others = while_hashing(monkeypatch, "check_password", lambda: CustomUser.objects.update(**change))

    with pytest.raises(login_sessions.InvalidCredentials):
        login_sessions.log_in(identifier=user.username, password=PASSWORD, remember=True, caller=Caller(), now=now())

    others[0].join()
    assert not LoginSession.objects.exists()


def test_logout_waits_for_a_locked_session():
    session = logged_in().session
    ended = threading.Thread(
        target=lambda: (
            login_sessions.log_out(refresh_token=None, session=session, caller=Caller(), now=now()),
            connection.close(),
        )
    )

    with transaction.atomic():
        login_sessions.lock_live(session)
        ended.start()
        ended.join(timeout=0.3)
        assert ended.is_alive()
    ended.join()

    assert LoginSession.objects.get().revoked_at is not None


def change_password(session):
    passwords.change(session=session, current=PASSWORD, new="another-long-password", caller=Caller(), now=now())
    connection.close()


def test_logout_during_a_refresh_wins():
    tokens = logged_in()

    refreshed, _ = at_once(
        lambda: login_sessions.refresh(token=tokens.refresh, caller=Caller(), now=now()),
        lambda: login_sessions.log_out(refresh_token=tokens.refresh, session=None, caller=Caller(), now=now()),
    )

    latest = tokens.refresh if isinstance(refreshed, Exception) else refreshed.refresh
    with pytest.raises(SessionRevoked):
        login_sessions.refresh(token=latest, caller=Caller(), now=now())


def test_session_revoked_after_reading_is_not_rotated():
    session = logged_in().session
    login_sessions.log_out(refresh_token=None, session=session, caller=Caller(), now=now())

    assert not login_sessions.rotate(session, now=now())
    assert LoginSession.objects.get().generation == 0


def test_refresh_overtaken_by_a_logout_is_refused(monkeypatch):
    tokens, rotate = logged_in(), login_sessions.rotate

    def overtaken(session, *, now):
        login_sessions.log_out(refresh_token=None, session=session, caller=Caller(), now=now)
        return rotate(session, now=now)

    monkeypatch.setattr(login_sessions, "rotate", overtaken)

    with pytest.raises(SessionRevoked):
        login_sessions.refresh(token=tokens.refresh, caller=Caller(), now=now())


def test_concurrent_use_of_a_code_succeeds_once(monkeypatch):
    user, hashed = UserFactory(), one_time_codes.hash_of("123456")
    one_time_codes.request(user=user, purpose=CodePurpose.RESET, contact=user.phone_number, now=now())
    OneTimeCode.objects.update(code_hash=hashed)
    # Long enough for both threads to read the code before one of them uses it.
    monkeypatch.setattr(one_time_codes, "hash_of", lambda code: time.sleep(0.3) or hashed)

    answers = at_once(
        *[lambda: one_time_codes.redeem(user=user, purpose=CodePurpose.RESET, code="123456", now=now())] * 2
    )

    assert sorted(type(answer).__name__ for answer in answers) == ["InvalidOrExpiredKey", "OneTimeCode"]


def test_concurrent_correct_codes_open_one_session():
    user = UserFactory()
    authenticator_of(user)
    recovery_codes = two_factor.replace_recovery_codes(user)
    token = two_factor.create_challenge(user=user, remember=True, now=now()).token

    answers = at_once(
        *[
            lambda code=code: login_sessions.finish_login(
                token=token, method=two_factor.RECOVERY, code=code, caller=Caller(), now=now()
            )
            for code in recovery_codes
        ]
    )

    assert LoginSession.objects.count() == 1
    assert [type(answer).__name__ for answer in answers].count("MfaExpired") == 9


def test_code_finishes_one_of_two_concurrent_logins():
    user = UserFactory()
    device = authenticator_of(user)
    tokens = [two_factor.create_challenge(user=user, remember=True, now=now()).token for _ in range(4)]
    code = code_of(device)

    at_once(
        *[
            lambda token=token: login_sessions.finish_login(
                token=token, method=two_factor.TOTP, code=code, caller=Caller(), now=now()
            )
            for token in tokens
        ]
    )

    assert LoginSession.objects.count() == 1


def test_concurrent_setups_leave_one_app():
    user = UserFactory()

    at_once(*[lambda: two_factor_setup.begin(user=user, now=now())] * 4)

    assert Authenticator.objects.count() == 1


def while_hashing(monkeypatch, method, meanwhile, of=CustomUser):
    """After the next call of `method`, run `meanwhile` in another thread, as a concurrent request would."""
    original = getattr(of, method)
    others = []

    def hash_and_wait(*args):
        answer = original(*args)
        if not others:
            others.append(threading.Thread(target=lambda: (meanwhile(), connection.close())))
            others[0].start()
            others[0].join(timeout=0.5)
        return answer

    monkeypatch.setattr(of, method, hash_and_wait)
    return others


def test_reset_wins_over_a_concurrent_password_change(monkeypatch):
    owner = UserFactory(phone_number=None)
    session = login_sessions.open_session(user=owner, amr=["pwd"], remember=True, caller=Caller(), now=now()).session
    code = reset_code_of(owner)
    others = while_hashing(
        monkeypatch,
        "check_password",
        lambda: passwords.confirm_reset(
            identifier=owner.username, code=code, password="the-owners-new-one", caller=Caller(), now=now()
        ),
    )

    with pytest.raises(passwords.ReauthRequired):
        change_password(session)
    others[0].join()

    owner.refresh_from_db()
    assert owner.check_password("the-owners-new-one")
    assert not LoginSession.objects.filter(revoked_at=None).exists()


def reset_code_of(person):
    """Ask for a reset code, deliver it and return it."""
    passwords.request_reset(identifier=person.username, caller=Caller(), now=now())
    return delivered()


def delivered():
    code_requests.answer(code_id=OneTimeCode.objects.latest("id").pk, now=now())
    return mail.outbox[-1].body.split()[0]


def register(password):
    address = {"email": "asha@example.com", "phone_number": None}
    registration.register(
        **address, password=password, caller=Caller(), now=now(), first_name="Amina", last_name="Bakari"
    )
    look_up()


def verify(code):
    registration.verify(identifier="asha@example.com", password=PASSWORD, code=code, caller=Caller(), now=now())


@pytest.mark.parametrize("change", [{"password": "another"}, {"email": "right@example.com"}, {"role": "Receptionist"}])
def test_staff_change_during_verification_refuses_the_code(monkeypatch, change):
    register(PASSWORD)
    register(PASSWORD)  # again, so that the password is stored with the code
    code = delivered()
    others = CustomUser.objects.filter(email="asha@example.com")
    while_hashing(monkeypatch, "check_password", lambda: others.update(**change), of=registration)

    with pytest.raises(one_time_codes.InvalidOrExpiredKey):
        verify(code)

    assert not CustomUser.objects.get().is_verified


@pytest.mark.parametrize("act", ["password", "address"])
def test_logout_all_waits_for_a_change_and_ends_its_session(monkeypatch, act):
    user, held, hold = UserFactory(), threading.Event(), login_sessions.lock_live
    opened = [
        login_sessions.open_session(user=user, amr=["pwd"], remember=True, caller=Caller(), now=now()).session
        for _ in range(3)
    ]
    one_time_codes.request(user=user, purpose=CodePurpose.PHONE, contact="254799999999", now=now())
    OneTimeCode.objects.update(code_hash=one_time_codes.hash_of("123456"))

    def hold_long(session):
        hold(session)
        held.set()
        time.sleep(0.3)

    def change():
        if act == "password":
            return passwords.change(
                session=opened[2], current=PASSWORD, new="another-long-password", caller=Caller(), now=now()
            )
        return contact_details.confirm_change(
            session=opened[2], purpose=CodePurpose.PHONE, code="123456", caller=Caller(), now=now()
        )

    def log_out_everywhere():
        held.wait(5)
        return login_sessions.revoke_all(user=user, reason="logout_all", caller=Caller(), now=now())

    monkeypatch.setattr(login_sessions, "lock_live", hold_long)
    _, ended = at_once(change, log_out_everywhere)

    assert ended == 1
    assert not LoginSession.objects.filter(revoked_at=None).exists()


def waits_shortly(barrier):
    """Wait shortly for the other thread; it may be blocked by a lock."""
    with suppress(threading.BrokenBarrierError):
        barrier.wait(timeout=0.5)


def test_two_users_can_verify_each_others_contacts_concurrently(monkeypatch):
    """Each has the other's number, unverified: staff mixed them up."""
    unproved = {"phone_verified_at": None}
    first = UserFactory(email="asha@example.com", phone_number="254711111111", **unproved)
    second = UserFactory(email="baraka@example.com", phone_number="254722222222", **unproved)
    opened = [
        login_sessions.open_session(user=person, amr=["pwd"], remember=True, caller=Caller(), now=now()).session
        for person in (first, second)
    ]
    for person, number in ((first, second.phone_number), (second, first.phone_number)):
        one_time_codes.request(user=person, purpose=CodePurpose.PHONE, contact=number, now=now())
    OneTimeCode.objects.update(code_hash=one_time_codes.hash_of("123456"))
    both_locked = threading.Barrier(2)
    monkeypatch.setattr(login_sessions, "lock_live", lambda session: waits_shortly(both_locked))

    outcomes = at_once(
        *[
            lambda session=session: contact_details.confirm_change(
                session=session, purpose=CodePurpose.PHONE, code="123456", caller=Caller(), now=now()
            )
            for session in opened
        ]
    )

    first.refresh_from_db()
    second.refresh_from_db()
    assert [type(outcome) for outcome in outcomes] == [CustomUser, CustomUser]
    assert {first.phone_number, second.phone_number} == {"254711111111", "254722222222"}


def test_member_number_taken_by_a_concurrent_request_is_drawn_again(monkeypatch):
    taken, drawn = threading.Event(), []
    draw = CustomUser.objects.next_member_number

    def draw_and_wait():
        drawn.append(draw())
        taken.set()
        inserted.wait(5)
        return drawn[-1]

    inserted = threading.Event()

    def insert_first():
        taken.wait(5)
        with transaction.atomic():
            CustomUser.objects.create_user("somebody", None, None, member_number=drawn[0])
            inserted.set()
            time.sleep(0.3)

    monkeypatch.setattr(CustomUser.objects, "next_member_number", draw_and_wait)
    person, _ = at_once(lambda: CustomUser.objects.create_member(first_name="Asha", last_name="Otieno"), insert_first)

    assert len(drawn) == 2
    assert person.member_number == drawn[1] != drawn[0]


def test_change_during_the_save_of_a_persons_page_is_not_lost(monkeypatch):
    owner = UserFactory(role="Admin", is_staff=True, is_superuser=True)
    person = UserFactory()
    client = Client()
    client.force_login(owner)
    others = while_hashing(
        monkeypatch,
        "clean_username",
        lambda: CustomUser.objects.filter(pk=person.pk).update(phone_number="254799999999"),
        of=PersonForm,
    )

    answer = client.post(
        f"/admin/accounts/customuser/{person.pk}/change/", form(person, phone_number="254722222222"), secure=True
    )
    others[0].join()

    person.refresh_from_db()
    assert (answer.status_code, person.phone_number) == (302, "254799999999")  # the later change wins
    assert SecurityEvent.objects.get(event="person_changed").detail == {"changed": ["phone_number"]}
