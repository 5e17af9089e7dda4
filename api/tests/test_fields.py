"""Serializer fields: what a client may send, and the error for anything else."""

from datetime import datetime, time
from zoneinfo import ZoneInfo

import pytest
from rest_framework.exceptions import ValidationError

from api.fields import HourField, MomentField, PhoneField


def test_phone_field_normalises_a_number():
    assert PhoneField().run_validation("0712 345 678") == "254712345678"


@pytest.mark.parametrize("typed", ["0201234567", "7" * 63])
def test_phone_field_refuses_any_other_number(typed):
    with pytest.raises(ValidationError) as refused:
        PhoneField().run_validation(typed)

    assert [(error.code, str(error)) for error in refused.value.detail] == [
        ("invalid_phone_number", "Enter a Kenyan mobile number, such as 0712 345 678.")
    ]


def test_moment_is_written_in_utc():
    moment = datetime(2026, 11, 2, 12, 0, tzinfo=ZoneInfo("Africa/Nairobi"))

    assert MomentField().to_representation(moment) == "2026-11-02T09:00:00Z"


@pytest.mark.parametrize("typed", ["06:00", "06:00:30"])
def test_hour_field_accepts_a_time_of_day(typed):
    assert HourField().run_validation(typed) == time.fromisoformat(typed)


@pytest.mark.parametrize("typed", ["06:00Z", "06:00:00+03:00", "6", "0600", "25:00", "06:00:00.5", 6, ""])
def test_hour_field_refuses_offsets_and_other_forms(typed):
    with pytest.raises(ValidationError):
        HourField().run_validation(typed)
