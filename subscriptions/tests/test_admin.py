"""The price list in the admin: what a form changes is what was typed into it, and nothing else."""

import pytest

from accounts.tests.factories import UserFactory
from subscriptions.models import Plan, PlanGroup
from subscriptions.services import catalog
from subscriptions.tests.factories import PlanFactory, PlanGroupFactory

pytestmark = pytest.mark.django_db

CHANGED_MEANWHILE = "Somebody else has changed this."


@pytest.fixture
def manager(client):
    client.force_login(UserFactory(role="Manager", is_staff=True))
    return client


def address(row, act="change"):
    return f"/admin/subscriptions/{row._meta.model_name}/{row.pk}/{act}/"


def filled_in(page) -> dict:
    """Return what a browser would send of the page's form: each field, and what it was shown as."""
    sent = {}
    for field in page.context["adminform"].form:
        shown = field.value()
        assert f'name="{field.html_initial_name}"' in page.content.decode()
        sent |= {field.html_initial_name: "" if shown is None else shown}
        if shown is not None and shown is not False:
            sent[field.html_name] = shown
    return sent


def test_a_form_opened_before_the_price_was_raised_leaves_the_price_alone(manager):
    plan = PlanFactory(price=1500, visits=10, opens_at="06:00", closes_at="14:00")
    typed = filled_in(manager.get(address(plan), secure=True))
    catalog.edit_plan(plan_id=plan.pk, price=3000)

    manager.post(address(plan), typed | {"name": "Monthly, new"}, secure=True)

    kept = Plan.objects.values("name", "price", "visits", "is_on_sale").get(pk=plan.pk)
    assert kept == {"name": "Monthly, new", "price": 3000, "visits": 10, "is_on_sale": True}


def test_a_price_that_somebody_else_changed_meanwhile_is_not_overwritten(manager):
    plan = PlanFactory(price=1500)
    typed = filled_in(manager.get(address(plan), secure=True))
    catalog.edit_plan(plan_id=plan.pk, price=3000)

    answer = manager.post(address(plan), typed | {"price": 2000}, secure=True)

    assert CHANGED_MEANWHILE in answer.content.decode()
    assert Plan.objects.get(pk=plan.pk).price == 3000


def test_a_form_opened_before_a_group_was_renamed_leaves_its_name_alone(manager):
    group = PlanGroupFactory()
    typed = filled_in(manager.get(address(group), secure=True))
    catalog.edit_plan_group(group_id=group.pk, name="Gym and pool")

    del typed["opens_gate"]
    manager.post(address(group), typed, secure=True)

    assert PlanGroup.objects.values_list("name", "opens_gate").get() == ("Gym and pool", False)


def test_a_plan_is_added_with_what_was_typed(manager):
    group = PlanGroupFactory()
    add = "/admin/subscriptions/plan/add/"
    typed = filled_in(manager.get(add, secure=True))

    answer = manager.post(
        add,
        typed | {"code": "gold", "name": "Gold", "group": group.pk, "price": 6000, "interval": "months"},
        secure=True,
    )

    assert answer.status_code == 302
    assert Plan.objects.values_list("code", "price", "group").get() == ("gold", 6000, group.pk)
