"""The demo gym is made through the services: its books balance, and a second time changes nothing."""

import io

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command

from api.business_days import business_day
from config.dev import demo_gym
from payments.models import CashSession, Payment, ReviewItem
from subscriptions.models import Subscription

pytestmark = pytest.mark.server


def seed(**options) -> str:
    out = io.StringIO()
    call_command("seed_demo", members=12, force=True, stdout=out, **options)
    return out.getvalue()


@pytest.mark.django_db
def test_seeding_twice_is_seeding_once_and_the_books_balance(client):
    first = seed()
    before = list(Payment.objects.order_by("pk").values())

    second = seed()

    assert first.startswith("The demo gym is open: 16 people, 3 plan groups, 8 plans,")
    assert second.startswith("The demo gym is here already; nothing was changed.")
    assert list(Payment.objects.order_by("pk").values()) == before
    assert Subscription.objects.granted().exists()
    call_command("audit_books", stdout=io.StringIO())
    people = get_user_model().objects
    for role, username in demo_gym.log_ins():
        person = people.get(username=username)
        assert person.role == role
        assert person.check_password(demo_gym.PASSWORD)
    # Walks log in as staff with this very password.
    assert {person.password for person in people.all()} == {people.get(username="admin").password}


@pytest.mark.django_db
def test_each_drawer_was_open_for_one_day_and_counted_as_expected():
    call_command("seed_demo", members=40, force=True, stdout=io.StringIO())

    drawers = CashSession.objects.all()
    assert len(drawers) > 2
    assert {each.difference for each in drawers} == {0}
    assert all(business_day(each.opened_at) == business_day(each.closed_at) for each in drawers)
    assert not ReviewItem.objects.filter(reason="cash_differs").exists()


@pytest.mark.django_db
def test_outside_development_it_refuses_without_force():
    with pytest.raises(CommandError) as raised:
        call_command("seed_demo", members=1)

    assert str(raised.value) == (
        "seed_demo makes an administrator whose password everybody knows: it runs in development only"
        " (--force insists)."
    )
    assert not get_user_model().objects.exists()
