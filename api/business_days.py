"""Business days: the dates of Nairobi, where every club of Kilabu is. Instants are stored in UTC."""

from datetime import date, datetime, time
from zoneinfo import ZoneInfo

NAIROBI = ZoneInfo("Africa/Nairobi")  # UTC+3 all year, without daylight saving


def business_day(instant: datetime) -> date:
    """Return the Nairobi date of `instant`. A new day begins at 21:00 UTC."""
    return instant.astimezone(NAIROBI).date()


def start_of_day(day: date) -> datetime:
    """Return the instant at which the day begins: midnight in Nairobi."""
    return datetime.combine(day, time(), NAIROBI)
