"""The price list in the admin: a form changes only the fields that were edited in it."""

import pytest

from accounts.tests.factories import UserFactory
from subscriptions.models import Plan, PlanGroup
from subscriptions.services import catalog
from subscriptions.tests.factories import NOON, PlanFactory, PlanGroupFactory

pytestmark = pytest.mark.django_db

CHANGED_MEANWHILE = "Somebody else has changed this."


@pytest.fixture
def manager(client):
    client.force_login(UserFactory(role="Manager", is_staff=True))
    return client


def url(row, action="change"):
    return f"/admin/subscriptions/{row._meta.model_name}/{row.pk}/{action}/"


def form_data(page) -> dict:
    """Return the data that a browser submits for the page's form: each field, and the value it was shown with."""
    data = {}
    for field in page.context["adminform"].form:
        shown = field.value()
        assert f'name="{field.html_initial_name}"' in page.content.decode()
        data |= {field.html_initial_name: "" if shown is None else shown}
        if shown is not None and shown is not False:
            data[field.html_name] = shown
    return data


def test_old_plan_form_keeps_a_newer_price(manager):
    plan = PlanFactory(price=1500, visits=10, opens_at="06:00", closes_at="14:00")
    data = form_data(manager.get(url(plan), secure=True))
    catalog.edit_plan(plan_id=plan.pk, price=3000, by_id=None, now=NOON)

    manager.post(url(plan), data | {"name": "Monthly, new"}, secure=True)

    row = Plan.objects.values("name", "price", "visits", "is_on_sale").get(pk=plan.pk)
    assert row == {"name": "Monthly, new", "price": 3000, "visits": 10, "is_on_sale": True}


def test_concurrently_changed_price_is_not_overwritten(manager):
    plan = PlanFactory(price=1500)
    data = form_data(manager.get(url(plan), secure=True))
    catalog.edit_plan(plan_id=plan.pk, price=3000, by_id=None, now=NOON)

    answer = manager.post(url(plan), data | {"price": 2000}, secure=True)

    assert CHANGED_MEANWHILE in answer.content.decode()
    assert Plan.objects.get(pk=plan.pk).price == 3000


def test_old_group_form_keeps_a_newer_name(manager):
    group = PlanGroupFactory()
    data = form_data(manager.get(url(group), secure=True))
    catalog.edit_plan_group(group_id=group.pk, name="Gym and pool", by_id=None, now=NOON)

    del data["opens_gate"]
    manager.post(url(group), data, secure=True)

    assert PlanGroup.objects.values_list("name", "opens_gate").get() == ("Gym and pool", False)


def test_plan_is_created_from_the_form(manager):
    group = PlanGroupFactory()
    add = "/admin/subscriptions/plan/add/"
    data = form_data(manager.get(add, secure=True))

    answer = manager.post(
        add,
        data | {"code": "gold", "name": "Gold", "group": group.pk, "price": 6000, "interval": "months"},
        secure=True,
    )

    assert answer.status_code == 302
    assert Plan.objects.values_list("code", "price", "group").get() == ("gold", 6000, group.pk)


@pytest.mark.parametrize("typed", ["1_000", "\u0661\u0662", "\uff11\uff12", "1,000", "1 000", "1e3", "1000.0", "0x10"])
@pytest.mark.parametrize("name", ["price", "grace_days", "visits"])
def test_number_has_the_digits_0_to_9_only(manager, name, typed):
    plan = PlanFactory(price=1500)
    page = manager.get(url(plan), secure=True)

    answer = manager.post(url(plan), form_data(page) | {name: typed}, secure=True)

    assert list(answer.context["adminform"].form.errors) == [name]
    assert Plan.objects.get().price == 1500


def test_number_may_have_spaces_around_it(manager):
    plan = PlanFactory(price=1500)

    manager.post(url(plan), form_data(manager.get(url(plan), secure=True)) | {"price": " 2500 "}, secure=True)

    assert Plan.objects.get().price == 2500
