"""The smallest valid objects of memberships, made as the product makes them."""

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
from subscriptions.services.catalog import snapshot

TODAY = date(2026, 11, 2)  # NOON's day in Nairobi


class MemberFactory(PayerFactory):
    """A member who agreed to the club's terms."""

    consented_at = NOON


class PlanGroupFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = PlanGroup
        django_get_or_create = ["name"]

    name = "Gym access"


class PlanFactory(factory.django.DjangoModelFactory):
    """One month of gym for KES 1,500."""

    class Meta:
        model = Plan

    code = factory.Sequence(lambda n: f"monthly-{n}")
    name = "Monthly"
    group = factory.SubFactory(PlanGroupFactory)
    price = 1500
    interval = Interval.MONTHS


def noon_on(day: date) -> datetime:
    """Return midday of a Nairobi day."""
    return datetime.combine(day, time(12), NAIROBI)


def pending(plan=None, member=None, now=NOON, **fields) -> Subscription:
    """A period that was bought and not paid."""
    plan, member = plan or PlanFactory(), member or MemberFactory()
    deposit = -(-plan.price * plan.deposit_percent // 100)
    payment = fields.pop("payment", None) or create_payment(payer=member, amount=plan.price, now=now, deposit=deposit)
    return Subscription.objects.create(
        member=member, payment=payment, created_by=member, created_at=now, **(snapshot(plan) | fields)
    )


@transaction.atomic
def record_paybill_payment(member, amount, at: datetime = NOON, *, payments: Sequence[Payment] = ()) -> Receipt:
    """Money to the paybill: for these payments what they owe, the rest is the member's credit."""
    receipt = Receipt.objects.create(channel=Channel.MPESA_C2B, amount=amount, paid_at=at, member=member, created_at=at)
    shares = [Share(payment, payment.amount_owed, AllocationRule.BY_HAND) for payment in payments]
    settlement.apply_money(receipt=receipt, from_account=Account.MPESA, shares=shares, by_id=None, now=at)
    return receipt


def pay(payment: Payment, *, at: datetime) -> Payment:
    """Money to the paybill of what the payment owes."""
    payment.refresh_from_db()
    record_paybill_payment(payment.payer, payment.amount_owed, at, payments=[payment])
    return payment


@transaction.atomic
def pay_part(payment: Payment, amount: int, *, at: datetime) -> Receipt:
    """Money to the paybill: so much of what the payment owes."""
    payment.refresh_from_db()
    receipt = Receipt.objects.create(
        channel=Channel.MPESA_C2B, amount=amount, paid_at=at, member=payment.payer, created_at=at
    )
    shares = [Share(payment, amount, AllocationRule.REFERENCE)]
    settlement.apply_money(receipt=receipt, from_account=Account.MPESA, shares=shares, by_id=None, now=at)
    return receipt


def granted(plan=None, member=None, on: date = TODAY, **fields) -> Subscription:
    """A period bought and paid on a day."""
    subscription = pending(plan, member, now=noon_on(on), **fields)
    pay(subscription.payment, at=noon_on(on) + timedelta(minutes=1))
    subscription.refresh_from_db()
    return subscription
