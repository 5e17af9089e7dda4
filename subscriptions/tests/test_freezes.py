"""Freezes and closures extend periods by exactly their days."""

from datetime import date, timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from payments.models import Receipt
from payments.services import reversals
from payments.services.listeners import retry_listeners
from subscriptions.gate import check_in
from subscriptions.models import Freeze, FreezeKind, Subscription
from subscriptions.services import free_periods, freezes, plan_changes
from subscriptions.services.calendars import TooFarAhead
from subscriptions.tests.factories import (
    NOON,
    TODAY,
    MemberFactory,
    PlanFactory,
    granted,
    noon_on,
    pay,
    states_and_dates,
)
from subscriptions.tests.test_invariants import broken

pytestmark = [pytest.mark.django_db, pytest.mark.server]


@pytest.fixture
def plan():
    return PlanFactory(max_freezes=2, max_freeze_days=14)


def day(n):
    return TODAY + timedelta(days=n)


def freeze(subscription, first, last, kind=FreezeKind.MEMBER, now=NOON):
    """Freeze from one day up to, not including, another. Both are counted from today."""
    return freezes.freeze(
        subscription_id=subscription.pk,
        starts_on=day(first),
        ends_on=day(last),
        kind=kind,
        by_id=subscription.member_id,
        now=now,
    )


def close(first, last):
    """Close the club from one day up to, not including, another. Both are counted from today."""
    return freezes.create_closure(
        starts_on=day(first), ends_on=day(last), reason="Repairs", by_id=MemberFactory().pk, now=NOON
    )


def all_dates(*subscriptions):
    """Return (starts_on, base_ends_on, ends_on) of each period, read again from the database."""
    for each in subscriptions:
        each.refresh_from_db()
    return [(each.starts_on, each.base_ends_on, each.ends_on) for each in subscriptions]


def test_freeze_extends_the_period_and_moves_later_ones(plan):
    member = MemberFactory()
    first, second = granted(plan, member), granted(plan, member)

    freeze(first, 0, 10)

    assert all_dates(first, second) == [
        (date(2026, 11, 2), date(2026, 12, 2), date(2026, 12, 12)),
        (date(2026, 12, 12), date(2027, 1, 12), date(2027, 1, 12)),
    ]


def test_early_return_removes_the_unused_frozen_days(plan):
    member = MemberFactory()
    first, second = granted(plan, member), granted(plan, member)
    freeze(first, 0, 10)

    freezes.unfreeze(subscription_id=first.pk, by_id=first.member_id, now=noon_on(day(4)))

    assert all_dates(first, second) == [
        (date(2026, 11, 2), date(2026, 12, 2), date(2026, 12, 6)),
        (date(2026, 12, 6), date(2027, 1, 6), date(2027, 1, 6)),
    ]


def test_planned_freeze_is_cancelled_completely(plan):
    first, second = (subscription := granted(plan)), granted(plan, subscription.member)
    before = all_dates(first, second)
    freeze(first, 5, 10)

    freezes.unfreeze(subscription_id=first.pk, by_id=first.member_id, now=NOON)

    assert all_dates(first, second) == before


def test_unfreeze_without_a_freeze_is_refused(plan):
    subscription = granted(plan)
    freeze(subscription, 0, 2)

    with pytest.raises(freezes.NotFrozen):
        freezes.unfreeze(subscription_id=subscription.pk, by_id=subscription.member_id, now=noon_on(day(2)))


def test_days_after_an_early_return_can_be_frozen_again(plan):
    subscription = granted(plan)
    freeze(subscription, 0, 5)
    freezes.unfreeze(subscription_id=subscription.pk, by_id=subscription.member_id, now=noon_on(day(1)))

    freeze(subscription, 3, 5, now=noon_on(day(1)))

    assert all_dates(subscription)[0][2] == date(2026, 12, 5)


@pytest.mark.parametrize("lengths", [[15], [10, 5], [1, 1, 1]])
def test_member_cannot_freeze_beyond_the_plan_limits(plan, lengths):
    subscription, begin = granted(plan), 0
    *within, too_much = lengths
    for length in within:
        freeze(subscription, begin, begin + length)
        begin += length

    with pytest.raises(freezes.FreezeLimit):
        freeze(subscription, begin, begin + too_much)


def test_cancelled_freeze_does_not_count_towards_the_limits():
    subscription = granted(PlanFactory(max_freezes=1, max_freeze_days=10))
    freeze(subscription, 5, 15)
    freezes.unfreeze(subscription_id=subscription.pk, by_id=subscription.member_id, now=NOON)

    assert freeze(subscription, 5, 15).pk


def test_staff_may_freeze_past_days_beyond_the_limits(plan):
    subscription = granted(plan)

    made = freeze(subscription, 1, 25, FreezeKind.STAFF, now=noon_on(day(9)))

    assert (made.approved_by, all_dates(subscription)[0][2]) == (subscription.member, date(2026, 12, 26))


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
def test_freeze_with_invalid_days_is_refused(plan, first, last, now, error):
    subscription = granted(plan)

    with pytest.raises(error):
        freeze(subscription, first, last, now=noon_on(day(now)))

    assert not Freeze.objects.exists()


def test_overlapping_freezes_are_refused(plan):
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


def test_planned_freeze_moves_to_the_period_that_covers_it(plan):
    member = MemberFactory()
    first, second = granted(plan, member), granted(plan, member)
    booked = freeze(second, 35, 40)

    freeze(first, 5, 15)

    booked.refresh_from_db()
    assert booked.subscription == first
    assert all_dates(first, second) == [
        (date(2026, 11, 2), date(2026, 12, 2), date(2026, 12, 17)),
        (date(2026, 12, 17), date(2027, 1, 17), date(2027, 1, 17)),
    ]


def test_two_planned_freezes_move_to_the_period_that_covers_them():
    plan, member = PlanFactory(max_freezes=3, max_freeze_days=60), MemberFactory()
    first, second = granted(plan, member), granted(plan, member)
    booked = [freeze(second, 36, 38), freeze(second, 32, 34)]

    freeze(first, 5, 15)

    assert [Freeze.objects.get(pk=each.pk).subscription for each in booked] == [first, first]


def test_freeze_on_the_first_day_of_a_later_period_stays_there(plan):
    member = MemberFactory()
    first, second = granted(plan, member), granted(plan, member)

    booked = freeze(second, 30, 35)

    booked.refresh_from_db()
    assert (first.ends_on, booked.subscription) == (day(30), second)


def test_member_cannot_freeze_a_day_with_a_visit(plan):
    bought = granted(plan)
    check_in(member_number=bought.member.member_number, recorded_by_id=None, now=NOON)

    with pytest.raises(freezes.FreezeAfterVisit):
        freeze(bought, 0, 3)

    freeze(bought, 1, 3)
    freeze(granted(plan), 0, 3)  # a member without a visit
    other = granted(plan)
    check_in(member_number=other.member.member_number, recorded_by_id=None, now=NOON)
    freeze(other, 0, 3, kind=FreezeKind.STAFF)


@pytest.mark.parametrize("action", ["freeze", "create_closure", "import_period"])
def test_date_too_far_ahead_is_refused(plan, action):
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
        calls[action]()


def test_closure_extends_every_running_period(plan):
    frozen, running, ended = granted(plan), granted(plan), granted(PlanFactory(interval="days"))
    freeze(frozen, 5, 15)

    closure = freezes.create_closure(
        starts_on=day(10), ends_on=day(20), reason="Repairs", by_id=running.member_id, now=NOON
    )
    later = granted(plan, on=day(12))

    assert [dates[2] for dates in all_dates(frozen, running, ended, later)] == [
        date(2026, 12, 17),  # five of the closed days are also frozen
        date(2026, 12, 12),
        date(2026, 11, 3),
        date(2026, 12, 22),
    ]

    for _ in range(2):
        freezes.delete_closure(closure_id=closure.pk, by_id=closure.made_by_id, now=NOON)

    assert [dates[2] for dates in all_dates(frozen, running, later)] == [
        date(2026, 12, 12),
        date(2026, 12, 2),
        date(2026, 12, 14),
    ]


def test_closure_takes_a_constant_number_of_queries(plan):
    by_id, costs = MemberFactory().pk, []

    for _ in range(2):
        for _ in range(3):
            granted(plan, (first := granted(plan)).member)
            freeze(first, 5, 9)
        with CaptureQueriesContext(connection) as closing:
            closure = freezes.create_closure(starts_on=day(1), ends_on=day(3), reason="Repairs", by_id=by_id, now=NOON)
        with CaptureQueriesContext(connection) as opening:
            freezes.delete_closure(closure_id=closure.pk, by_id=closure.made_by_id, now=NOON)
        costs.append((len(closing), len(opening)))

    assert costs[0] == costs[1]


def test_closure_recalculates_all_members_in_batches(plan, monkeypatch):
    monkeypatch.setattr(freezes, "BATCH", 2)
    running = [granted(plan) for _ in range(3)]
    running += [granted(PlanFactory(group__name="Locker"), each.member) for each in running]
    ends = [dates[2] for dates in all_dates(*running)]

    freezes.create_closure(starts_on=day(1), ends_on=day(3), reason="Repairs", by_id=running[0].member_id, now=NOON)

    assert [dates[2] for dates in all_dates(*running)] == [end + timedelta(days=2) for end in ends]


def test_overlapping_and_empty_closures_are_refused(plan):
    by_id = MemberFactory().pk
    freezes.create_closure(starts_on=day(0), ends_on=day(2), reason="Repairs", by_id=by_id, now=NOON)

    with pytest.raises(freezes.ClosuresOverlap):
        freezes.create_closure(starts_on=day(1), ends_on=day(3), reason="Repairs", by_id=by_id, now=NOON)
    with pytest.raises(freezes.FreezeIsEmpty):
        freezes.create_closure(starts_on=day(5), ends_on=day(5), reason="Repairs", by_id=by_id, now=NOON)


def test_database_refuses_to_extend_a_period_into_the_next(plan):
    member = MemberFactory()
    first, _ = granted(plan, member), granted(plan, member)

    with pytest.raises(IntegrityError, match="subscription_periods_do_not_overlap"), transaction.atomic():
        Subscription.objects.filter(pk=first.pk).update(ends_on=day(40))


# --- Payments that are voided and paid again ---


def void_payment(subscription, now=NOON):
    receipt = Receipt.objects.filter(allocations__payment=subscription.payment_id).latest("pk")
    reversals.reverse_receipt(receipt_id=receipt.pk, reason="void", by_id=None, now=now, returned_to_payer=False)


def give_free_period(member, plan):
    return free_periods.grant_free_period(
        member_id=member.pk, plan_code=plan.code, reason="raffle", by_id=MemberFactory().pk, now=NOON
    )


@pytest.mark.parametrize("has_a_gift", [False, True])
def test_period_paid_again_has_its_frozen_days_again(plan, has_a_gift):
    subscription = granted(plan)
    freeze(subscription, 5, 12)
    if has_a_gift:
        give_free_period(subscription.member, PlanFactory(interval="years"))
    void_payment(subscription)

    pay(subscription.payment, at=NOON)

    assert all_dates(subscription) == [(date(2026, 11, 2), date(2026, 12, 2), date(2026, 12, 9))]


def test_overlapping_freezes_of_regranted_periods_count_once(plan):
    first = granted(plan)
    freeze(first, 5, 12)
    void_payment(first)
    gift = give_free_period(first.member, plan)
    freeze(gift, 7, 10)

    pay(first.payment, at=NOON)

    assert all_dates(gift, first) == [
        (date(2026, 11, 2), date(2026, 12, 2), date(2026, 12, 9)),
        (date(2026, 12, 9), date(2027, 1, 9), date(2027, 1, 9)),
    ]


@pytest.mark.parametrize("voided", ["upgrade", "both"])
def test_freezes_of_a_revoked_upgrade_move_to_the_replaced_period(plan, voided):
    subscription, now = granted(plan), noon_on(day(10))
    freeze(subscription, 15, 22)
    before = all_dates(subscription)
    upgrade = plan_changes.upgrade(
        subscription_id=subscription.pk,
        plan_code=PlanFactory(price=9000).code,
        phone=None,
        by_id=subscription.member_id,
        now=now,
    ).subscription
    pay(upgrade.payment, at=now)

    if voided == "upgrade":
        void_payment(upgrade, noon_on(day(18)))
    else:
        void_payment(subscription, noon_on(day(18)))
        void_payment(upgrade, noon_on(day(18)))
        pay(subscription.payment, at=NOON)

    assert all_dates(subscription) == before


def test_overlapping_freeze_of_an_upgrade_does_not_block_its_revocation(plan):
    subscription = granted(plan)
    upgrade = granted(PlanFactory(price=9000), subscription.member, day(10), replaces=subscription)
    fields = {"kind": "staff", "requested_by": subscription.member, "created_at": NOON}
    Freeze.objects.create(subscription=subscription, starts_on=day(12), ends_on=day(20), **fields)
    Freeze.objects.create(subscription=upgrade, starts_on=day(14), ends_on=day(16), **fields)

    void_payment(upgrade)

    upgrade.refresh_from_db()
    assert upgrade.fact == "revoked"
    assert all_dates(subscription) == [(date(2026, 11, 2), date(2026, 12, 2), date(2026, 12, 10))]


# --- Periods that an upgrade cut ---


def upgrade_to_gold(subscription, on):
    """Upgrade on the day of the request and pay at once."""
    upgrade = plan_changes.upgrade(
        subscription_id=subscription.pk,
        plan_code=PlanFactory(price=9000).code,
        phone=None,
        by_id=subscription.member_id,
        now=noon_on(on),
    ).subscription
    pay(upgrade.payment, at=noon_on(on))
    return upgrade


@pytest.mark.parametrize("days_after_start", [0, 3])
def test_closure_moves_a_period_past_its_cut_and_back(plan, days_after_start):
    first = granted(plan)
    replaced = granted(plan, first.member)
    cut_on = replaced.starts_on + timedelta(days=days_after_start)
    upgrade = upgrade_to_gold(replaced, cut_on)
    before = all_dates(first, replaced, upgrade)

    made = close(5, 15)

    assert all_dates(first, replaced, upgrade) == [
        (date(2026, 11, 2), date(2026, 12, 2), date(2026, 12, 12)),
        (date(2026, 12, 12), date(2027, 1, 12), date(2026, 12, 12)),
        (date(2026, 12, 12), date(2027, 1, 12), date(2027, 1, 12)),
    ]
    assert broken() == []
    freezes.delete_closure(closure_id=made.pk, by_id=made.made_by_id, now=NOON)
    assert all_dates(first, replaced, upgrade) == before
    assert broken() == []


@pytest.mark.parametrize("freeze_the_gift", [True, False])
def test_regranted_upgrade_after_free_days_can_move(plan, freeze_the_gift):
    replaced = granted(plan)
    upgrade = upgrade_to_gold(replaced, day(10))
    void_payment(replaced, noon_on(day(10)))
    gift = free_periods.grant_free_period(
        member_id=replaced.member_id,
        plan_code=PlanFactory(interval="weeks").code,
        reason="raffle",
        by_id=MemberFactory().pk,
        now=noon_on(day(10)),
    )
    pay(replaced.payment, at=noon_on(day(10)))
    retry_listeners(payment_id=upgrade.payment_id, now=noon_on(day(10)))
    assert states_and_dates(replaced)[0][1:] == (day(17), day(17))

    if freeze_the_gift:
        freeze(gift, 12, 14, FreezeKind.STAFF)
    else:
        close(12, 14)

    assert [dates[0] for dates in all_dates(gift, replaced, upgrade)] == [day(10), day(19), day(19)]
    assert broken() == []


def test_closure_skips_and_logs_a_member_whose_dates_fail(plan, monkeypatch, caplog):
    good, bad, other = granted(plan), granted(plan), granted(plan)
    rearrange_all = freezes.rearrange_all

    def fail_for_one(chains):
        rearrange_all(chains)
        if any(bad in chain for chain in chains):
            raise IntegrityError("some constraint")

    monkeypatch.setattr(freezes, "rearrange_all", fail_for_one)

    close(5, 9)

    assert [dates[2] for dates in all_dates(good, bad, other)] == [day(34), day(30), day(34)]
    assert [(line.levelname, line.message) for line in caplog.records] == [
        ("ERROR", f"The closure did not change the periods of member {bad.member_id} in group {plan.group_id}.")
    ]
    assert broken() == ["S05"]


def test_freeze_across_the_cut_day_survives_a_revoked_upgrade(plan):
    subscription = granted(plan)
    upgrade = plan_changes.upgrade(
        subscription_id=subscription.pk,
        plan_code=PlanFactory(price=9000).code,
        phone=None,
        by_id=subscription.member_id,
        now=noon_on(day(10)),
    ).subscription
    freeze(subscription, 8, 15)
    before = all_dates(subscription)
    for _ in range(2):
        pay(upgrade.payment, at=noon_on(day(12)))
        assert all_dates(upgrade) == [(day(10), day(40), day(45))]
        assert broken() == []
        void_payment(upgrade, noon_on(day(13)))
        assert all_dates(subscription) == before
        assert broken() == []


def test_upgrade_on_the_day_of_an_unfreeze_leaves_no_freeze(plan):
    subscription = granted(plan)
    freeze(subscription, 8, 15)
    freezes.unfreeze(subscription_id=subscription.pk, by_id=subscription.member_id, now=noon_on(day(10)))
    before = all_dates(subscription)

    upgrade = upgrade_to_gold(subscription, day(10))
    void_payment(upgrade, noon_on(day(13)))

    assert all_dates(subscription) == before
