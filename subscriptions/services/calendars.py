"""Between the table and the arithmetic of `periods`: lock a member's periods, lay them out, save what moved."""

from collections.abc import Iterable, Sequence
from datetime import date

from django.db import connection
from django.db.models import Func, QuerySet, TextField, Value

from api.errors import Invalid
from api.statements import WrittenOnce
from subscriptions.models import Fact, Freeze, Origin, Subscription
from subscriptions.periods import Frozen, Period, lay_out, uncovered

DATES = ("not_before", "anchor_on", "starts_on", "base_ends_on", "ends_on", "cut_on")
CLOSURES = 254_002  # names the advisory lock among any others of this database
LAST_DAY = date(2100, 1, 1)
# A freeze may have ended on the day it began.
FREEZES_AND_CLOSURES = """
SELECT starts_on, coalesce(ended_early_on, ends_on) AS until, true
FROM subscriptions_freeze
WHERE subscription_id = ANY(%s) AND starts_on < coalesce(ended_early_on, ends_on)
UNION ALL
SELECT starts_on, ends_on, false FROM subscriptions_closure
"""


class TooFarAhead(Invalid):
    """No day of a calendar of ours is later; a slip in the year would be."""

    code, message = "too_far_ahead", "This date is too far ahead."


def require_within_reach(ends_on: date) -> None:
    """:raises TooFarAhead: the day is past LAST_DAY"""
    if ends_on > LAST_DAY:
        raise TooFarAhead


def lock_periods(*, member_id: int, group_id: int) -> list[Subscription]:
    """Lock and return everything the member ever bought in the group, oldest first, each with its payment.

    Until the transaction ends no closure of the club begins or is taken back: a period laid out without its days
    would keep them for good. That lock comes with the rows' statement, and before the rows.
    """
    return list(_to_lock(Subscription.objects.filter(member_id=member_id, group_id=group_id)))


def _to_lock(periods: QuerySet) -> QuerySet:
    shared = Func(Value(CLOSURES), function="pg_advisory_xact_lock_shared", output_field=TextField())
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
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CLOSURES])


def as_period(subscription: Subscription) -> Period:
    """Return a granted subscription as the arithmetic wants it."""
    return Period(
        id=subscription.pk,
        interval=subscription.interval,
        interval_count=subscription.interval_count,
        keeps_days=subscription.origin == Origin.MIGRATED,
        **{name: getattr(subscription, name) for name in DATES},
    )


def granted_periods(chain: Iterable[Subscription]) -> list[Period]:
    return [as_period(subscription) for subscription in chain if subscription.fact == Fact.GRANTED]


def frozen_days(chain: Sequence[Subscription]) -> list[Frozen]:
    """Return the days on which the chain's granted periods stand still: their freezes and the club's closures."""
    granted = [subscription.pk for subscription in chain if subscription.fact == Fact.GRANTED]
    with connection.cursor() as cursor:
        cursor.execute(FREEZES_AND_CLOSURES, [granted])
        rows = [(Frozen(starts_on, until), is_freeze) for starts_on, until, is_freeze in cursor.fetchall()]
    asked = [days for days, is_freeze in rows if is_freeze]
    closed = [part for days, is_freeze in rows if not is_freeze for part in uncovered(*days, asked)]
    return sorted(asked + closed)


def rearrange(chain: Sequence[Subscription], *, changed: Sequence[Subscription] = ()) -> None:
    """Lay the locked chain out anew after a freeze, a return or a cut, and save what moved or was `changed`."""
    save(chain, lay_out(granted_periods(chain), frozen_days(chain)), changed=changed)


def save(chain: Sequence[Subscription], laid: Sequence[Period], *, changed: Sequence[Subscription] = ()) -> None:
    """Write the dates of the laid periods to the locked chain, in one check of the no-overlap constraint."""
    by_id = {subscription.pk: subscription for subscription in chain}
    moved, had_dates = [], False
    for period in laid:
        subscription = by_id[period.id]
        if subscription in changed or any(getattr(subscription, name) != getattr(period, name) for name in DATES):
            had_dates |= subscription.starts_on is not None
            for name in DATES:
                setattr(subscription, name, getattr(period, name))
            moved.append(subscription)
    if not moved:
        return
    fields = [*DATES, "fact", "granted_at", "ended_at"]
    if len(moved) == 1:
        moved[0].save(update_fields=fields)
    else:
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS subscription_periods_do_not_overlap DEFERRED")
            for subscription in moved:
                subscription.save(update_fields=fields)
            cursor.execute("SET CONSTRAINTS subscription_periods_do_not_overlap IMMEDIATE")
    if had_dates:  # a period laid for the first time has no freezes, and stands where no other's are
        _hand_over_freezes(laid)


def _hand_over_freezes(laid: Sequence[Period]) -> None:
    """Point each freeze at the period that stands on its first day: a period may have moved from under it."""
    for freeze in Freeze.objects.filter(subscription__in=[period.id for period in laid]):
        owner = _covering(laid, freeze.starts_on)
        if owner is not None and owner.id != freeze.subscription_id:
            Freeze.objects.filter(pk=freeze.pk).update(subscription=owner.id)


def _covering(laid: Sequence[Period], day: date) -> Period | None:
    return next((period for period in laid if period.starts_on <= day < period.ends_on), None)
