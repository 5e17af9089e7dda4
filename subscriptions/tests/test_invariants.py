"""Each invariant of memberships holds in a clean world and sees the fault it is for."""

from datetime import timedelta

import pytest
from django.db import connection

from payments.models import Payment
from payments.tests.conftest import broken_invariants
from subscriptions.invariants import INVARIANTS
from subscriptions.models import Freeze, FreezeKind, Subscription, Visit
from subscriptions.services import freezes, plan_changes
from subscriptions.tests.factories import (
    NOON,
    TODAY,
    MemberFactory,
    PlanFactory,
    granted,
    noon_on,
    pay,
    pay_part,
    pending,
)

pytestmark = [pytest.mark.django_db, pytest.mark.server]

DAY = timedelta(days=1)


def broken():
    """Return the codes of the invariants that do not hold."""
    return list(broken_invariants(INVARIANTS))


@pytest.fixture
def world():
    """Stacked periods, a freeze, a closure, an upgrade, a pack with a visit, a pending purchase."""
    member, plan = MemberFactory(), PlanFactory()
    first, second = granted(plan, member), granted(plan, member)
    freezes.freeze(
        subscription_id=first.pk,
        starts_on=TODAY,
        ends_on=TODAY + 5 * DAY,
        kind=FreezeKind.STAFF,
        by_id=member.pk,
        now=NOON,
    )
    freezes.create_closure(
        starts_on=TODAY + 3 * DAY, ends_on=TODAY + 8 * DAY, reason="Repairs", by_id=member.pk, now=NOON
    )
    old = granted(PlanFactory(price=500))
    later = noon_on(TODAY + 10 * DAY)
    upgrade = plan_changes.upgrade(
        subscription_id=old.pk, plan_code=plan.code, phone=None, by_id=old.member_id, now=later
    ).subscription
    pay(upgrade.payment, at=later)
    pack = granted(PlanFactory(visits=1))
    Visit.objects.create(member=pack.member, subscription=pack, at=NOON, decision="allow", reason="active")
    owing = pending(PlanFactory(price=1000, deposit_percent=50))
    pay_part(owing.payment, 500, at=NOON)
    return {
        "first": first,
        "second": second,
        "old": old,
        "upgrade": upgrade,
        "pack": pack,
        "pending": pending(),
        "owing": owing,
    }


def change(subscription, **fields):
    Subscription.objects.filter(pk=subscription.pk).update(**fields)


def grant_unpaid(world):
    change(
        world["pending"],
        fact="granted",
        granted_at=NOON,
        not_before=TODAY,
        anchor_on=TODAY,
        starts_on=TODAY,
        base_ends_on=TODAY + 30 * DAY,
        ends_on=TODAY + 38 * DAY - 3 * DAY,
    )


def cheaper(world):
    change(world["first"], price=9999)


def ask_for_more(world):
    Payment.objects.filter(pk=world["owing"].payment_id).update(deposit=501, deposit_paid_at=None)


def keep_a_deposit(world):
    change(world["owing"], fact="pending")


def owe_for_what_is_carried(world):
    change(world["old"], price=2 * world["old"].price)
    Payment.objects.filter(pk=world["old"].payment_id).update(
        amount_due=2 * world["old"].price, status="partially_paid", paid_at=None
    )


def keep_money(world):
    change(world["second"], fact="pending")


def overlap(world):
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE subscriptions_subscription DROP CONSTRAINT subscription_periods_do_not_overlap")
    change(world["second"], starts_on=world["second"].not_before)


def longer(world):
    change(world["second"], base_ends_on=TODAY + 90 * DAY, ends_on=TODAY + 90 * DAY)


def give_a_day(world):
    world["second"].refresh_from_db()
    change(world["second"], ends_on=world["second"].ends_on + DAY)


def forget_the_freeze(world):
    Freeze.objects.all().delete()


def leave_a_gap(world):
    world["second"].refresh_from_db()
    second = world["second"]
    change(second, starts_on=second.starts_on + 9 * DAY, ends_on=second.ends_on + 9 * DAY)


def uncut(world):
    world["old"].refresh_from_db()
    change(world["upgrade"], replaces=world["first"])


def enter_twice(world):
    visit = Visit.objects.get()
    Visit.objects.create(
        member=visit.member, subscription=visit.subscription, at=NOON, decision="allow", reason="active"
    )


def enter_with_anothers(world):
    Visit.objects.update(member=world["first"].member)


def enter_what_was_replaced(world):
    old = world["old"]
    Visit.objects.create(member=old.member, subscription=old, at=NOON + 10 * DAY, decision="allow", reason="active")


def withdraw_behind_its_back(world):
    payment = world["pending"].payment
    type(payment).objects.filter(pk=payment.pk).update(status="cancelled")


def test_a_clean_world_breaks_nothing(world):
    assert broken() == []


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (grant_unpaid, "S01"),
        (cheaper, "S01"),
        (ask_for_more, "S01"),
        (keep_money, "S02"),
        (keep_a_deposit, "S02"),
        (overlap, "S03"),
        (longer, "S04"),
        (give_a_day, "S05"),
        (forget_the_freeze, "S05"),
        (leave_a_gap, "S06"),
        (uncut, "S07"),
        (owe_for_what_is_carried, "S07"),
        (enter_twice, "S08"),
        (enter_with_anothers, "S08"),
        (withdraw_behind_its_back, "S09"),
        (enter_what_was_replaced, "S10"),
    ],
)
def test_each_fault_is_seen(world, fault, code):
    fault(world)

    assert code in broken()
