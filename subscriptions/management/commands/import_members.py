"""`manage.py import_members FILE`: import the member list of a club from CSV."""

from pathlib import Path

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from api import clock
from api.errors import DomainError
from subscriptions.member_import.files import read_file
from subscriptions.member_import.importing import import_members
from subscriptions.member_import.reports import summary


class Command(BaseCommand):
    help = "Import members and their running periods from CSV. docs/import.md describes the columns."

    def add_arguments(self, parser):
        parser.add_argument("file", type=Path)
        parser.add_argument("--by", required=True, metavar="USERNAME", help="the user who imports")
        parser.add_argument("--dry-run", action="store_true", help="report every line and write nothing")
        parser.add_argument("--skip-bad", action="store_true", help="skip bad lines and write the others")

    def handle(self, *, file, by, dry_run, skip_bad, **options):
        author = get_user_model().objects.filter(username__iexact=by).first()
        if author is None:
            raise CommandError(f"There is no user with the username {by}.")
        try:
            with file.open(encoding="utf-8-sig", newline="") as lines:
                rows = read_file(lines)
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}") from None
        except DomainError as error:
            raise CommandError(error.message) from None
        progress = tqdm(rows, unit=" lines", disable=None, file=self.stderr)
        report = import_members(progress, by_id=author.pk, now=clock.now(), dry_run=dry_run, skip_bad=skip_bad)
        for number, verdict, text in report.lines:
            self.stdout.write(f"line {number}: {verdict}: {text}")
        for line in summary(report, dry_run=dry_run, skip_bad=skip_bad):
            self.stdout.write(line)
        if report.has_bad_lines and not skip_bad:
            raise CommandError("Some lines are bad.")
