"""Invariants of memberships: they hold for valid data, and each one finds its fault."""

from datetime import timedelta

import pytest
from django.db import connection

from payments.models import Payment
from payments.tests.invariants import broken_invariants
from payments.tests.triggers import triggers_off
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
    """Return the codes of the broken invariants."""
    return list(broken_invariants(INVARIANTS))


@pytest.fixture
def data():
    """Return stacked periods, a freeze, a closure, an upgrade, a pack with a visit and pending purchases."""
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
    with triggers_off():
        Subscription.objects.filter(pk=subscription.pk).update(**fields)


def grant_unpaid_period(data):
    change(
        data["pending"],
        fact="granted",
        granted_at=NOON,
        not_before=TODAY,
        anchor_on=TODAY,
        starts_on=TODAY,
        base_ends_on=TODAY + 30 * DAY,
        ends_on=TODAY + 38 * DAY - 3 * DAY,
    )


def raise_price_of_granted_period(data):
    change(data["first"], price=9999)


def raise_minimum_payment(data):
    with triggers_off():
        Payment.objects.filter(pk=data["owing"].payment_id).update(deposit=501, deposit_paid_at=None)


def ungrant_minimum_payment(data):
    change(data["owing"], fact="pending")


def owe_for_replaced_period(data):
    change(data["old"], price=2 * data["old"].price)
    with triggers_off():
        Payment.objects.filter(pk=data["old"].payment_id).update(
            amount_due=2 * data["old"].price, status="partially_paid", paid_at=None
        )


def ungrant_paid_period(data):
    change(data["second"], fact="pending")


def overlap_periods(data):
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE subscriptions_subscription DROP CONSTRAINT subscription_periods_do_not_overlap")
    change(data["second"], starts_on=data["second"].not_before)


def lengthen_period(data):
    change(data["second"], base_ends_on=TODAY + 90 * DAY, ends_on=TODAY + 90 * DAY)


def extend_period_by_a_day(data):
    data["second"].refresh_from_db()
    change(data["second"], ends_on=data["second"].ends_on + DAY)


def delete_freezes(data):
    with triggers_off():
        Freeze.objects.all().delete()


def leave_a_gap(data):
    data["second"].refresh_from_db()
    second = data["second"]
    change(second, starts_on=second.starts_on + 9 * DAY, ends_on=second.ends_on + 9 * DAY)


def replace_an_uncut_period(data):
    data["old"].refresh_from_db()
    change(data["upgrade"], replaces=data["first"])


def exceed_the_visits_of_a_pack(data):
    visit = Visit.objects.get()
    Visit.objects.create(
        member=visit.member, subscription=visit.subscription, at=NOON, decision="allow", reason="active"
    )


def use_the_pack_of_another_member(data):
    with triggers_off():
        Visit.objects.update(member=data["first"].member)


def visit_on_the_replaced_period(data):
    old = data["old"]
    Visit.objects.create(member=old.member, subscription=old, at=NOON + 10 * DAY, decision="allow", reason="active")


def cancel_only_the_payment(data):
    payment = data["pending"].payment
    type(payment).objects.filter(pk=payment.pk).update(status="cancelled")


def move_an_expired_period(data):
    locker = granted(PlanFactory(group__name="Locker"), data["first"].member)
    dates = ("not_before", "anchor_on", "starts_on", "base_ends_on", "ends_on")
    change(locker, **{name: getattr(locker, name) + 365 * DAY for name in dates})


def test_valid_data_breaks_no_invariant(data):
    assert broken() == []


@pytest.mark.breaks_the_books
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (grant_unpaid_period, "S01"),
        (raise_price_of_granted_period, "S01"),
        (raise_minimum_payment, "S01"),
        (ungrant_paid_period, "S02"),
        (ungrant_minimum_payment, "S02"),
        (overlap_periods, "S03"),
        (lengthen_period, "S04"),
        (extend_period_by_a_day, "S05"),
        (delete_freezes, "S05"),
        (leave_a_gap, "S06"),
        (replace_an_uncut_period, "S07"),
        (owe_for_replaced_period, "S07"),
        (exceed_the_visits_of_a_pack, "S08"),
        (use_the_pack_of_another_member, "S08"),
        (cancel_only_the_payment, "S09"),
        (visit_on_the_replaced_period, "S10"),
        (move_an_expired_period, "S11"),
    ],
)
@pytest.mark.breaks_the_books
def test_each_fault_breaks_its_invariant(data, fault, code):
    fault(data)

    assert code in broken()
