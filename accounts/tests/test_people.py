"""The API of people, for staff."""

import json
from datetime import timedelta

import pytest
from django.core.management import call_command

from accounts.models import CustomUser, LoginSession, SecurityEvent
from accounts.tests.factories import PASSWORD, UserFactory
from accounts.tests.worker import look_up
from api.clock import now
from api.member_numbers import with_check_digit
from api.roles import Role
from api.tests.clients import browser, logged_in_as

pytestmark = [pytest.mark.django_db, pytest.mark.server]

USERS = "/api/v1/users/"


def test_added_person_names_the_staff_who_added_them():
    receptionist = UserFactory(role=Role.RECEPTIONIST)

    answer = logged_in_as(receptionist).post(
        USERS, {"first_name": "Juma", "last_name": "Mwangi", "phone_number": "0712 345 678", "password": PASSWORD}
    )

    person = CustomUser.objects.get(first_name="Juma")
    assert answer.status_code == 201
    assert answer["Location"] == f"{USERS}{person.pk}/"
    assert answer.json()["data"] == {
        "id": person.pk,
        "username": person.member_number,
        "first_name": "Juma",
        "last_name": "Mwangi",
        "email": None,
        "role": "Member",
        "dob": None,
        "profile_picture": None,
        "phone_number": "254712345678",
        "emergency_contact": "",
        "added_by": {
            "id": receptionist.pk,
            "username": receptionist.username,
            "first_name": receptionist.first_name,
            "last_name": receptionist.last_name,
            "role": "Receptionist",
        },
        "member_number": person.member_number,
    }
    assert person.check_password(PASSWORD)


@pytest.mark.parametrize("body", [{}, {"first_name": "Juma"}, {"first_name": " ", "last_name": "Mwangi"}])
def test_person_needs_both_names(body):
    answer = logged_in_as(UserFactory(role=Role.MANAGER)).post(USERS, body)

    assert answer.status_code == 400
    assert {row["field"] for row in answer.json()["error"]["details"]} <= {"first_name", "last_name"}
    assert CustomUser.objects.count() == 1


def test_createsuperuser_creates_an_admin_for_the_api_too(capsys):
    call_command("createsuperuser", "--no-input", username="owner", email="owner@example.com")

    owner = CustomUser.objects.get()
    assert (owner.role, owner.is_staff, owner.is_superuser) == ("Admin", True, True)


def test_superuser_of_createsuperuser_logs_in_to_the_api():
    CustomUser.objects.create_superuser("owner", "owner@example.com", PASSWORD)

    assert logged_in_as(CustomUser.objects.get()).get("/api/v1/auth/me/").json()["data"]["role"] == "Admin"


def test_each_person_draws_one_member_number():
    first, second = [int(CustomUser.objects.create_member(first_name="Juma").member_number[:6]) for _ in range(2)]

    assert second == first + 1


@pytest.mark.parametrize("field", ["member_number", "username"])
def test_taken_member_number_is_skipped(field):
    drawn = int(CustomUser.objects.create_member(first_name="Juma").member_number[:6])
    taken = with_check_digit(f"{drawn + 1:06d}")
    CustomUser.objects.create_user(**{"username": "amina", "member_number": with_check_digit("999999"), field: taken})
    person = {"first_name": "Asha", "last_name": "Otieno", "email": "asha@example.com"}

    browser().post("/api/v1/auth/register/", {**person, "password": PASSWORD, "consent": True})
    look_up()

    assert CustomUser.objects.get(first_name="Asha").member_number == with_check_digit(f"{drawn + 2:06d}")


def test_role_above_ones_own_cannot_be_assigned():
    answer = logged_in_as(UserFactory(role=Role.RECEPTIONIST)).post(
        USERS, {"first_name": "A", "last_name": "B", "role": "Manager"}
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "role_above_own")


@pytest.mark.parametrize("role", [Role.RECEPTIONIST, Role.MANAGER])
def test_role_equal_to_ones_own_cannot_be_assigned(role):
    caller, trainer = UserFactory(role=role), UserFactory(role=Role.TRAINER)
    client = logged_in_as(caller)

    answers = [
        client.post(USERS, {"first_name": "A", "last_name": "B", "role": role}),
        client.patch(f"{USERS}{trainer.pk}/", {"role": role}),
    ]

    assert [(each.status_code, each.json()["error"]["code"]) for each in answers] == [(403, "role_above_own")] * 2
    assert (
        logged_in_as(UserFactory(role=Role.ADMIN))
        .post(USERS, {"first_name": "A", "last_name": "B", "role": role})
        .status_code
        == 201
    )


def test_role_change_gives_and_takes_admin_access():
    client = logged_in_as(UserFactory(role=Role.ADMIN))
    made = client.post(USERS, {"first_name": "A", "last_name": "B", "role": "Manager"}).json()["data"]["id"]
    member = client.post(USERS, {"first_name": "A", "last_name": "B"}).json()["data"]["id"]
    assert [CustomUser.objects.get(pk=each).is_staff for each in (made, member)] == [True, False]

    client.patch(f"{USERS}{made}/", {"role": "Member"})

    assert not CustomUser.objects.get(pk=made).is_staff


def test_staff_record_and_withdraw_consent():
    client = logged_in_as(UserFactory(role=Role.RECEPTIONIST))
    client.post(USERS, {"first_name": "Juma", "last_name": "Mwangi", "consent": True})
    juma = CustomUser.objects.get(first_name="Juma")
    first = juma.consented_at
    assert first is not None

    for consent, agreed_at in ((True, first), (False, None)):
        assert client.patch(f"{USERS}{juma.pk}/", {"consent": consent}).status_code == 200
        juma.refresh_from_db()
        assert juma.consented_at == agreed_at


def test_added_member_gives_consent_themselves():
    person = UserFactory(consented_at=None)

    answer = logged_in_as(person).patch("/api/v1/auth/me/", {"consent": True})

    person.refresh_from_db()
    assert answer.status_code == 200
    assert person.consented_at is not None


def test_member_cannot_list_people():
    answer = logged_in_as(UserFactory()).get(USERS)

    assert answer.status_code == 403


def test_people_are_filtered_searched_and_ordered():
    UserFactory(role=Role.TRAINER, dob="1995-05-05", first_name="John")
    UserFactory(role=Role.TRAINER, dob="1999-05-05", first_name="John")
    UserFactory(role=Role.TRAINER, dob="1985-05-05", first_name="John")
    client = logged_in_as(UserFactory(role=Role.MANAGER))

    answer = client.get(f"{USERS}?role=Trainer&dob__gte=1990-01-01&search=John&ordering=-dob")

    body = answer.json()
    assert [row["dob"] for row in body["data"]] == ["1999-05-05", "1995-05-05"]
    assert body["meta"]["pagination"] == {
        "page": 1,
        "page_size": 25,
        "total": 2,
        "total_pages": 1,
        "next": None,
        "previous": None,
    }


def test_pagination_links_are_relative():
    UserFactory()
    client = logged_in_as(UserFactory(role=Role.MANAGER))

    pagination = client.get(f"{USERS}?page_size=1").json()["meta"]["pagination"]

    assert (pagination["next"], pagination["previous"]) == (f"{USERS}?page=2&page_size=1", None)


@pytest.mark.parametrize("query", ["colour=red", "ordering=password", "dob__lt=2000-01-01"])
def test_unknown_query_parameter_is_refused(query):
    answer = logged_in_as(UserFactory(role=Role.MANAGER)).get(f"{USERS}?{query}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_parameter")


def test_list_of_people_costs_a_constant_number_of_queries(django_assert_num_queries):
    manager = UserFactory(role=Role.MANAGER)
    UserFactory.create_batch(3, added_by=manager)
    client = logged_in_as(manager)

    with django_assert_num_queries(3):  # session, count, page
        client.get(USERS)


def test_new_role_ends_the_users_sessions():
    person = UserFactory()
    theirs = logged_in_as(person)

    logged_in_as(UserFactory(role=Role.ADMIN)).patch(f"{USERS}{person.pk}/", {"role": "Trainer"})

    assert theirs.get("/api/v1/auth/me/").status_code == 401


@pytest.mark.parametrize("role", [Role.RECEPTIONIST, Role.MANAGER])
def test_equal_or_higher_role_cannot_be_changed(role):
    person = UserFactory(role=role)

    answer = logged_in_as(UserFactory(role=Role.RECEPTIONIST)).patch(
        f"{USERS}{person.pk}/", {"password": "mine-from-now-on"}
    )

    person.refresh_from_db()
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "role_above_own")
    assert person.check_password(PASSWORD)


@pytest.mark.parametrize(
    ("change", "proof"),
    [({"email": "new@example.com"}, "email_verified_at"), ({"phone_number": "0722222222"}, "phone_verified_at")],
)
def test_contact_changed_by_staff_is_unverified(change, proof):
    person = UserFactory()

    logged_in_as(UserFactory(role=Role.RECEPTIONIST)).patch(f"{USERS}{person.pk}/", change)

    person.refresh_from_db()
    assert getattr(person, proof) is None


def test_change_by_staff_is_audited_with_actor_and_fields():
    person, manager = UserFactory(), UserFactory(role=Role.MANAGER)
    change = {"role": "Trainer", "email": person.email, "first_name": "Wanjiru", "password": "given-by-the-desk"}

    logged_in_as(manager).patch(f"{USERS}{person.pk}/", change)

    event = SecurityEvent.objects.get(event="person_changed")
    assert (event.user, event.actor, event.detail) == (person, manager, {"changed": ["role", "password", "is_staff"]})


def test_change_of_other_fields_ends_no_session():
    person = UserFactory()
    theirs = logged_in_as(person)

    logged_in_as(UserFactory(role=Role.RECEPTIONIST)).patch(
        f"{USERS}{person.pk}/", {"emergency_contact": "0733 333 333"}
    )

    assert theirs.get("/api/v1/auth/me/").status_code == 200
    assert not SecurityEvent.objects.filter(event="person_changed").exists()


@pytest.fixture
def manager_with_stale_login():
    """A Manager whose login is older than ten minutes."""
    client = logged_in_as(UserFactory(role=Role.MANAGER))
    LoginSession.objects.update(auth_time=now() - timedelta(minutes=11))
    return client


@pytest.mark.parametrize(
    "change",
    [{"role": "Trainer"}, {"email": "a@example.com"}, {"phone_number": None}, {"password": "given-by-the-desk"}],
)
def test_access_change_requires_a_fresh_login(manager_with_stale_login, change):
    person = UserFactory()

    answer = manager_with_stale_login.patch(f"{USERS}{person.pk}/", change)

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "reauth_required")
    now_is = CustomUser.objects.get(pk=person.pk)
    for field in ("role", "email", "phone_number", "password"):
        assert getattr(now_is, field) == getattr(person, field)


def test_other_changes_need_no_fresh_login(manager_with_stale_login):
    answer = manager_with_stale_login.patch(f"{USERS}{UserFactory().pk}/", {"emergency_contact": "0733 333 333"})

    assert answer.status_code == 200


def test_login_nine_minutes_ago_is_fresh():
    client = logged_in_as(UserFactory(role=Role.MANAGER))
    LoginSession.objects.update(auth_time=now() - timedelta(minutes=9))

    assert client.patch(f"{USERS}{UserFactory().pk}/", {"role": "Trainer"}).status_code == 200


def test_adding_staff_requires_a_fresh_login(manager_with_stale_login):
    person = {"first_name": "Juma", "last_name": "Mwangi", "password": PASSWORD}

    answers = [
        manager_with_stale_login.post(USERS, person),
        manager_with_stale_login.post(USERS, {**person, "role": "Member"}),
        manager_with_stale_login.post(USERS, {**person, "role": "Trainer"}),
    ]

    assert [answer.status_code for answer in answers] == [201, 201, 401]


@pytest.mark.parametrize("body", [[], "x", 5, True])
def test_body_that_is_no_object_is_refused(body):
    client = logged_in_as(UserFactory(role=Role.MANAGER))

    answer = client.generic("PATCH", f"{USERS}{UserFactory().pk}/", json.dumps(body), content_type="application/json")

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "validation_error")


def test_superuser_of_any_role_cannot_be_changed():
    superuser = UserFactory(is_superuser=True)

    answer = logged_in_as(UserFactory(role="Receptionist")).patch(
        f"/api/v1/users/{superuser.pk}/", {"password": "given-by-the-desk"}
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "role_above_own")


def test_trainer_sees_masked_numbers_and_cannot_search_by_them():
    UserFactory(first_name="Wanjiru", phone_number="254711222333")
    trainer = logged_in_as(UserFactory(role=Role.TRAINER))

    (seen,) = trainer.get(f"{USERS}?search=Wanjiru").json()["data"]

    assert seen["phone_number"] == "2547****333"
    assert trainer.get(f"{USERS}{seen['id']}/").json()["data"]["phone_number"] == "2547****333"
    assert trainer.get(f"{USERS}?search=254711222333").json()["data"] == []


def test_receptionist_sees_and_searches_phone_numbers():
    UserFactory(first_name="Wanjiru", phone_number="254711222333")

    (seen,) = logged_in_as(UserFactory(role=Role.RECEPTIONIST)).get(f"{USERS}?search=254711222333").json()["data"]

    assert seen["phone_number"] == "254711222333"
