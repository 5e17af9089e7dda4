"""Files of member lists: workbooks and text files, read into rows of cells.

A text file may be separated by commas, semicolons or tabs, in UTF-8, UTF-16 or Windows-1252. Formulas are text: nothing
is computed. The limits keep a hostile file from using up the memory.
"""

import csv
import io
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice

from openpyxl import load_workbook

from api.errors import Invalid
from api.names import plain_name

MAX_BYTES = 10_000_000
MAX_UNPACKED_BYTES = 50_000_000  # of a workbook, which is a zip file
MAX_TAGS = 2_000_000  # of a workbook; a cell has up to six. Empty cells with a format count too
MAX_ROWS = 50_000  # with values
MAX_COLUMNS = 100
MAX_CELL = 1_000  # characters; the rest is cut off, because no column of a member list takes so many
SHEET_ROWS = 1_048_576  # the most rows that Excel has

Cell = str | int | float | date

# The first bytes of a file, and the encoding that they stand for.
BYTE_ORDER_MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
OLD_WORKBOOK = b"\xd0\xcf\x11\xe0"  # .xls, and workbooks with a password


class UnreadableFile(Invalid):
    """The file is not a member list. The message says why, and what to do."""

    code, message = "unreadable_file", "The file is not a list of members. Save it as XLSX or CSV."


@dataclass(frozen=True)
class Row:
    """A row with values. `number` is its line in a text file, or its row in a sheet."""

    number: int
    cells: list[Cell]


@dataclass(frozen=True)
class Table:
    """One way to read the file: a sheet of a workbook, or the text divided by one separator."""

    name: str
    rows: list[Row]
    is_sheet: bool


def read_tables(content: bytes) -> list[Table]:
    """Return the rows of each visible sheet, or of the text by each separator. Rows without values are left out.

    :raises UnreadableFile: the file is too large, damaged, or neither a workbook nor text
    """
    if len(content) > MAX_BYTES:
        raise UnreadableFile(f"The file is larger than {MAX_BYTES // 1_000_000} MB. Divide it into smaller files.")
    if content.startswith(OLD_WORKBOOK):
        raise UnreadableFile("This is an old .xls file, or it has a password. Save it as XLSX without a password.")
    if content.startswith(b"PK\x03\x04"):
        return _read_workbook(content)
    text, encoding = _decode(content)
    return _read_text(text, encoding)


# --- Workbooks --------------------------------------------------------------------------------------


def _read_workbook(content: bytes) -> list[Table]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as package:
            _check_size(package)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about features of Excel that are not read
            book = load_workbook(io.BytesIO(content), read_only=True, keep_links=False)
            sheets = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
            return [Table(sheet.title, list(_with_values(_sheet_rows(sheet))), is_sheet=True) for sheet in sheets]
    except UnreadableFile:
        raise
    except Exception as error:  # openpyxl raises errors of many kinds for a damaged workbook
        raise UnreadableFile(
            "The workbook is damaged, or is not a workbook. Open it in a spreadsheet program and save it as XLSX."
        ) from error


def _check_size(package: zipfile.ZipFile) -> None:
    """Check how much a workbook is when it is unpacked, before openpyxl reads it.

    :raises UnreadableFile: it has too many bytes or tags
    """
    # zipfile never unpacks more of a part than the size that is given here.
    is_large = sum(part.file_size for part in package.infolist()) > MAX_UNPACKED_BYTES
    if is_large or sum(package.read(part).count(b"<") for part in package.infolist()) > MAX_TAGS:
        raise UnreadableFile("The workbook is too large. Copy the list alone into a new workbook, or save it as CSV.")


def _sheet_rows(sheet) -> Iterator[Row]:
    sheet.reset_dimensions()  # a file can state any size
    width = MAX_COLUMNS + 1  # one more, so that too many columns are noticed
    empty = (None,) * width
    rows = sheet.iter_rows(max_col=width, values_only=True)
    for number, values in enumerate(islice(rows, SHEET_ROWS), start=1):
        if values != empty:  # a file can leave out a million rows in front of one
            yield Row(number, [_cell(value) for value in values])


def _cell(value: object) -> Cell:
    """Return the value of a workbook's cell: text, a date or a number, and numbers without a fraction as int."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.date()
        case date() | int():
            return value
        case float():
            return int(value) if value.is_integer() else value
        case _:
            return _text(str(value))


def _text(value: str) -> str:
    return plain_name(value[:MAX_CELL])


# --- Text -------------------------------------------------------------------------------------------


def _decode(content: bytes) -> tuple[str, str]:
    """Return the text of the file, and the name of its encoding."""
    for encoding in _encodings_of(content):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\x00" in text:
            break
        return text, {"cp1252": "Windows-1252"}.get(encoding, encoding.removesuffix("-sig").upper())
    raise UnreadableFile


def _encodings_of(content: bytes) -> list[str]:
    """Return the encodings to try, the likeliest first."""
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            return [encoding]
    start = content[:1000]
    # Most letters of a list are ASCII. In UTF-16 every second byte of them is null.
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        half = start[first::2]
        if half and half.count(0) > len(half) / 2:
            return [encoding]
    return ["utf-8", "cp1252"]


def _read_text(text: str, encoding: str) -> list[Table]:
    """Return the text divided by each separator by which it can be divided.

    :raises UnreadableFile: it can be divided by none
    """
    tables, failures = [], []
    for separator, name in SEPARATORS.items():
        try:
            rows = list(_with_values(_text_rows(text, separator)))
            tables.append(Table(f"{encoding} with {name}", rows, is_sheet=False))
        except UnreadableFile as error:
            failures.append(error)
    if not tables:
        raise failures[0]
    return tables


def _text_rows(text: str, separator: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    number = 1
    try:
        for values in reader:
            yield Row(number, [_text(value) for value in values])
            number = reader.line_num + 1
    except csv.Error as error:
        raise UnreadableFile(f"Line {number} cannot be read: {error}. Check its quotation marks.") from error


# --- Both -------------------------------------------------------------------------------------------


def _with_values(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the rows with values, without their empty last cells.

    :raises UnreadableFile: there are too many rows or columns with values
    """
    count = 0
    for row in rows:
        cells = row.cells
        while cells and cells[-1] == "":
            cells.pop()
        if not cells:
            continue
        count += 1
        if count > MAX_ROWS:
            raise UnreadableFile(f"The file has more than {MAX_ROWS:,} lines. Divide it into smaller files.")
        if len(cells) > MAX_COLUMNS:
            raise UnreadableFile(f"Line {row.number} has more than {MAX_COLUMNS} columns.")
        yield row
