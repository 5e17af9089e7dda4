"""Date arithmetic of prepaid periods, without a database."""

import itertools
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subscriptions.periods import (
    FrozenDays,
    Period,
    arrange,
    count_unfrozen_days,
    insert_period,
    months_after,
    new_period,
    period_end,
    unfrozen_parts,
    unused_value,
)

DAYS = st.dates(date(2027, 1, 1), date(2028, 12, 31))
INTERVALS = st.sampled_from([("days", 1), ("days", 10), ("weeks", 1), ("months", 1), ("months", 3), ("years", 1)])


def placed(period_id, starts_on, interval="months", count=1, not_before=None):
    return new_period(period_id, interval, count, starts_on=starts_on, not_before=not_before or starts_on)


@pytest.mark.parametrize(
    ("months", "day"),
    [
        (1, date(2027, 2, 28)),
        (2, date(2027, 3, 31)),
        (3, date(2027, 4, 30)),
        (13, date(2028, 2, 29)),
        (-1, date(2026, 12, 31)),
    ],
)
def test_months_are_counted_from_the_anchor(months, day):
    assert months_after(date(2027, 1, 31), months) == day


@pytest.mark.parametrize(
    ("interval", "count", "end"),
    [
        ("days", 1, date(2028, 3, 1)),
        ("weeks", 2, date(2028, 3, 14)),
        ("months", 1, date(2028, 3, 29)),
        ("years", 1, date(2029, 2, 28)),
        ("years", 4, date(2032, 2, 29)),
    ],
)
def test_period_from_a_leap_day_ends_by_its_interval(interval, count, end):
    leap_day = date(2028, 2, 29)

    assert period_end(anchor_on=leap_day, starts_on=leap_day, interval=interval, count=count) == end


def test_twelve_single_months_end_like_a_year():
    periods = []
    for n in range(12):
        period = new_period(n, "months", 1, starts_on=date(2027, 1, 31), not_before=date(2027, 1, 31))
        periods = insert_period(
            period, to=periods, frozen=[], paid_on=date(2027, 1, 31), grace_days=0, late="from_payment"
        )

    assert [period.ends_on.day for period in periods] == [28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31]
    assert periods[-1].ends_on == date(2028, 1, 31)


def test_early_purchase_starts_on_the_end_of_the_running_period():
    running = placed(1, date(2027, 1, 10))

    _, bought = insert_period(
        placed(2, date(2027, 1, 20)),
        to=[running],
        frozen=[],
        paid_on=date(2027, 1, 20),
        grace_days=0,
        late="from_payment",
    )

    assert (bought.starts_on, bought.ends_on) == (date(2027, 2, 10), date(2027, 3, 10))


def late_start(paid_on, rule, grace_days=7, interval="months"):
    ended = placed(1, date(2027, 1, 10))
    new = placed(2, paid_on, interval)
    return insert_period(new, to=[ended], frozen=[], paid_on=paid_on, grace_days=grace_days, late=rule)[-1].starts_on


def test_payment_within_grace_follows_the_late_renewal_rule():
    assert late_start(date(2027, 2, 16), "from_expiry") == date(2027, 2, 10)
    assert late_start(date(2027, 2, 16), "from_payment") == date(2027, 2, 16)


def test_payment_after_grace_starts_on_its_own_day():
    assert late_start(date(2027, 2, 17), "from_expiry") == date(2027, 2, 17)


def test_late_day_pass_starts_on_its_payment_day():
    assert late_start(date(2027, 2, 12), "from_expiry", interval="days") == date(2027, 2, 12)


def test_period_fills_a_gap_and_moves_the_next_period():
    next_period = placed(2, date(2027, 2, 10))

    first, second = insert_period(
        placed(3, date(2027, 1, 20)),
        to=[next_period],
        frozen=[],
        paid_on=date(2027, 1, 20),
        grace_days=0,
        late="from_payment",
    )

    assert (first.id, first.starts_on, first.ends_on) == (3, date(2027, 1, 20), date(2027, 2, 20))
    assert (second.id, second.starts_on, second.ends_on) == (2, date(2027, 2, 20), date(2027, 3, 20))


def test_frozen_days_extend_a_period_and_move_the_next():
    running, stacked = placed(1, date(2027, 1, 10)), placed(2, date(2027, 2, 10), not_before=date(2027, 1, 15))

    first, second = arrange([running, stacked], [FrozenDays(date(2027, 1, 20), date(2027, 1, 27))])

    assert (first.base_ends_on, first.ends_on) == (date(2027, 2, 10), date(2027, 2, 17))
    assert (second.starts_on, second.ends_on) == (date(2027, 2, 17), date(2027, 3, 17))


def test_cancelled_freeze_restores_all_dates():
    before = arrange([placed(1, date(2027, 1, 31)), placed(2, date(2027, 2, 28), not_before=date(2027, 2, 1))], [])

    frozen = arrange(before, [FrozenDays(date(2027, 2, 3), date(2027, 2, 13))])
    after = arrange(frozen, [])

    assert frozen != before
    assert [(p.starts_on, p.base_ends_on, p.ends_on) for p in after] == [
        (date(2027, 1, 31), date(2027, 2, 28), date(2027, 2, 28)),
        (date(2027, 2, 28), date(2027, 3, 31), date(2027, 3, 31)),
    ]


def test_imported_period_keeps_its_number_of_days():
    imported = Period(
        2, "months", 1, date(2027, 1, 1), date(2027, 2, 10), date(2027, 2, 10), date(2027, 2, 21), date(2027, 2, 21),
        has_fixed_length=True,
    )  # fmt: skip

    _, moved = arrange([placed(1, date(2027, 1, 10)), imported], [FrozenDays(date(2027, 1, 20), date(2027, 1, 25))])

    assert (moved.starts_on, moved.ends_on) == (date(2027, 2, 15), date(2027, 2, 26))


def test_unused_value_is_whole_shillings_rounded_down():
    month = placed(1, date(2027, 1, 1))

    assert unused_value(month, paid=1000, frozen=[], today=date(2027, 1, 11)) == 1000 * 21 // 31
    assert unused_value(month, paid=1000, frozen=[], today=date(2027, 1, 1)) == 1000
    assert unused_value(month, paid=1000, frozen=[], today=date(2027, 2, 1)) == 0


@pytest.mark.parametrize(("used", "value"), [(0, 677), (4, 600), (10, 0), (11, 0)])
def test_unused_value_of_a_pack_is_limited_by_visits(used, value):
    month = placed(1, date(2027, 1, 1))

    found = unused_value(month, paid=1000, frozen=[], today=date(2027, 1, 11), visits=10, visits_used=used)

    assert found == value


def test_pack_that_was_imported_without_visits_has_no_unused_value():
    assert unused_value(placed(1, date(2027, 1, 1)), paid=0, frozen=[], today=date(2027, 1, 11), visits=0) == 0


# --- Properties of random histories ----------------------------------------------------------------------------------


@st.composite
def histories(draw):
    """Purchases in the order of payment, and freezes that do not overlap."""
    rule = st.sampled_from(["from_expiry", "from_payment"])
    purchases = draw(st.lists(st.tuples(DAYS, INTERVALS, st.integers(0, 14), rule), min_size=1, max_size=8))
    frozen = []
    for starts_on, length in sorted(draw(st.lists(st.tuples(DAYS, st.integers(1, 40)), max_size=5))):
        if not frozen or frozen[-1].ends_on <= starts_on:
            frozen.append(FrozenDays(starts_on, starts_on + timedelta(days=length)))
    return purchases, frozen


def bought(purchases, frozen):
    periods = []
    for n, (paid_on, (interval, count), grace_days, rule) in enumerate(purchases):
        new = new_period(n, interval, count, starts_on=paid_on, not_before=paid_on)
        periods = insert_period(new, to=periods, frozen=frozen, paid_on=paid_on, grace_days=grace_days, late=rule)
    return periods


@given(histories())
def test_periods_never_overlap_or_get_lost(history):
    periods = bought(*history)

    assert sorted(period.id for period in periods) == list(range(len(history[0])))
    assert all(a.ends_on <= b.starts_on for a, b in itertools.pairwise(periods))


@given(histories())
def test_granted_length_is_the_length_bought(history):
    for period in bought(*history):
        assert period.base_ends_on == period_end(
            anchor_on=period.anchor_on,
            starts_on=period.starts_on,
            interval=period.interval,
            count=period.interval_count,
        )
        assert (
            count_unfrozen_days(period.starts_on, period.ends_on, history[1])
            == (period.base_ends_on - period.starts_on).days
        )


@given(histories())
def test_arranging_twice_changes_nothing(history):
    periods = bought(*history)

    assert arrange(periods, history[1]) == periods


@given(histories())
def test_every_period_starts_as_early_as_possible(history):
    periods = bought(*history)

    for before, period in itertools.pairwise(periods):
        assert period.starts_on == max(period.not_before, before.ends_on)


@given(DAYS, INTERVALS, st.integers(1, 100_000), st.integers(0, 800))
def test_unused_value_falls_and_never_exceeds_the_price(starts_on, interval, paid, days):
    period = new_period(1, *interval, starts_on=starts_on, not_before=starts_on)
    today = starts_on + timedelta(days=days)

    value = unused_value(period, paid=paid, frozen=[], today=today)

    assert 0 <= unused_value(period, paid=paid, frozen=[], today=today + timedelta(days=1)) <= value <= paid
    assert (value == paid) == (days == 0)


@given(DAYS, st.integers(1, 60), st.lists(st.tuples(DAYS, st.integers(1, 30)), max_size=5))
def test_unfrozen_parts_are_the_days_without_a_freeze(starts_on, length, freezes):
    frozen = [FrozenDays(day, day + timedelta(days=n)) for day, n in freezes]
    days = {starts_on + timedelta(days=n) for n in range(length)}

    free = {
        part.starts_on + timedelta(days=n)
        for part in unfrozen_parts(starts_on, starts_on + timedelta(days=length), frozen)
        for n in range((part.ends_on - part.starts_on).days)
    }

    assert free == {day for day in days if not any(f.starts_on <= day < f.ends_on for f in frozen)}
