"""The CSRF token: every unsafe call needs it, and each login or logout rotates it."""

import logging

import pytest

from accounts.authentication import AdminSessionAuthentication
from accounts.tests.authenticators import AUTH, asked_for_a_code, authenticator_of, code_of
from accounts.tests.factories import PASSWORD, UserFactory
from api.authentication import CookieJWTAuthentication
from api.tests.clients import BrowserClient, browser, logged_in_as
from api.tests.test_every_url import VIEWS, example_url, methods

pytestmark = pytest.mark.django_db


def secret(client):
    return client.cookies["csrftoken"].value


def test_each_csrf_token_masks_the_same_secret():
    client = browser()
    before, first = secret(client), client.csrf_token

    answer = client.get(f"{AUTH}csrf/")

    assert answer.json()["data"]["csrf_token"] == answer["X-CSRFToken"] != first
    assert secret(client) == before
    # Setting the old cookie again could overwrite the one that a login in another tab sets at this moment.
    assert "csrftoken" not in answer.cookies
    assert answer["Cache-Control"] == "no-store"


def test_invalid_csrf_secret_is_replaced():
    client = BrowserClient()
    client.cookies["csrftoken"] = "not a secret"

    client.get(f"{AUTH}csrf/")

    assert len(secret(client)) == 32


def changing_calls(client, user):
    yield "login", lambda: client.post(f"{AUTH}login/", {"identifier": user.username, "password": PASSWORD})
    yield "refresh", lambda: client.post(f"{AUTH}refresh/")
    change = {"current": PASSWORD, "new": "another-long-password"}
    yield "password change", lambda: client.post(f"{AUTH}password/change/", change)
    yield "logout", lambda: client.post(f"{AUTH}logout/")


def test_csrf_secret_rotates_with_login_and_returns_the_token():
    client = browser()

    for name, call in changing_calls(client, UserFactory()):
        before = secret(client)
        answer = call()
        assert answer.status_code == 200, name
        assert answer.json()["data"]["csrf_token"] == answer["X-CSRFToken"], name
        assert secret(client) != before, name


def test_second_factor_step_rotates_the_csrf_secret():
    user = UserFactory()
    device = authenticator_of(user)
    client = asked_for_a_code(user)
    before = secret(client)

    answer = client.post(f"{AUTH}mfa/verify/", {"code": code_of(device)})

    assert answer.json()["data"]["csrf_token"] == answer["X-CSRFToken"]
    assert secret(client) != before


def test_refresh_in_the_grace_period_keeps_the_csrf_secret():
    client = logged_in_as(UserFactory())
    refresh = client.cookies["Refresh"].value
    client.post(f"{AUTH}refresh/")
    client.cookies["Refresh"] = refresh

    answer = client.post(f"{AUTH}refresh/")

    assert (answer.status_code, "csrftoken" in answer.cookies) == (200, False)


def test_tab_with_an_old_csrf_token_fetches_a_new_one():
    client = logged_in_as(UserFactory())
    old = client.csrf_token
    client.post(f"{AUTH}refresh/")
    client.csrf_token = old

    refused = client.post(f"{AUTH}logout-all/")
    client.get(f"{AUTH}csrf/")

    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "csrf_failed")
    assert client.post(f"{AUTH}logout-all/").status_code == 200


@pytest.mark.parametrize("token", [None, "", "x", "x" * 32, "x" * 64, "é" * 32, "x" * 10_000])
def test_wrong_csrf_token_gets_a_fixed_message_and_a_log_line(caplog, token):
    client = logged_in_as(UserFactory())
    client.csrf_token = token
    caplog.set_level(logging.WARNING)

    answer = client.patch(f"{AUTH}me/", {"first_name": "Mallory"})

    assert answer.status_code == 403
    assert answer.json()["error"] == {
        "type": "permission_error",
        "code": "csrf_failed",
        "message": "The CSRF check failed. Fetch a new CSRF token and try again.",
        "details": [],
    }
    assert "CSRF check failed: CSRF token" in caplog.text


def test_csrf_token_of_another_browser_is_refused():
    client = logged_in_as(UserFactory())
    client.csrf_token = browser().csrf_token

    assert client.post(f"{AUTH}logout-all/").status_code == 403


@pytest.mark.parametrize("origin", [{}, {"HTTP_ORIGIN": "https://testserver"}])
def test_logout_without_cookies_succeeds_without_csrf_token(origin):
    client = BrowserClient()

    answer = client.post(f"{AUTH}logout/", **origin)

    assert (answer.status_code, answer.json()["data"]["csrf_token"]) == (200, answer["X-CSRFToken"])


@pytest.mark.parametrize("cookie", ["Authentication", "Refresh", "MfaPending"])
def test_logout_with_a_cookie_needs_the_csrf_token(cookie):
    client = BrowserClient()
    client.cookies[cookie] = "x"

    answer = client.post(f"{AUTH}logout/")

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "csrf_failed")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://testserver"])
def test_logout_from_another_site_deletes_no_cookie(origin):
    answer = BrowserClient().post(f"{AUTH}logout/", HTTP_ORIGIN=origin)

    assert (answer.status_code, dict(answer.cookies)) == (403, {})


def test_missing_session_is_401_with_any_csrf_token():
    client = logged_in_as(UserFactory())
    client.cookies["Authentication"] = "x.y.z"
    client.csrf_token = None

    assert client.post(f"{AUTH}logout-all/").status_code == 401


@pytest.mark.parametrize("by", [CookieJWTAuthentication, AdminSessionAuthentication])
def test_every_unsafe_call_of_an_admin_needs_the_csrf_token(by):
    user = UserFactory(role="Admin", is_staff=True)
    client = logged_in_as(user) if by is CookieJWTAuthentication else browser()
    if by is AdminSessionAuthentication:
        client.force_login(user)
    client.csrf_token = None

    answers = {
        f"{method} {path}": (answer.status_code, answer.json().get("error", {}).get("code"))
        for path, cls, callback in VIEWS
        for method in methods(cls, callback)
        if any(issubclass(each, by) for each in cls.authentication_classes)
        for answer in [getattr(client, method)(example_url(path), {})]
    }

    assert len(answers) > 35
    assert {call for call, answer in answers.items() if answer != (403, "csrf_failed")} == set()
