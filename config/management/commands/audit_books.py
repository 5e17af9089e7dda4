"""Prove the books: run every invariant of every app as SQL, and name the rows that break one."""

import importlib

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction
from django.utils.module_loading import module_has_submodule

MOST_ROWS = 20


class Command(BaseCommand):
    """Exits 0 when every invariant holds, 1 with the offending rows when one does not. Reads only."""

    help = __doc__

    def add_arguments(self, parser):
        parser.add_argument(
            "--safety",
            action="store_true",
            help="only what holds at every moment, for books that are in motion",
        )

    def handle(self, *args, safety: bool, **options):
        broken = 0
        invariants = [each for each in installed_invariants() if not (safety and each.quiet)]
        # One snapshot for all: the books may move while they are read.
        with transaction.atomic(durable=not connection.in_atomic_block):
            for invariant in invariants:
                rows = offending_rows(invariant)
                if rows:
                    broken += 1
                    self.stdout.write(f"{invariant.code} BROKEN: {invariant.promise}")
                    for row in rows[:MOST_ROWS]:
                        self.stdout.write("    " + ", ".join(str(value) for value in row))
                    if len(rows) > MOST_ROWS:
                        self.stdout.write(f"    and {len(rows) - MOST_ROWS} more")
        if broken:
            raise CommandError(f"{broken} of {len(invariants)} invariants are broken.")
        self.stdout.write(f"All {len(invariants)} invariants hold.")


def installed_invariants():
    """Return the invariants of every installed app that has any, in the apps' order."""
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
