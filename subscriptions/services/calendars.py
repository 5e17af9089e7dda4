"""Between the table and the arithmetic of `periods`: lock a member's periods, lay them out, save what moved."""

from collections.abc import Iterable, Sequence
from datetime import date

from django.db import connection

from subscriptions.models import Closure, Fact, Freeze, Origin, Subscription
from subscriptions.periods import Frozen, Period, lay_out, uncovered

DATES = ("not_before", "anchor_on", "starts_on", "base_ends_on", "ends_on", "cut_on")


def lock_periods(*, member_id: int, group_id: int) -> list[Subscription]:
    """Lock and return everything the member ever bought in the group, oldest first."""
    mine = Subscription.objects.filter(member_id=member_id, group_id=group_id)
    return list(mine.select_for_update(no_key=True).order_by("pk"))


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
    freezes = Freeze.objects.filter(subscription__in=granted).with_last_day()
    asked = [Frozen(*row) for row in freezes.values_list("starts_on", "until") if row[0] < row[1]]
    closed = [part for row in Closure.objects.values_list("starts_on", "ends_on") for part in uncovered(*row, asked)]
    return sorted(asked + closed)


def rearrange(chain: Sequence[Subscription], *, changed: Sequence[Subscription] = ()) -> None:
    """Lay the locked chain out anew after a freeze, a return or a cut, and save what moved or was `changed`."""
    save(chain, lay_out(granted_periods(chain), frozen_days(chain)), changed=changed)


def save(chain: Sequence[Subscription], laid: Sequence[Period], *, changed: Sequence[Subscription] = ()) -> None:
    """Write the dates of the laid periods to the locked chain, in one check of the no-overlap constraint."""
    by_id = {subscription.pk: subscription for subscription in chain}
    moved = []
    for period in laid:
        subscription = by_id[period.id]
        if subscription in changed or any(getattr(subscription, name) != getattr(period, name) for name in DATES):
            for name in DATES:
                setattr(subscription, name, getattr(period, name))
            moved.append(subscription)
    if not moved:
        return
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS subscription_periods_do_not_overlap DEFERRED")
        for subscription in moved:
            subscription.save(update_fields=[*DATES, "fact", "granted_at", "ended_at"])
        cursor.execute("SET CONSTRAINTS subscription_periods_do_not_overlap IMMEDIATE")
    _hand_over_freezes(laid)


def _hand_over_freezes(laid: Sequence[Period]) -> None:
    """Point each freeze at the period that stands on its first day: a period may have moved from under it."""
    for freeze in Freeze.objects.filter(subscription__in=[period.id for period in laid]):
        owner = _covering(laid, freeze.starts_on)
        if owner is not None and owner.id != freeze.subscription_id:
            Freeze.objects.filter(pk=freeze.pk).update(subscription=owner.id)


def _covering(laid: Sequence[Period], day: date) -> Period | None:
    return next((period for period in laid if period.starts_on <= day < period.ends_on), None)
