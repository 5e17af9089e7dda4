"""Periods for nothing: gifts of staff, and those a club brings along from its former books."""

from datetime import date, datetime

from django.contrib.auth import get_user_model
from django.db import transaction

from api.errors import Conflict
from payments.services import creation, locks, ownership
from subscriptions.models import Fact, Origin, Plan, Subscription
from subscriptions.services.calendars import granted_periods, lock_periods, require_supported_date
from subscriptions.services.catalog import snapshot
from subscriptions.services.grants import grant_for_payment
from subscriptions.services.purchases import MemberNotFound, PlanNotFound, find_repeated_purchase


class PeriodsOverlap(Conflict):
    """The member already has a period of the group on some of these days."""

    code, message = "periods_overlap", "The member already has a subscription on some of these days."


@transaction.atomic
def grant_free_period(
    *,
    member_id: int,
    plan_code: str,
    reason: str,
    by_id: int,
    now: datetime,
    idempotency_key: str | None = None,
    body_fingerprint: str = "",
) -> Subscription:
    """Give the member one period of the plan; it stacks and starts as a bought one paid today would.

    The same `idempotency_key` of the same person returns what it gave the first time.

    :raises PlanNotFound, MemberNotFound: there is none
    :raises payments.resolutions.OwnMoney: to oneself
    :raises IdempotencyKeyReused: the key came before with another body
    """
    plan = Plan.objects.filter(code=plan_code).first()
    if plan is None:
        raise PlanNotFound
    if not get_user_model().objects.filter(pk=member_id).exists():
        raise MemberNotFound
    ownership.require_not_own(member_id, by_id=by_id)
    locks.lock_members({member_id, by_id})
    earlier = find_repeated_purchase(idempotency_key, body_fingerprint, by_id)
    if earlier:
        return earlier[0]
    subscription = _open_comp(
        member_id,
        plan,
        Origin.GIFT,
        # Not pending until it is granted: a purchase of the plan may be, and two of them cannot.
        {"fact": Fact.CANCELLED},
        reason=reason,
        by_id=by_id,
        now=now,
        idempotency_key=idempotency_key,
        body_fingerprint=body_fingerprint,
    )
    return grant_for_payment(payment_id=subscription.payment_id, now=now)


@transaction.atomic
def import_period(
    *, member_id: int, plan: Plan, starts_on: date, ends_on: date, by_id: int, now: datetime
) -> Subscription:
    """Keep a period that the club sold before it used Kilabu, with the dates its old books say.

    :raises PeriodsOverlap: a granted period of the group covers some of these days
    :raises TooFarAhead: it ends after any day we reckon with
    """
    require_supported_date(ends_on)
    locks.lock_members({member_id})
    chain = lock_periods(member_id=member_id, group_id=plan.group_id)
    if any(each.starts_on < ends_on and starts_on < each.ends_on for each in granted_periods(chain)):
        raise PeriodsOverlap
    dates = {"not_before": starts_on, "anchor_on": starts_on, "starts_on": starts_on}
    dates |= {"base_ends_on": ends_on, "ends_on": ends_on}
    state = {"fact": Fact.GRANTED, "granted_at": now, **dates}
    return _open_comp(member_id, plan, Origin.MIGRATED, state, reason="former books", by_id=by_id, now=now)


def _open_comp(
    member_id: int, plan: Plan, origin: Origin, state: dict, *, reason: str, by_id: int, now: datetime, **opening
) -> Subscription:
    payment = creation.record_free_payment(
        payer_id=member_id, description=plan.name, reason=reason, by_id=by_id, now=now, **opening
    )
    return Subscription.objects.create(
        member_id=member_id,
        payment=payment,
        origin=origin,
        created_by_id=by_id,
        created_at=now,
        **snapshot(plan),
        **state,
    )
