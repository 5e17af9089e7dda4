"""The club clock: the real time, except that it can be moved in development."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from api import clock

LEAP_DAY = datetime(2028, 2, 29, 9, 0, tzinfo=UTC)


@pytest.fixture
def movable(settings, tmp_path):
    settings.CLUB_CLOCK_FILE = tmp_path / "state" / "club-clock"


def test_clock_shows_the_real_time_by_default():
    before = timezone.now()

    assert before <= clock.now() <= timezone.now()


def test_clock_cannot_be_moved_outside_development(settings):
    assert settings.CLUB_CLOCK_FILE is None

    with pytest.raises(clock.ClockIsReal):
        clock.set_to(LEAP_DAY)
    with pytest.raises(clock.ClockIsReal):
        clock.move(timedelta(days=1))


@pytest.mark.usefixtures("movable")
def test_clock_continues_from_the_time_it_was_set_to():
    clock.set_to(LEAP_DAY)

    assert timedelta() <= clock.now() - LEAP_DAY < timedelta(seconds=5)


@pytest.mark.usefixtures("movable")
def test_moves_add_up_until_a_reset():
    clock.move(timedelta(days=30))
    clock.move(timedelta(days=-1))
    assert clock.shift() == timedelta(days=29)

    clock.reset()
    clock.reset()

    assert clock.shift() == timedelta()


@pytest.mark.usefixtures("movable")
def test_damaged_clock_file_means_the_real_time(settings):
    settings.CLUB_CLOCK_FILE.parent.mkdir()
    settings.CLUB_CLOCK_FILE.write_text("tomorrow")

    assert clock.shift() == timedelta()


@pytest.mark.usefixtures("movable")
def test_command_sets_and_shows_nairobi_time():
    out = StringIO()

    call_command("club_clock", "--set", "2028-02-29T12:00", stdout=out)

    assert out.getvalue().startswith("2028-02-29 12:00:0")
    assert out.getvalue().endswith("+03:00\n")


@pytest.mark.usefixtures("movable")
@pytest.mark.parametrize("text", ["tomorrow", "2027-02-30T09:00"])
def test_command_refuses_an_invalid_time(text):
    with pytest.raises(CommandError):
        call_command("club_clock", "--set", text)


def test_command_is_refused_outside_development():
    with pytest.raises(CommandError):
        call_command("club_clock", "--days", "1")
