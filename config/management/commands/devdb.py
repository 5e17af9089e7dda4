"""`manage.py devdb`: control the embedded PostgreSQL of development and tests."""

import os

from django.core.management.base import BaseCommand, CommandError

from config.dev import devdb
from config.dev.devdb.places import programs


class Command(BaseCommand):
    """Start, stop, inspect or empty the embedded server. Commands that need a database start it themselves."""

    help = "Control the embedded PostgreSQL: start, stop, status, psql, reset."
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument("action", choices=["start", "stop", "status", "psql", "reset"])
        parser.add_argument("--yes", action="store_true", help="reset without a question")
        parser.add_argument("more", nargs="*", help='arguments of psql, after "--"')

    def handle(self, *, action, yes, more, **options):
        try:
            getattr(self, action)(yes=yes, more=more)
        except devdb.DevDbError as error:
            raise CommandError(str(error)) from error

    def start(self, **options):
        devdb.ensure(devdb.CHECKOUT)
        self.status()

    def stop(self, **options):
        self.stdout.write("Stopped." if devdb.stop(devdb.CHECKOUT) else "It was not running.")

    def status(self, **options):
        place = devdb.locate(devdb.CHECKOUT)
        if not devdb.accepts_connections(place):
            self.stdout.write("Not running. `manage.py devdb start`, or any command that needs a database, starts it.")
            return
        self.stdout.write(f"Running. Data: {place.data}\nDATABASE_URL='{devdb.url(place)}'")

    def psql(self, more, **options):
        devdb.ensure(devdb.CHECKOUT)
        place = devdb.locate(devdb.CHECKOUT)
        self.stdout.flush()
        program = programs(place) / "psql"
        os.execv(program, [str(program), devdb.url(place), *more])  # noqa: S606

    def reset(self, yes, **options):
        place = devdb.locate(devdb.CHECKOUT)
        if not yes and input(f"This deletes every database in {place.data}. Type yes to continue: ") != "yes":
            raise CommandError("Nothing was deleted.")
        devdb.reset(devdb.CHECKOUT)
        self.stdout.write("Deleted. The next start creates an empty one.")
