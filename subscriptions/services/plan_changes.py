"""Plan changes: an upgrade now, another plan for the renewal, and undoing what has not taken effect."""

from datetime import datetime

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Q

from api import changes, idempotency
from api.business_days import business_day
from api.errors import Conflict
from api.idempotency import IdempotencyKey
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
)


class NotRunning(Conflict):
    """The period does not run today, or is over."""

    code, message = "not_running", "Only a running subscription can be changed."


class FrozenNow(Conflict):
    """The period is frozen today."""

    code, message = "frozen", "End the freeze before you change the plan."


class OtherGroup(Conflict):
    """The new plan is in another plan group."""

    code, message = "other_group", "A subscription can only change to a plan of its own group."


class SamePlan(Conflict):
    """The subscription already has this plan."""

    code, message = "same_plan", "The subscription already has this plan. Choose another one."


class OwesFirst(Conflict):
    """The running period is not paid in full, so its unused value is not fully paid either."""

    code, message = "owes_first", "Pay the amount owed for this subscription first."


class WorthAsMuch(Conflict):
    """The unused value covers the price of the new plan, so the rest of it would be lost."""

    code = "worth_as_much"
    message = "The rest of this subscription is worth as much as the new plan. Change the plan at the end instead."


@transaction.atomic
def upgrade(
    *,
    subscription_id: int,
    plan_code: str,
    phone: str | None,
    by_id: int,
    now: datetime,
    payer_id: int | None = None,
    idempotency_key: IdempotencyKey | None = None,
) -> Purchase:
    """Create a pending upgrade to a plan with a higher price, and send an STK push to `phone` if one is given.

    The payment is the price of the plan less the unused value of the running period, plus a joining fee if one is due.
    The unused value is in whole KES, rounded down, and at most the price that was paid. The payer is the member unless
    `payer_id` is given. Nothing changes until the payment is paid; then the running period ends on the day of this
    request. The same request again, while the upgrade is pending, returns it.

    :raises NotRunning, FrozenNow, OtherGroup, SamePlan, OwesFirst, WorthAsMuch, AlreadyPending: see each
    :raises PlanNotFound, PlanNotOnSale, MemberInactive, ConsentMissing, JoiningFeePending: see each
    :raises api.idempotency.IdempotencyKeyReused: the key was used with another request body
    """
    unlocked = Subscription.objects.only("member_id", "group_id").get(pk=subscription_id)
    payer_id = payer_id or unlocked.member_id
    upgrades = Subscription.objects.filter(replaces=subscription_id)  # their payments may be cancelled below
    payers = upgrades.values_list("payment__payer_id", flat=True)
    locks.lock_members({unlocked.member_id, payer_id, by_id, *payers})
    earlier = find_repeated_purchase(idempotency_key, by_id)
    if earlier:
        return Purchase(earlier, is_new=False)
    _cancel_old_upgrades(subscription_id, by_id=by_id, now=now)
    chain = lock_periods(member_id=unlocked.member_id, group_id=unlocked.group_id)
    running = next(each for each in chain if each.pk == subscription_id)
    plan = _other_plan(running, plan_code)
    member = get_user_model().objects.get(pk=running.member_id)
    require_may_buy(member, plan)
    today = business_day(now)
    if not running.runs_on(today):
        raise NotRunning
    pending = next((each for each in chain if each.replaces_id == running.pk and each.fact == Fact.PENDING), None)
    if pending is not None and pending.plan_id == plan.pk:
        idempotency.store_results(idempotency_key, [pending], caller_id=by_id, now=now)
        return Purchase((pending,), is_new=False)
    if pending is not None or any(each.fact == Fact.PENDING and each.plan_id == plan.pk for each in chain):
        raise AlreadyPending("Another purchase is not paid yet. Pay it or cancel it first.")
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
    )
    idempotency.store_results(idempotency_key, [bought], caller_id=by_id, now=now)
    return settle_purchase([bought], phone=phone, by_id=by_id, now=now)


@transaction.atomic
def change_at_end(*, subscription_id: int, plan_code: str, by_id: int, now: datetime) -> Subscription:
    """Choose another plan of the same group for the renewal of this period.

    :raises NotRunning: the period is over or was never granted
    :raises OtherGroup, SamePlan, PlanNotOnSale, PlanNotFound: see each
    """
    subscription = _lock_one(subscription_id)
    plan = _other_plan(subscription, plan_code)
    if not subscription.ends_after(business_day(now)):
        raise NotRunning
    before = changes.values_of(subscription)
    subscription.next_plan = plan
    subscription.save(update_fields=["next_plan"])
    changes.record_change(subscription, before=before, by_id=by_id, now=now)
    return subscription


@transaction.atomic
def undo_changes(*, subscription_id: int, by_id: int, now: datetime) -> Subscription:
    """Undo what has not taken effect: a pending upgrade, another plan for the renewal, leaving. May be repeated.

    :raises NotRunning: the period is over or was never granted
    """
    pending = Subscription.objects.pending().filter(replaces=subscription_id).first()
    if pending is not None:  # before the period is locked: payments are locked first
        cancellation.cancel_payment(payment_id=pending.payment_id, by_id=by_id, now=now)
    subscription = _lock_one(subscription_id)
    if not subscription.ends_after(business_day(now)):
        raise NotRunning
    before = changes.values_of(subscription)
    subscription.next_plan, subscription.leaving_at = None, None
    subscription.save(update_fields=["next_plan", "leaving_at"])
    changes.record_change(subscription, before=before, by_id=by_id, now=now)
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


def _cancel_old_upgrades(subscription_id: int, *, by_id: int, now: datetime) -> None:
    """Cancel the payments of expired, cancelled and revoked upgrades of a period. Their payers are locked.

    A period can be replaced only once, so late money for such a payment becomes credit.
    """
    is_old = Q(fact=Fact.PENDING, payment__status=PaymentStatus.EXPIRED) | Q(fact__in=(Fact.CANCELLED, Fact.REVOKED))
    old = Subscription.objects.filter(is_old, replaces=subscription_id, payment__status__in=PAYABLE)
    for payment_id in old.order_by("payment_id").values_list("payment_id", flat=True):
        cancellation.cancel_payment(payment_id=payment_id, by_id=by_id, now=now)
