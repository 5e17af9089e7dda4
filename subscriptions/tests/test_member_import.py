"""Import of a member list: valid lines are imported, and bad lines are reported."""

from datetime import date
from io import StringIO

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command

from subscriptions.member_import.files import UnreadableFile, read_file
from subscriptions.member_import.importing import import_members
from subscriptions.models import Subscription
from subscriptions.services import freezes
from subscriptions.tests.factories import NOON, MemberFactory, PlanFactory, noon_on
from subscriptions.tests.test_invariants import broken

pytestmark = [pytest.mark.django_db, pytest.mark.server]

HEADER = "first_name,last_name,phone_number,email,dob,plan,starts_on,ends_on\n"
GOOD = "Wanjiru,Kamau,0712 345 678,wanjiru@example.com,1990-12-31,monthly,2026-10-20,2026-11-20\n"


@pytest.fixture
def author():
    PlanFactory(code="monthly")
    return MemberFactory(username="owner", phone_number=None)


def load(text, author, **options):
    return import_members(read_file(StringIO(HEADER + text)), by_id=author.pk, now=NOON, **options)


def people():
    return get_user_model().objects.exclude(username="owner")


def test_line_imports_a_person_and_a_period(author):
    report = load(GOOD, author)

    person = people().get()
    period = Subscription.objects.select_related("payment").get()
    assert report.lines == [
        (2, "added", f"Wanjiru Kamau, member number {person.member_number}; monthly until 2026-11-20")
    ]
    assert (person.phone_number, person.email, person.dob) == (
        "254712345678",
        "wanjiru@example.com",
        date(1990, 12, 31),
    )
    assert (person.added_by, person.has_usable_password(), person.consented_at) == (author, False, None)
    assert (period.origin, period.starts_on, period.ends_on) == ("migrated", date(2026, 10, 20), date(2026, 11, 20))
    assert (period.payment.amount_due, period.payment.created_by) == (0, author)
    assert period.payment.events.last().evidence == "free: imported membership"
    assert broken() == []


def test_consented_on_is_imported_as_consent(author):
    text = "first_name,last_name,consented_on\nBaby,Kamau,2025-03-01\n"

    import_members(read_file(StringIO(text)), by_id=author.pk, now=NOON)

    assert people().get().consented_at == noon_on(date(2025, 3, 1))


def test_person_needs_only_a_name(author):
    report = load("Baby,Kamau,,,,,,\n", author)

    assert (report.added, report.periods, people().get().phone_number) == (1, 0, None)


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

    assert (report.added, report.known, report.periods) == (0, 1, 0)
    assert report.lines == [
        (2, "known", f"already known as {person.get_full_name()}, member number {person.member_number}")
    ]
    assert (people().count(), Subscription.objects.count()) == (1, 1)


def test_one_person_may_have_two_imported_periods(author):
    PlanFactory(code="locker", group__name="Locker")

    report = load(GOOD + GOOD.replace("monthly", "locker"), author)

    assert (report.added, report.known, report.periods) == (1, 1, 2)
    assert people().get().subscriptions.count() == 2


def test_people_of_one_name_are_distinguished_by_date_of_birth(author):
    report = load("John,Kamau,,,1990-01-01,,,\nJohn,Kamau,,,1991-01-01,,,\nJohn,Kamau,,,,,,\n", author)

    assert (report.added, people().count()) == (3, 3)


def test_person_with_a_phone_is_not_recognised_by_name(author):
    MemberFactory(first_name="Baby", last_name="Kamau")

    assert load("Baby,Kamau,,,,,,\n", author).added == 1


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

    assert report.lines == [(2, "bad", message)]
    assert people().get().subscriptions.count() == 1


def test_dry_run_only_reports(author):
    report = load(GOOD, author, dry_run=True)

    assert (report.added, report.periods) == (1, 1)
    assert report.lines == [(2, "added", "Wanjiru Kamau; monthly until 2026-11-20")]
    assert not people().exists()
    assert not Subscription.objects.exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (",Kamau,,,,,,", "first_name is empty or too long."),
        ("A,B,12,,,,,", "Enter a Kenyan mobile number, such as 0712 345 678."),
        ("A,B,,nobody,,,,", "email is not a valid e-mail address."),
        ("A,B,,,31/12/1990,,,", "dob must be a date such as 2027-02-28."),
        ("A,B,,,2026-11-03,,,", "dob is in the future."),
        ("A,B,,,,monthly,2026-10-20,", "plan, starts_on and ends_on go together. Fill in all three or none."),
        ("A,B,,,,weekly,2026-10-20,2026-11-20", "There is no plan with the code weekly."),
        ("A,B,,,,monthly,2026-11-20,2026-11-20", "ends_on must be after starts_on."),
        ("A,B,,,,monthly,2026-02-30,2026-11-20", "starts_on must be a date such as 2027-02-28."),
        (
            "WANJIRU,B,0712345678,,,monthly,2026-11-01,2026-12-01",
            "The member already has a subscription on some of these days. Check the dates.",
        ),
    ],
)
def test_bad_line_blocks_the_file_unless_it_is_skipped(author, line, message):
    report = load(GOOD + line + "\n", author)

    assert report.lines[1] == (3, "bad", message)
    assert not people().exists()

    load(GOOD + line + "\n", author, skip_bad=True)

    assert people().count() == Subscription.objects.count() == 1


def test_phone_and_email_of_two_people_are_a_bad_line(author):
    MemberFactory(phone_number="254712345678")
    MemberFactory(email="wanjiru@example.com")

    assert load(GOOD, author).lines[0][1:] == (
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

    assert (report.bad, report.known, report.periods) == (0, 2, 0)
    assert list(Subscription.objects.order_by("pk").values("starts_on", "ends_on")) == before


@pytest.mark.parametrize(
    "text",
    ["", "first_name\nA\n", "first_name,last_name,salary\nA,B,1\n", "first_name,last_name,last_name\nA,B,C\n",
     "first_name,last_name\nA,B,C\n", 'first_name,last_name\n"A,B\n'],
)  # fmt: skip
def test_file_that_is_not_a_member_list_is_refused(text):
    with pytest.raises(UnreadableFile):
        read_file(StringIO(text))


def test_command_reports_each_line_and_fails_on_a_bad_one(author, tmp_path):
    file, out = tmp_path / "members.csv", StringIO()
    file.write_text("\ufeff" + HEADER + GOOD + ",Kamau,,,,,,\n", encoding="utf-8")

    with pytest.raises(CommandError, match="Some lines are bad"):
        call_command("import_members", str(file), by="owner", stdout=out, stderr=StringIO())

    first, second, third, fourth = out.getvalue().splitlines()
    assert first.startswith("line 2: added: Wanjiru Kamau, member number ")
    assert second == "line 3: bad: first_name is empty or too long."
    assert third == "People added: 1, already known: 0; periods: 1; bad lines: 1."
    assert fourth == "Nothing was written. Correct the bad lines, or skip them with --skip-bad."


@pytest.mark.parametrize(("name", "by"), [("none.csv", "owner"), ("members.csv", "nobody"), ("latin.csv", "owner")])
def test_command_refuses_unreadable_files_and_unknown_users(author, tmp_path, name, by):
    (tmp_path / "members.csv").write_text(HEADER)
    (tmp_path / "latin.csv").write_bytes(HEADER.encode() + b"Ren\xe9,B,,,,,,\n")

    with pytest.raises(CommandError):
        call_command("import_members", str(tmp_path / name), by=by, stdout=StringIO(), stderr=StringIO())


def test_self_declared_phone_does_not_receive_an_imported_period(author):
    stranger = MemberFactory(first_name="Wanjiru", phone_number="254712345678", phone_is_self_declared=True)

    load(GOOD, author)

    stranger.refresh_from_db()
    member = Subscription.objects.get().member
    assert (member.pk != stranger.pk, member.phone_number, stranger.phone_number) == (True, "254712345678", None)
