"""Headings of member lists: which column of the file has which value of a member.

Usual headings are known. Others are named by the club once, and stored in ImportHeading.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from subscriptions.member_import.files import Cell, Row, Table, UnreadableFile

IGNORED = ""  # the meaning of a column that is not imported

# Each column of a member list, and its usual headings besides its own name. Case and punctuation do not matter.
COLUMNS: dict[str, tuple[str, ...]] = {
    "first_name": ("firstname", "given name", "forename", "jina la kwanza"),
    "last_name": ("lastname", "surname", "family name", "second name", "jina la ukoo"),
    "name": ("full name", "full names", "names", "member name", "member", "client", "client name", "customer",
             "customer name", "jina", "jina kamili"),
    "phone_number": ("phone", "phone no", "mobile", "mobile no", "mobile number", "mobile phone", "tel", "tel no",
                     "telephone", "cell", "cell phone", "msisdn", "mpesa number", "m pesa number", "contact",
                     "simu", "namba ya simu", "nambari ya simu"),
    "email": ("e mail", "email address", "e mail address", "mail", "barua pepe"),
    "dob": ("date of birth", "birth date", "birthdate", "birthday", "d o b", "born", "tarehe ya kuzaliwa"),
    "consented_on": ("consent date", "consented", "terms accepted on", "agreed on"),
    "plan": ("plan code", "plan name", "package", "membership", "membership type", "membership plan", "subscription"),
    "starts_on": ("start", "starts", "start date", "starting date", "valid from", "from", "begins"),
    "valid_until": ("valid till", "valid to", "until", "paid until", "paid up to", "last day", "end", "end date",
                    "expiry", "expiry date", "expires", "expires on", "expiration date", "due date"),
    "ends_on": ("first day without access",),
    "visits_left": ("visits remaining", "remaining visits", "sessions left", "sessions remaining", "entries left"),
    "paid": ("amount paid", "paid kes", "paid ksh"),
    "owed": ("amount owed", "owes", "arrears", "debt", "outstanding", "balance due", "amount due", "deni"),
    "credit": ("prepaid", "advance", "overpaid", "credit balance"),
}  # fmt: skip

# Headings of running numbers, which are not imported.
NUMBERS = ("no", "nr", "sn", "s n", "s no", "serial no", "serial number", "row")
# Columns of the file of bad lines. They are left out when the corrected file is imported.
LINE, PROBLEM = "Line", "Problem"

KNOWN: dict[str, str] = {heading: column for column, usual in COLUMNS.items() for heading in usual}
KNOWN |= {column.replace("_", " "): column for column in COLUMNS} | dict.fromkeys(
    (*NUMBERS, LINE.lower(), PROBLEM.lower()), IGNORED
)

SEARCHED_ROWS = 30  # the headings are in one of the first rows with values


@dataclass(frozen=True)
class MemberLine:
    """A line of the list: its cells, and its values by column, without the empty ones."""

    number: int
    cells: list[Cell]
    values: dict[str, Cell]
    has_too_many: bool = False  # more values than there are headings


@dataclass(frozen=True)
class MemberList:
    """The lines of a file, its headings, and how they were understood."""

    source: str  # the sheet, or the encoding and the separator
    headings: list[str]
    columns: list[str]  # by heading; IGNORED for a column that is not imported
    lines: list[MemberLine] = field(default_factory=list)

    def heading_of(self, column: str) -> str:
        """Return the heading of the file for a column."""
        return self.headings[self.columns.index(column)] if column in self.columns else column


def normalised(heading: str) -> str:
    """Return a heading for comparison: words in lower case, without punctuation."""
    return " ".join(re.findall(r"[^\W_]+", heading.casefold()))


def read_list(
    tables: Sequence[Table],
    *,
    meanings: Mapping[str, str] | None = None,
    ignore_others: bool = False,
    sheet: str | None = None,
) -> MemberList:
    """Find the headings in a file, and return its lines below them.

    `meanings` are the club's own headings: normalised heading and column, or IGNORED. They override the usual ones.
    `ignore_others` leaves out every column with another heading. `sheet` is the sheet of a workbook.

    :raises UnreadableFile: no row has the headings of a member list, a heading is not known or used twice, or the list
        is on several sheets
    """
    known = KNOWN | dict(meanings or {})
    if sheet is not None:
        tables = [table for table in tables if table.is_sheet and table.name.casefold() == sheet.casefold()]
        if not tables:
            raise UnreadableFile(f"The workbook has no sheet with the name {sheet}.")
    found = [(table, at) for table in tables if (at := _header_index(table.rows, known)) is not None]
    if not found:
        raise UnreadableFile(_no_headings(tables))
    if len(found) > 1 and found[0][0].is_sheet:
        names = ", ".join(table.name for table, _ in found)
        raise UnreadableFile(f"Several sheets have a list of members: {names}. Choose one of them by its name.")
    # Of several separators, the one that gives the most columns with a known heading.
    table, at = max(found, key=lambda pair: _score(pair[0].rows[pair[1]], known))
    return _read_lines(table, at, known, ignore_others=ignore_others)


def _columns_of(row: Row, known: Mapping[str, str]) -> list[str | None]:
    """Return the column of each cell of a row of headings; None for one that is not known."""
    return [
        # A heading of signs only, such as #, is that of a running number.
        known.get(normalised(str(cell)), IGNORED if cell != "" and not normalised(str(cell)) else None)
        for cell in row.cells
    ]


def _score(row: Row, known: Mapping[str, str]) -> int:
    """Return how many columns of a member list a row names, 0 if it does not name people."""
    columns = {column for column in _columns_of(row, known) if column}
    return len(columns) if {"name", "first_name", "last_name"} & columns else 0


def _header_index(rows: list[Row], known: Mapping[str, str]) -> int | None:
    """Return the index of the row with the headings, or None."""
    scores = [_score(row, known) for row in rows[:SEARCHED_ROWS]]
    return scores.index(max(scores)) if any(scores) else None


def _no_headings(tables: Sequence[Table]) -> str:
    first_rows = [table.rows[0] for table in tables if table.rows]
    if not any(normalised(str(cell)) for row in first_rows for cell in row.cells):
        return "The file is empty."
    first = max(first_rows, key=lambda row: len(row.cells))
    return (
        "No line has headings of a member list, such as name, phone number, plan and valid until. The first line is: "
        f"{', '.join(str(cell)[:30] for cell in first.cells[:8])}. "
        "Write the headings above the list, or map the headings of the file to them."
    )


def _read_lines(table: Table, at: int, known: Mapping[str, str], *, ignore_others: bool) -> MemberList:
    header = table.rows[at]
    headings, columns = [str(cell) for cell in header.cells], _columns_of(header, known)
    lines = table.rows[at + 1 :]
    unknown = [
        heading or f"column {index + 1} without a heading"
        for index, (heading, column) in enumerate(zip(headings, columns, strict=True))
        if column is None and (heading or any(len(row.cells) > index and row.cells[index] != "" for row in lines))
    ]
    if unknown and not ignore_others:
        raise UnreadableFile(
            f"These headings are not known: {', '.join(unknown)}. Map each to a column of docs/import.md, or ignore it."
        )
    used = [column for column in columns if column]
    if twice := next((column for column in used if used.count(column) > 1), None):
        same = [heading for heading, column in zip(headings, columns, strict=True) if column == twice]
        raise UnreadableFile(f"Several headings mean {twice}: {', '.join(same)}. Map all but one of them to nothing.")
    if "name" not in used and not {"first_name", "last_name"} <= set(used):
        raise UnreadableFile("The list needs a column for the name, or one for the first and one for the last name.")
    return MemberList(
        source=table.name,
        headings=headings,
        columns=[column or IGNORED for column in columns],
        lines=[
            MemberLine(
                number=row.number,
                cells=row.cells,
                values={
                    column: cell for column, cell in zip(columns, row.cells, strict=False) if column and cell != ""
                },
                has_too_many=len(row.cells) > len(columns),
            )
            for row in lines
        ],
    )
