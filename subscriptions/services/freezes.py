"""Freezes of one period and closures of the whole club. Their days extend the periods that they touch."""

import logging
from collections.abc import Sequence
from datetime import date, datetime, timedelta

from django.db import DatabaseError, OperationalError, transaction
from django.db.models import F

from api import changes
from api.business_days import business_day, start_of_day
from api.errors import Conflict, Invalid
from subscriptions.models import Closure, Decision, Fact, Freeze, FreezeKind, Subscription, Visit
from subscriptions.services.calendars import (
    lock_chains,
    lock_closures,
    lock_periods,
    lock_visits,
    rearrange,
    rearrange_all,
    require_supported_date,
)

logger = logging.getLogger(__name__)

BATCH = 500  # members whose dates one closure recalculates at a time


class FreezeAfterVisit(Conflict):
    """The member's freeze begins today, after a visit today. A used day cannot be frozen."""

    code, message = "freeze_after_visit", "You visited today. The freeze can begin tomorrow."


class FreezeOutsidePeriod(Conflict):
    """The freeze does not begin while the period runs, or the period is over."""

    code, message = "freeze_outside_period", "A freeze must begin while the subscription runs."


class FreezeInThePast(Invalid):
    """The member's freeze begins before today. Only staff may freeze past days."""

    code, message = "freeze_in_the_past", "A freeze cannot begin in the past."


class FreezeIsEmpty(Invalid):
    """The freeze or the closure has no day."""

    code, message = "freeze_is_empty", "The end must be after the start."


class FreezeLimit(Conflict):
    """The member has used the freezes or the frozen days that the plan allows."""

    code, message = "freeze_limit", "This is more than the plan allows. Choose fewer days, or ask at the desk."


class FreezesOverlap(Conflict):
    """Another freeze of the member and group covers some of these days."""

    code, message = "freezes_overlap", "Some of these days are already frozen. Choose other days."


class NotFrozen(Conflict):
    """No freeze of the period is running or planned."""

    code, message = "not_frozen", "This subscription is not frozen."


class ClosuresOverlap(Conflict):
    """Another closure covers some of these days."""

    code, message = "closures_overlap", "The club is already closed on some of these days. Choose other days."


@transaction.atomic
def freeze(
    *,
    subscription_id: int,
    starts_on: date,
    ends_on: date,
    kind: FreezeKind,
    by_id: int,
    now: datetime,
    reason: str = "",
) -> Freeze:
    """Freeze the period on starts_on <= day < ends_on. It ends so many days later, and later periods move with it.

    A member's freeze begins today or later, within the limits of the plan at the time of purchase. A freeze by staff
    may be of any length, and may begin on any day on which the period runs.

    :raises FreezeIsEmpty, FreezeInThePast, FreezeOutsidePeriod, FreezeLimit, FreezesOverlap, FreezeAfterVisit: see each
    :raises TooFarAhead: it ends after LATEST_DATE
    """
    if ends_on <= starts_on:
        raise FreezeIsEmpty
    require_supported_date(ends_on)
    subscription, chain = _lock(subscription_id)
    today = business_day(now)
    if kind == FreezeKind.MEMBER and starts_on < today:
        raise FreezeInThePast
    if subscription.cut_on is not None or not subscription.runs_on(starts_on) or not subscription.ends_after(today):
        raise FreezeOutsidePeriod
    granted = [each.pk for each in chain if each.fact == Fact.GRANTED]
    existing = Freeze.objects.filter(subscription__in=granted).with_last_day()
    if existing.filter(starts_on__lt=ends_on, until__gt=starts_on).filter(until__gt=F("starts_on")).exists():
        raise FreezesOverlap
    if kind == FreezeKind.MEMBER:
        _require_within_limits(subscription, days=(ends_on - starts_on).days)
        if starts_on == today:
            lock_visits(subscription.member_id)
            if _has_visit_on(today, subscription):
                raise FreezeAfterVisit
    made = Freeze.objects.create(
        subscription=subscription,
        starts_on=starts_on,
        ends_on=ends_on,
        kind=kind,
        reason=reason,
        requested_by_id=by_id,
        approved_by_id=by_id if kind == FreezeKind.STAFF else None,
        created_at=now,
    )
    rearrange(chain)
    return made


@transaction.atomic
def unfreeze(*, subscription_id: int, by_id: int, now: datetime) -> Freeze:
    """End the running freeze today, or cancel the next planned one, and recalculate the dates.

    :raises NotFrozen: no freeze of this period is running or planned
    """
    subscription, chain = _lock(subscription_id)
    today = business_day(now)
    freezes = Freeze.objects.filter(subscription=subscription).with_last_day()
    found = freezes.filter(until__gt=today).filter(until__gt=F("starts_on")).order_by("starts_on").first()
    if found is None or subscription.fact != Fact.GRANTED:
        raise NotFrozen
    before = changes.values_of(found)
    found.ended_early_on = max(found.starts_on, today)
    found.save(update_fields=["ended_early_on"])
    changes.record_change(found, before=before, by_id=by_id, now=now)
    rearrange(chain)
    return found


@transaction.atomic
def create_closure(*, starts_on: date, ends_on: date, reason: str, by_id: int, now: datetime) -> Closure:
    """Close the whole club on starts_on <= day < ends_on, and extend every period that runs on these days.

    Periods granted later are extended too. A day that is closed and frozen counts once.

    :raises FreezeIsEmpty: `ends_on` is not after `starts_on`
    :raises TooFarAhead: it ends after LATEST_DATE
    :raises ClosuresOverlap: another closure covers some of the days
    """
    if ends_on <= starts_on:
        raise FreezeIsEmpty
    require_supported_date(ends_on)
    lock_closures()
    if Closure.objects.filter(starts_on__lt=ends_on, ends_on__gt=starts_on).exists():
        raise ClosuresOverlap
    closure = Closure.objects.create(
        starts_on=starts_on, ends_on=ends_on, reason=reason, made_by_id=by_id, created_at=now
    )
    changes.record_addition(closure, by_id=by_id, now=now)
    _rearrange_touched(starts_on, ends_on)
    return closure


@transaction.atomic
def delete_closure(*, closure_id: int, by_id: int, now: datetime) -> None:
    """Delete a closure, and recalculate the dates of every period as if the club was open. May be repeated."""
    lock_closures()
    closure = Closure.objects.filter(pk=closure_id).first()
    if closure is not None:
        changes.record_deletion(closure, by_id=by_id, now=now)
        closure.delete()
        _rearrange_touched(closure.starts_on, closure.ends_on)


def _rearrange_touched(starts_on: date, ends_on: date) -> None:
    """Recalculate the dates of every chain with a period that runs in starts_on <= day < ends_on.

    The dates of a chain that cannot be saved stay as they are. This is logged, and the invariant S05 reports it.
    """
    touched = Subscription.objects.granted().filter(starts_on__lt=ends_on, ends_on__gt=starts_on, cut_on__isnull=True)
    for group_id in touched.order_by("group").values_list("group", flat=True).distinct():
        of_group = touched.filter(group=group_id).order_by("member")
        member_ids = list(of_group.values_list("member", flat=True).distinct())
        for n in range(0, len(member_ids), BATCH):
            _rearrange_members(member_ids[n : n + BATCH], group_id)


def _rearrange_members(member_ids: Sequence[int], group_id: int) -> None:
    """Recalculate the dates of a batch. If that fails, recalculate each chain alone, so that one never stops the rest.

    A failure of the connection or of a lock is raised: it concerns no chain.
    """
    try:
        with transaction.atomic():
            rearrange_all(lock_chains(member_ids=member_ids, group_id=group_id))
    except (DatabaseError, ValueError, ArithmeticError) as error:
        if isinstance(error, OperationalError):
            raise
        if len(member_ids) > 1:
            for member_id in member_ids:
                _rearrange_members([member_id], group_id)
        else:
            logger.exception("The closure did not change the periods of member %s in group %s.", *member_ids, group_id)


def _lock(subscription_id: int) -> tuple[Subscription, list[Subscription]]:
    """Lock the chain of the subscription. Return the subscription and its chain."""
    bought = Subscription.objects.only("member_id", "group_id").get(pk=subscription_id)
    chain = lock_periods(member_id=bought.member_id, group_id=bought.group_id)
    return next(each for each in chain if each.pk == subscription_id), chain


def _has_visit_on(day: date, subscription: Subscription) -> bool:
    midnight = start_of_day(day)
    visits = Visit.objects.filter(subscription=subscription, decision=Decision.ALLOW)
    return visits.filter(at__gte=midnight, at__lt=midnight + timedelta(days=1)).exists()


def _require_within_limits(subscription: Subscription, *, days: int) -> None:
    earlier = Freeze.objects.with_last_day().filter(
        subscription=subscription, kind=FreezeKind.MEMBER, until__gt=F("starts_on")
    )
    used = [(until - starts_on).days for starts_on, until in earlier.values_list("starts_on", "until")]
    if len(used) + 1 > subscription.max_freezes or sum(used) + days > subscription.max_freeze_days:
        raise FreezeLimit
