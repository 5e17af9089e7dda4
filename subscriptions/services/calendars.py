"""Calendars: lock the periods of a member and group, recalculate their dates, save the dates that changed.

A chain is a list of all periods of one member in one group, in any recorded state. Closures and visits are locked by
advisory locks of PostgreSQL, which are held until the transaction ends.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from django.db import connection
from django.db.models import Func, QuerySet, TextField, Value

from api import advisory_locks
from api.errors import Invalid
from api.statements import WrittenOnce
from subscriptions.models import Fact, Freeze, Origin, Subscription
from subscriptions.periods import FrozenDays, Period, arrange, unfrozen_parts

DATES = ("not_before", "anchor_on", "starts_on", "base_ends_on", "ends_on", "cut_on")
LATEST_DATE = date(2100, 1, 1)
FREEZES_AND_CLOSURES = """
SELECT id, subscription_id, starts_on, coalesce(ended_early_on, ends_on) AS until
FROM subscriptions_freeze WHERE subscription_id = ANY(%s)
UNION ALL
SELECT NULL, NULL, starts_on, ends_on FROM subscriptions_closure
"""
# One statement for all changed periods, because the constraint against overlaps is checked at its end.
UPDATED_FIELDS = ("pk", *DATES, "fact", "granted_at", "ended_at")
UPDATE_PERIODS = """
UPDATE subscriptions_subscription SET not_before = moved.not_before, anchor_on = moved.anchor_on,
    starts_on = moved.starts_on, base_ends_on = moved.base_ends_on, ends_on = moved.ends_on, cut_on = moved.cut_on,
    fact = moved.fact, granted_at = moved.granted_at, ended_at = moved.ended_at
FROM unnest(%s::bigint[], %s::date[], %s::date[], %s::date[], %s::date[], %s::date[], %s::date[],
    %s::text[], %s::timestamptz[], %s::timestamptz[])
    AS moved(id, not_before, anchor_on, starts_on, base_ends_on, ends_on, cut_on, fact, granted_at, ended_at)
WHERE subscriptions_subscription.id = moved.id
"""


class TooFarAhead(Invalid):
    """The date is after LATEST_DATE, probably because of a wrong year."""

    code, message = "too_far_ahead", "This date is too far ahead. Check the year."


def require_supported_date(ends_on: date) -> None:
    """Check that the date is not after LATEST_DATE.

    :raises TooFarAhead: it is
    """
    if ends_on > LATEST_DATE:
        raise TooFarAhead


def lock_periods(*, member_id: int, group_id: int) -> list[Subscription]:
    """Lock and return the chain of a member and group, oldest first, each period with its payment.

    The same statement first takes a shared lock on closures. So no closure is created or deleted until the transaction
    ends, which would leave the new dates without its days.
    """
    return list(_locked(Subscription.objects.filter(member_id=member_id, group_id=group_id)))


def lock_chains(*, member_ids: Collection[int], group_id: int) -> list[list[Subscription]]:
    """Lock and return the chains of several members in one group, in one statement. See lock_periods."""
    chains = defaultdict(list)
    for subscription in _locked(Subscription.objects.filter(member__in=member_ids, group=group_id)):
        chains[subscription.member_id].append(subscription)
    return list(chains.values())


def _locked(periods: QuerySet[Subscription]) -> QuerySet[Subscription]:
    shared = Func(Value(advisory_locks.CLOSURES), function="pg_advisory_xact_lock_shared", output_field=TextField())
    with_payment = periods.select_related("payment").annotate(closures_lock=shared)
    return with_payment.select_for_update(no_key=True, of=("self",)).order_by("pk")


def _chain_of_payment(payment_id: int) -> QuerySet[Subscription]:
    bought = Subscription.objects.filter(payment_id=payment_id)
    return _locked(
        Subscription.objects.filter(member_id=bought.values("member_id")[:1], group_id=bought.values("group_id")[:1])
    )


# lock_chain_of_payment(payment_id): as lock_periods, for the chain of the period that this payment buys. The list is
# empty when the payment buys no period.
lock_chain_of_payment = WrittenOnce(_chain_of_payment, stand_ins=[0])


def lock_closures() -> None:
    """Take the exclusive lock on closures: wait for running recalculations of dates, and block new ones."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [advisory_locks.CLOSURES])


def lock_visits(member_id: int) -> None:
    """Lock the visits of a member, so that nobody else adds, counts or moves one.

    Lock the periods first. The gate takes only this lock, so it cannot be part of a deadlock.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s::int)", [advisory_locks.VISITS, member_id])


def as_period(subscription: Subscription) -> Period:
    """Return the dates and the length of a granted subscription."""
    return Period(
        id=subscription.pk,
        interval=subscription.interval,
        interval_count=subscription.interval_count,
        has_fixed_length=subscription.origin == Origin.MIGRATED,
        **{name: getattr(subscription, name) for name in DATES},
    )


def granted_periods(chain: Iterable[Subscription]) -> list[Period]:
    """Return the granted periods of the chain as dates and lengths."""
    return [as_period(subscription) for subscription in chain if subscription.fact == Fact.GRANTED]


@dataclass(frozen=True)
class FreezesAndClosures:
    """All freezes, as (freeze id, days) by the id of their period, and the closures of the club."""

    freezes: dict[int, list[tuple[int, FrozenDays]]]
    closures: list[FrozenDays]

    def frozen_days_of(self, chain: Iterable[Subscription]) -> list[FrozenDays]:
        """Return the frozen and closed days of the chain, sorted and without overlaps."""
        frozen: list[FrozenDays] = []
        # Freezes may overlap: a period that is granted again brings back its freezes, and meanwhile another period
        # may have been frozen on the same days.
        for days in [*(days for each in chain for _, days in self.freezes.get(each.pk, ())), *self.closures]:
            frozen += unfrozen_parts(*days, frozen)
        return sorted(frozen)


def read_freezes_and_closures(chains: Iterable[Sequence[Subscription]]) -> FreezesAndClosures:
    """Read the freezes of the chains' granted periods, and all closures, in one statement."""
    granted = [subscription.pk for chain in chains for subscription in chain if subscription.fact == Fact.GRANTED]
    freezes, closures = defaultdict(list), []
    with connection.cursor() as cursor:
        cursor.execute(FREEZES_AND_CLOSURES, [granted])
        for freeze_id, subscription_id, starts_on, until in cursor.fetchall():
            if freeze_id is None:
                closures.append(FrozenDays(starts_on, until))
            else:
                freezes[subscription_id].append((freeze_id, FrozenDays(starts_on, until)))
    return FreezesAndClosures(freezes, closures)


def rearrange(chain: Sequence[Subscription], *, changed: Collection[Subscription] = ()) -> None:
    """Recalculate the dates of a locked chain, and save the periods that moved or are in `changed`."""
    rearrange_all([chain], changed=changed)


def rearrange_all(chains: Sequence[Sequence[Subscription]], *, changed: Collection[Subscription] = ()) -> None:
    """As rearrange, for several locked chains, with a constant number of statements."""
    freezes = read_freezes_and_closures(chains)
    arranged = [arrange(granted_periods(chain), freezes.frozen_days_of(chain)) for chain in chains]
    save_dates(chains, arranged, freezes, changed=changed)


def save_dates(
    chains: Sequence[Sequence[Subscription]],
    arranged: Sequence[Sequence[Period]],
    freezes: FreezesAndClosures,
    *,
    changed: Collection[Subscription] = (),
) -> None:
    """Save the arranged periods of each locked chain, in one statement: those that moved or are in `changed`."""
    moved = []
    for chain, periods in zip(chains, arranged, strict=True):
        by_id = {subscription.pk: subscription for subscription in chain}
        for period in periods:
            subscription = by_id[period.id]
            if subscription in changed or any(getattr(subscription, name) != getattr(period, name) for name in DATES):
                for name in DATES:
                    setattr(subscription, name, getattr(period, name))
                moved.append(subscription)
    if not moved:
        return
    with connection.cursor() as cursor:
        cursor.execute(UPDATE_PERIODS, [[getattr(each, name) for each in moved] for name in UPDATED_FIELDS])
    for periods in arranged:
        _reassign_freezes(periods, freezes)


def _reassign_freezes(periods: Sequence[Period], found: FreezesAndClosures) -> None:
    """Assign each freeze to the period that now covers its first day, after periods have moved."""
    for period in periods:
        for freeze_id, days in list(found.freezes.get(period.id, ())):
            owner = _covering(periods, days.starts_on)
            if owner is None or owner.id == period.id or _is_frozen(days, found.freezes.get(owner.id, ())):
                continue
            Freeze.objects.filter(pk=freeze_id).update(subscription=owner.id)
            found.freezes.setdefault(owner.id, []).append((freeze_id, days))


def _is_frozen(days: FrozenDays, freezes: Iterable[tuple[int, FrozenDays]]) -> bool:
    return any(days.starts_on < other.ends_on and other.starts_on < days.ends_on for _, other in freezes)


def _covering(periods: Sequence[Period], day: date) -> Period | None:
    return next((period for period in periods if period.starts_on <= day < period.ends_on), None)
