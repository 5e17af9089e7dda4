"""Import of a member list: valid lines are imported, and bad lines are reported."""

import csv
from datetime import date
from io import StringIO

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook, load_workbook

from api.models import Change
from payments.models import Payment, Receipt
from subscriptions.member_import.files import read_tables
from subscriptions.member_import.headings import COLUMNS, read_list
from subscriptions.member_import.importing import import_members
from subscriptions.models import ImportHeading, Plan, Subscription
from subscriptions.services import freezes
from subscriptions.tests.factories import NOON, MemberFactory, PlanFactory, noon_on
from subscriptions.tests.test_invariants import broken

pytestmark = [pytest.mark.django_db, pytest.mark.server]

HEADER = "first_name,last_name,phone_number,email,dob,plan,starts_on,ends_on\n"
GOOD = "Wanjiru,Kamau,0712 345 678,wanjiru@example.com,1990-12-31,monthly,2026-10-20,2026-11-20\n"
GOOD_TEXT = "phone 2547****678, Monthly from 20 Oct 2026 to 19 Nov 2026"


@pytest.fixture
def author():
    PlanFactory(code="monthly", name="Monthly")
    return MemberFactory(username="owner", phone_number=None)


def load(text, author, header=HEADER, **options):
    members = read_list(read_tables((header + text).encode()))
    return import_members(members, by_id=author.pk, now=NOON, **options)


def lines_of(report):
    return [(result.line.number, str(result.verdict), result.text) for result in report.results]


def counts_of(report):
    """Return how many lines of the report are new, known and bad, and the number of periods."""
    verdicts = [result.verdict for result in report.results]
    return verdicts.count("new"), verdicts.count("known"), verdicts.count("bad"), report.periods


def people():
    return get_user_model().objects.exclude(username="owner")


def test_line_imports_a_person_and_a_period(author):
    report = load(GOOD, author)

    person = people().get()
    period = Subscription.objects.select_related("payment").get()
    assert lines_of(report) == [(2, "new", f"Wanjiru Kamau, member number {person.member_number}, {GOOD_TEXT}")]
    assert (person.phone_number, person.email, person.dob) == (
        "254712345678",
        "wanjiru@example.com",
        date(1990, 12, 31),
    )
    assert (person.added_by, person.has_usable_password(), person.consented_at) == (author, False, None)
    assert list(Change.objects.values_list("table", "row", "kind", "by")) == [
        ("accounts.customuser", str(person.pk), "added", author.pk)
    ]
    assert (period.origin, period.starts_on, period.ends_on) == ("migrated", date(2026, 10, 20), date(2026, 11, 20))
    assert (period.payment.amount_due, period.payment.created_by) == (0, author)
    assert period.payment.events.last().evidence == "free: imported membership"
    assert broken() == []


def test_consented_on_is_imported_as_consent(author):
    load("Baby,Kamau,2025-03-01\n", author, header="first_name,last_name,consented_on\n")

    assert people().get().consented_at == noon_on(date(2025, 3, 1))


def test_person_needs_only_a_name(author):
    report = load("Baby,Kamau,,,,,,\n", author)

    assert (counts_of(report), people().get().phone_number) == ((1, 0, 0, 0), None)


@pytest.mark.parametrize(
    "line",
    [
        GOOD,
        "Baby,Kamau,,,2020-02-29,monthly,2026-10-20,2026-11-20\n",
        "Baby,Kamau,,,,monthly,2026-10-20,2026-11-20\n",
        "Baby,Kamau,,baby@example.com,,monthly,2026-10-20,2026-11-20\n",
    ],
)
def test_importing_the_same_file_twice_changes_nothing(author, line):
    load(line, author)
    person = people().get()

    report = load(line, author)

    phone = ", phone 2547****678" if person.phone_number else ""
    text = f"{person.get_full_name()}, member number {person.member_number}{phone}, the period is already imported"
    assert lines_of(report) == [(2, "known", text)]
    assert counts_of(report) == (0, 1, 0, 0)
    assert (people().count(), Subscription.objects.count()) == (1, 1)


def test_one_person_may_have_two_imported_periods(author):
    PlanFactory(code="locker", group__name="Locker")

    report = load(GOOD + GOOD.replace("monthly", "locker"), author)

    assert counts_of(report) == (1, 1, 0, 2)
    assert people().get().subscriptions.count() == 2


def test_people_of_one_name_are_distinguished_by_date_of_birth(author):
    report = load("John,Kamau,,,1990-01-01,,,\nJohn,Kamau,,,1991-01-01,,,\nJohn,Kamau,,,,,,\n", author)

    assert (counts_of(report), people().count()) == ((3, 0, 0, 0), 3)


def test_person_with_a_phone_is_not_recognised_by_name(author):
    MemberFactory(first_name="Baby", last_name="Kamau")

    assert counts_of(load("Baby,Kamau,,,,,,\n", author)) == (1, 0, 0, 0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "Baby,Kamau,0712345678,,,,,",
            "The phone number belongs to Wanjiru Kamau. For another person, leave it empty.",
        ),
        (
            "Baby,Kamau,,WANJIRU@example.com,,,,",
            "The e-mail address belongs to Wanjiru Kamau. For another person, leave it empty.",
        ),
    ],
)
def test_child_with_a_parents_phone_or_email_is_a_bad_line(author, line, message):
    load(GOOD, author)

    report = load(line + "\n", author)

    assert lines_of(report) == [(2, "bad", message)]
    assert people().get().subscriptions.count() == 1


def test_email_that_nobody_confirmed_does_not_find_its_account(author):
    stranger = MemberFactory(first_name="Wanjiru", last_name="Kamau", email="wanjiru@example.com", phone_number=None)

    report = load(GOOD, author)

    assert lines_of(report) == [
        (
            2,
            "bad",
            f"Wanjiru Kamau (member number {stranger.member_number}) typed this e-mail address at registration and has "
            "not confirmed it. Leave the e-mail address empty, or ask them to confirm it.",
        )
    ]
    assert not stranger.subscriptions.exists()


def test_report_says_when_a_phone_number_is_not_stored(author):
    load("Asha,Otieno,,asha@example.com,,,,\nJuma,Mwangi,0711111111,juma@example.com,,,,\n", author)

    report = load("Asha,Otieno,0722222222,asha@example.com,,,,\nJuma,M,0733333333,juma@example.com,,,,\n", author)

    asha, juma = (result.text.split(", ", 2)[2] for result in report.results)
    assert asha == "the phone number is not added"
    assert juma == "phone 2547****111, keeps that phone number"


def next_number():
    with connection.cursor() as cursor:
        cursor.execute("SELECT last_value + is_called::int FROM accounts_member_number_seq")
        return cursor.fetchone()[0]


def test_dry_run_only_reports(author):
    before = next_number()

    report = load(GOOD, author, dry_run=True)

    assert lines_of(report) == [(2, "new", f"Wanjiru Kamau, {GOOD_TEXT}")]
    assert (counts_of(report), next_number()) == ((1, 0, 0, 1), before)
    assert not people().exists()
    assert not Subscription.objects.exists()


@pytest.mark.parametrize("options", [{}, {"skip_bad": True}])
def test_bad_lines_use_up_no_member_numbers(author, options):
    before = next_number()
    bad = "A,B,,,,monthly,2026-10-20,2026-11-20\nA,B,,,,monthly,2026-11-01,2026-12-01\n"

    report = load(bad, author, **options)

    assert counts_of(report)[2] == 1
    assert next_number() == before + people().count()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (",Kamau,,,,,,", "The first name or the last name is missing."),
        ("A,B,12,,,,,", "phone_number: Enter a Kenyan mobile number, such as 0712 345 678."),
        ("A,B,,nobody,,,,", "email: nobody is not a valid e-mail address."),
        ("A,B,,,2026-11-03,,,", "dob: 03/11/2026 is in the future."),
        (
            "A,B,,,,monthly,2026-10-20,",
            "A period needs the plan, the first day and the last day. Fill in all three or none.",
        ),
        (
            "A,B,,,,weekly,2026-10-20,2026-11-20",
            "plan: there is no plan weekly. The plans are: monthly (Monthly).",
        ),
        ("A,B,,,,monthly,2026-11-20,2026-11-20", "The period ends before it starts. Check both dates."),
        ("A,B,,,,monthly,2026-02-30,2026-11-20", "starts_on: 2026-02-30 is not a date of the calendar."),
        (
            "WANJIRU,B,0712345678,,,monthly,2026-11-01,2026-12-01",
            "The member already has a subscription on some of these days. Check the dates.",
        ),
    ],
)
def test_bad_line_blocks_the_file_unless_it_is_skipped(author, line, message):
    report = load(GOOD + line + "\n", author)

    assert lines_of(report)[1] == (3, "bad", message)
    assert not people().exists()

    report = load(GOOD + line + "\n", author, skip_bad=True)

    assert [result.line.number for result in report.results] == [2, 3]
    assert people().count() == Subscription.objects.count() == 1


def test_line_reports_all_its_problems(author):
    report = load("A,B,12,nobody,,monthly,soon,\n", author)

    assert lines_of(report) == [
        (
            2,
            "bad",
            "phone_number: Enter a Kenyan mobile number, such as 0712 345 678. email: nobody is not a valid e-mail "
            "address. starts_on: soon is not a date. Write it as 28/02/2027, 28 Feb 2027 or 2027-02-28.",
        )
    ]


def test_phone_and_email_of_two_people_are_a_bad_line(author):
    MemberFactory(phone_number="254712345678")
    MemberFactory(email="wanjiru@example.com")

    assert lines_of(load(GOOD, author))[0][1:] == (
        "bad",
        "The phone number and the e-mail address belong to two different people.",
    )


def test_file_is_imported_again_after_periods_moved(author):
    lines = GOOD + "Wanjiru,Kamau,0712345678,,,monthly,2026-11-20,2026-12-20\n"
    load(lines, author)
    freezes.create_closure(
        starts_on=date(2026, 11, 10), ends_on=date(2026, 11, 13), reason="Repairs", by_id=author.pk, now=NOON
    )
    before = list(Subscription.objects.order_by("pk").values("starts_on", "ends_on"))

    report = load(lines, author)

    assert counts_of(report) == (0, 2, 0, 0)
    assert list(Subscription.objects.order_by("pk").values("starts_on", "ends_on")) == before


def test_self_declared_phone_does_not_receive_an_imported_period(author):
    stranger = MemberFactory(first_name="Wanjiru", phone_number="254712345678", phone_is_self_declared=True)

    load(GOOD, author)

    stranger.refresh_from_db()
    member = Subscription.objects.get().member
    assert (member.pk != stranger.pk, member.phone_number, stranger.phone_number) == (True, "254712345678", None)


class TestPeriods:
    """The end of a period, and the visits of a pack."""

    @pytest.mark.parametrize(("column", "end"), [("valid_until", "30/11/2026"), ("ends_on", "01/12/2026")])
    def test_last_day_or_first_day_without_access_ends_the_period(self, author, column, end):
        header = f"name,plan,starts_on,{column}\n"

        report = load(f"Asha Otieno,MONTHLY,01/11/2026,{end}\n", author, header=header)

        assert report.results[0].text.endswith(", Monthly from 1 Nov 2026 to 30 Nov 2026")
        assert Subscription.objects.get().ends_on == date(2026, 12, 1)

    def test_both_ends_of_one_period_are_a_bad_line(self, author):
        header = "name,plan,starts_on,valid_until,ends_on\n"

        report = load("Asha Otieno,monthly,01/11/2026,30/11/2026,01/12/2026\n", author, header=header)

        assert "Use one." in report.results[0].text

    def test_pack_has_only_the_visits_that_are_left(self, author):
        PlanFactory(code="pack", name="Ten visits", visits=10)

        report = load(
            "Asha Otieno,Ten Visits,01/11/2026,30/11/2026,4\nJuma Mwangi,pack,01/11/2026,30/11/2026,0\n",
            author,
            header="name,plan,starts_on,valid_until,visits_left\n",
        )

        asha, juma = Subscription.objects.with_status(date(2026, 11, 2)).order_by("pk")
        assert (asha.visits, asha.status, juma.visits, juma.status) == (4, "active", 0, "exhausted")
        assert report.results[0].text.endswith("Ten visits from 1 Nov 2026 to 30 Nov 2026, 4 visits left")
        assert broken() == []

    @pytest.mark.parametrize(
        ("plan", "visits_left", "message"),
        [
            ("pack", "", "The plan Ten visits is a pack of 10 visits. Fill in how many are left."),
            ("pack", "11", "The plan Ten visits has 10 visits, fewer than 11. Check the number."),
            ("pack", "-1", "visits_left: -1 is not a whole number."),
            ("pack", "some", "visits_left: some is not a whole number."),
            ("monthly", "4", "The plan Monthly has no visits to count. Leave the visits empty."),
        ],
    )
    def test_visits_left_must_suit_the_plan(self, author, plan, visits_left, message):
        PlanFactory(code="pack", name="Ten visits", visits=10)

        report = load(
            f"Asha Otieno,{plan},01/11/2026,30/11/2026,{visits_left}\n",
            author,
            header="name,plan,starts_on,valid_until,visits_left\n",
        )

        assert lines_of(report) == [(2, "bad", message)]

    def test_name_of_two_plans_is_a_bad_line(self, author):
        for code in ("gold-1", "gold-2"):
            PlanFactory(code=code, name="Gold")

        report = load(
            "Asha Otieno,gold-1,01/11/2026,30/11/2026\nJuma Mwangi,Gold,01/11/2026,30/11/2026\n",
            author,
            header="name,plan,starts_on,valid_until\n",
        )

        asha, juma = report.results
        assert (asha.verdict, juma.verdict) == ("new", "bad")
        assert juma.text == "plan: several plans have this name. Use the code: gold-1, gold-2."


class TestBalances:
    """What a person owes, has as credit, or has paid before."""

    HEADER = "name,phone,plan,start,valid until,paid,owed,credit\n"
    LINES = (
        "Asha Otieno,0711111111,monthly,1/11/2026,30/11/2026,KES 1,,\n"
        'Juma Mwangi,0722222222,,,,,"KES 12,500.00",\n'
        "Ali Said,0733333333,,,,,,700\n"
    )

    def test_balances_are_imported_once(self, author):
        report = load(self.LINES, author, header=self.HEADER)

        assert [result.text.split(", ", 2)[2] for result in report.results] == [
            "phone 2547****111, Monthly from 1 Nov 2026 to 30 Nov 2026, KES 1 paid before",
            "phone 2547****222, owes KES 12,500",
            "phone 2547****333, credit of KES 700",
        ]
        period = Subscription.objects.select_related("payment").get()
        debt = Payment.objects.exclude(pk=period.payment_id).get()
        credit = Receipt.objects.get()
        assert period.payment.events.last().evidence == "free: imported membership, KES 1 paid before"
        assert (debt.payer.first_name, debt.amount_due, debt.created_by) == ("Juma", 12500, author)
        assert (credit.member.first_name, credit.amount, credit.recorded_by) == ("Ali", 700, author)
        assert broken() == []

        report = load(self.LINES, author, header=self.HEADER)

        assert [result.text.rsplit(", ", 1)[1] for result in report.results[1:]] == [
            "owes KES 12,500 is already imported",
            "credit of KES 700 is already imported",
        ]
        assert (Payment.objects.count(), Receipt.objects.count()) == (2, 1)

    def test_another_amount_of_the_same_person_is_a_bad_line(self, author):
        twice = self.LINES + "Ali Said,0733333333,,,,,700,\n"

        assert lines_of(load(twice, author, header=self.HEADER))[3] == (
            5,
            "bad",
            "Another line has an amount of this person. Write the sum of both on one line.",
        )

        load(self.LINES, author, header=self.HEADER)
        report = load("Ali Said,0733333333,,,,,,900\n", author, header=self.HEADER)

        assert lines_of(report) == [(2, "bad", "The member already has a credit of KES 700 from before.")]

    def test_dry_run_records_no_balance(self, author):
        load(self.LINES, author, header=self.HEADER, dry_run=True)

        assert not Payment.objects.exists()
        assert not Receipt.objects.exists()


text = st.text(st.characters(exclude_characters="\x00"), max_size=8)  # a file with nulls is no text file
names = st.sampled_from(["Asha Otieno", "Juma Mwangi"]) | text
words = st.one_of(
    text,
    st.sampled_from(["Asha Otieno", "Asha", "0712345678", "0733333333", "a@example.com", "1/11/2026", "30/11/2026"]),
    st.sampled_from(["monthly", "pack", "4", "500", "KES 700", "a" * 243 + "@example.com", "x" * 149 + " y"]),
)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.fixed_dictionaries({"name": names}, optional=dict.fromkeys(set(COLUMNS) - {"name"}, words)), max_size=4)
)
def test_any_values_are_imported_or_reported(author, lines):
    Plan.objects.filter(code="pack").exists() or PlanFactory(code="pack", visits=10)
    file = StringIO()
    writer = csv.DictWriter(file, list(COLUMNS), restval="")
    writer.writeheader()
    writer.writerows(lines)
    members = read_list(read_tables(file.getvalue().encode(errors="replace")))

    report = import_members(members, by_id=author.pk, now=NOON, dry_run=True)

    assert len(report.results) == len(members.lines)
    assert not people().exists()


class TestCommand:
    """manage.py import_members"""

    def run(self, file, *args, **options):
        out = StringIO()
        try:
            call_command("import_members", str(file), *args, by="owner", stdout=out, stderr=StringIO(), **options)
        except CommandError as error:
            return [*out.getvalue().splitlines(), f"error: {error}"]
        return out.getvalue().splitlines()

    def test_command_reports_each_line_and_fails_on_a_bad_one(self, author, tmp_path):
        (tmp_path / "members.csv").write_text("\ufeff" + HEADER + GOOD + ",Kamau,,,,,,\n", encoding="utf-8")

        assert self.run(tmp_path / "members.csv") == [
            "Read as UTF-8 with commas: 2 lines.",
            "Columns: first_name = first_name, last_name = last_name, phone_number = phone_number, email = email, "
            "dob = dob, plan = plan, starts_on = starts_on, ends_on = ends_on",
            f"line 2: new: Wanjiru Kamau, {GOOD_TEXT}",
            "line 3: bad: The first name or the last name is missing.",
            "New people: 1, already known: 0; periods: 1; bad lines: 1.",
            "Nothing was written. Correct the bad lines, or skip them with --skip-bad.",
            "error: Some lines are bad.",
        ]
        assert not people().exists()

    @pytest.mark.parametrize(("name", "by"), [("none.csv", "owner"), ("members.csv", "nobody"), ("empty.csv", "owner")])
    def test_command_refuses_unreadable_files_and_unknown_users(self, author, tmp_path, name, by):
        (tmp_path / "members.csv").write_text(HEADER)
        (tmp_path / "empty.csv").write_text("")

        with pytest.raises(CommandError):
            call_command("import_members", str(tmp_path / name), by=by, stdout=StringIO(), stderr=StringIO())

    def test_mapped_headings_are_stored_for_the_next_file(self, author, tmp_path):
        file = tmp_path / "members.csv"
        file.write_text("Jina la mwanachama;Namba!;Salary;Notes\nAsha Otieno;0712345678;12;x\n")

        first = self.run(file, "--dry-run", "--map", "Jina la mwanachama=name")
        second = self.run(file, "--dry-run", "--map", "NAMBA=phone_number", "--map", "salary=", "--ignore-others")

        assert first == [
            "error: These headings are not known: Namba!, Salary, Notes. Map each to a column of docs/import.md, "
            "or ignore it."
        ]
        assert second[:3] == [
            "Read as UTF-8 with semicolons: 1 lines.",
            "Columns: Jina la mwanachama = name, Namba! = phone_number",
            "Ignored: Salary, Notes",
        ]
        assert dict(ImportHeading.objects.values_list("heading", "column")) == {
            "jina la mwanachama": "name",
            "namba": "phone_number",
            "salary": "",
        }

    @pytest.mark.parametrize("mapping", ["Simu", "=name", "Simu=telephone", "!!=name"])
    def test_wrong_mapping_is_refused(self, author, tmp_path, mapping):
        (tmp_path / "members.csv").write_text(HEADER)

        assert self.run(tmp_path / "members.csv", "--map", mapping)[0].startswith("error: ")
        assert not ImportHeading.objects.exists()

    @pytest.mark.parametrize("name", ["bad.xlsx", "bad.csv"])
    def test_bad_lines_are_corrected_in_their_file_and_imported(self, author, tmp_path, name):
        book, file, bad = Workbook(), tmp_path / "members.xlsx", tmp_path / name
        book.active.append(["Name", "Phone", "Plan", "Start", "Valid until"])
        book.active.append(["Asha Otieno", 712345678, "Monthly", date(2026, 11, 1), date(2026, 11, 30)])
        book.active.append(["=cmd()", "+254 733 333 333", "Weekly", date(2026, 11, 1), "30/11/2026"])
        book.save(file)

        shown = self.run(file, "--skip-bad", "--bad-lines", str(bad))

        assert shown[-1] == f"The bad lines are in {bad}. Correct them there, and import that file."
        assert people().count() == 1
        if name.endswith(".xlsx"):
            book = load_workbook(bad)
            line, problem, formula, phone, *_ = (cell.value for cell in book.active[2])
            assert (line, problem[:15], formula, phone) == (3, "Name: =cmd() is", "'=cmd()", "'+254 733 333 333")
            book.active["C2"], book.active["E2"] = "Juma Mwangi", "monthly"
            book.save(bad)
        else:
            bad.write_text(bad.read_text("utf-8-sig").replace("'=cmd()", "Juma Mwangi").replace("Weekly", "monthly"))

        self.run(bad)

        assert people().get(first_name="Juma").phone_number == "254733333333"
        assert Subscription.objects.count() == 2
