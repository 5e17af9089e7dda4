"""Constraints of the database on plans, subscriptions, freezes and closures."""

from datetime import time, timedelta

import pytest
from django.db import IntegrityError, transaction

from subscriptions.models import Closure, Freeze, FreezeKind, Plan, Subscription
from subscriptions.tests.factories import NOON, TODAY, MemberFactory, PlanFactory, create_payment, granted, pending

pytestmark = [pytest.mark.django_db, pytest.mark.server]

DAY = timedelta(days=1)


def refused(name):
    """Check that the constraint of this name is violated in the block."""
    return pytest.raises(IntegrityError, match=f'"{name}"')


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"interval_count": 0}, "plan_lasts_some_time"),
        ({"deposit_percent": 0}, "plan_deposit_is_a_share"),
        ({"deposit_percent": 101}, "plan_deposit_is_a_share"),
        ({"interval": "years", "interval_count": 11}, "plan_lasts_ten_years_at_most"),
        ({"interval": "moons"}, "plan_lasts_ten_years_at_most"),
        ({"opens_at": time(6)}, "plan_hours_are_both_or_none"),
        ({"closes_at": time(6)}, "plan_hours_are_both_or_none"),
        ({"opens_at": time(6), "closes_at": time(6)}, "plan_hours_are_both_or_none"),
    ],
)
def test_invalid_plan_is_refused(fields, name):
    plan = PlanFactory()

    with refused(name), transaction.atomic():
        Plan.objects.filter(pk=plan.pk).update(**fields)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"starts_on": TODAY - DAY}, "subscription_granted_has_dates"),
        ({"base_ends_on": TODAY}, "subscription_granted_has_dates"),
        ({"ends_on": TODAY + DAY}, "subscription_ends_after_its_length_unless_cut"),
        ({"cut_on": TODAY + DAY}, "subscription_ends_after_its_length_unless_cut"),
        ({"cut_on": TODAY - DAY, "ends_on": TODAY - DAY}, "subscription_ends_after_its_length_unless_cut"),
        ({"value_carried": 1}, "subscription_carries_value_of_another_only"),
    ],
)
def test_invalid_period_is_refused(fields, name):
    period = granted()

    with refused(name), transaction.atomic():
        Subscription.objects.filter(pk=period.pk).update(**fields)


def test_upgrade_carrying_its_whole_price_is_refused():
    old = granted()
    upgrade = pending(PlanFactory(price=3000), old.member, replaces=old, value_carried=2999)

    with refused("subscription_carries_value_of_another_only"), transaction.atomic():
        Subscription.objects.filter(pk=upgrade.pk).update(value_carried=3000)


def test_second_pending_period_of_a_plan_is_refused():
    first = pending()

    with refused("subscription_pending_once_per_plan"), transaction.atomic():
        pending(first.plan, first.member)


def test_second_upgrade_of_a_period_is_refused():
    old = granted()
    pending(PlanFactory(), old.member, replaces=old)

    with refused("subscription_is_replaced_once"), transaction.atomic():
        pending(PlanFactory(), old.member, replaces=old)


def test_second_period_of_a_payment_is_refused():
    payment = create_payment(MemberFactory())
    pending(payment=payment)

    with pytest.raises(IntegrityError, match="payment_id"), transaction.atomic():
        pending(payment=payment)


@pytest.mark.parametrize(
    ("days", "name"),
    [
        ({"ends_on": TODAY}, "freeze_lasts_some_days"),
        ({"ended_early_on": TODAY - DAY}, "freeze_early_end_is_inside"),
        ({"ended_early_on": TODAY + 5 * DAY}, "freeze_early_end_is_inside"),
    ],
)
def test_invalid_freeze_is_refused(days, name):
    period = granted()

    with refused(name), transaction.atomic():
        Freeze.objects.create(
            **({"starts_on": TODAY, "ends_on": TODAY + 5 * DAY} | days),
            subscription=period,
            kind=FreezeKind.STAFF,
            requested_by=period.member,
            created_at=NOON,
        )


@pytest.mark.parametrize(
    ("ends_on", "name"), [(TODAY, "closure_lasts_some_days"), (TODAY + DAY, "closures_do_not_overlap")]
)
def test_invalid_closure_is_refused(ends_on, name):
    fields = {"reason": "Repairs", "made_by": MemberFactory(), "created_at": NOON}
    Closure.objects.create(starts_on=TODAY - DAY, ends_on=TODAY + DAY, **fields)

    with refused(name), transaction.atomic():
        Closure.objects.create(starts_on=TODAY, ends_on=ends_on, **fields)
