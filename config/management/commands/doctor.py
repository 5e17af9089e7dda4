"""`manage.py doctor`: check the settings for the chosen M-Pesa, and show how to correct them."""

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from config.dev.doctor import findings


class Command(BaseCommand):
    help = "Check every setting that the chosen DARAJA_ENVIRONMENT needs. Exit 1 when something is missing."
    requires_system_checks: list[str] = []

    def handle(self, *args: object, **options: object) -> None:
        self.stdout.write(f"M-Pesa: {settings.DARAJA_ENVIRONMENT} ({settings.DARAJA_BASE_URL})")
        missing = 0
        for finding in findings():
            missing += not finding.is_ok
            self.stdout.write(
                f"    {'ok     ' if finding.is_ok else 'MISSING'}  {finding.name}"
                + (f": {finding.remedy}" if finding.remedy else "")
            )
        if missing:
            raise CommandError(f"{missing} {'thing is' if missing == 1 else 'things are'} missing.")
        self.stdout.write("Nothing is missing.")
