"""The audit log of access, and the security events that a user sees."""

import pytest

from accounts.models import LoginSession, SecurityEvent
from accounts.tests.factories import PASSWORD, UserFactory
from api.tests.clients import browser, logged_in_as

pytestmark = pytest.mark.django_db

AUTH = "/api/v1/auth/"


def try_to_log_in(identifier):
    browser().post(f"{AUTH}login/", {"identifier": identifier, "password": "not-the-password"}, REMOTE_ADDR="10.0.0.9")


def test_refused_login_is_shown_to_the_named_user_without_actor():
    user = UserFactory()
    try_to_log_in(user.email)

    events = logged_in_as(user).get(f"{AUTH}security-events/").json()["data"]

    assert [(event["event"], event["outcome"]) for event in events] == [("login", "ok"), ("login", "refused")]
    refused = SecurityEvent.objects.get(outcome="refused")
    assert (refused.user, refused.actor, refused.ip) == (user, None, "10.0.0.9")


def test_refused_login_of_an_unknown_identifier_stores_its_hash():
    try_to_log_in("nobody@example.com")

    refused = SecurityEvent.objects.get()
    assert refused.user is None
    assert set(refused.detail) == {"identifier"}
    assert "nobody" not in refused.detail["identifier"]


def test_login_without_verified_contact_is_audited_like_a_wrong_password():
    user = UserFactory(email_verified_at=None, phone_verified_at=None)

    answer = browser().post(f"{AUTH}login/", {"identifier": user.email, "password": PASSWORD})

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_credentials")
    refused = SecurityEvent.objects.get()
    assert (refused.user, refused.outcome, set(refused.detail)) == (user, "refused", {"identifier"})


def test_security_events_of_other_users_are_hidden():
    try_to_log_in(UserFactory().email)

    events = logged_in_as(UserFactory()).get(f"{AUTH}security-events/").json()["data"]

    assert [event["outcome"] for event in events] == ["ok"]


def test_session_limit_ends_the_oldest_session_and_is_audited(settings):
    settings.SESSIONS_PER_USER = 2
    user = UserFactory()

    oldest, *_ = [logged_in_as(user) for _ in range(3)]

    assert oldest.get(f"{AUTH}me/").status_code == 401
    assert LoginSession.objects.filter(revoked_at=None).count() == 2
    assert SecurityEvent.objects.get(event="session_revoked").detail == {"reason": "too_many", "count": 1}


def test_refused_password_change_has_no_actor():
    user = UserFactory()

    logged_in_as(user).post(f"{AUTH}password/change/", {"current": "a-finders-guess", "new": PASSWORD[::-1]})

    refused = SecurityEvent.objects.get(event="password_changed")
    assert (refused.user, refused.actor, refused.outcome) == (user, None, "refused")
