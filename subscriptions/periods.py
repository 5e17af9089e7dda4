"""Date arithmetic of prepaid periods: pure functions, without a database or a clock.

Dates are Nairobi business days. Periods are half-open: starts_on <= day < ends_on.
"""

import calendar
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import NamedTuple

MONTHS_IN = {"months": 1, "years": 12}
DAYS_IN = {"days": 1, "weeks": 7}


def months_after(anchor: date, months: int) -> date:
    """Return the anchor's day of the month `months` later, or the last day of that month if it is shorter."""
    year, month0 = divmod(anchor.year * 12 + anchor.month - 1 + months, 12)
    return date(year, month0 + 1, min(anchor.day, calendar.monthrange(year, month0 + 1)[1]))


def months_between(anchor: date, day: date) -> int:
    """Return the number of calendar months from the anchor's month to the month of `day`."""
    return (day.year - anchor.year) * 12 + day.month - anchor.month


def period_end(*, anchor_on: date, starts_on: date, interval: str, count: int) -> date:
    """Return the `ends_on` of a period of `count` intervals that starts on `starts_on`.

    Months and years are counted from the anchor, so that 31 January is followed by 28 February and 31 March.
    """
    if interval in DAYS_IN:
        return starts_on + timedelta(days=count * DAYS_IN[interval])
    return months_after(anchor_on, months_between(anchor_on, starts_on) + count * MONTHS_IN[interval])


class FrozenDays(NamedTuple):
    """A half-open range of frozen days. The ranges of one member and group never overlap."""

    starts_on: date
    ends_on: date


@dataclass(frozen=True)
class Period:
    """The dates and the length of one granted period."""

    id: int
    interval: str
    interval_count: int
    not_before: date
    anchor_on: date
    starts_on: date
    base_ends_on: date
    ends_on: date
    cut_on: date | None = None
    has_fixed_length: bool = False  # imported with its own dates: it keeps its number of days when it moves

    def moved_to(self, day: date, *, after: "Period | None") -> "Period":
        """Return this period with the same length, starting on `day`, after the period `after`."""
        if self.has_fixed_length:
            end = day + (self.base_ends_on - self.starts_on)
            return replace(self, anchor_on=day, starts_on=day, base_ends_on=end, ends_on=end)
        anchor = after.anchor_on if after is not None and self._continues(after, day) else day
        end = period_end(anchor_on=anchor, starts_on=day, interval=self.interval, count=self.interval_count)
        return replace(self, anchor_on=anchor, starts_on=day, base_ends_on=end, ends_on=end)

    def _continues(self, before: "Period", day: date) -> bool:
        """Return whether months are counted on from the anchor of `before`: an unbroken run without frozen days."""
        return (
            self.interval in MONTHS_IN
            and before.interval in MONTHS_IN
            and before.cut_on is None
            and day == before.base_ends_on == before.ends_on
            and day == months_after(before.anchor_on, months_between(before.anchor_on, day))
        )

    def with_frozen_days(self, frozen: Sequence[FrozenDays]) -> "Period":
        """Return this period, extended by every frozen day inside it.

        A period that an upgrade cut is not extended. It has no day left if it had to move past the day of the cut.
        """
        if self.cut_on is not None:
            return replace(self, ends_on=max(self.starts_on, self.cut_on))
        end = self.base_ends_on
        for freeze in sorted(frozen):
            begins = max(freeze.starts_on, self.starts_on)
            if begins < min(end, freeze.ends_on):
                end += freeze.ends_on - begins
        return replace(self, ends_on=end)


def new_period(id: int, interval: str, count: int, *, starts_on: date, not_before: date) -> Period:
    """Return a period without frozen days that starts on `starts_on`, which is also its anchor."""
    return Period(id, interval, count, not_before, starts_on, starts_on, starts_on, starts_on).moved_to(
        starts_on, after=None
    )


def sort_periods(periods: Iterable[Period]) -> list[Period]:
    """Return the periods by first day. A period that was cut on its first day comes before the upgrade."""
    return sorted(periods, key=lambda period: (period.starts_on, period.ends_on, period.id))


def arrange(periods: Iterable[Period], frozen: Sequence[FrozenDays]) -> list[Period]:
    """Return the periods of one member and group in order, without overlaps, extended by their frozen days.

    Each starts on its `not_before` or on the end of the period before it, whichever is later. A period that need not
    move keeps its dates.
    """
    arranged: list[Period] = []
    for period in sort_periods(periods):
        before = arranged[-1] if arranged else None
        day = max(period.not_before, before.ends_on) if before else period.not_before
        if day != period.starts_on:
            period = period.moved_to(day, after=before)
        arranged.append(period.with_frozen_days(frozen))
    return arranged


def insert_period(
    period: Period, *, to: Sequence[Period], frozen: Sequence[FrozenDays], paid_on: date, grace_days: int, late: str
) -> list[Period]:
    """Insert a newly paid period among the granted ones and return all of them, arranged.

    It starts on the first day, from `paid_on`, that no period covers; that is the end of the running period.
    If `late` is "from_expiry" and it was paid within `grace_days` after the period before it, it starts on the end of
    that period, unless it would then be over already. Later periods move if it needs their days.
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
    """Return the parts of starts_on <= day < ends_on that are not in `frozen`."""
    parts = []
    for freeze in sorted(frozen):
        if starts_on < min(freeze.starts_on, ends_on):
            parts.append(FrozenDays(starts_on, min(freeze.starts_on, ends_on)))
        starts_on = max(starts_on, freeze.ends_on)
    if starts_on < ends_on:
        parts.append(FrozenDays(starts_on, ends_on))
    return parts


def count_unfrozen_days(starts_on: date, ends_on: date, frozen: Iterable[FrozenDays]) -> int:
    """Return the number of days in starts_on <= day < ends_on that are not frozen."""
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
    """Return the part of the `paid` KES that is unused from `today` on: whole shillings, rounded down, at most `paid`.

    The value of a visit pack (`visits`) is also limited by the visits that are left. A pack that was imported without
    visits has none.
    """
    length = (period.base_ends_on - period.starts_on).days
    used = count_unfrozen_days(period.starts_on, min(max(today, period.starts_on), period.ends_on), frozen)
    by_days = paid * max(length - used, 0) // length
    if visits is None:
        return by_days
    return min(by_days, paid * max(visits - visits_used, 0) // max(visits, 1))
