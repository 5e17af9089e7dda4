"""Factories of memberships: the smallest valid rows, created through the services where possible."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta

import factory
from django.db import transaction

from api.business_days import NAIROBI
from payments.models import Account, AllocationRule, Channel, Payment, Receipt
from payments.services import settlement
from payments.services.allocation import Share
from payments.tests.factories import NOON, create_payment
from payments.tests.factories import MemberFactory as PayerFactory
from subscriptions.models import Interval, Plan, PlanGroup, Subscription
from subscriptions.services import purchases
from subscriptions.services.catalog import snapshot

TODAY = date(2026, 11, 2)  # NOON's day in Nairobi


class MemberFactory(PayerFactory):
    """A member who has agreed to the club's terms."""

    consented_at = NOON


class PlanGroupFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = PlanGroup
        django_get_or_create = ["name"]

    name = "Gym access"


class PlanFactory(factory.django.DjangoModelFactory):
    """A monthly gym plan for KES 1,500."""

    class Meta:
        model = Plan

    code = factory.Sequence(lambda n: f"monthly-{n}")
    name = "Monthly"
    group = factory.SubFactory(PlanGroupFactory)
    price = 1500
    interval = Interval.MONTHS


def noon_on(day: date) -> datetime:
    """Return noon of a Nairobi day."""
    return datetime.combine(day, time(12), NAIROBI)


def buy(*members, plan, payer=None, now: datetime = NOON, phone=None, **fields) -> purchases.Purchase:
    """Buy the plan for the members; the payer is the first of them unless given."""
    payer = payer or members[0]
    fields.setdefault("created_by_id", payer.pk)
    return purchases.subscribe(
        member_ids=[member.pk for member in members],
        plan_code=plan.code,
        payer_id=payer.pk,
        phone=phone,
        now=now,
        **fields,
    )


def pending(plan=None, member=None, now=NOON, **fields) -> Subscription:
    """Create a pending period and its payment."""
    plan, member = plan or PlanFactory(), member or MemberFactory()
    deposit = -(-plan.price * plan.deposit_percent // 100)
    payment = fields.pop("payment", None) or create_payment(payer=member, amount=plan.price, now=now, deposit=deposit)
    return Subscription.objects.create(
        member=member, payment=payment, created_by=member, created_at=now, **(snapshot(plan) | fields)
    )


@transaction.atomic
def record_paybill_payment(member, amount, at: datetime = NOON, *, payments: Sequence[Payment] = ()) -> Receipt:
    """Record a paybill payment. It pays what `payments` owe; the rest becomes the member's credit."""
    receipt = Receipt.objects.create(channel=Channel.MPESA_C2B, amount=amount, paid_at=at, member=member, created_at=at)
    shares = [Share(payment, payment.amount_owed, AllocationRule.BY_HAND) for payment in payments]
    settlement.apply_money(receipt=receipt, from_account=Account.MPESA, shares=shares, by_id=None, now=at)
    return receipt


def pay(payment: Payment, *, at: datetime) -> Payment:
    """Record a paybill payment of the whole amount that the payment owes."""
    payment.refresh_from_db()
    record_paybill_payment(payment.payer, payment.amount_owed, at, payments=[payment])
    return payment


@transaction.atomic
def pay_part(payment: Payment, amount: int, *, at: datetime) -> Receipt:
    """Record a paybill payment of a part of the amount that the payment owes."""
    payment.refresh_from_db()
    receipt = Receipt.objects.create(
        channel=Channel.MPESA_C2B, amount=amount, paid_at=at, member=payment.payer, created_at=at
    )
    shares = [Share(payment, amount, AllocationRule.REFERENCE)]
    settlement.apply_money(receipt=receipt, from_account=Account.MPESA, shares=shares, by_id=None, now=at)
    return receipt


def granted(plan=None, member=None, on: date = TODAY, **fields) -> Subscription:
    """Create a period that was bought and paid on a day."""
    subscription = pending(plan, member, now=noon_on(on), **fields)
    pay(subscription.payment, at=noon_on(on) + timedelta(minutes=1))
    subscription.refresh_from_db()
    return subscription


def states_and_dates(*subscriptions: Subscription) -> list[tuple]:
    """Return (recorded state, starts_on, ends_on) of each period, read again from the database."""
    for each in subscriptions:
        each.refresh_from_db()
    return [(each.fact, each.starts_on, each.ends_on) for each in subscriptions]
