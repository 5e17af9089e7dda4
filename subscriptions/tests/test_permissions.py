"""Permission classes for the views of any app."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import AnonymousUser

from api import clock
from api.business_days import business_day
from subscriptions.permissions import HasActiveSubscription, HasRunningSubscription
from subscriptions.tests.factories import MemberFactory, PlanFactory, granted, pending

pytestmark = pytest.mark.django_db


@pytest.fixture
def today():
    return business_day(clock.now())


def allowed(user):
    """Return whether HasActiveSubscription and HasRunningSubscription allow the user."""
    request = SimpleNamespace(user=user)
    return tuple(
        permission().has_permission(request, None) for permission in (HasActiveSubscription, HasRunningSubscription)
    )


def test_running_period_gives_both_permissions(today):
    assert allowed(granted(on=today).member) == (True, True)


def test_grace_gives_only_the_active_permission(today):
    plan = PlanFactory(interval="days", interval_count=5, grace_days=3)

    assert allowed(granted(plan, on=today - timedelta(days=6)).member) == (True, False)


def test_ended_unpaid_and_locker_periods_give_no_permission(today):
    locker = PlanFactory(group__name="Locker", group__opens_gate=False)

    assert allowed(granted(on=today - timedelta(days=60)).member) == (False, False)
    assert allowed(pending().member) == (False, False)
    assert allowed(granted(locker, on=today).member) == (False, False)
    assert allowed(MemberFactory()) == (False, False)


def test_anonymous_user_has_no_permission():
    assert allowed(AnonymousUser()) == (False, False)
