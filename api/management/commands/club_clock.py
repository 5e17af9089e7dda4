"""`manage.py club_clock`: show or move the club clock in development."""

from datetime import timedelta

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from api import clock


class Command(BaseCommand):
    help = "Show the club clock, or move it (development only)."

    def add_arguments(self, parser):
        group = parser.add_mutually_exclusive_group()
        group.add_argument(
            "--set", dest="instant", metavar="2027-02-28T09:00", help="set the clock to this Nairobi time"
        )
        group.add_argument("--days", type=float, help="move forward by this many days, or back by a negative number")
        group.add_argument("--reset", action="store_true", help="set the clock to the real time")

    def handle(self, *, instant, days, reset, **options):
        try:
            if instant:
                clock.set_to(self.parse(instant))
            elif days:
                clock.move(timedelta(days=days))
            elif reset:
                clock.reset()
        except clock.ClockIsReal as error:
            raise CommandError(error.message) from None
        self.stdout.write(timezone.localtime(clock.now()).isoformat(sep=" ", timespec="seconds"))

    def parse(self, text):
        """Return the aware datetime that `text` names. Without an offset it is in Nairobi time."""
        try:
            instant = parse_datetime(text)
        except ValueError:
            instant = None
        if instant is None:
            raise CommandError(f"{text} is not a date and time. Write it like 2027-02-28T09:00.")
        return instant if timezone.is_aware(instant) else timezone.make_aware(instant)
