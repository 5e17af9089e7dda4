"""Limits of login attempts and codes: they slow guessing down and lock no user out of a known IP address."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import SecurityEvent
from accounts.services import login_sessions, one_time_codes
from accounts.tests.authenticators import AUTH
from accounts.tests.factories import PASSWORD, UserFactory
from api.clock import now
from api.models import Counter
from api.tests.clients import browser, logged_in_as

pytestmark = [pytest.mark.django_db, pytest.mark.server]

HERE, ELSEWHERE = "127.0.0.1", "10.0.0.1"


def try_to_log_in(identifier, password="not-the-password", *, ip=ELSEWHERE, **extra):
    body = {"identifier": identifier, "password": password}
    return browser().post(f"{AUTH}login/", body, REMOTE_ADDR=ip, **extra)


def statuses(*answers):
    return [answer.status_code for answer in answers]


@pytest.mark.parametrize("is_known", [True, False])
def test_lockout_is_the_same_for_known_and_unknown_identifiers(is_known):
    name = UserFactory().username if is_known else "nobody"

    *_, answer = [try_to_log_in(name) for _ in range(6)]

    wait = answer.json()["error"]["retry_after"]
    assert answer.status_code == 429
    assert 0 < wait <= 15 * 60
    assert answer["Retry-After"] == str(wait)
    assert answer.json()["error"] == {
        "type": "rate_limit_error",
        "code": "too_many_attempts",
        "message": "Too many attempts. Wait a few minutes and try again.",
        "details": [],
        "retry_after": wait,
    }


def test_lockout_ends_after_fifteen_minutes():
    user = UserFactory()
    for _ in range(6):
        try_to_log_in(user.username)

    Counter.objects.update(resets_at=now() - timedelta(seconds=1))

    assert try_to_log_in(user.username, PASSWORD).status_code == 200


def test_all_identifiers_of_a_user_count_together(monkeypatch):
    monkeypatch.setattr(login_sessions, "ATTEMPTS_PER_PERSON", 6)
    user = UserFactory()
    names = [user.username, user.email, user.phone_number]
    for n in range(6):
        try_to_log_in(names[n % 3], ip=f"10.0.0.{n}")

    assert try_to_log_in(user.username, PASSWORD, ip="10.0.0.7").status_code == 401


def test_one_ip_address_cannot_use_up_a_users_attempts(monkeypatch):
    monkeypatch.setattr(login_sessions, "ATTEMPTS_PER_PERSON", 8)
    user = UserFactory()
    for _ in range(20):
        try_to_log_in(user.username, ip="10.0.0.66")

    assert try_to_log_in(user.username, PASSWORD).status_code == 200


@pytest.mark.parametrize("spelling", ["PERSON@EXAMPLE.COM", "person@example.com", "\uff50erson@example.com"])
def test_all_spellings_of_an_identifier_share_one_counter(spelling):
    UserFactory(email="person@example.com")
    for _ in range(5):
        try_to_log_in("Person@Example.com")

    assert try_to_log_in(spelling, PASSWORD).status_code == 429


def test_identifier_with_other_letters_belongs_to_nobody():
    user = UserFactory(email="ali@example.com", username="ali")

    assert try_to_log_in("al\u0130", PASSWORD).status_code == 401
    assert try_to_log_in("al\u0130@example.com", PASSWORD).status_code == 401
    assert try_to_log_in(user.email, PASSWORD).status_code == 200


def test_one_place_gets_five_attempts_at_a_user_by_any_identifier():
    user = UserFactory()
    for name in [user.username, user.email, user.phone_number, user.username, user.email]:
        try_to_log_in(name)

    assert try_to_log_in(user.phone_number, PASSWORD).status_code == 401


def test_limit_does_not_link_two_identifiers_of_a_user():
    user = UserFactory()
    for _ in range(6):
        try_to_log_in(user.email)

    by_phone = [try_to_log_in(user.phone_number) for _ in range(6)]
    by_an_unknown_phone = [try_to_log_in("0799999999") for _ in range(6)]

    assert statuses(*by_phone) == statuses(*by_an_unknown_phone) == [401] * 5 + [429]


def test_addresses_of_one_ipv6_network_are_one_place():
    user = UserFactory()
    for n in range(5):
        try_to_log_in(user.username, ip=f"2001:db8:0:1::{n}")

    assert try_to_log_in(user.username, PASSWORD, ip="2001:db8:0:1:ffff::1").status_code == 429
    assert try_to_log_in(user.username, PASSWORD, ip="2001:db8:0:2::1").status_code == 200


def in_known_browser(client, identifier, password):
    """Try to log in from the browser of `client`, with only its device cookie."""
    known = browser()
    known.cookies["Device"] = client.cookies["Device"].value
    return known.post(f"{AUTH}login/", {"identifier": identifier, "password": password}, REMOTE_ADDR=ELSEWHERE)


def test_known_browser_has_its_own_counter(monkeypatch):
    monkeypatch.setattr(login_sessions, "ATTEMPTS_PER_PERSON", 1)
    monkeypatch.setattr(login_sessions, "FAILURES_PER_PLACE", 1)
    user = UserFactory()
    client = logged_in_as(user)
    for _ in range(6):
        try_to_log_in(user.username)

    answers = [in_known_browser(client, user.username, "no") for _ in range(5)]

    assert statuses(*answers) == [401] * 5
    assert in_known_browser(client, user.username, PASSWORD).status_code == 429


def test_strangers_cannot_use_up_the_attempts_of_a_known_browser(monkeypatch):
    monkeypatch.setattr(login_sessions, "ATTEMPTS_PER_PERSON", 3)
    user = UserFactory()
    client = logged_in_as(user)
    for n in range(8):
        try_to_log_in(user.username, ip=f"10.0.0.{n}")
    for _ in range(6):
        try_to_log_in(user.username)

    assert in_known_browser(client, user.username, PASSWORD).json()["data"]["user"]["id"] == user.pk


def test_device_cookie_of_another_user_gives_no_counter():
    user = UserFactory()
    stranger = logged_in_as(UserFactory())
    for _ in range(5):
        in_known_browser(stranger, user.username, "no")

    assert in_known_browser(stranger, user.username, PASSWORD).status_code == 429
    assert try_to_log_in(user.username, PASSWORD).status_code == 429


def test_browser_of_the_desk_knows_all_who_logged_in_there():
    first, second = UserFactory(), UserFactory()
    client = logged_in_as(first)
    client.post(f"{AUTH}login/", {"identifier": second.username, "password": PASSWORD})
    for user in (first, second):
        for _ in range(6):
            try_to_log_in(user.username)

    answers = [in_known_browser(client, user.username, PASSWORD) for user in (first, second)]

    assert statuses(*answers) == [200, 200]


@pytest.mark.parametrize("token", ["x", "a:b:c", ""])
def test_forged_device_cookie_is_ignored(token):
    user, client = UserFactory(), browser()
    client.cookies["Device"] = token

    answer = client.post(f"{AUTH}login/", {"identifier": user.username, "password": PASSWORD})

    assert answer.status_code == 200
    assert answer.cookies["Device"].value not in ("", token)


def test_device_cookie_is_for_this_site_only():
    cookie = logged_in_as(UserFactory()).cookies["Device"]

    assert {name: cookie[name] for name in ("path", "max-age", "httponly", "secure", "samesite", "domain")} == {
        "path": "/",
        "max-age": 365 * 24 * 60 * 60,
        "httponly": True,
        "secure": True,
        "samesite": "Strict",
        "domain": "",
    }


def test_successful_logins_do_not_count_as_failures_of_a_place(monkeypatch):
    monkeypatch.setattr(login_sessions, "FAILURES_PER_PLACE", 3)

    answers = [try_to_log_in(UserFactory().username, PASSWORD) for _ in range(6)]

    assert ["user" in answer.json()["data"] for answer in answers] == [True] * 6


def test_client_cannot_choose_its_ip_address():
    user = UserFactory()

    answers = [try_to_log_in(user.username, HTTP_X_FORWARDED_FOR=f"10.9.9.{n}") for n in range(6)]

    assert statuses(*answers) == [401] * 5 + [429]


def test_correct_password_resets_the_count_of_this_ip_address():
    user = UserFactory()
    for _ in range(4):
        try_to_log_in(user.username)
    try_to_log_in(user.username, PASSWORD)

    assert statuses(*[try_to_log_in(user.username) for _ in range(5)]) == [401] * 5


def test_lockout_is_audited_once_for_its_user():
    user = UserFactory()
    for _ in range(9):
        try_to_log_in(user.email)

    locked = SecurityEvent.objects.filter(event="login", detail__reason="too_many_attempts")
    assert [(event.user, event.actor, event.outcome, event.ip) for event in locked] == [
        (user, None, "refused", ELSEWHERE)
    ]


def test_every_refused_login_runs_the_same_queries():
    user, inactive = UserFactory(), UserFactory(is_active=False)
    costs = {}
    for who, name in {"unknown": "nobody", "wrong": user.username, "inactive": inactive.username}.items():
        client = browser()
        with CaptureQueriesContext(
            connection,
        ) as asked:
            answer = client.post(f"{AUTH}login/", {"identifier": name, "password": "no"}, REMOTE_ADDR=ELSEWHERE)
        costs[who] = answer.status_code, [query["sql"].split()[0] for query in asked.captured_queries]

    assert costs["unknown"] == costs["wrong"] == costs["inactive"]


def test_current_password_attempts_are_limited_like_logins():
    user = UserFactory()
    client = logged_in_as(user)
    change = {"current": "wrong", "new": "another-long-password"}

    answers = [client.post(f"{AUTH}password/change/", change) for _ in range(6)]

    assert statuses(*answers) == [401] * 5 + [429]
    assert answers[-1].json()["error"]["code"] == "too_many_attempts"


@pytest.mark.parametrize("path", ["verify/", "password/reset/confirm/"])
def test_wrong_codes_are_limited_per_place(monkeypatch, path):
    monkeypatch.setattr(one_time_codes, "ATTEMPTS_PER_PLACE", 3)
    client = browser()

    answers = [
        client.post(f"{AUTH}{path}", {"identifier": f"0712{n:06d}", "password": PASSWORD, "code": "123456"})
        for n in range(4)
    ]

    assert statuses(*answers) == [400] * 3 + [429]


def test_other_spellings_of_a_number_share_its_limit():
    UserFactory(phone_number="254712345678")
    client = browser()
    spellings = ["0712345678", "0712 345678", "254712345678", "+254712345678", "0712-345-678", "0712.345.678"]

    answers = [client.post(f"{AUTH}login/", {"identifier": typed, "password": "no"}) for typed in spellings]

    assert [answer.status_code for answer in answers] == [401] * 5 + [429]


def test_successful_logins_are_not_limited():
    user = UserFactory()

    for _ in range(7):
        logged_in_as(user)  # asserts that it is let in


@pytest.mark.parametrize("path", ["password/reset/", "verify/resend/"])
def test_code_requests_are_limited_per_ip_address(path):
    client = browser()

    answers = [client.post(f"{AUTH}{path}", {"identifier": f"0712{n:06d}"}) for n in range(31)]

    assert [answer.status_code for answer in answers] == [202] * 30 + [429]
