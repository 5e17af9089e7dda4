"""Prepaid time as arithmetic on dates: no database, no clock.

Dates are Nairobi business days; periods are half-open: starts_on <= day < ends_on.
"""

import calendar
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import NamedTuple

MONTHS_IN = {"months": 1, "years": 12}
DAYS_IN = {"days": 1, "weeks": 7}


def months_after(anchor: date, months: int) -> date:
    """Return the anchor's day `months` later, or that month's last day where it is shorter."""
    year, month0 = divmod(anchor.year * 12 + anchor.month - 1 + months, 12)
    return date(year, month0 + 1, min(anchor.day, calendar.monthrange(year, month0 + 1)[1]))


def months_between(anchor: date, day: date) -> int:
    """Return how many calendar months `day` is after the anchor, days of the month left out."""
    return (day.year - anchor.year) * 12 + day.month - anchor.month


def period_end(*, anchor_on: date, starts_on: date, interval: str, count: int) -> date:
    """Return the day on which a period of `count` intervals ends that starts on `starts_on`.

    Months and years are counted from the anchor: 31 January, 28 February, 31 March.
    """
    if interval in DAYS_IN:
        return starts_on + timedelta(days=count * DAYS_IN[interval])
    return months_after(anchor_on, months_between(anchor_on, starts_on) + count * MONTHS_IN[interval])


class FrozenDays(NamedTuple):
    """Days on which time stands still, half-open. Those of one member and group never overlap."""

    starts_on: date
    ends_on: date


@dataclass(frozen=True)
class Period:
    """One granted period as the calendar sees it."""

    id: int
    interval: str
    interval_count: int
    not_before: date
    anchor_on: date
    starts_on: date
    base_ends_on: date
    ends_on: date
    cut_on: date | None = None
    has_fixed_length: bool = False  # dates brought along from former books: it moves as so many days

    def moved_to(self, day: date, *, after: "Period | None") -> "Period":
        """Return the same length from `day` on, counting months from the anchor of the period it follows."""
        if self.has_fixed_length:
            end = day + (self.base_ends_on - self.starts_on)
            return replace(self, anchor_on=day, starts_on=day, base_ends_on=end, ends_on=end)
        follows = (
            after is not None
            and self.interval in MONTHS_IN
            and after.interval in MONTHS_IN
            and after.cut_on is None
            and day == after.base_ends_on == after.ends_on
            and day == months_after(after.anchor_on, months_between(after.anchor_on, day))
        )
        anchor = after.anchor_on if follows else day
        end = period_end(anchor_on=anchor, starts_on=day, interval=self.interval, count=self.interval_count)
        return replace(self, anchor_on=anchor, starts_on=day, base_ends_on=end, ends_on=end)

    def with_frozen_days(self, frozen: Sequence[FrozenDays]) -> "Period":
        """Return it with every frozen day given back at the end, unless an upgrade cut it."""
        if self.cut_on is not None:
            return replace(self, ends_on=self.cut_on)
        end = self.base_ends_on
        for freeze in sorted(frozen):
            begins = max(freeze.starts_on, self.starts_on)
            if begins < min(end, freeze.ends_on):
                end += freeze.ends_on - begins
        return replace(self, ends_on=end)


def new_period(id: int, interval: str, count: int, *, starts_on: date, not_before: date) -> Period:
    """Return a period that was not laid out yet, to stand where `starts_on` says."""
    return Period(id, interval, count, not_before, starts_on, starts_on, starts_on, starts_on).moved_to(
        starts_on, after=None
    )


def sort_periods(periods: Iterable[Period]) -> list[Period]:
    """Return the periods by their first day; one that was cut on its first day stands before what took over."""
    return sorted(periods, key=lambda period: (period.starts_on, period.ends_on, period.id))


def arrange(periods: Iterable[Period], frozen: Sequence[FrozenDays]) -> list[Period]:
    """Return the periods of one member and group in order, none overlapping, frozen days given back.

    Each starts on its `not_before`, or where the one before it ends. What need not move is not touched.
    """
    laid: list[Period] = []
    for period in sort_periods(periods):
        before = laid[-1] if laid else None
        day = max(period.not_before, before.ends_on) if before else period.not_before
        if day != period.starts_on:
            period = period.moved_to(day, after=before)
        laid.append(period.with_frozen_days(frozen))
    return laid


def insert_period(
    period: Period, *, to: Sequence[Period], frozen: Sequence[FrozenDays], paid_on: date, grace_days: int, late: str
) -> list[Period]:
    """Place a newly paid period among those that stand, and return them all laid out.

    It starts on the first day from `paid_on` on that no period covers, which is the end of the running one.
    Where `late` is "from_expiry" and it was paid within the `grace_days` of the period before, it starts where
    that one ended, unless nothing would then be left of it. Later periods move on if it needs their days.
    """
    day, before = paid_on, None
    for other in sort_periods(to):
        if other.starts_on > day:
            break
        before = other
        day = max(day, other.ends_on)
    not_before = paid_on
    if (
        before is not None
        and late == "from_expiry"
        and before.cut_on is None
        and before.ends_on < paid_on < before.ends_on + timedelta(days=grace_days)
    ):
        backdated = period.moved_to(before.ends_on, after=before).with_frozen_days(frozen)
        if backdated.ends_on > paid_on:
            day = not_before = before.ends_on
    placed = replace(period.moved_to(day, after=before), not_before=not_before)
    return arrange([*to, placed], frozen)


def unfrozen_parts(starts_on: date, ends_on: date, frozen: Iterable[FrozenDays]) -> list[FrozenDays]:
    """Return the parts of starts_on <= day < ends_on that no freeze covers yet."""
    parts = []
    for freeze in sorted(frozen):
        if starts_on < min(freeze.starts_on, ends_on):
            parts.append(FrozenDays(starts_on, min(freeze.starts_on, ends_on)))
        starts_on = max(starts_on, freeze.ends_on)
    if starts_on < ends_on:
        parts.append(FrozenDays(starts_on, ends_on))
    return parts


def count_unfrozen_days(starts_on: date, ends_on: date, frozen: Iterable[FrozenDays]) -> int:
    """Return how many days of starts_on <= day < ends_on are not frozen."""
    return sum((part.ends_on - part.starts_on).days for part in unfrozen_parts(starts_on, ends_on, frozen))


def unused_value(
    period: Period,
    *,
    paid: int,
    frozen: Sequence[FrozenDays],
    today: date,
    visits: int | None = None,
    visits_used: int = 0,
) -> int:
    """Return what is left of the `paid` KES from `today` on: whole shillings, rounded down, never more.

    Of a pack (`visits`), no more than its visits that are left are worth.
    """
    length = (period.base_ends_on - period.starts_on).days
    used = count_unfrozen_days(period.starts_on, min(max(today, period.starts_on), period.ends_on), frozen)
    by_days = paid * max(length - used, 0) // length
    if visits is None:
        return by_days
    return min(by_days, paid * max(visits - visits_used, 0) // visits)
