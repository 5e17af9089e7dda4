"""`manage.py audit_books`: check every invariant of every app with SQL, and print the rows that break one."""

import importlib

import requests
from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction
from django.utils.module_loading import module_has_submodule

from config.dev.simulator_comparison import differences, simulator_debits

MAX_ROWS = 20  # printed for one invariant


class Command(BaseCommand):
    """Check every invariant of the books. Exit 0 when all hold, and 1 with the offending rows otherwise. Reads only."""

    help = __doc__

    def add_arguments(self, parser):
        parser.add_argument(
            "--safety",
            action="store_true",
            help="check only the invariants that hold at every moment, while the product runs",
        )
        parser.add_argument(
            "--against",
            choices=["simulator"],
            help="also compare the receipts with the money that really left the phones",
        )

    def handle(self, *args, safety: bool, against: str | None = None, **options):
        broken = 0
        invariants = [each for each in installed_invariants() if not (safety and each.quiet)]
        # One snapshot for all invariants, because the books may change meanwhile.
        with transaction.atomic(durable=not connection.in_atomic_block):
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = 0")  # books of many years take long to read
            for invariant in invariants:
                rows = offending_rows(invariant)
                if rows:
                    broken += 1
                    self.stdout.write(f"{invariant.code} BROKEN: {invariant.promise}")
                    for row in rows[:MAX_ROWS]:
                        self.stdout.write("    " + ", ".join(str(value) for value in row))
                    if len(rows) > MAX_ROWS:
                        self.stdout.write(f"    and {len(rows) - MAX_ROWS} more")
        if broken:
            raise CommandError(f"{broken} of {len(invariants)} invariants are broken.")
        self.stdout.write(f"All {len(invariants)} invariants hold.")
        if against == "simulator":
            self._compare_with_simulator()

    def _compare_with_simulator(self):
        try:
            lines = differences(simulator_debits())
        except (requests.RequestException, ValueError, KeyError) as error:
            url = settings.DARAJA_SIMULATOR_URL
            raise CommandError(
                f"The simulator at {url} did not answer with its book ({type(error).__name__})."
            ) from None
        for line in lines:
            self.stdout.write(line)
        if lines:
            plural = "s" if len(lines) > 1 else ""
            raise CommandError(f"{len(lines)} difference{plural} from the simulator's book.")
        self.stdout.write("The books agree with the simulator's.")


def installed_invariants():
    """Return the invariants of all installed apps, in the order of the apps."""
    found = []
    for app in apps.get_app_configs():
        if module_has_submodule(app.module, "invariants"):
            found += importlib.import_module(f"{app.name}.invariants").INVARIANTS
    return found


def offending_rows(invariant):
    """Return the rows that break an invariant."""
    with connection.cursor() as cursor:
        cursor.execute(invariant.sql)
        return cursor.fetchall()
