"""A change of mind: upgrade now, another plan at the end, the last period; and taking any of it back in time."""

from datetime import datetime

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Q

from api.business_days import business_day
from api.errors import Conflict
from payments.models import PaymentStatus
from payments.services import cancellation, locks
from payments.services.allocation import PAYABLE
from subscriptions.models import Decision, Fact, Freeze, Origin, Plan, Subscription, Visit
from subscriptions.periods import unused_value
from subscriptions.services.calendars import as_period, lock_periods, lock_visits, read_freezes_and_closures
from subscriptions.services.purchases import (
    AlreadyPending,
    PlanNotFound,
    PlanNotOnSale,
    Purchase,
    create_pending_period,
    find_repeated_purchase,
    joining_fee_due,
    require_may_buy,
    settle_purchase,
    store_idempotency_key,
)


class NotRunning(Conflict):
    """Only a period that runs today can be changed now."""

    code, message = "not_running", "Only a running subscription can be changed."


class FrozenNow(Conflict):
    """Return from the freeze first."""

    code, message = "frozen", "End the freeze before changing the plan."


class OtherGroup(Conflict):
    """The plans are not of one kind."""

    code, message = "other_group", "A subscription can change only to a plan of its own group."


class SamePlan(Conflict):
    """There is nothing to change."""

    code, message = "same_plan", "This is already the plan."


class OwesFirst(Conflict):
    """Money is still owed for the running period, so what is unused of it was not all paid."""

    code, message = "owes_first", "Please pay what is still owed for this subscription first."


class WorthAsMuch(Conflict):
    """What is unused already covers the new plan: an upgrade would swallow money."""

    code = "worth_as_much"
    message = "What is left of this subscription is worth as much as the new plan; change at the end instead."


@transaction.atomic
def upgrade(
    *,
    subscription_id: int,
    plan_code: str,
    phone: str | None,
    by_id: int,
    now: datetime,
    payer_id: int | None = None,
    idempotency_key: str | None = None,
    body_fingerprint: str = "",
) -> Purchase:
    """Buy the dearer plan from today, less what is unused of the running period; return the pending upgrade.

    The member pays, unless `payer_id` says who does.

    Nothing changes until its payment is paid. Then the running period ends on today's date, from which its
    unused value was reckoned: whole KES rounded down, never more than was paid. A joining fee that is owed comes on
    top. Asking again while the upgrade is pending returns it.

    :raises NotRunning, FrozenNow, OtherGroup, SamePlan, OwesFirst, WorthAsMuch, AlreadyPending: see each
    :raises PlanNotOnSale, MemberInactive, ConsentMissing, JoiningFeePending: see each
    :raises PlanNotFound: there is no such plan
    """
    asked = Subscription.objects.only("member_id", "group_id").get(pk=subscription_id)
    payer_id = payer_id or asked.member_id
    upgrades = Subscription.objects.filter(replaces=subscription_id)  # those to let go of may have other payers
    payers = upgrades.values_list("payment__payer_id", flat=True)
    locks.lock_members({asked.member_id, payer_id, by_id, *payers})
    earlier = find_repeated_purchase(idempotency_key, body_fingerprint, by_id)
    if earlier:
        return Purchase(earlier, is_new=False)
    _let_go_of_old_upgrades(subscription_id, by_id=by_id, now=now)
    chain = lock_periods(member_id=asked.member_id, group_id=asked.group_id)
    running = next(each for each in chain if each.pk == subscription_id)
    plan = _other_plan(running, plan_code)
    member = get_user_model().objects.get(pk=running.member_id)
    require_may_buy(member, plan)
    today = business_day(now)
    if running.fact != Fact.GRANTED or not running.starts_on <= today < running.ends_on:
        raise NotRunning
    pending = next((each for each in chain if each.replaces_id == running.pk and each.fact == Fact.PENDING), None)
    if pending is not None and pending.plan_id == plan.pk:
        store_idempotency_key(idempotency_key, body_fingerprint, pending.payment, by_id=by_id, now=now)
        return Purchase((pending,), is_new=False)
    if pending is not None or any(each.fact == Fact.PENDING and each.plan_id == plan.pk for each in chain):
        raise AlreadyPending("Another purchase is waiting for its payment; pay it or cancel it first.")
    if Freeze.objects.covering(today).filter(subscription=running).exists():
        raise FrozenNow
    if running.payment.amount_owed:
        raise OwesFirst
    lock_visits(running.member_id)
    paid = running.price if running.origin == Origin.BOUGHT else 0
    value = unused_value(
        as_period(running),
        paid=paid,
        frozen=read_freezes_and_closures([chain]).frozen_days_of(chain),
        today=today,
        visits=running.visits,
        visits_used=Visit.objects.filter(subscription=running, decision=Decision.ALLOW).count(),
    )
    if value >= plan.price:
        raise WorthAsMuch
    joining_fee = joining_fee_due(running.member_id, plan)
    amount = plan.price + joining_fee - value
    bought = create_pending_period(
        plan,
        member,
        amount=amount,
        deposit=amount,
        description=f"{plan.name}, less KES {value:,} unused of {running.plan.name}",
        terms={"joining_fee": joining_fee, "replaces": running, "value_carried": value},
        payer_id=payer_id,
        created_by_id=by_id,
        now=now,
        idempotency_key=idempotency_key,
        body_fingerprint=body_fingerprint,
    )
    return settle_purchase([bought], phone=phone, by_id=by_id, now=now)


@transaction.atomic
def change_at_end(*, subscription_id: int, plan_code: str, now: datetime) -> Subscription:
    """Note that the period is to be renewed as another plan of its group.

    :raises NotRunning: it is over, or was never paid
    :raises OtherGroup, SamePlan, PlanNotOnSale, PlanNotFound: see each
    """
    subscription = _lock_one(subscription_id)
    plan = _other_plan(subscription, plan_code)
    if subscription.fact != Fact.GRANTED or subscription.ends_on <= business_day(now):
        raise NotRunning
    subscription.next_plan = plan
    subscription.save(update_fields=["next_plan"])
    return subscription


@transaction.atomic
def undo_changes(*, subscription_id: int, by_id: int, now: datetime) -> Subscription:
    """Take back what has not taken effect: the pending upgrade, the plan to come, the leaving. Twice is harmless.

    :raises NotRunning: the period is over, so what was said of its end has come true
    """
    pending = Subscription.objects.pending().filter(replaces=subscription_id).first()
    if pending is not None:  # before the period is locked: payments come first
        cancellation.cancel_payment(payment_id=pending.payment_id, by_id=by_id, now=now)
    subscription = _lock_one(subscription_id)
    if subscription.fact != Fact.GRANTED or subscription.ends_on <= business_day(now):
        raise NotRunning
    subscription.next_plan, subscription.leaving_at = None, None
    subscription.save(update_fields=["next_plan", "leaving_at"])
    return subscription


def _lock_one(subscription_id: int) -> Subscription:
    return Subscription.objects.select_for_update(no_key=True).get(pk=subscription_id)


def _other_plan(subscription: Subscription, plan_code: str) -> Plan:
    plan = Plan.objects.filter(code=plan_code).first()
    if plan is None:
        raise PlanNotFound
    if not plan.is_on_sale:
        raise PlanNotOnSale
    if plan.group_id != subscription.group_id:
        raise OtherGroup
    if plan.pk == subscription.plan_id:
        raise SamePlan
    return plan


def _let_go_of_old_upgrades(subscription_id: int, *, by_id: int, now: datetime) -> None:
    """Cancel the payments of upgrades that expired, or do not stand any more, to make room; their payers are locked.

    A period is replaced once: money that comes late for one that made room becomes credit.
    """
    gone = Q(fact=Fact.PENDING, payment__status=PaymentStatus.EXPIRED) | Q(fact__in=(Fact.CANCELLED, Fact.REVOKED))
    old = Subscription.objects.filter(gone, replaces=subscription_id, payment__status__in=PAYABLE)
    for payment_id in old.order_by("payment_id").values_list("payment_id", flat=True):
        cancellation.cancel_payment(payment_id=payment_id, by_id=by_id, now=now)
