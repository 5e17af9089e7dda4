"""Reports of imports: the result of each line, and the totals."""

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Report:
    """The result of an import, or of a dry run. `lines` are (line number, verdict, text)."""

    added: int = 0
    known: int = 0
    periods: int = 0
    bad: int = 0
    lines: list[tuple[int, str, str]] = field(default_factory=list)

    @property
    def has_bad_lines(self) -> bool:
        return self.bad > 0


def summary(report: Report, *, dry_run: bool, skip_bad: bool) -> Iterator[str]:
    """Yield the lines of text at the end of an import."""
    people = f"People added: {report.added}, already known: {report.known}"
    yield f"{people}; periods: {report.periods}; bad lines: {report.bad}."
    if dry_run:
        yield "This was a dry run. Nothing was written."
    elif report.has_bad_lines and not skip_bad:
        yield "Nothing was written. Correct the bad lines, or skip them with --skip-bad."
