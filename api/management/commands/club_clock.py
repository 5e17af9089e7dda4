"""`manage.py club_clock`: read or move the development club clock."""

from datetime import timedelta

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from api import clock


class Command(BaseCommand):
    help = "Show the club clock, or move it (development only)."

    def add_arguments(self, parser):
        act = parser.add_mutually_exclusive_group()
        act.add_argument("--set", dest="instant", metavar="2027-02-28T09:00", help="read this moment, Nairobi time")
        act.add_argument("--days", type=float, help="move on by this many days; negative: back")
        act.add_argument("--reset", action="store_true", help="be the real clock again")

    def handle(self, *, instant, days, reset, **options):
        try:
            if instant:
                clock.set_to(self.moment(instant))
            elif days:
                clock.move(timedelta(days=days))
            elif reset:
                clock.reset()
        except clock.ClockIsReal as error:
            raise CommandError(error.message) from None
        self.stdout.write(timezone.localtime(clock.now()).isoformat(sep=" ", timespec="seconds"))

    def moment(self, text):
        """Return the aware moment that `text` names; without an offset it is Nairobi's."""
        try:
            moment = parse_datetime(text)
        except ValueError:
            moment = None
        if moment is None:
            raise CommandError(f"{text} is not a moment such as 2027-02-28T09:00.")
        return moment if timezone.is_aware(moment) else timezone.make_aware(moment)
