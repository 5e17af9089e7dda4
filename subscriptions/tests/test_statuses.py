"""Statuses of periods, computed in Python and in SQL."""

from datetime import date, timedelta

import pytest

from subscriptions.models import Closure, Decision, Fact, Freeze, FreezeKind, Subscription, Visit
from subscriptions.statuses import Status, status_on
from subscriptions.tests.factories import NOON, TODAY, MemberFactory, PlanFactory, granted, noon_on, pending

pytestmark = [pytest.mark.django_db, pytest.mark.server]

LAST_DAY = date(2026, 12, 1)


def statuses(today):
    """Return the status of every period on a day. Check that Python, SQL and the filters of lists agree."""
    rows = Subscription.objects.with_status(today)
    found = {row.pk: row.status for row in rows}
    assert found == {
        row.pk: status_on(
            today,
            fact=row.fact,
            starts_on=row.starts_on,
            ends_on=row.ends_on,
            grace_days=row.grace_days,
            visits=row.visits,
            visits_used=row.visits_used,
            is_frozen=row.is_frozen,
            is_followed=row.is_followed,
            has_no_grace=row.leaving_at is not None or row.cut_on is not None,
        )
        for row in rows
    }
    with_status_inputs = Subscription.objects.with_status_inputs(today)  # built once, because that is slow
    for each in {*found.values(), Status.ACTIVE, Status.GRACE, Status.FROZEN}:
        listed = ids(with_status_inputs.having_status(each, today))
        assert listed == {pk for pk, status in found.items() if status == each}
    assert ids(Subscription.objects.in_renewal_state("lapsed", today)) == {
        row.pk for row in rows if row.status == Status.EXPIRED and is_last(row, rows) and is_recent(row, today)
    }
    return found


def ids(periods):
    return set(periods.values_list("pk", flat=True))


def is_last(row, rows):
    same = (row.member_id, row.group_id)
    later = (each for each in rows if each.fact == Fact.GRANTED and each.ends_on > row.ends_on)
    return all((each.member_id, each.group_id) != same for each in later)


def is_recent(row, today):
    return row.ends_on > today - timedelta(days=30)


def status(subscription, today):
    return statuses(today)[subscription.pk]


def visit(subscription, times):
    for _ in range(times):
        Visit.objects.create(
            member=subscription.member, subscription=subscription, at=NOON, decision=Decision.ALLOW, reason="active"
        )


def test_period_is_active_from_first_to_last_day():
    subscription = granted()

    assert status(subscription, TODAY - timedelta(days=1)) == Status.SCHEDULED
    assert status(subscription, TODAY) == Status.ACTIVE
    assert status(subscription, LAST_DAY) == Status.ACTIVE
    assert status(subscription, LAST_DAY + timedelta(days=1)) == Status.EXPIRED


def test_grace_lasts_the_days_of_the_plan():
    subscription = granted(PlanFactory(grace_days=2))

    assert [status(subscription, LAST_DAY + timedelta(days=n)) for n in (1, 2, 3)] == ["grace", "grace", "expired"]


def test_grace_of_one_period_does_not_affect_another():
    short, long = granted(PlanFactory(grace_days=1)), granted(PlanFactory(grace_days=5))

    seen = statuses(LAST_DAY + timedelta(days=3))

    assert (seen[short.pk], seen[long.pk]) == ("expired", "grace")


def test_followed_period_has_no_grace():
    subscription = granted(PlanFactory(grace_days=2))
    granted(subscription.plan, subscription.member)

    assert status(subscription, LAST_DAY + timedelta(days=1)) == Status.EXPIRED


def test_leaving_member_has_no_grace():
    subscription = granted(PlanFactory(grace_days=2), leaving_at=NOON)

    assert status(subscription, LAST_DAY + timedelta(days=1)) == Status.EXPIRED


def test_pack_is_exhausted_by_its_last_visit():
    subscription = granted(PlanFactory(visits=2, grace_days=5))
    visit(subscription, 1)
    assert status(subscription, TODAY) == Status.ACTIVE

    visit(subscription, 1)

    assert status(subscription, TODAY) == Status.EXHAUSTED
    assert status(subscription, LAST_DAY + timedelta(days=1)) == Status.EXPIRED


def test_freeze_or_closure_makes_a_period_frozen():
    subscription = granted()
    Freeze.objects.create(
        subscription=subscription,
        starts_on=TODAY,
        ends_on=TODAY + timedelta(days=5),
        ended_early_on=TODAY + timedelta(days=2),
        kind=FreezeKind.STAFF,
        requested_by=subscription.member,
        created_at=NOON,
    )
    Closure.objects.create(
        starts_on=TODAY + timedelta(days=3),
        ends_on=TODAY + timedelta(days=4),
        reason="Christmas",
        made_by=subscription.member,
        created_at=NOON,
    )

    assert [status(subscription, TODAY + timedelta(days=n)) for n in range(5)] == [
        "frozen",
        "frozen",
        "active",
        "frozen",
        "active",
    ]


@pytest.mark.parametrize("fact", ["pending", "cancelled"])
def test_status_of_an_ungranted_period_is_its_recorded_state(fact):
    assert status(pending(fact=fact), TODAY) == fact


def test_with_status_takes_one_query(django_assert_num_queries):
    member = MemberFactory()
    for day in (TODAY, TODAY, date(2027, 6, 1)):
        granted(PlanFactory(), member, day)

    with django_assert_num_queries(1):
        rows = list(Subscription.objects.with_status(noon_on(TODAY).date()).order_by("starts_on"))

    assert [row.status for row in rows] == ["active", "scheduled", "scheduled"]
