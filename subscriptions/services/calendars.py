"""Between the table and the arithmetic of `periods`: lock members' periods, lay them out, save what moved."""

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
LAST_DAY = date(2100, 1, 1)
FREEZES_AND_CLOSURES = """
SELECT id, subscription_id, starts_on, coalesce(ended_early_on, ends_on) AS until
FROM subscriptions_freeze WHERE subscription_id = ANY(%s)
UNION ALL
SELECT NULL, NULL, starts_on, ends_on FROM subscriptions_closure
"""
# One statement for all that moves: the constraint that forbids overlaps is checked once, at its end.
WRITTEN = ("pk", *DATES, "fact", "granted_at", "ended_at")
WRITE = """
UPDATE subscriptions_subscription SET not_before = moved.not_before, anchor_on = moved.anchor_on,
    starts_on = moved.starts_on, base_ends_on = moved.base_ends_on, ends_on = moved.ends_on, cut_on = moved.cut_on,
    fact = moved.fact, granted_at = moved.granted_at, ended_at = moved.ended_at
FROM unnest(%s::bigint[], %s::date[], %s::date[], %s::date[], %s::date[], %s::date[], %s::date[],
    %s::text[], %s::timestamptz[], %s::timestamptz[])
    AS moved(id, not_before, anchor_on, starts_on, base_ends_on, ends_on, cut_on, fact, granted_at, ended_at)
WHERE subscriptions_subscription.id = moved.id
"""


class TooFarAhead(Invalid):
    """No day of a calendar of ours is later; a slip in the year would be."""

    code, message = "too_far_ahead", "This date is too far ahead."


def require_supported_date(ends_on: date) -> None:
    """:raises TooFarAhead: the day is past LAST_DAY"""
    if ends_on > LAST_DAY:
        raise TooFarAhead


def lock_periods(*, member_id: int, group_id: int) -> list[Subscription]:
    """Lock and return everything the member ever bought in the group, oldest first, each with its payment.

    Until the transaction ends no closure of the club begins or is taken back: a period laid out without its days
    would keep them for good. That lock comes with the rows' statement, and before the rows.
    """
    return list(_to_lock(Subscription.objects.filter(member_id=member_id, group_id=group_id)))


def lock_periods_of(*, member_ids: Collection[int], group_id: int) -> list[list[Subscription]]:
    """As lock_periods, of several members in one statement: a chain for each."""
    chains = defaultdict(list)
    for subscription in _to_lock(Subscription.objects.filter(member__in=member_ids, group=group_id)):
        chains[subscription.member_id].append(subscription)
    return list(chains.values())


def _to_lock(periods: QuerySet) -> QuerySet:
    shared = Func(Value(advisory_locks.CLOSURES), function="pg_advisory_xact_lock_shared", output_field=TextField())
    with_payment = periods.select_related("payment").annotate(closures_stand=shared)
    return with_payment.select_for_update(no_key=True, of=("self",)).order_by("pk")


def _beside_bought(payment_id: int) -> QuerySet:
    bought = Subscription.objects.filter(payment_id=payment_id)
    return _to_lock(
        Subscription.objects.filter(member_id=bought.values("member_id")[:1], group_id=bought.values("group_id")[:1])
    )


# As lock_periods, for the member and group of the period that the payment (its id) bought; nothing when it bought none.
lock_bought_periods = WrittenOnce(_beside_bought, stand_ins=[0])


def lock_closures() -> None:
    """Wait for everybody who is laying out periods, and let nobody begin until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [advisory_locks.CLOSURES])


def lock_visits(member_id: int) -> None:
    """Let nobody else add, count or move the member's visits until the transaction ends.

    Taken after the periods. The gate takes this lock alone, so it waits for nobody who waits for it.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s::int)", [advisory_locks.VISITS, member_id])


def as_period(subscription: Subscription) -> Period:
    """Return a granted subscription as the arithmetic wants it."""
    return Period(
        id=subscription.pk,
        interval=subscription.interval,
        interval_count=subscription.interval_count,
        has_fixed_length=subscription.origin == Origin.MIGRATED,
        **{name: getattr(subscription, name) for name in DATES},
    )


def granted_periods(chain: Iterable[Subscription]) -> list[Period]:
    return [as_period(subscription) for subscription in chain if subscription.fact == Fact.GRANTED]


@dataclass(frozen=True)
class FreezesAndClosures:
    """When time stands still: each freeze's id with the days that are frozen by period, and the club's closures."""

    freezes: dict[int, list[tuple[int, FrozenDays]]]
    closures: list[FrozenDays]

    def frozen_days_of(self, chain: Iterable[Subscription]) -> list[FrozenDays]:
        """Return the days on which these periods of one member and group stand still; none is told twice."""
        told: list[FrozenDays] = []
        # A period that is granted again may have been frozen on days on which another was frozen meanwhile.
        for days in [*(days for each in chain for _, days in self.freezes.get(each.pk, ())), *self.closures]:
            told += unfrozen_parts(*days, told)
        return sorted(told)


def read_freezes_and_closures(chains: Iterable[Sequence[Subscription]]) -> FreezesAndClosures:
    """Return the freezes of the chains' granted periods, and the closures."""
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
    """Lay the locked chain out anew after a freeze, a return or a cut, and save what moved or was `changed`."""
    rearrange_all([chain], changed=changed)


def rearrange_all(chains: Sequence[Sequence[Subscription]], *, changed: Collection[Subscription] = ()) -> None:
    """Lay out locked chains, each of one member and group, in a number of statements that does not hang on theirs."""
    still = read_freezes_and_closures(chains)
    laid = [arrange(granted_periods(chain), still.frozen_days_of(chain)) for chain in chains]
    save(chains, laid, still, changed=changed)


def save(
    chains: Sequence[Sequence[Subscription]],
    laid: Sequence[Sequence[Period]],
    still: FreezesAndClosures,
    *,
    changed: Collection[Subscription] = (),
) -> None:
    """Write the dates of the periods laid out for each locked chain, in one check of the no-overlap constraint."""
    moved = []
    for chain, periods in zip(chains, laid, strict=True):
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
        cursor.execute(WRITE, [[getattr(each, name) for each in moved] for name in WRITTEN])
    for periods in laid:
        _hand_over_freezes(periods, still)


def _hand_over_freezes(laid: Sequence[Period], still: FreezesAndClosures) -> None:
    """Point each freeze at the period that stands on its first day: a period may have moved from under it."""
    for period in laid:
        for freeze_id, days in list(still.freezes.get(period.id, ())):
            owner = _covering(laid, days.starts_on)
            if owner is None or owner.id == period.id or _is_frozen(days, still.freezes.get(owner.id, ())):
                continue
            Freeze.objects.filter(pk=freeze_id).update(subscription=owner.id)
            still.freezes.setdefault(owner.id, []).append((freeze_id, days))


def _is_frozen(days: FrozenDays, freezes: Iterable[tuple[int, FrozenDays]]) -> bool:
    return any(days.starts_on < other.ends_on and other.starts_on < days.ends_on for _, other in freezes)


def _covering(laid: Sequence[Period], day: date) -> Period | None:
    return next((period for period in laid if period.starts_on <= day < period.ends_on), None)
