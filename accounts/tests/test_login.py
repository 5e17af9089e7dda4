"""A login session from registration to logout."""

from datetime import timedelta

import pytest

from accounts.models import CustomUser, LoginSession, OneTimeCode
from accounts.tests.factories import PASSWORD, UserFactory
from accounts.tests.worker import code_in_mail
from api import clock
from api.clock import now
from api.tests.clients import browser, logged_in_as

pytestmark = pytest.mark.django_db

AUTH = "/api/v1/auth/"


def test_newcomer_registers_verifies_and_logs_in():
    client = browser()
    person = {"first_name": "Asha", "last_name": "Otieno", "email": "asha@example.com", "password": PASSWORD}

    registered = client.post(f"{AUTH}register/", {**person, "consent": True})
    verified = client.post(
        f"{AUTH}verify/", {"identifier": "asha@example.com", "password": PASSWORD, "code": code_in_mail()}
    )
    logged_in = client.post(f"{AUTH}login/", {"identifier": "asha@example.com", "password": PASSWORD})

    assert [registered.status_code, verified.status_code, logged_in.status_code] == [202, 200, 200]
    assert logged_in.json()["data"]["user"]["email"] == "asha@example.com"
    assert client.get(f"{AUTH}me/").json()["data"]["first_name"] == "Asha"


def test_login_sets_both_cookies_and_no_token_in_the_body():
    client = browser()
    user = UserFactory()

    answer = client.post(f"{AUTH}login/", {"identifier": user.phone_number, "password": PASSWORD})

    access, refresh = answer.cookies["Authentication"], answer.cookies["Refresh"]
    assert (access["httponly"], access["secure"], access["samesite"], access["path"]) == (True, True, "Lax", "/")
    assert (refresh["httponly"], refresh["secure"], refresh["samesite"]) == (True, True, "Strict")
    assert refresh["path"] == "/api/v1/auth/"
    assert access.value not in answer.content.decode()
    assert refresh.value not in answer.content.decode()


@pytest.mark.parametrize("days", [1, -1, 400])
def test_login_works_when_the_club_clock_was_moved(settings, tmp_path, days):
    settings.CLUB_CLOCK_FILE = tmp_path / "club-clock"
    before, user = logged_in_as(UserFactory()), UserFactory()
    clock.move(timedelta(days=days))
    client = browser()

    logged_in = client.post(f"{AUTH}login/", {"identifier": user.username, "password": PASSWORD})

    assert (logged_in.status_code, client.get(f"{AUTH}me/").status_code) == (200, 200)
    assert client.post(f"{AUTH}refresh/").status_code == 200
    assert client.get(f"{AUTH}me/").status_code == 200
    assert before.get(f"{AUTH}me/").status_code == 401


@pytest.mark.parametrize("change", [{"identifier": "nobody"}, {"password": "wrong-password"}])
def test_unknown_identifier_and_wrong_password_get_the_same_answer(change):
    user = UserFactory()

    answer = browser().post(f"{AUTH}login/", {"identifier": user.username, "password": PASSWORD, **change})

    body = answer.json()
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == 'Cookie realm="api"'
    assert body == {
        "status": "error",
        "error": {
            "type": "authentication_error",
            "code": "invalid_credentials",
            "message": (
                "The username or password is wrong, or you have not confirmed your phone number or e-mail address yet."
            ),
            "details": [],
        },
        "meta": {"request_id": answer["X-Request-ID"]},
    }


def test_inactive_account_gets_the_answer_of_a_wrong_password():
    user = UserFactory(is_active=False)

    answer = browser().post(f"{AUTH}login/", {"identifier": user.username, "password": PASSWORD})

    assert answer.json()["error"]["code"] == "invalid_credentials"


def test_login_without_the_csrf_token_is_refused():
    client = browser()
    client.csrf_token = None

    answer = client.post(f"{AUTH}login/", {"identifier": "x", "password": "y"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "csrf_failed")


def test_refresh_rotates_the_session():
    client = logged_in_as(UserFactory())
    first = client.cookies["Refresh"].value

    answer = client.post(f"{AUTH}refresh/")

    assert answer.status_code == 200
    assert set(answer.json()["data"]) == {"access_expires_at", "refresh_expires_at", "csrf_token"}
    assert client.cookies["Refresh"].value != first
    assert LoginSession.objects.get().generation == 1


def test_repeated_logout_succeeds():
    client = logged_in_as(UserFactory())
    access = client.cookies["Authentication"].value

    answers = [client.post(f"{AUTH}logout/"), client.post(f"{AUTH}logout/")]
    client.cookies["Authentication"] = access
    after = client.get(f"{AUTH}me/")

    assert [answer.status_code for answer in answers] == [200, 200]
    assert (after.status_code, after.json()["error"]["code"]) == (401, "session_revoked")


def test_protected_call_without_cookies_is_401():
    answer = browser().get(f"{AUTH}me/")

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_authenticated")
    assert answer["WWW-Authenticate"] == 'Cookie realm="api"'


def test_deactivation_applies_on_the_next_request():
    user = UserFactory()
    client = logged_in_as(user)

    CustomUser.objects.filter(pk=user.pk).update(is_active=False)

    assert client.get(f"{AUTH}me/").status_code == 401


def test_login_sets_last_login_and_refresh_does_not():
    user = UserFactory()
    before = now()
    client = logged_in_as(user)
    user.refresh_from_db()
    logged_in_at = user.last_login

    client.post(f"{AUTH}refresh/")

    user.refresh_from_db()
    assert before <= logged_in_at == user.last_login


def test_me_costs_one_query(django_assert_num_queries):
    client = logged_in_as(UserFactory())

    with django_assert_num_queries(1):  # the session with its user
        client.get(f"{AUTH}me/")


def test_password_change_ends_other_sessions_only():
    user = UserFactory()
    other, client = logged_in_as(user), logged_in_as(user)

    answer = client.post(f"{AUTH}password/change/", {"current": PASSWORD, "new": "another-long-password"})

    assert answer.status_code == 200
    assert client.get(f"{AUTH}me/").status_code == 200
    assert other.get(f"{AUTH}me/").status_code == 401


def test_reset_code_sets_a_password_without_login():
    user = UserFactory(phone_number=None)
    client = browser()

    asked = client.post(f"{AUTH}password/reset/", {"identifier": user.email})
    done = client.post(
        f"{AUTH}password/reset/confirm/",
        {"identifier": user.email, "code": code_in_mail(), "password": "another-long-password"},
    )

    assert [asked.status_code, done.status_code] == [202, 200]
    assert "Authentication" not in done.cookies
    user.refresh_from_db()
    assert user.check_password("another-long-password")


def test_code_ends_after_five_wrong_attempts():
    user = UserFactory(email_verified_at=None, phone_verified_at=None, phone_number=None)
    client = browser()
    client.post(f"{AUTH}verify/resend/", {"identifier": user.email})
    code = code_in_mail()
    wrong = "000000" if code != "000000" else "111111"

    for _ in range(5):
        client.post(f"{AUTH}verify/", {"identifier": user.email, "password": PASSWORD, "code": wrong})
    answer = client.post(f"{AUTH}verify/", {"identifier": user.email, "password": PASSWORD, "code": code})

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_or_expired_key")


def test_code_expires_after_ten_minutes():
    user = UserFactory(email_verified_at=None, phone_verified_at=None, phone_number=None)
    browser().post(f"{AUTH}verify/resend/", {"identifier": user.email})
    proof = {"identifier": user.email, "password": PASSWORD, "code": code_in_mail()}
    sent = OneTimeCode.objects.get()
    assert sent.expires_at - sent.created_at == timedelta(minutes=10)

    OneTimeCode.objects.update(expires_at=now())
    answer = browser().post(f"{AUTH}verify/", proof)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_or_expired_key")
