"""Refresh: single-use tokens, a grace period of ten seconds, and revocation when a token is reused."""

from datetime import datetime, timedelta

import pytest

from accounts.models import CustomUser, LoginSession, Notice, SecurityEvent
from accounts.services import login_sessions, passwords
from accounts.services.audit import Caller
from accounts.tests.authenticators import AUTH
from accounts.tests.factories import PASSWORD, UserFactory
from api import tokens
from api.authentication import SessionRevoked
from api.clock import now
from api.tests.clients import browser, logged_in_as

pytestmark = pytest.mark.django_db

REFRESH, ME = f"{AUTH}refresh/", f"{AUTH}me/"


def refused(answer):
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == 'Cookie realm="api"'
    # Deleted with the same paths and flags, so that the client is certainly logged out.
    assert [answer.cookies[name].value for name in ("Authentication", "Refresh")] == ["", ""]
    return answer.json()["error"]["code"]


def after(seconds):
    """Move the last rotation this many seconds into the past."""
    LoginSession.objects.update(rotated_at=now() - timedelta(seconds=seconds))


def replayed(client, token):
    client.cookies["Refresh"] = token
    return client.post(REFRESH)


def test_refresh_without_a_token_is_missing():
    assert refused(browser().post(REFRESH)) == "refresh_missing"


@pytest.mark.parametrize("token", ["x", "x.y.z", "eyJhbGciOiJub25lIn0.e30."])
def test_foreign_refresh_token_is_invalid(token):
    client = browser()
    client.cookies["Refresh"] = token

    assert refused(client.post(REFRESH)) == "refresh_invalid"


def test_expired_refresh_token_has_its_own_code():
    client = logged_in_as(UserFactory())
    session = LoginSession.objects.get()
    about = {"session_id": session.pk, "user_id": session.user_id, "auth_time": now(), "amr": ["pwd"], "now": now()}
    token = tokens.issue(tokens.REFRESH, expires_at=now() - timedelta(minutes=1), **about)

    assert refused(replayed(client, token)) == "refresh_expired"


@pytest.mark.parametrize("end", ["logout", "revoked", "deactivated", "gone"])
def test_ended_session_is_not_refreshed(end):
    user = UserFactory()
    client = logged_in_as(user)
    token = client.cookies["Refresh"].value
    match end:
        case "logout":
            client.post(f"{AUTH}logout/")
        case "revoked":
            LoginSession.objects.update(revoked_at=now())
        case "deactivated":
            CustomUser.objects.update(is_active=False)
        case "gone":
            LoginSession.objects.all().delete()

    assert refused(replayed(client, token)) == "session_revoked"


def test_malformed_refresh_body_is_refused_without_a_rotation():
    client = logged_in_as(UserFactory())

    answer = client.generic("POST", REFRESH, b"[[[", content_type="application/json")

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "parse_error")
    assert client.post(REFRESH).status_code == 200


def test_refresh_keeps_auth_time_and_amr():
    client = logged_in_as(UserFactory())
    LoginSession.objects.update(auth_time=now() - timedelta(hours=1))
    before = LoginSession.objects.get()

    client.post(REFRESH)

    session = LoginSession.objects.get()
    assert (session.auth_time, session.amr, session.absolute_expires_at) == (
        before.auth_time,
        before.amr,
        before.absolute_expires_at,
    )
    assert session.idle_expires_at > before.idle_expires_at


def test_refresh_costs_three_queries(django_assert_num_queries):
    client = logged_in_as(UserFactory())
    client.post(REFRESH)

    with django_assert_num_queries(3):  # the session with its user, the limit, the swap
        assert client.post(REFRESH).status_code == 200


def test_rotations_of_a_session_are_one_row_of_the_audit():
    client = logged_in_as(UserFactory())

    for _ in range(4):
        client.post(REFRESH)

    assert SecurityEvent.objects.filter(event="refresh").count() == 1
    assert LoginSession.objects.get().generation == 4


def test_refreshes_of_a_session_are_limited(monkeypatch):
    monkeypatch.setattr(login_sessions, "REFRESHES_PER_SESSION", 3)
    client, other = logged_in_as(UserFactory()), logged_in_as(UserFactory())

    answers = [client.post(REFRESH) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert int(answers[-1]["Retry-After"]) <= 15 * 60
    assert other.post(REFRESH).status_code == 200


def test_refreshes_without_a_live_session_are_limited_per_place(monkeypatch):
    monkeypatch.setattr(login_sessions, "DEAD_REFRESHES_PER_PLACE", 2)
    live, dead = logged_in_as(UserFactory()), browser()
    dead.cookies["Refresh"] = "garbage"

    answers = []
    for _ in range(3):
        dead.cookies["Refresh"] = "garbage"
        answers.append(dead.post(REFRESH))

    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert live.post(REFRESH).status_code == 200


def test_grace_refresh_returns_the_current_generation():
    client = logged_in_as(UserFactory())
    first = client.cookies["Refresh"].value
    client.post(REFRESH)

    replayed(client, first)
    client.post(REFRESH)

    assert LoginSession.objects.get().generation == 2
    assert client.get(ME).status_code == 200


@pytest.mark.parametrize(("seconds", "status"), [(9, 200), (11, 401)])
def test_grace_period_is_ten_seconds(seconds, status):
    client = logged_in_as(UserFactory())
    first = client.cookies["Refresh"].value
    client.post(REFRESH)
    after(seconds)

    assert replayed(client, first).status_code == status


def test_token_two_generations_old_has_no_grace():
    client = logged_in_as(UserFactory())
    first = client.cookies["Refresh"].value
    client.post(REFRESH)
    client.post(REFRESH)

    assert refused(replayed(client, first)) == "refresh_reused"


def test_reused_token_revokes_the_session_and_notifies_the_owner():
    user = UserFactory()
    client = logged_in_as(user)
    first = client.cookies["Refresh"].value
    client.post(REFRESH)
    current = {name: client.cookies[name].value for name in ("Authentication", "Refresh")}
    after(60)

    assert refused(replayed(client, first)) == "refresh_reused"

    client.cookies["Authentication"] = current["Authentication"]
    assert client.get(ME).json()["error"]["code"] == "session_revoked"
    assert refused(replayed(client, current["Refresh"])) == "session_revoked"
    event = SecurityEvent.objects.get(event="refresh_reused")
    assert (event.user, event.outcome) == (user, "revoked")
    assert Notice.objects.get().kind == "session_copied"


def test_reused_token_keeps_the_users_other_sessions():
    user = UserFactory()
    other, client = logged_in_as(user), logged_in_as(user)
    first = client.cookies["Refresh"].value
    client.post(REFRESH)
    after(60)

    replayed(client, first)

    assert other.get(ME).status_code == 200


def test_revocation_applies_within_the_grace_period():
    client = logged_in_as(UserFactory())
    first = client.cookies["Refresh"].value
    client.post(REFRESH)
    client.post(f"{AUTH}logout/")

    assert refused(replayed(client, first)) == "session_revoked"


def test_token_of_a_future_generation_revokes_the_session():
    client = logged_in_as(UserFactory())
    session = LoginSession.objects.get()
    session.generation = 5
    forged = login_sessions.issue_tokens(session, now=now()).refresh

    assert refused(replayed(client, forged)) == "refresh_reused"


def test_used_session_lasts_until_its_absolute_end():
    client = logged_in_as(UserFactory())
    LoginSession.objects.update(absolute_expires_at=now() + timedelta(days=1))

    answer = client.post(REFRESH).json()["data"]

    session = LoginSession.objects.get()
    assert datetime.fromisoformat(answer["refresh_expires_at"]) == session.absolute_expires_at
    assert session.idle_expires_at > session.absolute_expires_at


def test_session_stays_one_row_over_many_refreshes():
    client = logged_in_as(UserFactory())

    for _ in range(3):
        client.post(REFRESH)

    assert LoginSession.objects.count() == 1


def test_password_change_opens_a_new_session():
    client = logged_in_as(UserFactory())
    (old,) = LoginSession.objects.values_list("pk", flat=True)

    client.post(f"{AUTH}password/change/", {"current": PASSWORD, "new": "another-long-password"})

    assert LoginSession.objects.get(revoked_at=None).pk != old
    assert LoginSession.objects.get(pk=old).revoke_reason == "password_changed"


def test_weak_new_password_is_reported_for_its_field():
    client = logged_in_as(UserFactory())

    refused = client.post(f"{AUTH}password/change/", {"current": PASSWORD, "new": "password"})

    assert refused.status_code == 400
    assert {each["field"] for each in refused.json()["error"]["details"]} == {"new"}


def test_wrong_current_password_ends_no_session():
    client = logged_in_as(UserFactory())

    answer = client.post(f"{AUTH}password/change/", {"current": "wrong", "new": "another-long-password"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "reauth_required")
    assert client.get(ME).status_code == 200


def test_ended_session_cannot_change_the_password():
    user = UserFactory()
    client = logged_in_as(user)
    session = LoginSession.objects.select_related("user").get()
    client.post(f"{AUTH}logout/")

    with pytest.raises(SessionRevoked):
        passwords.change(session=session, current=PASSWORD, new="another-long-password", caller=Caller(), now=now())

    user.refresh_from_db()
    assert user.check_password(PASSWORD)
    assert not LoginSession.objects.filter(revoked_at=None).exists()
