"""The club clock: real everywhere, movable in development."""

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


def test_the_clock_is_real_unless_it_was_moved():
    before = timezone.now()

    assert before <= clock.now() <= timezone.now()


def test_a_clock_that_is_not_a_development_copys_cannot_be_moved(settings):
    assert settings.CLUB_CLOCK_FILE is None

    with pytest.raises(clock.ClockIsReal):
        clock.set_to(LEAP_DAY)
    with pytest.raises(clock.ClockIsReal):
        clock.move(timedelta(days=1))


@pytest.mark.usefixtures("movable")
def test_a_clock_set_to_a_moment_runs_on_from_there():
    clock.set_to(LEAP_DAY)

    assert timedelta() <= clock.now() - LEAP_DAY < timedelta(seconds=5)


@pytest.mark.usefixtures("movable")
def test_moves_add_up_and_a_reset_forgets_them():
    clock.move(timedelta(days=30))
    clock.move(timedelta(days=-1))
    assert clock.shift() == timedelta(days=29)

    clock.reset()
    clock.reset()

    assert clock.shift() == timedelta()


@pytest.mark.usefixtures("movable")
def test_a_spoilt_file_leaves_the_clock_real(settings):
    settings.CLUB_CLOCK_FILE.parent.mkdir()
    settings.CLUB_CLOCK_FILE.write_text("tomorrow")

    assert clock.shift() == timedelta()


@pytest.mark.usefixtures("movable")
def test_the_command_sets_nairobi_time_and_shows_it():
    out = StringIO()

    call_command("club_clock", "--set", "2028-02-29T12:00", stdout=out)

    assert out.getvalue().startswith("2028-02-29 12:00:0")
    assert out.getvalue().endswith("+03:00\n")


@pytest.mark.usefixtures("movable")
@pytest.mark.parametrize("text", ["tomorrow", "2027-02-30T09:00"])
def test_the_command_refuses_what_is_no_moment(text):
    with pytest.raises(CommandError):
        call_command("club_clock", "--set", text)


def test_the_command_refuses_outside_development():
    with pytest.raises(CommandError):
        call_command("club_clock", "--days", "1")
