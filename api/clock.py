"""The club's clock: the one place where views, jobs and commands read the time; services are given it.

In development the clock can be moved, so that a year of memberships is walked in a minute. The shift is kept
in a small file that the web, worker and command processes share. `CLUB_CLOCK_FILE` is None everywhere else:
in production there is nothing to move.
"""

from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from api.errors import Forbidden


class ClockIsReal(Forbidden):
    """Only a development copy may be told another time."""

    code, message = "clock_is_real", "The club clock can be set in development only."


def now() -> datetime:
    """Return the present moment of the club, aware, in UTC."""
    return timezone.now() + shift()


def shift() -> timedelta:
    """Return how far the club clock runs ahead of the real one; negative when it is behind."""
    if settings.CLUB_CLOCK_FILE is None:
        return timedelta()
    try:
        return timedelta(seconds=float(settings.CLUB_CLOCK_FILE.read_text()))
    except (FileNotFoundError, ValueError):  # never set, or edited by hand
        return timedelta()


def set_to(instant: datetime) -> None:
    """Make the club clock read `instant` now; it runs on from there.

    :raises ClockIsReal: this is not a development copy
    """
    _keep(instant - timezone.now())


def move(by: timedelta) -> None:
    """Move the club clock on by `by`, or back when it is negative.

    :raises ClockIsReal: this is not a development copy
    """
    _keep(shift() + by)


def reset() -> None:
    """Make the club clock the real one again. Twice is harmless."""
    if settings.CLUB_CLOCK_FILE is not None:
        settings.CLUB_CLOCK_FILE.unlink(missing_ok=True)


def _keep(ahead: timedelta) -> None:
    path = settings.CLUB_CLOCK_FILE
    if path is None:
        raise ClockIsReal
    path.parent.mkdir(parents=True, exist_ok=True)
    # Replaced in one step, so that no process ever reads half a number.
    fresh = path.with_suffix(".new")
    fresh.write_text(str(ahead.total_seconds()))
    fresh.replace(path)
