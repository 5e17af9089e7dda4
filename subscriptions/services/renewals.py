"""Renewals that a member's money buys by itself: when money under the member number arrives, and at the gate.

The plan is the one that the member chose for the renewal, else the plan of the latest period. A plan renews if its
group opens the gate, it has a price, it is longer than six days, and it is on sale. A member who said that they leave
is not renewed. If a purchase would be refused, the renewal is refused too, and the money stays credit.
"""

import logging
from datetime import datetime, timedelta

from django.db import transaction

from api.business_days import business_day
from api.errors import DomainError
from payments.models import Receipt
from payments.services import credit, locks
from subscriptions.models import Fact, Interval, Origin, Plan, Subscription
from subscriptions.services import purchases
from subscriptions.statuses import Status

logger = logging.getLogger(__name__)

# Money buys the period from the day on which it moved, if the books had it within this time; else from today.
LATE_REPORT = timedelta(days=1)
SHORTEST_RENEWAL = 7  # days; a shorter plan, such as a day pass, is never renewed
DAYS_OF = {Interval.DAYS: 1, Interval.WEEKS: 7, Interval.MONTHS: 28, Interval.YEARS: 365}


def renew_with_receipt(*, receipt_id: int, now: datetime) -> list[Subscription]:
    """Renew with the credit of a receipt whose payer named the member; return the new periods.

    An exact multiple of the price buys several periods, up to the stacking limit. An amount that is exactly the price
    of another renewing plan of the group buys that plan. Any other amount buys one period, if the member's credit
    covers it. The periods follow the running one. The caller has locked the member.
    """
    receipt = Receipt.objects.get(pk=receipt_id)
    if receipt.member_id is None:
        return []
    plan = find_renewing_plan(receipt.member_id)
    if plan is None:
        return []
    if receipt.amount != plan.price:
        same_group = Plan.objects.filter(group=plan.group_id, is_on_sale=True, price=receipt.amount).order_by("pk")
        plan = next((each for each in same_group if renews(each)), plan)
    count = receipt.amount // plan.price if receipt.amount % plan.price == 0 else 1
    bought_at = receipt.paid_at if now - LATE_REPORT <= receipt.paid_at <= now else now
    bought: list[Subscription] = []
    while len(bought) < count and (period := _buy(receipt.member_id, plan, bought_at=bought_at, now=now)):
        bought.append(period)
    return bought


@transaction.atomic
def renew_at_gate(*, member_id: int, now: datetime) -> None:
    """Complete the member's open payments with credit. If none lets the member in, buy the next period with it.

    It begins today. A second tap at the same moment finds the period and changes nothing.
    """
    locks.lock_members({member_id})
    credit.complete_open(member_id, now=now)
    plan = find_renewing_plan(member_id)
    if plan is None:
        return
    today = business_day(now)
    unfinished = Subscription.objects.granted().filter(member=member_id, group=plan.group_id, ends_on__gt=today)
    if all(each.status == Status.EXHAUSTED for each in unfinished.with_status(today)):
        _buy(member_id, plan, bought_at=now, now=now)


def find_renewing_plan(member_id: int) -> Plan | None:
    """Return the plan that the member's money renews, or None."""
    periods = Subscription.objects.filter(
        member=member_id, fact__in=(Fact.GRANTED, Fact.REVOKED), group__opens_gate=True
    ).exclude(origin=Origin.GIFT)
    for latest in periods.select_related("plan", "next_plan").order_by("-ends_on", "-pk"):
        if renews(latest.plan):
            plan = latest.next_plan or latest.plan
            return plan if latest.leaving_at is None and plan.is_on_sale and renews(plan) else None
    return None


def renews(plan: Plan) -> bool:
    """Return whether money renews the plan by itself: it has a price, and is longer than six days."""
    return plan.price > 0 and plan.interval_count * DAYS_OF[Interval(plan.interval)] >= SHORTEST_RENEWAL


def _buy(member_id: int, plan: Plan, *, bought_at: datetime, now: datetime) -> Subscription | None:
    """Buy one period with credit that covers all of it. Return it, or None if that is not possible."""
    try:
        due = plan.price + purchases.joining_fee_due(member_id, plan)
        if credit.available(member_id) < due:
            return None
        with transaction.atomic():
            purchase = purchases.subscribe(
                member_ids=[member_id],
                plan_code=plan.code,
                payer_id=member_id,
                phone=None,
                created_by_id=member_id,
                now=bought_at,
            )
    except DomainError as refusal:
        logger.info("The credit of member %s does not renew plan %s: %s", member_id, plan.code, refusal.code)
        return None
    return purchase.subscription if purchase.is_new else None
