"""The audit trail: every change by staff has its author and the values before and after, in API and admin alike."""

import pytest
from django.db import IntegrityError, transaction

from accounts.models import CustomUser
from accounts.tests.factories import UserFactory
from api.models import Change
from api.tests.clients import logged_in_as
from payments.tests.invariants import broken_invariants
from subscriptions.models import Closure, Plan
from subscriptions.tests.factories import PlanFactory, PlanGroupFactory

pytestmark = [pytest.mark.django_db, pytest.mark.server]

PLANS, USERS = "/api/v1/plans/", "/api/v1/users/"


@pytest.fixture
def manager():
    return UserFactory(role="Manager", is_staff=True)


@pytest.fixture
def api(manager):
    return logged_in_as(manager)


@pytest.fixture
def admin(client, manager):
    client.force_login(manager)
    return client


def trail():
    """Return the changes, the oldest first, without their times."""
    return [
        (change.by_id, change.kind, change.table, change.row, change.before, change.after)
        for change in Change.objects.order_by("pk")
    ]


def save(client, path, **changed):
    """Change some fields of a form of the admin, and save it."""
    form = client.get(path, secure=True).context["adminform"].form
    shown = {field.html_name: "" if field.value() is None else field.value() for field in form}
    initial = {field.html_initial_name: shown[field.html_name] for field in form if field.field.show_hidden_initial}
    data = {name: value for name, value in {**initial, **shown, **changed}.items() if value is not False}
    answer = client.post(path, data, secure=True)
    assert answer.status_code == 302, answer.context["adminform"].form.errors


@pytest.mark.parametrize("by", ["api", "admin"])
def test_new_price_has_its_author_and_the_old_price(request, by, manager):
    plan = PlanFactory(price=1500)
    client = request.getfixturevalue(by)

    if by == "api":
        client.patch(f"{PLANS}{plan.pk}/", {"price": 3000})
    else:
        save(client, f"/admin/subscriptions/plan/{plan.pk}/change/", price=3000)

    assert Plan.objects.get().price == 3000
    assert trail() == [
        (manager.pk, "changed", "subscriptions.plan", str(plan.pk), {"price": 1500}, {"price": 3000}),
    ]


@pytest.mark.parametrize("by", ["api", "admin"])
def test_changed_person_has_the_author_and_the_old_values(request, by, manager):
    person = UserFactory(first_name="Asha", dob="1990-01-01", consented_at=None, phone_number="254712345678")
    client = request.getfixturevalue(by)

    if by == "api":
        client.patch(f"{USERS}{person.pk}/", {"first_name": "Wanjiru", "dob": "1991-02-02"})
    else:
        save(client, f"/admin/accounts/customuser/{person.pk}/change/", first_name="Wanjiru", dob="1991-02-02")

    ((by_id, kind, table, row, before, after),) = trail()
    assert (by_id, kind, table, row) == (manager.pk, "changed", "accounts.customuser", str(person.pk))
    assert before == {"first_name": "Asha", "dob": "1990-01-01"}
    assert after == {"first_name": "Wanjiru", "dob": "1991-02-02"}


def test_password_is_not_in_the_trail(api, manager):
    person = UserFactory()

    api.patch(f"{USERS}{person.pk}/", {"password": "another-long-password"})

    assert trail() == [
        (
            manager.pk,
            "changed",
            "accounts.customuser",
            str(person.pk),
            {"password": "(not shown)"},
            {"password": "(not shown)"},
        )
    ]


def test_unchanged_values_leave_no_row(api):
    plan = PlanFactory(price=1500)

    api.patch(f"{PLANS}{plan.pk}/", {"price": 1500})

    assert trail() == []


def test_own_profile_is_no_change_by_staff(api):
    api.patch("/api/v1/auth/me/", {"first_name": "Zawadi"})

    assert trail() == []


def test_additions_and_deletions_are_recorded(api, manager):
    group = PlanGroupFactory()
    api.post(PLANS, {"code": "gym", "name": "Gym", "group": group.pk, "price": 2500, "interval": "months"})
    api.post("/api/v1/plan-groups/", {"name": "Locker"})
    api.post(USERS, {"first_name": "Juma", "last_name": "Mwangi"})
    api.post("/api/v1/closures/", {"starts_on": "2027-01-01", "ends_on": "2027-01-02", "reason": "Repairs"})
    closure = Closure.objects.get()
    api.delete(f"/api/v1/closures/{closure.pk}/")

    rows = trail()

    assert [(by_id, kind, table) for by_id, kind, table, *_ in rows] == [
        (manager.pk, "added", "subscriptions.plan"),
        (manager.pk, "added", "subscriptions.plangroup"),
        (manager.pk, "added", "accounts.customuser"),
        (manager.pk, "added", "subscriptions.closure"),
        (manager.pk, "deleted", "subscriptions.closure"),
    ]
    assert {name: rows[0][5][name] for name in ("code", "price", "group_id")} == {
        "code": "gym",
        "price": 2500,
        "group_id": group.pk,
    }
    assert rows[2][5]["member_number"] == CustomUser.objects.get(first_name="Juma").member_number
    assert rows[4][4]["reason"] == "Repairs"


def test_change_carries_the_id_of_its_request(api):
    plan = PlanFactory()

    answer = api.patch(f"{PLANS}{plan.pk}/", {"price": 3000})

    assert Change.objects.get().request_id == answer["X-Request-ID"]


def test_database_refuses_to_change_the_trail(api):
    api.patch(f"{PLANS}{PlanFactory().pk}/", {"price": 3000})

    for act in (lambda: Change.objects.update(by=None), lambda: Change.objects.all().delete()):
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            act()


def test_history_of_a_page_shows_its_changes(admin, api):
    plan, other = PlanFactory(price=1500), PlanFactory(price=1500)
    for each in (plan, other):
        api.patch(f"{PLANS}{each.pk}/", {"price": 3000})

    answer = admin.get(f"/admin/subscriptions/plan/{plan.pk}/history/", secure=True, follow=True)

    assert [row.row for row in answer.context["cl"].result_list] == [str(plan.pk)]
    page = answer.content.decode()
    assert "price: 1500 → 3000" in page
    assert f'href="/admin/subscriptions/plan/{plan.pk}/change/"' in page
    assert broken_invariants() == {}
