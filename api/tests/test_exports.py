"""What stands in the cells of an exported file."""

import csv
import io
from datetime import UTC, date, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openpyxl import load_workbook

from api.admin import exports

TITLES = ["first", "second"]
# Text that starts as an attack may, and any other.
TEXT = st.builds(
    str.__add__,
    st.text(alphabet="=+-@\t\r\n '\x01\uff1d\uff0b\uff0d\uff20", max_size=3),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def shown(moment: str) -> datetime:
    """What a spreadsheet shows, which knows no time zones."""
    return datetime.fromisoformat(moment)


def csv_of(rows) -> bytes:
    file = io.BytesIO()
    exports.write_csv(TITLES, rows, file)
    return file.getvalue()


def sheets_of(rows):
    """The sheets of the written workbook, as openpyxl reads them back."""
    file = io.BytesIO()
    exports.write_xlsx(TITLES, rows, file)
    return load_workbook(file).worksheets


@given(TEXT)
@example(" =1+1")
@example("\x01=1+1")
@example("\n\t\uff1d1+1")
def test_no_text_starts_as_a_formula_does(text):
    harmless = exports.harmless(text)

    assert not harmless.startswith(STARTS_A_FORMULA)
    assert not harmless.lstrip().startswith(STARTS_A_FORMULA)


@given(TEXT)
def test_text_that_starts_no_formula_stays_as_it_is(text):
    kept = exports.harmless(text)

    assert kept.removeprefix("'") == exports.UNPRINTABLE.sub("", text).removeprefix("'")


@given(st.lists(TEXT, min_size=2, max_size=2))
def test_a_csv_is_read_back_as_it_was_meant(texts):
    cells = [exports.cell(text) for text in texts]

    read = list(csv.reader(io.StringIO(csv_of([cells]).decode("utf-8-sig"), newline="")))

    assert read == [TITLES, cells]


@given(TEXT)
def test_no_cell_of_a_workbook_is_a_formula(text):
    sheet = sheets_of([[exports.cell(text), 1]])[0]

    assert [cell.data_type for cell in sheet[2]] in (["s", "n"], ["n", "n"], ["inlineStr", "n"])
    assert not (sheet["A2"].value or "").startswith(STARTS_A_FORMULA)


def test_a_csv_says_that_it_is_utf_8():
    assert csv_of([["Wanjikũ", 1]]) == "\ufefffirst,second\r\nWanjikũ,1\r\n".encode()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (-1500, -1500),
        (True, "yes"),
        (False, "no"),
        (date(2026, 11, 2), date(2026, 11, 2)),
        (datetime(2026, 11, 2, 21, 30, 5, 999, tzinfo=UTC), shown("2026-11-03 00:30:05")),  # the next day in Nairobi
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+254712345678", "'+254712345678"),
        ("Wanjiru", "Wanjiru"),
    ],
)
def test_each_value_has_its_cell(value, expected):
    assert exports.cell(value) == expected


def test_numbers_and_dates_are_numbers_and_dates_in_a_workbook():
    moment, day = shown("2026-11-02 12:00:00"), date(2026, 11, 2)

    sheet = sheets_of([[-1500, moment], [0, day], ["text", None]])[0]

    assert [[(cell.data_type, cell.value) for cell in row] for row in sheet] == [
        [("s", "first"), ("s", "second")],
        [("n", -1500), ("d", moment)],
        [("n", 0), ("d", shown("2026-11-02"))],
        [("s", "text"), ("n", None)],
    ]


def test_rows_beyond_a_sheet_go_on_to_the_next(monkeypatch):
    monkeypatch.setattr(exports, "SHEET", 2)

    sheets = sheets_of([[n, n] for n in range(5)])

    assert [[row[0] for row in sheet.iter_rows(values_only=True)] for sheet in sheets] == [
        ["first", 0, 1],
        ["first", 2, 3],
        ["first", 4],
    ]


@pytest.mark.parametrize("write", [exports.write_csv, exports.write_xlsx])
def test_the_rows_are_counted(write):
    assert write(TITLES, iter([[1, 2], [3, 4]]), io.BytesIO()) == 2
    assert write(TITLES, iter([]), io.BytesIO()) == 0
