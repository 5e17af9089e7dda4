"""A simulated year of a club with 200 members on the club clock."""

import random
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import call_command

from api import clock
from api.business_days import business_day
from api.errors import DomainError
from payments.models import Payment, Receipt
from payments.services.cancellation import expire_due
from payments.services.reversals import reverse_receipt
from subscriptions import gate
from subscriptions.models import Fact, FreezeKind, Subscription, Visit
from subscriptions.services import freezes, plan_changes, purchases
from subscriptions.tests.factories import MemberFactory, PlanFactory, pay

pytestmark = [pytest.mark.django_db, pytest.mark.long, pytest.mark.server]

NEW_YEAR = datetime(2025, 1, 1, 5, 0, tzinfo=UTC)  # in the past: audit_books refuses money from the future


@pytest.fixture
def movable_clock(settings, tmp_path):
    settings.CLUB_CLOCK_FILE = tmp_path / "club-clock"


class Club:
    """200 members whose random actions depend on a fixed seed."""

    def __init__(self):
        self.random = random.Random(2025)
        self.members = [MemberFactory(phone_number=None) for _ in range(200)]
        self.plans = [
            PlanFactory(price=3000, grace_days=3, late_renewal="from_expiry", max_freezes=2, max_freeze_days=14),
            PlanFactory(price=8000, interval_count=3, max_freezes=2, max_freeze_days=30),
            PlanFactory(price=900, interval="weeks", interval_count=2, visits=4),
            PlanFactory(price=30000, interval="years", max_freezes=3, max_freeze_days=60),
        ]
        self.refused = 0

    def play_day(self, day):
        """Play the actions of six random members on one day."""
        for member in self.random.sample(self.members, 6):
            clock.set_to(NEW_YEAR + timedelta(days=day, hours=self.random.randrange(20)))
            try:
                self.random.choices(
                    [self.renew, self.enter, self.freeze, self.unfreeze, self.upgrade, self.leave, self.reverse],
                    [50, 40, 6, 4, 3, 2, 1],
                )[0](member, clock.now())
            except DomainError:
                self.refused += 1
        if day in (100, 358):
            today = business_day(clock.now())
            freezes.create_closure(
                starts_on=today,
                ends_on=today + timedelta(days=4),
                reason="Holidays",
                by_id=self.members[0].pk,
                now=clock.now(),
            )
        expire_due(now=clock.now())

    def running(self, member, now):
        return Subscription.objects.running_on(business_day(now)).filter(member=member).first()

    def renew(self, member, now):
        purchase = purchases.subscribe(
            member_ids=[member.pk],
            plan_code=self.random.choices(self.plans, [10, 5, 4, 1])[0].code,
            payer_id=member.pk,
            phone=None,
            created_by_id=member.pk,
            now=now,
        )
        payment = purchase.subscription.payment
        if self.random.random() < 0.9 and payment.amount_owed:
            pay(payment, at=now + timedelta(minutes=1))

    def enter(self, member, now):
        gate.check_in(member_number=member.member_number, recorded_by_id=None, now=now)

    def freeze(self, member, now):
        if running := self.running(member, now):
            begins = business_day(now) + timedelta(days=self.random.randrange(5))
            freezes.freeze(
                subscription_id=running.pk,
                starts_on=begins,
                ends_on=begins + timedelta(days=self.random.randrange(1, 12)),
                kind=FreezeKind.MEMBER,
                by_id=member.pk,
                now=now,
            )

    def unfreeze(self, member, now):
        if running := self.running(member, now):
            freezes.unfreeze(subscription_id=running.pk, by_id=running.member_id, now=now)

    def upgrade(self, member, now):
        if running := self.running(member, now):
            bought = plan_changes.upgrade(
                subscription_id=running.pk, plan_code=self.plans[3].code, phone=None, by_id=member.pk, now=now
            ).subscription
            if bought.fact == Fact.PENDING:
                pay(bought.payment, at=now + timedelta(minutes=1))

    def leave(self, member, now):
        if running := self.running(member, now):
            purchases.cancel(subscription_id=running.pk, by_id=member.pk, now=now)

    def reverse(self, member, now):
        receipt = Receipt.objects.filter(member=member, reversed_at=None).order_by("pk").last()
        if receipt:
            reverse_receipt(receipt_id=receipt.pk, reason="reversed", by_id=None, now=now)


@pytest.mark.usefixtures("movable_clock")
def test_year_of_200_members_ends_with_correct_books():
    club, out = Club(), StringIO()

    for day in range(365):
        club.play_day(day)
    call_command("audit_books", stdout=out)

    assert out.getvalue().endswith("invariants hold.\n")
    assert Subscription.objects.granted().count() > 500
    assert Subscription.objects.filter(fact=Fact.REVOKED).exists()
    assert Payment.objects.filter(status="expired").exists()
    assert Visit.objects.filter(decision="allow").count() > 100
    assert club.refused < 500
