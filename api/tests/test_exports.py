"""The cells of exported files."""

import csv
import io
from datetime import UTC, date, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openpyxl import load_workbook

from api.admin import exports

TITLES = ["first", "second"]
# Text with characters of an attack at its start, and any other text.
TEXT = st.builds(
    str.__add__,
    st.text(alphabet="=+-@\t\r\n '\x01\uff1d\uff0b\uff0d\uff20", max_size=3),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def naive(text: str) -> datetime:
    """Return a datetime without time zone, as in a spreadsheet."""
    return datetime.fromisoformat(text)


def csv_of(rows) -> bytes:
    file = io.BytesIO()
    exports.write_csv(TITLES, rows, file)
    return file.getvalue()


def sheets_of(rows):
    """Return the sheets of the written workbook, as openpyxl reads them."""
    file = io.BytesIO()
    exports.write_xlsx(TITLES, rows, file)
    return load_workbook(file).worksheets


@given(TEXT)
@example(" =1+1")
@example("\x01=1+1")
@example("\n\t\uff1d1+1")
def test_no_text_starts_like_a_formula(text):
    harmless = exports.harmless(text)

    assert not harmless.startswith(FORMULA_STARTS)
    assert not harmless.lstrip().startswith(FORMULA_STARTS)


@given(TEXT)
def test_other_text_is_not_changed(text):
    written = exports.harmless(text)

    assert written.removeprefix("'") == exports.UNPRINTABLE.sub("", text).removeprefix("'")


@given(st.lists(TEXT, min_size=2, max_size=2))
def test_csv_is_read_back_unchanged(texts):
    cells = [exports.cell(text) for text in texts]

    read = list(csv.reader(io.StringIO(csv_of([cells]).decode("utf-8-sig"), newline="")))

    assert read == [TITLES, cells]


@given(TEXT)
def test_workbook_has_no_formulas(text):
    sheet = sheets_of([[exports.cell(text), 1]])[0]

    assert [cell.data_type for cell in sheet[2]] in (["s", "n"], ["n", "n"], ["inlineStr", "n"])
    assert not (sheet["A2"].value or "").startswith(FORMULA_STARTS)


def test_csv_begins_with_a_utf_8_mark():
    assert csv_of([["Wanjikũ", 1]]) == "\ufefffirst,second\r\nWanjikũ,1\r\n".encode()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (-1500, -1500),
        (True, "yes"),
        (False, "no"),
        (date(2026, 11, 2), date(2026, 11, 2)),
        (datetime(2026, 11, 2, 21, 30, 5, 999, tzinfo=UTC), naive("2026-11-03 00:30:05")),  # the next day in Nairobi
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+254712345678", "'+254712345678"),
        ("Wanjiru", "Wanjiru"),
    ],
)
def test_cell_of_each_kind_of_value(value, expected):
    assert exports.cell(value) == expected


def test_workbook_keeps_numbers_and_dates():
    at, day = naive("2026-11-02 12:00:00"), date(2026, 11, 2)

    sheet = sheets_of([[-1500, at], [0, day], ["text", None]])[0]

    assert [[(cell.data_type, cell.value) for cell in row] for row in sheet] == [
        [("s", "first"), ("s", "second")],
        [("n", -1500), ("d", at)],
        [("n", 0), ("d", naive("2026-11-02"))],
        [("s", "text"), ("n", None)],
    ]


def test_full_sheet_is_followed_by_another(monkeypatch):
    monkeypatch.setattr(exports, "SHEET_ROWS", 2)

    sheets = sheets_of([[n, n] for n in range(5)])

    assert [[row[0] for row in sheet.iter_rows(values_only=True)] for sheet in sheets] == [
        ["first", 0, 1],
        ["first", 2, 3],
        ["first", 4],
    ]


@pytest.mark.parametrize("write", [exports.write_csv, exports.write_xlsx])
def test_writing_returns_the_number_of_rows(write):
    assert write(TITLES, iter([[1, 2], [3, 4]]), io.BytesIO()) == 2
    assert write(TITLES, iter([]), io.BytesIO()) == 0
