"""Reports of imports: what was, or would be, done for each line, the totals, and the file of bad lines."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from pathlib import Path

from api.admin import exports
from subscriptions.member_import.headings import IGNORED, LINE, PROBLEM, MemberLine, MemberList


class Verdict(StrEnum):
    NEW = "new"  # the line adds a person
    KNOWN = "known"  # the person exists; the line may add a period
    BAD = "bad"


@dataclass(frozen=True)
class Result:
    """What one line does, in words, or its problem."""

    line: MemberLine
    verdict: Verdict
    text: str


@dataclass
class Report:
    """The results of an import, or of a dry run."""

    results: list[Result] = field(default_factory=list)
    periods: int = 0

    def count(self, verdict: Verdict) -> int:
        """Return how many lines have this verdict."""
        return sum(result.verdict == verdict for result in self.results)

    @property
    def bad_lines(self) -> list[Result]:
        return [result for result in self.results if result.verdict == Verdict.BAD]


def understood(members: MemberList) -> Iterator[str]:
    """Yield how the file was read, so that a wrong encoding or a wrong column is seen."""
    yield f"Read as {members.source}: {len(members.lines):,} lines."
    pairs = list(zip(members.headings, members.columns, strict=True))
    yield "Columns: " + ", ".join(f"{heading} = {column}" for heading, column in pairs if column)
    if ignored := [heading for heading, column in pairs if column == IGNORED and heading]:
        yield "Ignored: " + ", ".join(ignored)


def summary(report: Report, *, dry_run: bool, skip_bad: bool) -> Iterator[str]:
    """Yield the lines of text at the end of an import."""
    new, known, bad = (report.count(verdict) for verdict in Verdict)
    yield f"New people: {new}, already known: {known}; periods: {report.periods}; bad lines: {bad}."
    if dry_run:
        yield "This was a dry run. Nothing was written."
    elif bad and not skip_bad:
        yield "Nothing was written. Correct the bad lines, or skip them with --skip-bad."


def write_bad_lines(members: MemberList, report: Report, path: Path) -> None:
    """Write the bad lines, with their numbers and problems, to a file that can be corrected and imported.

    A name that ends in .csv makes a CSV file, any other a workbook. A workbook keeps phone numbers as they are: in a
    CSV file, spreadsheets shorten them.
    """
    rows = (
        [result.line.number, result.text, *(_cell(cell) for cell in _padded(result.line.cells, len(members.headings)))]
        for result in report.bad_lines
    )
    write = exports.write_csv if path.suffix.casefold() == ".csv" else exports.write_xlsx
    with path.open("wb") as file:
        write([LINE, PROBLEM, *members.headings], rows, file)


def _padded(cells: list, width: int) -> list:
    return cells + [""] * (width - len(cells))


def _cell(cell) -> exports.Cell:
    """Return a cell for a spreadsheet: dates as dates, and all else as text, so that it keeps every digit."""
    return cell if isinstance(cell, date) else exports.harmless(str(cell))
