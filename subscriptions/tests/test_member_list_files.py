"""Files of member lists: any usual format is read, and any other file gets a clear error."""

import io
import re
import tracemalloc
import zipfile
from datetime import date, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from api.errors import DomainError
from subscriptions.member_import import files
from subscriptions.member_import.files import UnreadableFile, read_tables
from subscriptions.member_import.headings import COLUMNS, KNOWN, normalised, read_list
from subscriptions.member_import.lines import BadLine, Plans, check_line
from subscriptions.models import Plan

TODAY = date(2026, 11, 2)
MONTHLY = Plan(pk=1, code="monthly", name="Monthly")
TEXT = "Name,Phone\nRenée Otieno,0712345678\n"
MEMBERS = [{"name": "Renée Otieno", "phone_number": "0712345678"}]


def read(content, **options):
    return read_list(read_tables(content), **options)


def values_of(content, **options):
    return [line.values for line in read(content, **options).lines]


def error_of(content, **options):
    """Return the message with which the file is refused."""
    with pytest.raises(UnreadableFile) as refused:
        read(content, **options)
    return refused.value.message


def workbook(*sheets):
    """Return the bytes of a workbook: for each sheet, its name and rows."""
    book = Workbook()
    book.remove(book.active)
    for name, rows in sheets:
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def changed(content, name, old, new):
    """Return a workbook with a text of one of its parts replaced."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        for part in source.namelist():
            data = source.read(part)
            if part == name:
                assert old in data
                data = data.replace(old, new)
            target.writestr(part, data)
    return file.getvalue()


SHEET = "xl/worksheets/sheet1.xml"


class TestText:
    """CSV and other text files"""

    @pytest.mark.parametrize(
        ("encoding", "source"),
        [
            ("utf-8", "UTF-8 with commas"),
            ("utf-8-sig", "UTF-8 with commas"),
            ("utf-16", "UTF-16 with commas"),
            ("utf-16-le", "UTF-16-LE with commas"),
            ("utf-16-be", "UTF-16-BE with commas"),
            ("utf-32", "UTF-32 with commas"),
            ("cp1252", "Windows-1252 with commas"),
        ],
    )
    def test_encoding_is_recognised(self, encoding, source):
        members = read(TEXT.encode(encoding))

        assert ([line.values for line in members.lines], members.source) == (MEMBERS, source)

    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    @pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
    def test_separator_and_line_ends_are_recognised(self, separator, line_end):
        text = TEXT.replace(",", separator).replace("\n", line_end)

        assert values_of(text.encode()) == MEMBERS

    def test_quoted_separator_and_line_break_are_part_of_the_value(self):
        assert values_of(b'Name;Phone\n"Otieno,\nAsha";0712345678\n') == [
            {"name": "Otieno, Asha", "phone_number": "0712345678"}
        ]

    def test_empty_lines_and_empty_last_columns_are_left_out(self):
        text = "\n,,,\nName,Phone,,\n\nAsha Otieno,0712345678,,\n,,,\n  , \n"

        members = read(text.encode())

        assert [(line.number, line.cells) for line in members.lines] == [(5, ["Asha Otieno", "0712345678"])]

    def test_lines_above_the_headings_are_left_out(self):
        text = "sep=,\nKilabu Gym\nMembers on 1 November 2026,,\n\nName,Phone\nAsha Otieno,0712345678\n"

        assert [line.number for line in read(text.encode()).lines] == [6]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "The file is empty."),
            (b",,,\n\n", "The file is empty."),
            (b"Asha,0712345678\n", "No line has headings of a member list"),
            (b"Phone,Plan\n0712345678,monthly\n", "No line has headings of a member list"),
            (b"First name,Phone\nAsha,0712345678\n", "The list needs a column for the name"),
            (b"Name,Salary\nAsha Otieno,1\n", "These headings are not known: Salary. "),
            (b"Name,,Phone\nAsha Otieno,1,0712\n", "These headings are not known: column 2 without a heading. "),
            (b"Name,Phone,Mobile\nAsha Otieno,1,2\n", "Several headings mean phone_number: Phone, Mobile. "),
            (b'Name,Phone\n"Asha Otieno,1\n', "Line 2 cannot be read: unexpected end of data. "),
            (b"Name\x00,Phone\n", "The file is not a list of members."),
            (b"%PDF-1.7 \x81\x8d\x8f", "The file is not a list of members."),
            (b"\xd0\xcf\x11\xe0\xa1\xb1", "This is an old .xls file, or it has a password."),
            (b"PK\x03\x04 no zip", "The workbook is damaged"),
            (b"\xff\xfeN", "The file is not a list of members."),
            (b"x" * (files.MAX_BYTES + 1), "The file is larger than 10 MB."),
            (b"Name\n" + b"A B\n" * (files.MAX_ROWS + 1), "The file has more than 50,000 lines."),
        ],
    )
    def test_other_file_is_refused_with_the_reason(self, content, message):
        assert error_of(content).startswith(message)

    def test_unknown_column_is_ignored_by_choice(self):
        text = b"Name,Salary,Phone,\nAsha Otieno,9,0712345678,x\n"

        assert values_of(text, ignore_others=True) == [{"name": "Asha Otieno", "phone_number": "0712345678"}]

    def test_running_numbers_are_ignored(self):
        assert values_of(b"#,No.,Name\n1,1,Asha Otieno\n") == [{"name": "Asha Otieno"}]

    def test_own_headings_of_the_club_come_first(self):
        text = b"Name,Contact,Boss,Phone\nAsha Otieno,0712345678,y,z\n"

        assert values_of(text, meanings={"boss": "", "phone": ""}) == [
            {"name": "Asha Otieno", "phone_number": "0712345678"}
        ]

    def test_line_with_more_values_than_headings_is_a_bad_line(self):
        assert problem_of("Name,Phone\nAsha Otieno,0712345678,x\n").startswith("The line has more values")


class TestPage:
    """docs/import.md"""

    PAGE = (Path(__file__).parents[2] / "docs" / "import.md").read_text()

    def test_example_of_the_page_is_read(self):
        example = re.search(r"```csv\n(.*?)```", self.PAGE, re.DOTALL)

        members = read(example[1].encode())
        njoki, omondi = (check_line(line, members, Plans([MONTHLY]), today=TODAY) for line in members.lines)

        assert (njoki.plan, njoki.starts_on, njoki.ends_on) == (MONTHLY, date(2026, 11, 1), date(2026, 12, 1))
        assert (omondi.first_name, omondi.last_name, omondi.plan) == ("Omondi", "Oloo", None)

    def test_page_describes_every_column(self):
        assert [
            column for column in COLUMNS if f"| `{column}`" not in self.PAGE and f"`{column}` |" not in self.PAGE
        ] == []

    def test_usual_headings_of_the_page_are_known(self):
        rows = re.findall(r"^\| (`.+?`) \| ([^|]*) \|", self.PAGE, re.MULTILINE)
        named = [heading for _, headings in rows for heading in headings.split(", ") if heading.strip()]

        assert len(named) > 20
        assert [heading for heading in named if normalised(heading) not in KNOWN] == []


class TestWorkbook:
    """XLSX files"""

    ROWS = (["Members"], [], ["Name", "Phone", "Born", "Start"])

    def test_cells_keep_their_kind(self):
        born = datetime(1990, 12, 31, 8)  # noqa: DTZ001 (a workbook has no time zones)
        content = workbook(("List", [*self.ROWS, ["Renée\nOtieno", 712345678, born, "01/11/2026", None, ""]]))

        members = read(content)

        assert (members.source, [line.number for line in members.lines]) == ("List", [4])
        assert [line.values for line in members.lines] == [
            {
                "name": "Renée Otieno",
                "phone_number": 712345678,
                "dob": date(1990, 12, 31),
                "starts_on": "01/11/2026",
            }
        ]

    def test_formula_is_text(self):
        content = workbook(("List", [["Name", "Phone"], ["=1+1", '=HYPERLINK("http://x")']]))

        assert values_of(content) == [{"name": "=1+1", "phone_number": '=HYPERLINK("http://x")'}]
        assert "is a formula. Copy the column, and paste it as values." in problem_of(content)

    def test_sheet_with_the_headings_is_found(self):
        content = workbook(("Notes", [["Hello"]]), ("List", [["Name"], ["Asha Otieno"]]))

        assert read(content).source == "List"

    def test_one_of_several_lists_is_chosen_by_name(self):
        content = workbook(("Men", [["Name"], ["Juma Mwangi"]]), ("Women", [["Name"], ["Asha Otieno"]]))

        assert error_of(content).startswith("Several sheets have a list of members: Men, Women. ")
        assert error_of(content, sheet="Children") == "The workbook has no sheet with the name Children."
        assert values_of(content, sheet="women") == [{"name": "Asha Otieno"}]

    def test_hidden_sheet_is_not_read(self):
        content = changed(
            workbook(("Old", [["Name"], ["Juma Mwangi"]]), ("List", [["Name"], ["Asha Otieno"]])),
            "xl/workbook.xml",
            b'name="Old" sheetId="1" state="visible"',
            b'name="Old" sheetId="1" state="hidden"',
        )

        assert values_of(content) == [{"name": "Asha Otieno"}]

    def test_workbook_that_unpacks_to_many_megabytes_is_refused(self):
        content = changed(workbook(("List", [["Name"]])), SHEET, b"</sheetData>", b"</sheetData>" + b" " * 60_000_000)
        assert len(content) < 200_000

        tracemalloc.start()
        message = error_of(content)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

        assert message.startswith("The workbook is too large.")
        assert peak < 5_000_000

    def test_workbook_with_millions_of_empty_cells_is_refused(self):
        content = changed(workbook(("List", [["Name"]])), SHEET, b"</row>", b"<c/>" * (files.MAX_TAGS + 1) + b"</row>")

        assert error_of(content).startswith("The workbook is too large.")

    def test_wrong_size_in_the_zip_directory_unpacks_no_more(self):
        content = changed(workbook(("List", [["Name"]])), SHEET, b"</sheetData>", b"</sheetData>" + b" " * 60_000_000)
        with zipfile.ZipFile(io.BytesIO(content)) as package:
            size = package.getinfo(SHEET).file_size.to_bytes(4, "little")

        assert error_of(content.replace(size, (100).to_bytes(4, "little"))).startswith("The workbook is damaged")

    @pytest.mark.parametrize(
        ("name", "old", "new"),
        [
            # entities that grow to gigabytes, and an entity that reads a file
            (
                SHEET,
                b"<worksheet",
                b'<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;">]><worksheet',
            ),
            (SHEET, b"<worksheet", b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><worksheet'),
            (SHEET, b"<row r=\"1\"", b'<row r="x"'),
            ("xl/workbook.xml", b"<sheets>", b"<sheets><sheets>"),
            ("[Content_Types].xml", b"spreadsheetml.sheet.main", b"nothing"),
        ],
    )  # fmt: skip
    def test_damaged_workbook_is_refused(self, name, old, new):
        content = workbook(("List", [["Name"], ["Asha Otieno"]]))

        assert error_of(changed(content, name, old, new)).startswith("The workbook is damaged")

    def test_row_number_beyond_the_sheet_ends_the_list(self):
        content = changed(
            workbook(("List", [["Name"], ["Asha Otieno"], ["Juma Mwangi"]])),
            SHEET,
            b'<row r="3"',
            b'<row r="99999999999"',
        )

        assert values_of(content) == [{"name": "Asha Otieno"}]

    def test_too_many_columns_are_refused(self):
        content = workbook(("List", [["Name"], ["Asha Otieno", *range(200)]]))

        assert error_of(content) == "Line 2 has more than 100 columns."

    def test_other_zip_file_is_refused(self):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as package:
            package.writestr("content.xml", "<x/>")

        assert error_of(file.getvalue()).startswith("The workbook is damaged, or is not a workbook.")


def check(content):
    """Return the checked values of the first line of a file."""
    members = read(content if isinstance(content, bytes) else content.encode())
    return check_line(members.lines[0], members, Plans([MONTHLY]), today=TODAY)


def problem_of(content):
    with pytest.raises(BadLine) as refused:
        check(content)
    return refused.value.message


class TestNames:
    @pytest.mark.parametrize(
        ("text", "first", "last"),
        [
            ("Asha Otieno", "Asha", "Otieno"),
            ("Wanjikũ wa Ngũgĩ", "Wanjikũ", "wa Ngũgĩ"),
            ('"Otieno, Asha Auma"', "Asha Auma", "Otieno"),
            ("'Asha Ng'ang'a", "Asha", "Ng'ang'a"),
            ("محمد علي", "محمد", "علي"),
        ],
    )
    def test_one_column_has_first_and_last_name(self, text, first, last):
        member = check(f"Name\n{text}\n")

        assert (member.first_name, member.last_name) == (first, last)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("Asha", "Name: Asha is one name only. Write the first and the last name."),
            ('"Otieno,"', "Name: Otieno, is one name only. Write the first and the last name."),
            ("-- --", "Name: -- -- is not a name."),
            ("#REF!", "Name: #REF! is an error in the spreadsheet. Enter the value."),
            ("A " + "b" * 150, "Name: the name has more than 150 characters."),
        ],
    )
    def test_other_text_is_no_name(self, text, message):
        assert problem_of(f"Name\n{text}\n") == message


class TestPhones:
    @pytest.mark.parametrize(
        "text", ["0712345678", "+254 712 345 678", "712345678", "254712345678.0", '="0712345678"', "'0712345678"]
    )
    def test_usual_forms_are_read(self, text):
        text = text.replace('"', '""')

        assert check(f'Name,Phone\nAsha Otieno,"{text}"\n').phone_number == "254712345678"

    @pytest.mark.parametrize("text", ["7.12346E+08", "2.54712E+11", "7.12346e8", "7,12346E+08"])
    def test_number_in_scientific_form_is_refused_with_the_reason(self, text):
        message = problem_of(f'Name,Phone\nAsha Otieno,"{text}"\n')

        assert message == (
            f"Phone: the spreadsheet has shortened the number to {text}, and its last digits are lost. Take it from "
            "the club's records again. In the spreadsheet, format the column as text before you enter numbers."
        )

    @pytest.mark.parametrize("number", [712346000, 7.12346e8, 2.54712e11, 254712000000])
    def test_rounded_number_is_refused_with_the_reason(self, number):
        message = problem_of(workbook(("List", [["Name", "Phone"], ["Asha Otieno", number]])))

        assert message.startswith(f"Phone: a spreadsheet has probably rounded the number to {int(number)}. ")

    def test_round_number_may_be_written_with_spaces(self):
        assert check("Name,Phone\nAsha Otieno,0712 346 000\n").phone_number == "254712346000"


def test_email_that_is_too_long_is_refused():
    email = "a" * 243 + "@example.com"

    assert check(f"Name,E-mail\nAsha Otieno,{email[1:]}\n").email == email[1:]
    assert problem_of(f"Name,E-mail\nAsha Otieno,{email}\n").endswith("is not a valid e-mail address.")


class TestAmounts:
    @pytest.mark.parametrize(
        "text",
        ["12500", "12,500", "12 500", "KES 12,500.00", "Ksh. 12,500/=", "kshs12500/-", "Sh 12500.0", "KES\u00a012,500"],
    )
    def test_usual_forms_are_read(self, text):
        assert check(f'Name,Owed\nAsha Otieno,"{text}"\n').owed == 12500

    @pytest.mark.parametrize("number", [12500, 12500.0])
    def test_number_of_a_workbook_is_read(self, number):
        assert check(workbook(("List", [["Name", "Credit"], ["Asha Otieno", number]]))).credit == 12500

    @pytest.mark.parametrize("text", ["", "0", "-", "nil", "KES 0.00"])
    def test_nothing_is_no_amount(self, text):
        assert not check(f"Name,Owed\nAsha Otieno,{text}\n").owed

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("-500", "-500 is not an amount. Write whole shillings, such as 12500 or KES 12,500.00."),
            ("USD 5", "USD 5 is not an amount. Write whole shillings, such as 12500 or KES 12,500.00."),
            ("12.500,00", "12.500,00 is not an amount. Write whole shillings, such as 12500 or KES 12,500.00."),
            ("12,50", "12,50 is not an amount. Write whole shillings, such as 12500 or KES 12,500.00."),
            ("1.2E+04", "1.2E+04 is not an amount. Write whole shillings, such as 12500 or KES 12,500.00."),
            ("1_000", "1_000 is not an amount. Write whole shillings, such as 12500 or KES 12,500.00."),
            ("12500.50", "12500.50 has cents. Write whole shillings."),
            ("9" * 15, "999999999999999 is more than KES 10,000,000."),
        ],
    )
    def test_other_text_is_no_amount(self, text, message):
        assert problem_of(f'Name,Owed\nAsha Otieno,"{text}"\n') == f"Owed: {message}"

    def test_debt_and_credit_on_one_line_are_a_bad_line(self):
        assert problem_of("Name,Owed,Credit\nAsha Otieno,500,300\n") == (
            "A person owes money or has credit. Enter only the difference."
        )

    def test_paid_amount_needs_its_period(self):
        assert problem_of("Name,Paid\nAsha Otieno,500\n").startswith("An amount paid needs the period that it paid.")


class TestDates:
    @pytest.mark.parametrize(
        "text",
        [
            "05/11/2026", "5/11/2026", "5-11-2026", "5.11.2026", "05 11 2026", "5/11/26", "2026-11-05", "2026-11-5",
            "2026-11-05 00:00:00", "5 Nov 2026", "5th November 2026", "05-Nov-26", "5 november, 2026", "'05/11/2026",
        ],
    )  # fmt: skip
    def test_day_comes_first(self, text):
        assert check(f'Name,Plan,Start,Until\nAsha Otieno,monthly,"{text}",31/12/2026\n').starts_on == date(2026, 11, 5)

    def test_date_cell_of_a_workbook_is_read(self):
        assert check(workbook(("List", [["Name", "Born"], ["Asha Otieno", date(1990, 12, 31)]]))).dob == date(
            1990, 12, 31
        )

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("20261120", "20261120 is not a date. Write it as 28/02/2027, 28 Feb 2027 or 2027-02-28."),
            ("2026-W47-5", "2026-W47-5 is not a date. Write it as 28/02/2027, 28 Feb 2027 or 2027-02-28."),
            ("2026-324", "2026-324 is not a date. Write it as 28/02/2027, 28 Feb 2027 or 2027-02-28."),
            ("1/2-2026", "1/2-2026 is not a date. Write it as 28/02/2027, 28 Feb 2027 or 2027-02-28."),
            ("5 Mxy 2026", "5 Mxy 2026 is not a date. Write it as 28/02/2027, 28 Feb 2027 or 2027-02-28."),
            (
                "\u0660\u0665/11/2026",
                "\u0660\u0665/11/2026 is not a date. Write it as 28/02/2027, 28 Feb 2027 or 2027-02-28.",
            ),
            ("20/11/1026", "20/11/1026 has the year 1026. Check the year."),
            ("1026-11-20", "1026-11-20 has the year 1026. Check the year."),
            ("20/11/9026", "20/11/9026 has the year 9026. Check the year."),
            ("30/02/2026", "30/02/2026 is not a date of the calendar."),
            ("11/25/2026", "11/25/2026 is not a date of the calendar. The day comes first: 28/02/2027."),
            ("=A1+30", "=A1+30 is a formula. Copy the column, and paste it as values."),
        ],
    )
    def test_other_text_is_no_date(self, text, message):
        line = f"Name,Plan,Start,Until\nAsha Otieno,monthly,{text},31/12/2026\n"

        assert problem_of(line) == f"Start: {message}"

    def test_number_of_a_workbook_is_no_date(self):
        content = workbook(("List", [["Name", "Born"], ["Asha Otieno", 33238]]))

        assert problem_of(content) == "Born: 33238 is a number, not a date. Write it as 28/02/2027."

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("5/11/26", "5/11/26 has a year of two digits. Write four."),
            ("31/12/1899", "31/12/1899 has the year 1899. Check the year."),
            ("03/11/2026", "03/11/2026 is in the future."),
        ],
    )
    def test_date_of_birth_has_four_digits_and_is_past(self, text, message):
        assert problem_of(f"Name,Born\nAsha Otieno,{text}\n") == f"Born: {message}"


def test_every_usual_heading_means_one_column():
    usual = [heading for names in COLUMNS.values() for heading in names]

    assert len(usual) == len(set(usual))
    assert all(normalised(heading) == heading for heading in KNOWN)


# --- Any bytes --------------------------------------------------------------------------------------

cells = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["Asha Otieno", "0712345678", "7E8", "01/11/2026", "monthly"]),
    st.sampled_from(["=A1", "'", '="1"', "\x00", '"', "9" * 400]),
)  # fmt: skip
headings = st.sampled_from([*COLUMNS, "Name", "Salary", ""])


def is_understood_or_refused(content):
    """Check every line of a file. It must be read, or refused with a message."""
    messages = []
    try:
        members = read(content, ignore_others=True)
    except UnreadableFile as error:
        messages.append(error.message)
    else:
        for line in members.lines:
            try:
                check_line(line, members, Plans([MONTHLY]), today=TODAY)
            except BadLine as error:
                messages.append(error.message)
    assert all(re.search(r"\w", message) for message in messages)


@given(st.one_of(st.binary(), st.binary().map(lambda tail: b"PK\x03\x04" + tail), st.text().map(str.encode)))
def test_any_bytes_are_read_or_refused(content):
    is_understood_or_refused(content)


@given(
    st.lists(headings, min_size=1, max_size=6),
    st.lists(st.lists(cells, max_size=7), max_size=4),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["utf-8", "utf-16", "cp1252"]),
)
def test_any_text_below_headings_is_read_or_refused(header, rows, separator, encoding):
    text = "\n".join(separator.join(row) for row in [header, *rows])

    is_understood_or_refused(text.encode(encoding, errors="replace"))


numbers = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=True), st.dates(), st.datetimes())
LIST = workbook(("List", [["Name", "Phone", "Born"], ["Asha Otieno", 712345678, date(1990, 12, 31)]]))


@settings(deadline=None)
@given(st.lists(headings, min_size=1, max_size=6), st.lists(st.lists(numbers, max_size=7), max_size=4))
def test_any_cells_of_a_workbook_are_read_or_refused(header, rows):
    is_understood_or_refused(workbook(("List", [header, *rows])))


@settings(deadline=None)
@given(st.integers(0, len(LIST) - 1), st.binary(min_size=1, max_size=8), st.booleans())
def test_any_damage_to_a_workbook_is_read_or_refused(at, data, is_cut):
    is_understood_or_refused(LIST[:at] + data + (b"" if is_cut else LIST[at + len(data) :]))


def test_refusals_are_errors_of_the_domain():
    assert issubclass(UnreadableFile, DomainError)
    assert issubclass(BadLine, DomainError)
