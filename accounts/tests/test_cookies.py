"""Tokens are sent only in HttpOnly cookies."""

from datetime import timedelta

import pytest

from accounts.models import LoginSession
from accounts.services.login_sessions import issue_tokens
from accounts.tests.authenticators import AUTH, asked_for_a_code, authenticator_of, code_of
from accounts.tests.factories import PASSWORD, UserFactory
from api.clock import now
from api.tests.clients import ORIGIN, browser, logged_in_as

pytestmark = pytest.mark.django_db

ME = f"{AUTH}me/"
TOKENS = ("Authentication", "Refresh")


def access_token_of(session, *, age):
    return issue_tokens(session, now=now() - age).access


def flags(cookie):
    return {name: cookie[name] for name in ("path", "domain", "httponly", "secure", "samesite", "max-age")}


ONLY_HERE = {"domain": "", "httponly": True, "secure": True}


def test_cookies_have_strict_flags_and_lifetimes():
    answer = browser().post(f"{AUTH}login/", {"identifier": UserFactory().username, "password": PASSWORD})

    assert {name: flags(cookie) for name, cookie in answer.cookies.items()} == {
        "Authentication": {"path": "/", "samesite": "Lax", "max-age": 300, **ONLY_HERE},
        "Refresh": {"path": AUTH, "samesite": "Strict", "max-age": 14 * 24 * 3600, **ONLY_HERE},
        "csrftoken": {"path": "/", "samesite": "Lax", "max-age": 31449600, **ONLY_HERE},
        "Device": {"path": "/", "samesite": "Strict", "max-age": 365 * 24 * 3600, **ONLY_HERE},
    }


def test_cookie_expires_with_its_session():
    client = logged_in_as(UserFactory())
    LoginSession.objects.update(absolute_expires_at=now() + timedelta(seconds=100))

    answer = client.post(f"{AUTH}refresh/")

    assert {name: 98 <= answer.cookies[name]["max-age"] <= 100 for name in TOKENS} == dict.fromkeys(TOKENS, True)


def test_cookie_names_come_from_settings(settings):
    settings.AUTH_COOKIE, settings.AUTH_COOKIE_REFRESH = "__Host-Authentication", "__Secure-Refresh"
    settings.CSRF_COOKIE_NAME, settings.AUTH_COOKIE_DEVICE = "__Host-csrftoken", "__Host-Device"
    client = logged_in_as(UserFactory())

    assert client.get(ME).status_code == 200
    assert client.post(f"{AUTH}refresh/").status_code == 200
    assert set(client.cookies) == {"__Host-Authentication", "__Secure-Refresh", "__Host-csrftoken", "__Host-Device"}


def test_deleting_a_cookie_uses_its_own_attributes():
    client = logged_in_as(UserFactory())
    were = {name: flags(client.cookies[name]) for name in TOKENS}

    answer = client.post(f"{AUTH}logout/")

    assert {name: flags(answer.cookies[name]) for name in TOKENS} == {
        name: {**were[name], "max-age": 0} for name in TOKENS
    }
    assert [answer.cookies[name].value for name in TOKENS] == ["", ""]


def test_tokens_appear_only_in_cookies():
    user = UserFactory()
    device = authenticator_of(user)
    client = asked_for_a_code(user)
    answers = [
        client.post(f"{AUTH}mfa/verify/", {"code": code_of(device)}),
        client.get(ME),
        client.get(f"{AUTH}sessions/"),
        client.get(f"{AUTH}security-events/"),
        client.post(f"{AUTH}refresh/"),
        client.post(f"{AUTH}password/change/", {"current": PASSWORD, "new": "another-long-password"}),
        client.post(f"{AUTH}logout/"),
    ]

    assert [answer.status_code for answer in answers] == [200] * 7
    for answer in answers:
        answer_text = answer.content.decode() + str(dict(answer.headers))
        assert "eyJ" not in answer_text


def test_bearer_token_is_ignored():
    client = logged_in_as(UserFactory())
    stranger = browser()

    answer = stranger.get(ME, headers={"Authorization": f"Bearer {client.cookies['Authentication'].value}"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_authenticated")


def test_refresh_token_in_the_body_is_refused():
    client = logged_in_as(UserFactory())
    stranger = browser()

    answer = stranger.post(f"{AUTH}refresh/", {"refresh": client.cookies["Refresh"].value})

    assert (answer.status_code, answer.json()["error"]["details"][0]["field"]) == (400, "refresh")


def test_duplicate_cookie_does_no_harm():
    token = logged_in_as(UserFactory()).cookies["Authentication"].value
    stranger = browser()

    for header, status in (
        (f"Authentication=garbage; Authentication={token}", 200),
        (f"Authentication={token}; Authentication=garbage", 401),
    ):
        stranger.cookies.clear()
        assert stranger.get(ME, HTTP_COOKIE=header).status_code == status


@pytest.mark.parametrize("cookie", ["Refresh", "Authentication"])
def test_access_and_refresh_tokens_are_not_interchangeable(cookie):
    client = logged_in_as(UserFactory())
    client.cookies["Authentication"], client.cookies["Refresh"] = [
        client.cookies[name].value for name in ("Refresh", "Authentication")
    ]

    answer = client.get(ME) if cookie == "Authentication" else client.post(f"{AUTH}refresh/")

    code = "token_invalid" if cookie == "Authentication" else "refresh_invalid"
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, code)


def test_token_with_another_users_session_is_refused():
    mine, theirs = UserFactory(), UserFactory()
    client = logged_in_as(mine)
    LoginSession.objects.update(user=theirs)

    assert client.get(ME).json()["error"]["code"] == "session_revoked"
    assert client.post(f"{AUTH}refresh/").json()["error"]["code"] == "session_revoked"


def test_token_of_a_deleted_session_is_refused():
    client = logged_in_as(UserFactory())
    LoginSession.objects.all().delete()

    assert client.get(ME).json()["error"]["code"] == "session_revoked"


@pytest.mark.parametrize("limit", ["idle_expires_at", "absolute_expires_at"])
def test_session_expires_even_with_new_tokens(limit):
    client = logged_in_as(UserFactory())
    LoginSession.objects.update(**{limit: now() - timedelta(seconds=1)})

    assert client.get(ME).json()["error"]["code"] == "session_revoked"
    assert client.post(f"{AUTH}refresh/").json()["error"]["code"] == "session_revoked"


@pytest.mark.parametrize("token", ["x", "a.b.c", "eyJhbGciOiJub25lIn0.e30."])
def test_invalid_token_costs_no_query(django_assert_num_queries, token):
    client = browser()
    client.cookies["Authentication"] = token

    with django_assert_num_queries(0):
        answer = client.get(ME)

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "token_invalid")
    assert answer["WWW-Authenticate"] == 'Cookie realm="api"'


def test_expired_access_token_has_its_own_code():
    client = logged_in_as(UserFactory())
    session = LoginSession.objects.get()
    client.cookies["Authentication"] = access_token_of(session, age=timedelta(seconds=400))

    answer = client.get(ME)

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "token_expired")


@pytest.mark.parametrize("stale", ["garbage", "expired"])
def test_stale_access_cookie_does_not_block_login_refresh_or_logout(stale):
    user = UserFactory()
    client = logged_in_as(user)
    session = LoginSession.objects.get()
    old = "x.y.z" if stale == "garbage" else access_token_of(session, age=timedelta(seconds=400))

    for path, body in (("refresh/", {}), ("logout/", {}), ("login/", {"identifier": user.email, "password": PASSWORD})):
        client.cookies["Authentication"] = old
        assert client.post(f"{AUTH}{path}", body).status_code == 200

    session.refresh_from_db()
    assert session.revoke_reason == "logout"


def test_login_checks_origin_and_referer():
    client = browser()
    body = {"identifier": UserFactory().username, "password": PASSWORD}

    refused = client.post(f"{AUTH}login/", body, HTTP_ORIGIN="https://evil.example")
    without = client.post(f"{AUTH}login/", body, HTTP_REFERER="")
    ours = client.post(f"{AUTH}login/", body, HTTP_ORIGIN=ORIGIN)

    assert [answer.status_code for answer in (refused, without, ours)] == [403, 403, 200]
