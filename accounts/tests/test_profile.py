"""The caller's own profile, login sessions and security events."""

import uuid
from datetime import timedelta

import pytest
from django.conf import settings

from accounts.models import CustomUser, LoginSession, SecurityEvent
from accounts.services import audit, people
from accounts.services.audit import Caller
from accounts.tests.factories import PASSWORD, UserFactory
from api.clock import now
from api.roles import Role
from api.tests.clients import browser, logged_in_as

pytestmark = pytest.mark.django_db

AUTH = "/api/v1/auth/"
ME = f"{AUTH}me/"


def test_profile_shows_all_fields_and_added_by():
    desk = UserFactory(role=Role.RECEPTIONIST)
    user = UserFactory(added_by=desk)

    answer = logged_in_as(user).get(ME)

    assert answer.json()["data"] == {
        "id": user.pk,
        "username": user.username,
        "first_name": "Asha",
        "last_name": user.last_name,
        "email": user.email,
        "role": "Member",
        "dob": None,
        "profile_picture": None,
        "phone_number": user.phone_number,
        "emergency_contact": "",
        "added_by": {
            "id": desk.pk,
            "username": desk.username,
            "first_name": "Asha",
            "last_name": desk.last_name,
            "role": "Receptionist",
        },
        "member_number": user.member_number,
        "has_second_factor": False,
    }


def test_user_changes_own_name_birthday_and_emergency_contact():
    user = UserFactory()
    change = {"first_name": "Wanjiru", "dob": "1994-02-28", "emergency_contact": "Juma, 0733 333 333"}

    answer = logged_in_as(user).patch(ME, change)

    user.refresh_from_db()
    assert answer.status_code == 200
    assert (user.first_name, str(user.dob), user.emergency_contact) == tuple(change.values())


ACCESS_FIELDS = {
    "email": "other@example.com",
    "phone_number": "254799999999",
    "role": "Admin",
    "is_staff": True,
    "is_superuser": True,
    "is_active": False,
    "username": "other",
    "password": "another-long-password",
    "member_number": "0000000",
    "added_by": None,
    "email_verified_at": None,
    "profile_picture": "x.jpg",
}


@pytest.mark.parametrize("field", ACCESS_FIELDS)
def test_profile_refuses_changes_of_access_fields(field):
    user = UserFactory(added_by=UserFactory())
    client = logged_in_as(user)
    before = CustomUser.objects.filter(pk=user.pk).values().get()

    client.patch(ME, {field: ACCESS_FIELDS[field]})

    after = CustomUser.objects.filter(pk=user.pk).values().get()
    assert after == before


def test_change_of_profile_keeps_a_concurrent_change_of_consent():
    at_start = UserFactory()
    CustomUser.objects.filter(pk=at_start.pk).update(consented_at=None)

    people.change_profile(user=at_start, now=now(), first_name="Wanjiru")

    assert CustomUser.objects.values_list("first_name", "consented_at").get() == ("Wanjiru", None)


def test_repeated_consent_keeps_the_first_time():
    at_start = UserFactory(consented_at=None)
    first = now() - timedelta(hours=1)
    CustomUser.objects.filter(pk=at_start.pk).update(consented_at=first)

    people.change_profile(user=at_start, now=now(), consent=True)

    assert (at_start.consented_at, CustomUser.objects.get().consented_at) == (first, first)


@pytest.mark.parametrize(
    "change", [{"dob": "yesterday"}, {"first_name": "x" * 151}, {"first_name": None}, {"last_name": " "}, []]
)
def test_invalid_profile_is_refused(change):
    answer = logged_in_as(UserFactory()).patch(ME, change)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "validation_error")


def test_sessions_are_listed_newest_first_with_the_current_marked():
    user = UserFactory()
    logged_in_as(user)
    client = logged_in_as(user)

    rows = client.get(f"{AUTH}sessions/").json()["data"]

    assert [row["is_current"] for row in rows] == [True, False]
    assert set(rows[0]) == {"id", "is_current", "created_at", "rotated_at", "ip", "user_agent", "remember"}


def test_list_of_sessions_costs_a_constant_number_of_queries(django_assert_num_queries):
    user = UserFactory()
    for _ in range(3):
        client = logged_in_as(user)

    with django_assert_num_queries(3):  # session, count, page
        client.get(f"{AUTH}sessions/")


def test_repeated_end_of_a_session_succeeds():
    user = UserFactory()
    other = logged_in_as(user)
    theirs = LoginSession.objects.get()
    client = logged_in_as(user)

    answers = [client.delete(f"{AUTH}sessions/{theirs.pk}/") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [204, 204]
    assert [client.get(ME).status_code, other.get(ME).status_code] == [200, 401]
    assert SecurityEvent.objects.filter(event="session_revoked").count() == 1


@pytest.mark.parametrize("is_of_another_user", [True, False])
def test_session_of_another_user_is_not_found(is_of_another_user):
    other = UserFactory()
    theirs = logged_in_as(other)
    session_id = LoginSession.objects.get().pk if is_of_another_user else uuid.uuid4()

    answer = logged_in_as(UserFactory()).delete(f"{AUTH}sessions/{session_id}/")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert theirs.get(ME).status_code == 200


@pytest.mark.parametrize(("body", "ended", "after"), [({}, 3, 401), ({"keep_current": True}, 2, 200)])
def test_logout_all_can_keep_the_current_session(body, ended, after):
    user = UserFactory()
    others = [logged_in_as(user), logged_in_as(user)]
    client, stranger = logged_in_as(user), logged_in_as(UserFactory())

    answer = client.post(f"{AUTH}logout-all/", body)

    assert answer.json()["data"] == {"revoked": ended}
    assert [other.get(ME).status_code for other in others] == [401, 401]
    assert (client.get(ME).status_code, stranger.get(ME).status_code) == (after, 200)


def test_staff_end_a_users_sessions_and_are_audited_as_actor():
    manager, person = UserFactory(role=Role.MANAGER), UserFactory()
    theirs = logged_in_as(person)

    answer = logged_in_as(manager).post(f"/api/v1/users/{person.pk}/revoke-sessions/")

    event = SecurityEvent.objects.get(event="sessions_revoked")
    assert (answer.status_code, answer.json()["data"]) == (200, {"revoked": 1})
    assert theirs.get(ME).status_code == 401
    assert (event.user, event.actor, event.detail) == (person, manager, {"reason": "by_staff", "count": 1})


@pytest.mark.parametrize(
    ("by", "whose", "answered"),
    [
        (Role.RECEPTIONIST, Role.MEMBER, (403, "permission_denied")),
        (Role.MANAGER, Role.ADMIN, (403, "role_above_own")),
        (Role.ADMIN, None, (404, "not_found")),
    ],
)
def test_ending_sessions_needs_role_and_existing_user(by, whose, answered):
    person_id = UserFactory(role=whose).pk if whose else 0

    answer = logged_in_as(UserFactory(role=by)).post(f"/api/v1/users/{person_id}/revoke-sessions/")

    assert (answer.status_code, answer.json()["error"]["code"]) == answered


def test_security_event_hides_ip_address_of_staff():
    user, manager = UserFactory(), UserFactory(role=Role.MANAGER)
    where = Caller(ip="10.0.0.9", user_agent="Desk")
    audit.record("person_changed", user=user, actor=manager, caller=where, now=now())

    row = logged_in_as(user).get(f"{AUTH}security-events/").json()["data"][-1]

    assert (row["event"], row["ip"], row["user_agent"]) == ("person_changed", None, "")


def test_unremembered_session_ends_with_the_browser():
    body = {"identifier": UserFactory().username, "password": PASSWORD, "remember": False}

    answer = browser().post(f"{AUTH}login/", body)

    assert answer.cookies["Refresh"]["max-age"] == ""
    session = LoginSession.objects.get()
    assert session.idle_expires_at - session.created_at == settings.REFRESH_UNREMEMBERED_LIFETIME


@pytest.mark.parametrize("username", ["0712345678", "1000015", "254712345678", "juma@example.com", "_juma", "+juma"])
def test_username_cannot_look_like_a_contact_or_member_number(username):
    person = {"first_name": "Juma", "last_name": "Mwangi", "username": username}

    answer = logged_in_as(UserFactory(role=Role.MANAGER)).post("/api/v1/users/", person)

    assert (answer.status_code, answer.json()["error"]["details"][0]["field"]) == (400, "username")


def test_username_equal_to_the_member_number_is_kept():
    person = CustomUser.objects.create_member(first_name="Juma", last_name="Mwangi")

    answer = logged_in_as(UserFactory(role=Role.MANAGER)).patch(
        f"/api/v1/users/{person.pk}/", {"username": person.member_number, "first_name": "Jumaa"}
    )

    assert answer.status_code == 200
