"""`manage.py adopt_migrations`: keep using a database that was migrated before the first release."""

from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from config import adoption


class Command(BaseCommand):
    help = "Check that the tables are those that the migrations create, then record these migrations."

    def handle(self, *args: object, **options: object) -> None:
        try:
            replaced = adoption.adopt(connection)
        except adoption.TablesDiffer as error:
            raise CommandError(
                f"Nothing was changed, because the tables are not those that the migrations create:\n{error}\n"
                "Make a dump, correct the differences with SQL, and run this command again."
            ) from None
        if replaced:
            self.stdout.write(
                f"Adopted: the record of {replaced} old migrations was replaced. Run `manage.py migrate` now."
            )
        else:
            self.stdout.write("Nothing to adopt: this database has none of the old migrations.")
