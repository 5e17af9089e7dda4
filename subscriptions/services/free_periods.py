"""Free periods: gifts by staff, and memberships imported from the club's earlier records."""

from datetime import date, datetime

from django.contrib.auth import get_user_model
from django.db import transaction

from api import idempotency
from api.errors import Conflict
from api.idempotency import IdempotencyKey
from payments.services import creation, locks, ownership
from subscriptions.models import Fact, Origin, Plan, Subscription
from subscriptions.services.calendars import granted_periods, lock_periods, require_supported_date
from subscriptions.services.catalog import snapshot
from subscriptions.services.grants import grant_for_payment
from subscriptions.services.purchases import MemberNotFound, PlanNotFound, find_repeated_purchase


class PeriodsOverlap(Conflict):
    """A granted period of the member and group covers some of these days."""

    code, message = "periods_overlap", "The member already has a subscription on some of these days. Check the dates."


@transaction.atomic
def grant_free_period(
    *,
    member_id: int,
    plan_code: str,
    reason: str,
    by_id: int,
    now: datetime,
    idempotency_key: IdempotencyKey | None = None,
) -> Subscription:
    """Grant the member one period of the plan as a gift. It starts as a period paid today would start.

    The same `idempotency_key` of the same user returns the period of the first call.

    :raises PlanNotFound, MemberNotFound: see each
    :raises payments.services.ownership.OwnMoney: the member is the user `by_id`
    :raises api.idempotency.IdempotencyKeyReused: the key was used with another request body
    """
    plan = Plan.objects.filter(code=plan_code).first()
    if plan is None:
        raise PlanNotFound
    if not get_user_model().objects.filter(pk=member_id).exists():
        raise MemberNotFound
    ownership.require_not_own(member_id, by_id=by_id)
    locks.lock_members({member_id, by_id})
    earlier = find_repeated_purchase(idempotency_key, by_id)
    if earlier:
        return earlier[0]
    subscription = _create_free_period(
        member_id,
        plan,
        Origin.GIFT,
        # Not pending, because the member may have a pending purchase of this plan, and there can be one only.
        {"fact": Fact.CANCELLED},
        reason=reason,
        by_id=by_id,
        now=now,
    )
    idempotency.store_results(idempotency_key, [subscription], caller_id=by_id, now=now)
    granted = grant_for_payment(payment_id=subscription.payment_id, now=now)
    assert granted is not None  # noqa: S101  its payment was created above
    return granted


@transaction.atomic
def import_period(
    *,
    member_id: int,
    plan: Plan,
    starts_on: date,
    ends_on: date,
    by_id: int,
    now: datetime,
    visits_left: int | None = None,
    amount_paid: int | None = None,
) -> Subscription:
    """Import a period that the club sold before it used Kilabu, with the dates of its earlier records.

    A period of a pack has `visits_left` visits: those that were used before are not known here. `amount_paid` (whole
    KES) is noted in the payment's history. The club's earlier books have the money, so these books do not count it.

    :raises PeriodsOverlap: a granted period of the group covers some of these days
    :raises TooFarAhead: it ends after LATEST_DATE
    """
    require_supported_date(ends_on)
    locks.lock_members({member_id})
    chain = lock_periods(member_id=member_id, group_id=plan.group_id)
    if any(each.starts_on < ends_on and starts_on < each.ends_on for each in granted_periods(chain)):
        raise PeriodsOverlap
    dates = {"not_before": starts_on, "anchor_on": starts_on, "starts_on": starts_on}
    dates |= {"base_ends_on": ends_on, "ends_on": ends_on}
    visits = None if plan.visits is None else visits_left
    state = {"fact": Fact.GRANTED, "granted_at": now, "visits": visits, **dates}
    reason = "imported membership" + (f", KES {amount_paid:,} paid before" if amount_paid else "")
    return _create_free_period(member_id, plan, Origin.MIGRATED, state, reason=reason, by_id=by_id, now=now)


def _create_free_period(
    member_id: int, plan: Plan, origin: Origin, state: dict, *, reason: str, by_id: int, now: datetime
) -> Subscription:
    payment = creation.record_free_payment(
        payer_id=member_id, description=plan.name, reason=reason, by_id=by_id, now=now
    )
    return Subscription.objects.create(
        member_id=member_id,
        payment=payment,
        origin=origin,
        created_by_id=by_id,
        created_at=now,
        **(snapshot(plan) | state),
    )
