"""Freezes and closures: days on which time stands still, given back at the end of the period."""

from datetime import date, datetime, timedelta

from django.db import transaction
from django.db.models import F

from api.business_days import business_day, start_of_day
from api.errors import Conflict, Invalid
from subscriptions.models import Closure, Decision, Fact, Freeze, FreezeKind, Subscription, Visit
from subscriptions.services.calendars import (
    lock_closures,
    lock_periods,
    lock_periods_of,
    lock_visits,
    rearrange,
    rearrange_all,
    require_supported_date,
)

# Of how many members a closure lays out the periods at a time.
BATCH = 500


class FreezeAfterVisit(Conflict):
    """The member came in today: the day is used, and not given back."""

    code, message = "freeze_after_visit", "You came in today; a freeze can begin tomorrow."


class FreezeOutsidePeriod(Conflict):
    """The freeze does not begin while the period runs."""

    code, message = "freeze_outside_period", "A freeze must begin while the subscription runs."


class FreezeInThePast(Invalid):
    """Only staff may freeze days that are already gone."""

    code, message = "freeze_in_the_past", "A freeze cannot begin in the past."


class FreezeIsEmpty(Invalid):
    """A freeze must last at least a day."""

    code, message = "freeze_is_empty", "A freeze must end after it begins."


class FreezeLimit(Conflict):
    """The plan gives the member no more freezes, or no more days."""

    code, message = "freeze_limit", "This plan allows no further freeze of this length."


class FreezesOverlap(Conflict):
    """Some of these days are frozen already."""

    code, message = "freezes_overlap", "Some of these days are frozen already."


class NotFrozen(Conflict):
    """There is no freeze to return from."""

    code, message = "not_frozen", "This subscription is not frozen."


class ClosuresOverlap(Conflict):
    """The club is already closed on some of these days."""

    code, message = "closures_overlap", "The club is already closed on some of these days."


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
    """Freeze starts_on <= day < ends_on; the days come back at the end, and what is stacked moves with it.

    A member's own freeze begins today or later and keeps to the plan's limits as they were when it was bought;
    staff may freeze any days that begin while the period runs.

    :raises FreezeIsEmpty, FreezeInThePast, FreezeOutsidePeriod, FreezeLimit, FreezesOverlap, FreezeAfterVisit: see each
    :raises TooFarAhead: it ends after any day we reckon with
    """
    if ends_on <= starts_on:
        raise FreezeIsEmpty
    require_supported_date(ends_on)
    subscription, chain = _lock(subscription_id)
    today = business_day(now)
    if kind == FreezeKind.MEMBER and starts_on < today:
        raise FreezeInThePast
    if (
        subscription.fact != Fact.GRANTED
        or subscription.cut_on is not None
        or not subscription.starts_on <= starts_on < subscription.ends_on
        or subscription.ends_on <= today
    ):
        raise FreezeOutsidePeriod
    granted = [each.pk for each in chain if each.fact == Fact.GRANTED]
    standing = Freeze.objects.filter(subscription__in=granted).with_last_day()
    if standing.filter(starts_on__lt=ends_on, until__gt=starts_on).filter(until__gt=F("starts_on")).exists():
        raise FreezesOverlap
    if kind == FreezeKind.MEMBER:
        _require_within_limits(subscription, days=(ends_on - starts_on).days)
        if starts_on == today:
            lock_visits(subscription.member_id)
            if _came_in(subscription, today):
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
def unfreeze(*, subscription_id: int, now: datetime) -> Freeze:
    """End the running freeze today, or take back the next one that has not begun; dates follow at once.

    :raises NotFrozen: no freeze of this period is running or to come
    """
    subscription, chain = _lock(subscription_id)
    today = business_day(now)
    mine = Freeze.objects.filter(subscription=subscription).with_last_day()
    found = mine.filter(until__gt=today).filter(until__gt=F("starts_on")).order_by("starts_on").first()
    if found is None or subscription.fact != Fact.GRANTED:
        raise NotFrozen
    found.ended_early_on = max(found.starts_on, today)
    found.save(update_fields=["ended_early_on"])
    rearrange(chain)
    return found


@transaction.atomic
def create_closure(*, starts_on: date, ends_on: date, reason: str, by_id: int, now: datetime) -> Closure:
    """Close the whole club on starts_on <= day < ends_on and give every running period these days back.

    Periods granted later get them too. Days that a period was frozen anyway count once.

    :raises FreezeIsEmpty: no day in between
    :raises TooFarAhead: it ends after any day we reckon with
    :raises ClosuresOverlap: some days are closed already
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
    _rearrange_touched(starts_on, ends_on)
    return closure


@transaction.atomic
def delete_closure(*, closure_id: int) -> None:
    """Take a closure back; every period is again as if the club had been open. Twice is harmless."""
    lock_closures()
    closure = Closure.objects.filter(pk=closure_id).first()
    if closure is not None:
        closure.delete()
        _rearrange_touched(closure.starts_on, closure.ends_on)


def _rearrange_touched(starts_on: date, ends_on: date) -> None:
    """Lay out anew every member's periods of which some day is in starts_on <= day < ends_on."""
    touched = Subscription.objects.granted().filter(starts_on__lt=ends_on, ends_on__gt=starts_on, cut_on__isnull=True)
    for group_id in touched.order_by("group").values_list("group", flat=True).distinct():
        of_group = touched.filter(group=group_id).order_by("member")
        member_ids = list(of_group.values_list("member", flat=True).distinct())
        for n in range(0, len(member_ids), BATCH):
            rearrange_all(lock_periods_of(member_ids=member_ids[n : n + BATCH], group_id=group_id))


def _lock(subscription_id: int) -> tuple[Subscription, list[Subscription]]:
    """Lock the periods of the subscription's member and group; return it and them."""
    bought = Subscription.objects.only("member_id", "group_id").get(pk=subscription_id)
    chain = lock_periods(member_id=bought.member_id, group_id=bought.group_id)
    return next(each for each in chain if each.pk == subscription_id), chain


def _came_in(subscription: Subscription, day: date) -> bool:
    began = start_of_day(day)
    visits = Visit.objects.filter(subscription=subscription, decision=Decision.ALLOW)
    return visits.filter(at__gte=began, at__lt=began + timedelta(days=1)).exists()


def _require_within_limits(subscription: Subscription, *, days: int) -> None:
    mine = Freeze.objects.with_last_day().filter(
        subscription=subscription, kind=FreezeKind.MEMBER, until__gt=F("starts_on")
    )
    taken = [(until - starts_on).days for starts_on, until in mine.values_list("starts_on", "until")]
    if len(taken) + 1 > subscription.max_freezes or sum(taken) + days > subscription.max_freeze_days:
        raise FreezeLimit
