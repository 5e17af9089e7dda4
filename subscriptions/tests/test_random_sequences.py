"""Random sequences of actions on random days: dates and books stay correct."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import transaction
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from procrastinate.contrib.django.models import ProcrastinateJob

from api.business_days import business_day
from api.errors import DomainError
from payments.models import Payment, Receipt, ReviewItem
from payments.services.cancellation import cancel_payment, expire_due
from payments.services.listeners import retry_listeners
from payments.services.reversals import reverse_receipt
from payments.tests.invariants import broken_invariants
from subscriptions.gate import check_in
from subscriptions.invariants import INVARIANTS
from subscriptions.models import Freeze, FreezeKind, Subscription
from subscriptions.services import freezes, grants, plan_changes, purchases
from subscriptions.tests.factories import MemberFactory, PlanFactory, pay, pay_part
from subscriptions.tests.test_statuses import statuses

pytestmark = [pytest.mark.django_db, pytest.mark.server]

PICK = st.integers(0, 9)
# Around a leap day, month ends and the turn of a year, on both sides of midnight in Nairobi.
BEGINNINGS = st.builds(
    lambda day, moment: datetime(day.year, day.month, day.day, *moment, tzinfo=UTC),
    st.sampled_from([date(2024, 1, 30), date(2024, 1, 31), date(2024, 2, 28), date(2024, 2, 29), date(2023, 12, 31)]),
    st.sampled_from([(20, 59), (21, 0), (9, 0)]),
)
ACTIONS = st.tuples(
    st.sampled_from(
        [
            *("wait", "wait", "buy", "buy_for_both", "pay", "pay", "pay_part", "enter", "enter", "freeze", "unfreeze"),
            *("close", "upgrade", "cancel", "undo", "cancel_payment", "reverse", "void"),
        ]
    ),
    PICK,
    PICK,
)


class Club:
    """One member with a child, and every action that can happen to them."""

    def __init__(self, now):
        self.now = now
        self.member = MemberFactory(phone_number=None)
        self.by = self.member.pk
        self.child = MemberFactory(phone_number=None)
        self.plans = [
            PlanFactory(price=900, interval="months", grace_days=5, late_renewal="from_expiry"),
            PlanFactory(price=100, interval="days", interval_count=3),
            PlanFactory(price=5000, interval="years", max_freezes=3, max_freeze_days=30, deposit_percent=25),
            PlanFactory(
                price=2500, interval="months", interval_count=3, max_freezes=2, max_freeze_days=20, deposit_percent=40
            ),
            PlanFactory(price=700, interval="weeks", interval_count=2, visits=2, joining_fee=50, stacking_limit=1),
        ]

    def subscription(self, pick):
        rows = list(Subscription.objects.order_by("pk"))
        return rows[pick % len(rows)].pk if rows else None

    def buy(self, pick, _, *others):
        purchases.subscribe(
            member_ids=[self.by, *others],
            plan_code=self.plans[pick % 5].code,
            payer_id=self.by,
            phone=None,
            created_by_id=self.by,
            now=self.now,
        )

    def buy_for_both(self, pick, _):
        self.buy(pick, _, self.child.pk)

    def enter(self, pick, hours):
        person = (self.member, self.child)[pick % 2]
        check_in(member_number=person.member_number, recorded_by_id=None, now=self.now + timedelta(hours=hours))

    def create_payment(self, pick):
        rows = list(Payment.objects.filter(status__in=("pending", "expired", "partially_paid")).order_by("pk"))
        return rows[pick % len(rows)] if rows else None

    def pay(self, pick, _):
        if payment := self.create_payment(pick):
            pay(payment, at=self.now)

    def pay_part(self, pick, part):
        if payment := self.create_payment(pick):
            pay_part(payment, max(1, payment.amount_owed * (part % 4) // 4), at=self.now)

    def cancel_payment(self, pick, _):
        if payment := self.create_payment(pick):
            cancel_payment(payment_id=payment.pk, by_id=self.by, now=self.now)

    def reverse(self, pick, _, returned_to_payer=True):
        receipts = list(Receipt.objects.filter(reversed_at=None).order_by("pk"))
        if receipts:
            receipt_id = receipts[pick % len(receipts)].pk
            reverse_receipt(
                receipt_id=receipt_id, reason="reversed", by_id=None, now=self.now, returned_to_payer=returned_to_payer
            )

    def void(self, pick, _):
        self.reverse(pick, _, returned_to_payer=False)

    def upgrade(self, pick, plan):
        plan_changes.upgrade(
            subscription_id=self.subscription(pick),
            plan_code=self.plans[plan % 5].code,
            phone=None,
            by_id=self.by,
            now=self.now,
        )

    def cancel(self, pick, _):
        purchases.cancel(subscription_id=self.subscription(pick), by_id=self.by, now=self.now)

    def undo(self, pick, _):
        plan_changes.undo_changes(subscription_id=self.subscription(pick), by_id=self.by, now=self.now)

    def freeze(self, pick, length):
        today, days = business_day(self.now), 1 + 2 * length
        begins = today + timedelta(days=pick * 5)
        freezes.freeze(
            subscription_id=self.subscription(pick),
            starts_on=begins,
            ends_on=begins + timedelta(days=days),
            kind=FreezeKind.MEMBER if days % 3 == 0 else FreezeKind.STAFF,
            by_id=self.by,
            now=self.now,
        )

    def unfreeze(self, pick, _):
        freezes.unfreeze(subscription_id=self.subscription(pick), by_id=self.by, now=self.now)

    def close(self, ahead, length):
        begins = business_day(self.now) + timedelta(days=ahead - 3)
        freezes.create_closure(
            starts_on=begins, ends_on=begins + timedelta(days=length + 1), reason="Repairs", by_id=self.by, now=self.now
        )

    def wait(self, length, hours):
        self.now += timedelta(days=(1, 3, 10, 28, 31)[length % 5], hours=hours)
        expire_due(now=self.now)


def run(club, action, pick, other):
    """Run one action, and the jobs that it queued. A refused action changes nothing."""
    try:
        with transaction.atomic():
            getattr(club, action)(pick, other)
    except (DomainError, Subscription.DoesNotExist) as refusal:
        event(f"{action}: {type(refusal).__name__}")
    else:
        event(f"{action}: done")
    for job in ProcrastinateJob.objects.filter(task_name="subscriptions.end_upgrade"):
        grants.end_upgrade(**job.args, now=club.now)
    for job in ProcrastinateJob.objects.filter(task_name="payments.retry_listeners"):
        retry_listeners(**job.args, now=club.now)


def all_rows():
    return [list(model.objects.order_by("pk").values()) for model in (Subscription, Freeze, Payment)]


def play(beginning, actions):
    """Run the actions. After each check the invariants of memberships, and at the end all invariants."""
    with transaction.atomic():
        club = Club(beginning)
        for action in [("buy", 0, 0), ("pay", 0, 0), *actions]:
            run(club, *action)
            assert broken_invariants(INVARIANTS) == {}
        assert broken_invariants() == {}
        assert not ReviewItem.objects.filter(reason="listener_failed").exists()
        for days in (-40, -1, 0, 1, 40):
            statuses(business_day(club.now) + timedelta(days=days))
        expire_due(now=club.now)
        before = all_rows()
        expire_due(now=club.now)
        for payment in Payment.objects.all():
            for job in (grants.grant_for_payment, grants.revoke_for_payment, grants.cancel_for_payment):
                job(payment_id=payment.pk, now=club.now)
        assert all_rows() == before
        transaction.set_rollback(True)


SEQUENCES = given(BEGINNINGS, st.lists(ACTIONS, min_size=3, max_size=14))
NO_DEADLINE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@settings(NO_DEADLINE, max_examples=15)
@SEQUENCES
def test_random_actions_keep_dates_and_books_correct(beginning, actions):
    play(beginning, actions)


@pytest.mark.long
@settings(NO_DEADLINE, max_examples=150)
@SEQUENCES
def test_many_random_sequences_keep_dates_and_books_correct(beginning, actions):
    play(beginning, actions)
