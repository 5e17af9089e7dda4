"""The admin page of people: it follows the rules of the API."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from accounts.models import CustomUser, Notice, SecurityEvent
from accounts.receivers import LOGGED_IN_AT
from accounts.tests.factories import PASSWORD, UserFactory
from api.clock import now
from api.member_numbers import is_member_number
from api.roles import Role
from api.tests.clients import logged_in_as

pytestmark = pytest.mark.django_db

PEOPLE = "admin:accounts_customuser_"


@pytest.fixture
def owner():
    return UserFactory(role=Role.ADMIN, is_staff=True, is_superuser=True)


@pytest.fixture
def as_owner(client, owner):
    client.force_login(owner)
    return client


@pytest.fixture
def as_manager(client):
    """A Manager who is logged in to the admin."""
    manager = UserFactory(role=Role.MANAGER, is_staff=True)
    manager.user_permissions.set(Permission.objects.filter(content_type__app_label="accounts"))
    client.force_login(manager)
    return client


def form(person, **changes):
    """Return the fields that the page of a person sends."""
    kept = ["username", "first_name", "last_name", "email", "phone_number", "emergency_contact", "role"]
    ticked = {name: "on" for name in ("is_active", "is_staff", "is_superuser") if getattr(person, name)}
    shown = {f"initial-{name}": getattr(person, name) or "" for name in kept}
    shown |= {f"initial-{name}": str(getattr(person, name)) for name in ("is_active", "is_staff", "is_superuser")}
    return {**shown, **{name: getattr(person, name) or "" for name in kept}, **ticked, **changes}


def save(client, person, **changes):
    return client.post(reverse(f"{PEOPLE}change", args=[person.pk]), form(person, **changes), secure=True)


@pytest.mark.parametrize(
    ("change", "notices"),
    [
        ({"role": "Trainer"}, []),
        ({"email": "new@example.com"}, ["email_changed"]),
        ({"phone_number": "254722222222"}, ["phone_changed"]),
        ({"is_staff": "on"}, []),
    ],
)
def test_admin_change_of_access_fields_is_audited_and_ends_sessions(as_owner, owner, change, notices):
    person = UserFactory()
    theirs = logged_in_as(person)

    answer = save(as_owner, person, **change)

    event = SecurityEvent.objects.get(event="person_changed")
    assert answer.status_code == 302
    assert (event.user, event.actor, event.detail) == (person, owner, {"changed": list(change)})
    assert theirs.get("/api/v1/auth/me/").status_code == 401
    assert list(Notice.objects.values_list("kind", flat=True)) == notices


def test_page_of_a_person_saves_only_the_changed_fields(as_owner):
    person = UserFactory()
    shown = form(person, first_name="Wanjiru")
    meanwhile = {"phone_number": "254799999999", "password": "another", "consented_at": None, "is_active": False}
    CustomUser.objects.filter(pk=person.pk).update(**meanwhile)

    answer = as_owner.post(reverse(f"{PEOPLE}change", args=[person.pk]), shown, secure=True)

    assert answer.status_code == 302
    assert CustomUser.objects.filter(pk=person.pk, first_name="Wanjiru", **meanwhile).exists()


@pytest.mark.parametrize(
    ("field", "typed", "meanwhile"),
    [("phone_number", "254722222222", "254799999999"), ("email", "", "new@example.com"), ("role", "Trainer", "Admin")],
)
def test_page_of_a_person_refuses_a_field_that_was_changed_meanwhile(as_owner, field, typed, meanwhile):
    person = UserFactory()
    shown = form(person, **{field: typed})
    CustomUser.objects.filter(pk=person.pk).update(**{field: meanwhile})

    answer = as_owner.post(reverse(f"{PEOPLE}change", args=[person.pk]), shown, secure=True)

    assert "Somebody else has changed this. Reload the page and try again." in answer.content.decode()
    assert CustomUser.objects.filter(pk=person.pk, **{field: meanwhile}).exists()


def test_page_of_a_person_sends_what_it_showed(as_owner):
    person = UserFactory()

    page = as_owner.get(reverse(f"{PEOPLE}change", args=[person.pk]), secure=True).content.decode()

    names = ("phone_number", "email", "role", "is_active", "consented_at_0", "dob")
    assert [f'name="initial-{name}"' in page for name in names] == [True] * len(names)


def test_saved_page_of_a_person_without_changes_changes_nothing(as_owner):
    person = UserFactory(dob=now().date())
    before = CustomUser.objects.filter(pk=person.pk).values().get()
    page = as_owner.get(reverse(f"{PEOPLE}change", args=[person.pk]), secure=True)
    inputs = re.findall(r"<input[^>]*>", page.content.decode())
    found = {}
    for tag in inputs:
        name, value = re.search(r'name="([^"]*)"', tag), re.search(r'value="([^"]*)"', tag)
        if name and ('type="checkbox"' not in tag or re.search(r" checked[ >]", tag)):
            found[name[1]] = value[1] if value else "on"
    wanted = {name: value for name, value in found.items() if not name.startswith(("_", "csrf"))}

    answer = as_owner.post(reverse(f"{PEOPLE}change", args=[person.pk]), {**wanted, "role": person.role}, secure=True)

    assert answer.status_code == 302
    assert CustomUser.objects.filter(pk=person.pk).values().get() == before


def test_deactivation_in_the_admin_is_audited(as_owner):
    person = UserFactory()

    as_owner.post(
        reverse(f"{PEOPLE}change", args=[person.pk]),
        {name: value for name, value in form(person).items() if name != "is_active"},
        secure=True,
    )

    assert SecurityEvent.objects.get(event="person_changed").detail == {"changed": ["is_active"]}


def test_contact_changed_in_the_admin_is_unverified(as_owner):
    person = UserFactory()

    save(as_owner, person, email="new@example.com")

    person.refresh_from_db()
    assert (person.email, person.email_verified_at) == ("new@example.com", None)


def test_contact_emptied_in_the_admin_is_null(as_owner):
    person = UserFactory()

    answer = save(as_owner, person, email="", phone_number="")

    person.refresh_from_db()
    assert (answer.status_code, person.email, person.phone_number) == (302, None, None)


def test_password_set_in_the_admin_is_audited_and_notified(as_owner, owner):
    person = UserFactory()
    theirs = logged_in_as(person)
    new = {"password1": "given-by-the-desk", "password2": "given-by-the-desk", "usable_password": "true"}

    answer = as_owner.post(
        reverse("admin:auth_user_password_change", args=[person.pk]), {**new, "set-password": "1"}, secure=True
    )

    event = SecurityEvent.objects.get(event="person_changed")
    assert answer.status_code == 302
    assert (event.actor, event.detail) == (owner, {"changed": ["password"]})
    assert theirs.get("/api/v1/auth/me/").status_code == 401
    assert Notice.objects.get().kind == "password_changed"


def test_change_of_other_fields_ends_no_session(as_owner):
    person = UserFactory()
    theirs = logged_in_as(person)

    save(as_owner, person, first_name="Wanjiru")

    assert theirs.get("/api/v1/auth/me/").status_code == 200
    assert not SecurityEvent.objects.filter(event="person_changed").exists()


def test_manager_cannot_change_roles_in_the_admin(as_manager):
    person = UserFactory()

    save(as_manager, person, role="Admin", is_staff="on", is_superuser="on", first_name="Wanjiru")

    person.refresh_from_db()
    assert (person.first_name, person.role, person.is_staff, person.is_superuser) == ("Wanjiru", "Member", False, False)


@pytest.mark.parametrize("page", ["admin:accounts_customuser_change", "admin:auth_user_password_change"])
@pytest.mark.parametrize("fields", [{"role": Role.MANAGER}, {"role": Role.ADMIN}, {"is_superuser": True}])
def test_manager_cannot_change_managers_or_admins(as_manager, page, fields):
    person = UserFactory(**fields)

    answer = as_manager.post(
        reverse(page, args=[person.pk]), {**form(person), "password1": "x", "password2": "x"}, secure=True
    )

    person.refresh_from_db()
    assert answer.status_code == 403
    assert person.check_password(PASSWORD)


@pytest.fixture
def as_owner_with_stale_login(as_owner):
    """The Admin's browser, eleven minutes after the login."""
    session = as_owner.session
    session[LOGGED_IN_AT] = (now() - timedelta(minutes=11)).timestamp()
    session.save()
    return as_owner


@pytest.mark.parametrize("change", [{"role": "Admin"}, {"email": "a@example.com"}, {"is_superuser": "on"}])
def test_access_change_in_the_admin_requires_a_fresh_login(as_owner_with_stale_login, change):
    person = UserFactory()

    answer = save(as_owner_with_stale_login, person, **change)

    person.refresh_from_db()
    assert "Log out and log in again" in answer.content.decode()
    assert (person.role, person.is_superuser) == ("Member", False)
    assert person.email != "a@example.com"


def test_password_change_in_the_admin_requires_a_fresh_login(as_owner_with_stale_login):
    person = UserFactory()
    new = {"password1": "given-by-the-desk", "password2": "given-by-the-desk", "usable_password": "true"}

    answer = as_owner_with_stale_login.post(
        reverse("admin:auth_user_password_change", args=[person.pk]),
        {**new, "set-password": "1"},
        secure=True,
        follow=True,
    )

    person.refresh_from_db()
    assert "Log out and log in again" in answer.content.decode()
    assert person.check_password(PASSWORD)


def test_other_changes_in_the_admin_need_no_fresh_login(as_owner_with_stale_login):
    person = UserFactory()

    answer = save(as_owner_with_stale_login, person, first_name="Wanjiru")

    person.refresh_from_db()
    assert (answer.status_code, person.first_name) == (302, "Wanjiru")


def add(client, **typed):
    """Send the form of a new person and return the response."""
    body = {"first_name": "Juma", "last_name": "Otieno", "role": "Member", **typed}
    return client.post(reverse(f"{PEOPLE}add"), body, secure=True)


def test_person_added_in_the_admin_has_member_number_and_added_by(as_owner, owner):
    answer = add(as_owner, phone_number="0712 345 678", consent="on")

    person = CustomUser.objects.get(first_name="Juma")
    assert (answer.status_code, answer.url) == (302, f"/admin/members/{person.pk}/")
    assert is_member_number(person.member_number)
    assert (person.added_by, person.phone_number, person.email) == (owner, "254712345678", None)
    assert (person.role, person.is_staff, person.has_usable_password()) == ("Member", False, False)
    assert person.consented_at is not None
    assert SecurityEvent.objects.get(event="person_added").actor == owner


def test_manager_adds_a_receptionist_who_may_open_the_admin(as_manager):
    add(as_manager, role="Receptionist", username="juma", password=PASSWORD)

    desk = Client()
    typed = {"username": "juma", "password": PASSWORD}
    answer = desk.post(reverse("admin:login"), typed, secure=True)

    assert (answer.status_code, CustomUser.objects.get(username="juma").is_staff) == (302, True)


@pytest.mark.parametrize("role", ["Manager", "Admin", "Owner"])
def test_manager_cannot_add_managers_or_admins(as_manager, role):
    answer = add(as_manager, role=role)

    assert "Select a valid choice" in answer.content.decode()
    assert not CustomUser.objects.filter(first_name="Juma").exists()


def test_adding_staff_in_the_admin_requires_a_fresh_login(as_owner_with_stale_login):
    refused = add(as_owner_with_stale_login, role="Trainer")
    add(as_owner_with_stale_login, first_name="Amina")

    assert "Log out and log in again" in refused.content.decode()
    assert list(CustomUser.objects.filter(last_name="Otieno").values_list("first_name", flat=True)) == ["Amina"]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"first_name": ""}, "This field is required."),
        ({"phone_number": "12"}, "Enter a Kenyan mobile number"),
        ({"password": "short"}, "This password is too short"),
        ({"username": "0712345678"}, "Enter a valid value."),
        ({"username": "WANJIKU"}, "This e-mail address, phone number or username is already"),
        ({"dob": "yesterday"}, "Enter a valid date."),
    ],
)
def test_invalid_form_adds_no_person(as_owner, typed, said):
    UserFactory(username="wanjiku")

    answer = add(as_owner, **typed)

    assert (answer.status_code, said in answer.content.decode()) == (200, True)
    assert not CustomUser.objects.filter(last_name="Otieno").exists()


def test_admin_has_no_pages_for_authenticators(as_owner):
    pages = [
        as_owner.get(f"/admin/{path}/", secure=True) for path in ("otp_totp/totpdevice", "otp_static/staticdevice")
    ]

    assert [page.status_code for page in pages] == [404, 404]


@pytest.mark.parametrize("taken", ["0712345678", "owner@example.com", "1234567"])
def test_username_that_looks_like_a_contact_is_refused(as_manager, taken):
    person = UserFactory(username="juma")

    answer = save(as_manager, person, username=taken)

    person.refresh_from_db()
    assert "Start with a letter and do not use @." in answer.content.decode()
    assert person.username == "juma"


def test_existing_numeric_username_does_not_block_other_changes(as_manager):
    person = UserFactory(username="1234567")

    answer = save(as_manager, person, first_name="Wanjiru")

    assert answer.status_code == 302


def change_own_password(client, old=PASSWORD, new="another-long-password"):
    typed = {"old_password": old, "new_password1": new, "new_password2": new}
    return client.post("/admin/password_change/", typed, secure=True)


def test_own_password_change_in_the_admin_ends_other_sessions(as_owner, owner):
    elsewhere = logged_in_as(owner)

    answer = change_own_password(as_owner)

    owner.refresh_from_db()
    assert (answer.status_code, owner.check_password("another-long-password")) == (302, True)
    assert elsewhere.get("/api/v1/auth/me/").status_code == 401
    assert SecurityEvent.objects.filter(event="password_changed", outcome="ok", user=owner).count() == 1
    assert Notice.objects.get().kind == "password_changed"
    assert as_owner.get("/admin/", secure=True).status_code == 200


def test_current_password_attempts_in_the_admin_are_limited(as_owner, owner):
    for _ in range(5):
        assert "Please enter your password again." in change_own_password(as_owner, old="a-guess").content.decode()

    answer = change_own_password(as_owner)

    owner.refresh_from_db()
    assert "Too many attempts." in answer.content.decode()
    assert owner.check_password(PASSWORD)


def test_own_password_change_does_not_make_an_admin_login_fresh(as_owner_with_stale_login):
    person = UserFactory()

    change_own_password(as_owner_with_stale_login)
    answer = save(as_owner_with_stale_login, person, email="new@example.com")

    person.refresh_from_db()
    assert "Log out and log in again" in answer.content.decode()
    assert person.email != "new@example.com"


@pytest.mark.parametrize(("old", "new"), [("", "another-long-password"), (PASSWORD, "short"), (PASSWORD, "")])
def test_weak_or_missing_password_changes_nothing(as_owner, owner, old, new):
    answer = change_own_password(as_owner, old=old, new=new)

    owner.refresh_from_db()
    assert (answer.status_code, owner.check_password(PASSWORD)) == (200, True)
