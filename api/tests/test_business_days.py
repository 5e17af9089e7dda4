"""Business days: dates in Nairobi."""

from datetime import UTC, date, datetime

import pytest

from api.business_days import business_day, start_of_day


@pytest.mark.parametrize(
    ("instant", "day"),
    [
        (datetime(2027, 2, 28, 20, 59, 59, 999999, UTC), date(2027, 2, 28)),
        (datetime(2027, 2, 28, 21, 0, tzinfo=UTC), date(2027, 3, 1)),
        (datetime(2028, 2, 28, 21, 0, tzinfo=UTC), date(2028, 2, 29)),
        (datetime(2027, 12, 31, 21, 0, tzinfo=UTC), date(2028, 1, 1)),
    ],
)
def test_a_business_day_begins_at_midnight_in_nairobi(instant, day):
    assert business_day(instant) == day


def test_start_of_day_is_the_first_instant_of_its_day():
    assert start_of_day(date(2027, 3, 1)) == datetime(2027, 2, 28, 21, tzinfo=UTC)
