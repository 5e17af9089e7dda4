"""`manage.py import_members FILE`: import the member list of a club from XLSX or CSV."""

from pathlib import Path

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from api import clock
from api.errors import DomainError
from subscriptions.member_import import files, headings, saved_headings
from subscriptions.member_import.importing import import_members
from subscriptions.member_import.reports import summary, understood, write_bad_lines


class Command(BaseCommand):
    help = "Import members and their running periods from XLSX or CSV. docs/import.md describes the columns."

    def add_arguments(self, parser):
        parser.add_argument("file", type=Path)
        parser.add_argument("--by", required=True, metavar="USERNAME", help="the user who imports")
        parser.add_argument("--dry-run", action="store_true", help="report every line and write nothing")
        parser.add_argument("--skip-bad", action="store_true", help="skip bad lines and write the others")
        parser.add_argument(
            "--bad-lines", type=Path, metavar="FILE", help="write the bad lines to this XLSX or CSV file"
        )
        parser.add_argument("--sheet", metavar="NAME", help="the sheet of a workbook with several lists")
        parser.add_argument(
            "--map",
            action="append",
            default=[],
            metavar="HEADING=COLUMN",
            help="a heading of the file and its column; an empty column ignores it. Stored for the next imports",
        )
        parser.add_argument("--ignore-others", action="store_true", help="ignore columns with other headings")

    def handle(self, *, file, by, dry_run, skip_bad, bad_lines, sheet, ignore_others, **options):
        author = get_user_model().objects.filter(username__iexact=by).first()
        if author is None:
            raise CommandError(f"There is no user with the username {by}.")
        try:
            saved_headings.save(options["map"])
            members = headings.read_list(
                files.read_tables(self.content_of(file)),
                meanings=saved_headings.load(),
                ignore_others=ignore_others,
                sheet=sheet,
            )
        except DomainError as error:
            raise CommandError(error.message) from None
        for line in understood(members):
            self.stdout.write(line)

        def progress(lines):
            return tqdm(lines, unit=" lines", disable=None, file=self.stderr)

        report = import_members(
            members, by_id=author.pk, now=clock.now(), dry_run=dry_run, skip_bad=skip_bad, progress=progress
        )
        for result in report.results:
            self.stdout.write(f"line {result.line.number}: {result.verdict}: {result.text}")
        for line in summary(report, dry_run=dry_run, skip_bad=skip_bad):
            self.stdout.write(line)
        if bad_lines and report.bad_lines:
            try:
                write_bad_lines(members, report, bad_lines)
            except OSError as error:
                raise CommandError(f"{bad_lines}: {error.strerror}") from None
            self.stdout.write(f"The bad lines are in {bad_lines}. Correct them there, and import that file.")
        if report.bad_lines and not skip_bad:
            raise CommandError("Some lines are bad.")

    def content_of(self, file: Path) -> bytes:
        """Return the first bytes of the file, at most one more than an import takes."""
        try:
            with file.open("rb") as opened:
                return opened.read(files.MAX_BYTES + 1)
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}") from None
