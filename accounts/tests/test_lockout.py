"""Limits of login attempts and codes: they slow guessing down and lock no user out of a known IP address."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import OneTimeCode, SecurityEvent
from accounts.services import login_sessions, one_time_codes
from accounts.tests.authenticators import AUTH
from accounts.tests.factories import PASSWORD, UserFactory
from api.clock import now
from api.errors import TooMany
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

    answers = [try_to_log_in(names[n % 3], ip=f"10.0.0.{n}") for n in range(7)]

    assert statuses(*answers) == [401] * 6 + [429]


def test_one_ip_address_cannot_use_up_a_users_attempts(monkeypatch):
    monkeypatch.setattr(login_sessions, "ATTEMPTS_PER_PERSON", 8)
    user = UserFactory()
    for _ in range(20):
        try_to_log_in(user.username, ip="10.0.0.66")

    assert try_to_log_in(user.username, PASSWORD).status_code == 200


def test_ip_address_limit_spares_users_who_logged_in_there(monkeypatch):
    monkeypatch.setattr(login_sessions, "ATTEMPTS_PER_IP", 3)
    member, newcomer = UserFactory(), UserFactory()
    logged_in_as(member)
    Counter.objects.all().delete()
    for n in range(4):
        try_to_log_in(f"nobody{n}", ip=HERE)

    assert try_to_log_in(member.username, PASSWORD, ip=HERE).status_code == 200
    assert try_to_log_in(newcomer.username, PASSWORD, ip=HERE).status_code == 429


def test_known_ip_address_keeps_its_own_limit(monkeypatch):
    monkeypatch.setattr(login_sessions, "ATTEMPTS_PER_PERSON", 1)
    monkeypatch.setattr(login_sessions, "ATTEMPTS_PER_IP", 1)
    user = UserFactory()
    logged_in_as(user)

    answers = [try_to_log_in(user.username, ip=HERE) for _ in range(6)]

    assert statuses(*answers) == [401] * 5 + [429]


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
def test_code_attempts_are_limited_per_ip_address(monkeypatch, path):
    monkeypatch.setattr(one_time_codes, "ATTEMPTS_PER_IP", 3)
    client = browser()

    answers = [
        client.post(f"{AUTH}{path}", {"identifier": f"0712{n:06d}", "password": PASSWORD, "code": "123456"})
        for n in range(4)
    ]

    assert statuses(*answers) == [400] * 3 + [429]


def test_number_gets_five_codes_an_hour_and_ten_a_day():
    user, hour = UserFactory(), timedelta(hours=1, seconds=1)

    def sent(at):
        try:
            one_time_codes.request(user=user, purpose="reset", contact=user.phone_number, now=at)
            return True
        except TooMany:
            return False

    began = now()
    counts = [sum(sent(began + n * hour) for _ in range(7)) for n in range(4)]

    assert counts == [5, 5, 0, 0]
    assert sent(began + timedelta(days=1, seconds=1))
    assert OneTimeCode.objects.count() == 11


def test_strangers_cannot_lock_a_user_out_of_a_known_ip_address(monkeypatch):
    monkeypatch.setattr(login_sessions, "ATTEMPTS_PER_PERSON", 6)
    user = UserFactory()
    logged_in_as(user)

    def try_from(address, password):
        client = browser()
        body = {"identifier": user.username, "password": password}
        return client.post(f"{AUTH}login/", body, REMOTE_ADDR=address).status_code

    assert [try_from(f"10.0.0.{n}", "no") for n in range(8)] == [401] * 5 + [429] * 3
    assert try_from("10.0.1.1", PASSWORD) == 429
    assert try_from("127.0.0.1", PASSWORD) == 200


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
