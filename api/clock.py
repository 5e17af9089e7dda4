"""The club clock: the current time, as views, jobs and commands read it. Services receive it as `now`.

In development the clock can be moved, so that a year of memberships can be tried out in a minute. The difference from
the real time is stored in a small file, CLUB_CLOCK_FILE, which all processes of the copy share. In production and in
tests the setting is None, and the clock cannot be moved.
"""

from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from api.errors import Forbidden


class ClockIsReal(Forbidden):
    """The club clock cannot be moved outside development."""

    code, message = "clock_is_real", "The club clock can be set in development only."


def now() -> datetime:
    """Return the current time of the club as an aware datetime in UTC."""
    return timezone.now() + shift()


def shift() -> timedelta:
    """Return how far the club clock is ahead of the real time. Negative when it is behind."""
    if settings.CLUB_CLOCK_FILE is None:
        return timedelta()
    try:
        return timedelta(seconds=float(settings.CLUB_CLOCK_FILE.read_text()))
    except (FileNotFoundError, ValueError):  # never moved, or the file was edited by hand
        return timedelta()


def set_to(instant: datetime) -> None:
    """Set the club clock to `instant`. It continues from there.

    :raises ClockIsReal: outside development
    """
    _store_shift(instant - timezone.now())


def move(by: timedelta) -> None:
    """Move the club clock forward by `by`, or back when `by` is negative.

    :raises ClockIsReal: outside development
    """
    _store_shift(shift() + by)


def reset() -> None:
    """Set the club clock to the real time. Repeated calls change nothing."""
    if settings.CLUB_CLOCK_FILE is not None:
        settings.CLUB_CLOCK_FILE.unlink(missing_ok=True)


def _store_shift(difference: timedelta) -> None:
    path = settings.CLUB_CLOCK_FILE
    if path is None:
        raise ClockIsReal
    path.parent.mkdir(parents=True, exist_ok=True)
    # Replace the file in one step, so that no process reads half a number.
    fresh = path.with_suffix(".new")
    fresh.write_text(str(difference.total_seconds()))
    fresh.replace(path)
