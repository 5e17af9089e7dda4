"""What happened to somebody's access is kept, and theirs to see."""

import pytest

from accounts.models import LoginSession, SecurityEvent
from accounts.tests.factories import PASSWORD, UserFactory
from api.tests.clients import browser, logged_in_as

pytestmark = pytest.mark.django_db

AUTH = "/api/v1/auth/"


def try_to_log_in(identifier):
    browser().post(f"{AUTH}login/", {"identifier": identifier, "password": "not-the-password"}, REMOTE_ADDR="10.0.0.9")


def test_a_refused_login_is_seen_by_whose_name_was_used_and_names_no_actor():
    user = UserFactory()
    try_to_log_in(user.email)

    events = logged_in_as(user).get(f"{AUTH}security-events/").json()["data"]

    assert [(event["event"], event["outcome"]) for event in events] == [("login", "ok"), ("login", "refused")]
    refused = SecurityEvent.objects.get(outcome="refused")
    assert (refused.user, refused.actor, refused.ip) == (user, None, "10.0.0.9")


def test_a_refused_login_of_nobody_keeps_a_hash_of_the_name():
    try_to_log_in("nobody@example.com")

    refused = SecurityEvent.objects.get()
    assert refused.user is None
    assert set(refused.detail) == {"identifier"}
    assert "nobody" not in refused.detail["identifier"]


def test_a_login_before_the_address_is_proved_is_kept_with_the_reason():
    user = UserFactory(email_verified_at=None, phone_verified_at=None)

    answer = browser().post(f"{AUTH}login/", {"identifier": user.email, "password": PASSWORD})

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "email_not_verified")
    refused = SecurityEvent.objects.get()
    assert (refused.user, refused.outcome, refused.detail) == (user, "refused", {"reason": "not_verified"})


def test_nobody_sees_what_happened_to_somebody_else():
    try_to_log_in(UserFactory().email)

    events = logged_in_as(UserFactory()).get(f"{AUTH}security-events/").json()["data"]

    assert [event["outcome"] for event in events] == ["ok"]


def test_one_session_too_many_ends_the_oldest_and_is_kept(settings):
    settings.SESSIONS_PER_USER = 2
    user = UserFactory()

    oldest, *_ = [logged_in_as(user) for _ in range(3)]

    assert oldest.get(f"{AUTH}me/").status_code == 401
    assert LoginSession.objects.filter(revoked_at=None).count() == 2
    assert SecurityEvent.objects.get(event="session_revoked").detail == {"reason": "too_many", "count": 1}


def test_a_refused_change_of_password_names_no_actor():
    user = UserFactory()

    logged_in_as(user).post(f"{AUTH}password/change/", {"current": "a-finders-guess", "new": PASSWORD[::-1]})

    refused = SecurityEvent.objects.get(event="password_changed")
    assert (refused.user, refused.actor, refused.outcome) == (user, None, "refused")
