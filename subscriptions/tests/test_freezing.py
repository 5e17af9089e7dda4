"""Frozen days are given back exactly."""

from datetime import date, timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from payments.models import Receipt
from payments.services import reversals
from subscriptions.gate import check_in
from subscriptions.models import Freeze, FreezeKind, Subscription
from subscriptions.services import free_periods, freezes, plan_changes
from subscriptions.services.calendars import TooFarAhead
from subscriptions.tests.factories import NOON, TODAY, MemberFactory, PlanFactory, granted, noon_on, pay

pytestmark = [pytest.mark.django_db, pytest.mark.server]


@pytest.fixture
def plan():
    return PlanFactory(max_freezes=2, max_freeze_days=14)


def day(n):
    return TODAY + timedelta(days=n)


def freeze(subscription, first, last, kind=FreezeKind.MEMBER, now=NOON):
    """Freeze from one day up to, not including, another, counted from today."""
    return freezes.freeze(
        subscription_id=subscription.pk,
        starts_on=day(first),
        ends_on=day(last),
        kind=kind,
        by_id=subscription.member_id,
        now=now,
    )


def spans(*subscriptions):
    for each in subscriptions:
        each.refresh_from_db()
    return [(each.starts_on, each.base_ends_on, each.ends_on) for each in subscriptions]


def test_frozen_days_are_added_at_the_end_and_stacked_periods_move(plan):
    member = MemberFactory()
    first, second = granted(plan, member), granted(plan, member)

    freeze(first, 0, 10)

    assert spans(first, second) == [
        (date(2026, 11, 2), date(2026, 12, 2), date(2026, 12, 12)),
        (date(2026, 12, 12), date(2027, 1, 12), date(2027, 1, 12)),
    ]


def test_an_early_return_takes_back_what_was_not_used(plan):
    member = MemberFactory()
    first, second = granted(plan, member), granted(plan, member)
    freeze(first, 0, 10)

    freezes.unfreeze(subscription_id=first.pk, now=noon_on(day(4)))

    assert spans(first, second) == [
        (date(2026, 11, 2), date(2026, 12, 2), date(2026, 12, 6)),
        (date(2026, 12, 6), date(2027, 1, 6), date(2027, 1, 6)),
    ]


def test_a_freeze_that_has_not_begun_is_taken_back_whole(plan):
    first, second = (subscription := granted(plan)), granted(plan, subscription.member)
    before = spans(first, second)
    freeze(first, 5, 10)

    freezes.unfreeze(subscription_id=first.pk, now=NOON)

    assert spans(first, second) == before


def test_there_is_nothing_to_return_from_without_a_freeze(plan):
    subscription = granted(plan)
    freeze(subscription, 0, 2)

    with pytest.raises(freezes.NotFrozen):
        freezes.unfreeze(subscription_id=subscription.pk, now=noon_on(day(2)))


def test_days_given_back_can_be_frozen_again(plan):
    subscription = granted(plan)
    freeze(subscription, 0, 5)
    freezes.unfreeze(subscription_id=subscription.pk, now=noon_on(day(1)))

    freeze(subscription, 3, 5, now=noon_on(day(1)))

    assert spans(subscription)[0][2] == date(2026, 12, 5)


@pytest.mark.parametrize("lengths", [[15], [10, 5], [1, 1, 1]])
def test_a_member_keeps_to_the_limits_of_the_plan(plan, lengths):
    subscription, begin = granted(plan), 0
    *within, too_much = lengths
    for length in within:
        freeze(subscription, begin, begin + length)
        begin += length

    with pytest.raises(freezes.FreezeLimit):
        freeze(subscription, begin, begin + too_much)


def test_a_freeze_taken_back_before_it_begins_counts_towards_no_limit():
    subscription = granted(PlanFactory(max_freezes=1, max_freeze_days=10))
    freeze(subscription, 5, 15)
    freezes.unfreeze(subscription_id=subscription.pk, now=NOON)

    assert freeze(subscription, 5, 15).pk


def test_staff_may_freeze_beyond_the_limits_and_days_gone_by(plan):
    subscription = granted(plan)

    made = freeze(subscription, 1, 25, FreezeKind.STAFF, now=noon_on(day(9)))

    assert (made.approved_by, spans(subscription)[0][2]) == (subscription.member, date(2026, 12, 26))


@pytest.mark.parametrize(
    ("first", "last", "now", "error"),
    [
        (3, 3, 0, freezes.FreezeIsEmpty),
        (4, 3, 0, freezes.FreezeIsEmpty),
        (0, 3, 1, freezes.FreezeInThePast),
        (30, 31, 0, freezes.FreezeOutsidePeriod),
        (30, 31, 30, freezes.FreezeOutsidePeriod),
    ],
)
def test_a_freeze_lies_ahead_and_begins_while_the_period_runs(plan, first, last, now, error):
    subscription = granted(plan)

    with pytest.raises(error):
        freeze(subscription, first, last, now=noon_on(day(now)))

    assert not Freeze.objects.exists()


def test_no_day_is_frozen_twice(plan):
    subscription = granted(plan)
    freeze(subscription, 2, 5)

    with pytest.raises(freezes.FreezesOverlap):
        freeze(subscription, 4, 6)
    with pytest.raises(IntegrityError, match="freezes_do_not_overlap"), transaction.atomic():
        Freeze.objects.create(
            subscription=subscription,
            starts_on=day(4),
            ends_on=day(6),
            kind=FreezeKind.STAFF,
            requested_by=subscription.member,
            created_at=NOON,
        )


def test_a_freeze_booked_in_a_later_period_follows_the_period_that_then_runs(plan):
    member = MemberFactory()
    first, second = granted(plan, member), granted(plan, member)
    booked = freeze(second, 35, 40)

    freeze(first, 5, 15)

    booked.refresh_from_db()
    assert booked.subscription == first
    assert spans(first, second) == [
        (date(2026, 11, 2), date(2026, 12, 2), date(2026, 12, 17)),
        (date(2026, 12, 17), date(2027, 1, 17), date(2027, 1, 17)),
    ]


def test_each_of_two_freezes_booked_in_a_later_period_follows_the_period_that_then_runs():
    plan, member = PlanFactory(max_freezes=3, max_freeze_days=60), MemberFactory()
    first, second = granted(plan, member), granted(plan, member)
    booked = [freeze(second, 36, 38), freeze(second, 32, 34)]

    freeze(first, 5, 15)

    assert [Freeze.objects.get(pk=each.pk).subscription for each in booked] == [first, first]


def test_a_freeze_booked_on_the_first_day_of_a_later_period_is_that_periods(plan):
    member = MemberFactory()
    first, second = granted(plan, member), granted(plan, member)

    booked = freeze(second, 30, 35)

    booked.refresh_from_db()
    assert (first.ends_on, booked.subscription) == (day(30), second)


def test_a_day_on_which_the_member_came_in_is_not_given_back_to_them(plan):
    bought = granted(plan)
    check_in(member_number=bought.member.member_number, recorded_by_id=None, now=NOON)

    with pytest.raises(freezes.FreezeAfterVisit):
        freeze(bought, 0, 3)

    freeze(bought, 1, 3)
    freeze(granted(plan), 0, 3)  # who did not come
    other = granted(plan)
    check_in(member_number=other.member.member_number, recorded_by_id=None, now=NOON)
    freeze(other, 0, 3, kind=FreezeKind.STAFF)


@pytest.mark.parametrize("act", ["freeze", "create_closure", "import_period"])
def test_a_slip_in_the_year_is_refused(plan, act):
    bought, far = granted(plan), date(9999, 12, 31)
    by_id = bought.member_id
    calls = {
        "freeze": lambda: freezes.freeze(
            subscription_id=bought.pk, starts_on=day(1), ends_on=far, kind=FreezeKind.STAFF, by_id=by_id, now=NOON
        ),
        "create_closure": lambda: freezes.create_closure(
            starts_on=day(1), ends_on=far, reason="Repairs", by_id=by_id, now=NOON
        ),
        "import_period": lambda: free_periods.import_period(
            member_id=MemberFactory().pk, plan=plan, starts_on=day(1), ends_on=far, by_id=by_id, now=NOON
        ),
    }

    with pytest.raises(TooFarAhead):
        calls[act]()


def test_a_closure_gives_its_days_to_everybody_in_one_act(plan):
    frozen, running, ended = granted(plan), granted(plan), granted(PlanFactory(interval="days"))
    freeze(frozen, 5, 15)

    closure = freezes.create_closure(
        starts_on=day(10), ends_on=day(20), reason="Repairs", by_id=running.member_id, now=NOON
    )
    later = granted(plan, on=day(12))

    assert [span[2] for span in spans(frozen, running, ended, later)] == [
        date(2026, 12, 17),  # five of the closed days were frozen anyway
        date(2026, 12, 12),
        date(2026, 11, 3),
        date(2026, 12, 22),
    ]

    for _ in range(2):
        freezes.delete_closure(closure_id=closure.pk)

    assert [span[2] for span in spans(frozen, running, later)] == [
        date(2026, 12, 12),
        date(2026, 12, 2),
        date(2026, 12, 14),
    ]


def test_closing_and_opening_the_club_cost_the_same_however_many_it_has(plan):
    by_id, costs = MemberFactory().pk, []

    for _ in range(2):
        for _ in range(3):
            granted(plan, (first := granted(plan)).member)
            freeze(first, 5, 9)
        with CaptureQueriesContext(connection) as closing:
            closure = freezes.create_closure(starts_on=day(1), ends_on=day(3), reason="Repairs", by_id=by_id, now=NOON)
        with CaptureQueriesContext(connection) as opening:
            freezes.delete_closure(closure_id=closure.pk)
        costs.append((len(closing), len(opening)))

    assert costs[0] == costs[1]


def test_a_closure_reaches_everybody_however_many_are_laid_out_at_a_time(plan, monkeypatch):
    monkeypatch.setattr(freezes, "BATCH", 2)
    running = [granted(plan) for _ in range(3)]
    running += [granted(PlanFactory(group__name="Locker"), each.member) for each in running]
    ends = [span[2] for span in spans(*running)]

    freezes.create_closure(starts_on=day(1), ends_on=day(3), reason="Repairs", by_id=running[0].member_id, now=NOON)

    assert [span[2] for span in spans(*running)] == [end + timedelta(days=2) for end in ends]


def test_closures_do_not_overlap(plan):
    by_id = MemberFactory().pk
    freezes.create_closure(starts_on=day(0), ends_on=day(2), reason="Repairs", by_id=by_id, now=NOON)

    with pytest.raises(freezes.ClosuresOverlap):
        freezes.create_closure(starts_on=day(1), ends_on=day(3), reason="Repairs", by_id=by_id, now=NOON)
    with pytest.raises(freezes.FreezeIsEmpty):
        freezes.create_closure(starts_on=day(5), ends_on=day(5), reason="Repairs", by_id=by_id, now=NOON)


def test_the_constraint_would_refuse_moving_one_period_before_the_other(plan):
    member = MemberFactory()
    first, _ = granted(plan, member), granted(plan, member)

    with pytest.raises(IntegrityError, match="subscription_periods_do_not_overlap"), transaction.atomic():
        Subscription.objects.filter(pk=first.pk).update(ends_on=day(40))


# --- Money that goes back, and comes again ---


def take_money_back(subscription, now=NOON):
    receipt = Receipt.objects.filter(allocations__payment=subscription.payment_id).latest("pk")
    reversals.reverse_receipt(receipt_id=receipt.pk, reason="void", by_id=None, now=now, returned_to_payer=False)


def give(member, plan):
    return free_periods.grant_free_period(
        member_id=member.pk, plan_code=plan.code, reason="raffle", by_id=MemberFactory().pk, now=NOON
    )


@pytest.mark.parametrize("has_a_gift", [False, True])
def test_a_period_that_is_paid_again_gives_its_frozen_days_again(plan, has_a_gift):
    subscription = granted(plan)
    freeze(subscription, 5, 12)
    if has_a_gift:
        give(subscription.member, PlanFactory(interval="years"))
    take_money_back(subscription)

    pay(subscription.payment, at=NOON)

    assert spans(subscription) == [(date(2026, 11, 2), date(2026, 12, 2), date(2026, 12, 9))]


def test_days_frozen_in_what_was_bought_meanwhile_count_once_when_the_first_is_paid_again(plan):
    first = granted(plan)
    freeze(first, 5, 12)
    take_money_back(first)
    gift = give(first.member, plan)
    freeze(gift, 7, 10)

    pay(first.payment, at=NOON)

    assert spans(gift, first) == [
        (date(2026, 11, 2), date(2026, 12, 2), date(2026, 12, 9)),
        (date(2026, 12, 9), date(2027, 1, 9), date(2027, 1, 9)),
    ]


@pytest.mark.parametrize("first_to_go", ["the upgrade", "what it replaced"])
def test_days_frozen_in_an_upgrade_are_the_replaced_periods_when_it_is_revoked(plan, first_to_go):
    subscription, now = granted(plan), noon_on(day(10))
    freeze(subscription, 15, 22)
    before = spans(subscription)
    upgrade = plan_changes.upgrade(
        subscription_id=subscription.pk,
        plan_code=PlanFactory(price=9000).code,
        phone=None,
        by_id=subscription.member_id,
        now=now,
    ).subscription
    pay(upgrade.payment, at=now)

    if first_to_go == "the upgrade":
        take_money_back(upgrade, noon_on(day(18)))
    else:
        take_money_back(subscription, noon_on(day(18)))
        take_money_back(upgrade, noon_on(day(18)))
        pay(subscription.payment, at=NOON)

    assert spans(subscription) == before


def test_an_upgrade_is_revoked_also_where_its_freeze_falls_on_days_that_the_replaced_period_was_frozen(plan):
    subscription = granted(plan)
    upgrade = granted(PlanFactory(price=9000), subscription.member, day(10), replaces=subscription)
    asked = {"kind": "staff", "requested_by": subscription.member, "created_at": NOON}
    Freeze.objects.create(subscription=subscription, starts_on=day(12), ends_on=day(20), **asked)
    Freeze.objects.create(subscription=upgrade, starts_on=day(14), ends_on=day(16), **asked)

    take_money_back(upgrade)

    upgrade.refresh_from_db()
    assert upgrade.fact == "revoked"
    assert spans(subscription) == [(date(2026, 11, 2), date(2026, 12, 2), date(2026, 12, 10))]
