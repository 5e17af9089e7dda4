"""The demo gym, which is created through the services."""

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
def test_second_run_changes_nothing_and_the_books_balance(client):
    first = seed()
    before = list(Payment.objects.order_by("pk").values())

    second = seed()

    assert first.startswith("Created a demo gym: 16 people, 3 plan groups, 8 plans,")
    assert second.startswith("The demo gym exists already. Nothing was changed.")
    assert list(Payment.objects.order_by("pk").values()) == before
    assert Subscription.objects.granted().exists()
    call_command("audit_books", stdout=io.StringIO())
    people = get_user_model().objects
    for role, username in demo_gym.logins():
        person = people.get(username=username)
        assert person.role == role
        assert person.check_password(demo_gym.PASSWORD)
    # The walkthrough logs in as staff with this password.
    assert {person.password for person in people.all()} == {people.get(username="admin").password}


@pytest.mark.django_db
def test_each_cash_session_lasted_one_day_without_difference():
    call_command("seed_demo", members=40, force=True, stdout=io.StringIO())

    sessions = CashSession.objects.all()
    assert len(sessions) > 2
    assert {each.difference for each in sessions} == {0}
    assert all(business_day(each.opened_at) == business_day(each.closed_at) for each in sessions)
    assert not ReviewItem.objects.filter(reason="cash_differs").exists()


@pytest.mark.django_db
def test_seed_demo_is_refused_outside_development():
    with pytest.raises(CommandError) as raised:
        call_command("seed_demo", members=1)

    assert str(raised.value) == (
        "seed_demo creates an administrator with a public password, so it runs in development only. To run it"
        " elsewhere, add --force."
    )
    assert not get_user_model().objects.exists()
