"""New passwords: nobody's own name or number, by whatever way it is set."""

import pytest
from django.core.exceptions import ValidationError
from django.urls import reverse

from accounts.models import CodePurpose, CustomUser
from accounts.password_validators import PersonalDataValidator
from accounts.services import one_time_codes
from accounts.tests.factories import PASSWORD, UserFactory
from accounts.tests.worker import code_in_mail
from api.clock import now
from api.roles import Role
from api.tests.clients import browser, logged_in_as

pytestmark = [pytest.mark.django_db, pytest.mark.server]

AUTH = "/api/v1/auth/"
ASHA = {"first_name": "Asha", "last_name": "Otieno", "email": "asha@example.com", "phone_number": "254712345678"}
OWN_DATA = [
    "0712345678",
    "+254 712 345 678",
    "254712345678",
    "Asha Otieno",
    "otieno.asha.1",
    "OtienoAsha2024",
    "asha0712345678",
    "asha@example.com",
]
NUMERIC = ["8301947265", "40718263591"]


@pytest.fixture
def asha():
    return UserFactory(**ASHA)


@pytest.mark.parametrize("password", [*OWN_DATA, *NUMERIC])
def test_own_data_or_a_number_is_no_password_at_registration(password):
    answer = browser().post(f"{AUTH}register/", {**ASHA, "password": password, "consent": True})

    assert (answer.status_code, {one["field"] for one in answer.json()["error"]["details"]}) == (400, {"password"})
    assert not CustomUser.objects.exists()


@pytest.mark.parametrize("password", [*OWN_DATA, *NUMERIC])
def test_own_data_or_a_number_is_no_new_password(asha, password):
    answer = logged_in_as(asha).post(f"{AUTH}password/change/", {"current": PASSWORD, "new": password})

    assert (answer.status_code, {one["field"] for one in answer.json()["error"]["details"]}) == (400, {"new"})


@pytest.mark.parametrize("password", [*OWN_DATA, *NUMERIC])
def test_own_data_or_a_number_is_no_password_after_a_reset(asha, password):
    one_time_codes.request(user=asha, purpose=CodePurpose.RESET, contact=asha.email, now=now())
    given = {"identifier": asha.email, "code": code_in_mail()}

    refused = browser().post(f"{AUTH}password/reset/confirm/", {**given, "password": password})
    accepted = browser().post(f"{AUTH}password/reset/confirm/", {**given, "password": "another-long-password"})

    assert (refused.status_code, {one["field"] for one in refused.json()["error"]["details"]}) == (400, {"password"})
    assert accepted.status_code == 200


def test_reset_compares_the_password_only_after_the_right_code(asha):
    given = {"identifier": asha.email, "code": "000000", "password": "OtienoAsha2024"}

    answer = browser().post(f"{AUTH}password/reset/confirm/", given)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_or_expired_key")


@pytest.mark.parametrize("password", ["0712345678", "OtienoAsha2024"])
def test_staff_give_no_password_of_the_members_own_data(asha, password):
    staff = logged_in_as(UserFactory(role=Role.MANAGER))
    new = {**ASHA, "email": "new@example.com", "phone_number": "254712345678"}

    changed = staff.patch(f"/api/v1/users/{asha.pk}/", {"password": password})
    added = staff.post("/api/v1/users/", {**new, "password": password})

    assert [changed.status_code, added.status_code] == [400, 400]


def test_admin_gives_no_password_of_the_members_own_data(client, asha):
    client.force_login(UserFactory(role=Role.ADMIN, is_staff=True, is_superuser=True))
    new = {"password1": "OtienoAsha2024", "password2": "OtienoAsha2024", "usable_password": "true"}

    page = reverse("admin:auth_user_password_change", args=[asha.pk])
    client.post(page, {**new, "set-password": "1"}, secure=True)

    asha.refresh_from_db()
    assert asha.check_password(PASSWORD)


def test_member_number_is_no_password():
    person = UserFactory(**ASHA)

    with pytest.raises(ValidationError):
        PersonalDataValidator().validate(f"Gym-{person.member_number}", person)


@pytest.mark.parametrize("password", [PASSWORD, "ashas-green-bicycle", "mwalimu-otieno-runs-far"])
def test_name_inside_a_longer_password_is_accepted(password):
    PersonalDataValidator().validate(password, UserFactory(**ASHA))
