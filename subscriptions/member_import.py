"""Import of a club's member list from CSV: people, and the period that each of them has paid for.

docs/import.md describes the file, and how an existing person is recognised. So the same file can be imported twice.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import TextIO

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import F, Q

from api.business_days import NAIROBI, business_day
from api.emails import plain_email
from api.errors import DomainError, Invalid
from api.phones import normalise
from subscriptions.models import Origin, Plan, Subscription
from subscriptions.services.free_periods import import_period

REQUIRED = ("first_name", "last_name")
COLUMNS = (*REQUIRED, "phone_number", "email", "dob", "consented_on", "plan", "starts_on", "ends_on")
PERIOD = ("plan", "starts_on", "ends_on")


class UnreadableFile(Invalid):
    """The file is not CSV in UTF-8 with the columns of a member list."""

    code, message = "unreadable_file", "The file is not a CSV file with the columns of a member list."


class BadLine(Invalid):
    """A value of a line is wrong. The message says which one."""

    code = "bad_line"


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


class _Rollback(Exception):
    """Raised inside the transaction to roll it back."""


def read_file(file: TextIO) -> list[tuple[int, dict[str, str]]]:
    """Return the lines of the file as (line number, values by column), without surrounding spaces.

    :raises UnreadableFile: a column is missing or unknown, a line has too many values, or it is not CSV in UTF-8
    """
    try:
        reader = csv.DictReader(file, strict=True)
        header = [name.strip() for name in reader.fieldnames or []]
        unknown, missing = set(header) - set(COLUMNS), set(REQUIRED) - set(header)
        if unknown or missing or len(set(header)) != len(header):
            raise UnreadableFile(
                f"Unknown columns: {', '.join(sorted(unknown)) or 'none'}; "
                f"missing: {', '.join(sorted(missing)) or 'none'}. Use each column once."
            )
        reader.fieldnames = header
        lines = [(reader.line_num, row) for row in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise UnreadableFile(f"The file cannot be read: {error}") from error
    if too_long := [number for number, row in lines if None in row]:
        raise UnreadableFile(f"Line {too_long[0]} has more values than the header.")
    return [(number, {name: (value or "").strip() for name, value in row.items()}) for number, row in lines]


def import_members(
    lines: Iterable[tuple[int, dict[str, str]]],
    *,
    by_id: int,
    now: datetime,
    dry_run: bool = False,
    skip_bad: bool = False,
) -> Report:
    """Import the people and their periods in one transaction, and return a report of every line.

    Nothing is written on a dry run, or when a line is bad, unless `skip_bad` skips the bad lines.
    """
    report = Report()
    try:
        with transaction.atomic():
            plans = {plan.code: plan for plan in Plan.objects.all()}
            for number, row in lines:
                report.lines.append((number, *_import_line(row, plans, report, by_id=by_id, now=now, dry_run=dry_run)))
            if dry_run or (report.has_bad_lines and not skip_bad):
                raise _Rollback
    except _Rollback:
        pass
    return report


def _import_line(
    row: dict[str, str], plans: dict[str, Plan], report: Report, *, by_id: int, now: datetime, dry_run: bool
) -> tuple[str, str]:
    """Import one line in its own savepoint. Return the verdict and the text for the report."""
    try:
        with transaction.atomic():
            person, is_new = _find_or_create_person(row, by_id=by_id, now=now)
            has_period = _import_period_of(person, row, plans, by_id=by_id, now=now)
    except DomainError as error:
        report.bad += 1
        return "bad", error.message
    report.added += is_new
    report.known += not is_new
    report.periods += has_period
    text = [f"{'' if is_new else 'already known as '}{person.get_full_name()}"]
    if not (dry_run and is_new):  # the real import gives another member number than the dry run
        text[0] += f", member number {person.member_number}"
    text += [f"{row['plan']} until {row['ends_on']}"] if has_period else []
    return "added" if is_new else "known", "; ".join(text)


def _find_or_create_person(row: dict[str, str], *, by_id: int, now: datetime):
    """Return the person of a line, and whether they were created."""
    for name in REQUIRED:
        if not row[name] or len(row[name]) > 150 or "\x00" in row[name]:
            raise BadLine(f"{name} is empty or too long.")
    phone = normalise(row["phone_number"]) if row.get("phone_number") else None
    email = row.get("email") or None
    if email:
        try:
            validate_email(email)
            plain_email(email)
        except ValidationError:
            raise BadLine("email is not a valid e-mail address.") from None
    born, consented_on = _past_date(row, "dob", now), _past_date(row, "consented_on", now)
    known = _find_person(row, phone, email, born)
    if known:
        return known, False
    return (
        get_user_model().objects.create_member(
            first_name=row["first_name"],
            last_name=row["last_name"],
            phone_number=phone,
            email=email,
            dob=born,
            consented_at=datetime.combine(consented_on, time(12), NAIROBI) if consented_on else None,
            added_by_id=by_id,
        ),
        True,
    )


def _find_person(row: dict[str, str], phone: str | None, email: str | None, born: date | None):
    """Return the existing person of a line, or None.

    :raises BadLine: the phone number or the e-mail address belongs to somebody else
    """
    people = get_user_model().objects
    if not phone and not email:
        same = people.filter(first_name__iexact=row["first_name"], last_name__iexact=row["last_name"], dob=born)
        return same.filter(phone_number=None, email=None).order_by("pk").first()
    by_phone = people.filter(phone_number=phone, phone_is_self_declared=False).first() if phone else None
    by_email = people.filter(email__iexact=email).first() if email else None
    if by_phone and by_email and by_phone != by_email:
        raise BadLine("The phone number and the e-mail address belong to two different people.")
    known = by_phone or by_email
    if known and known.first_name.casefold() != row["first_name"].casefold():
        # For example a child with its parent's phone number: the child's period must not become the parent's.
        whose = "phone number" if by_phone else "e-mail address"
        raise BadLine(f"The {whose} belongs to {known.get_full_name()}. For another person, leave it empty.")
    return known


def _import_period_of(person, row: dict[str, str], plans: dict[str, Plan], *, by_id: int, now: datetime) -> bool:
    """Import the period of a line. Return whether one was added."""
    given = [name for name in PERIOD if row.get(name)]
    if not given:
        return False
    if len(given) < len(PERIOD):
        raise BadLine("plan, starts_on and ends_on go together. Fill in all three or none.")
    plan = plans.get(row["plan"])
    if plan is None:
        raise BadLine(f"There is no plan with the code {row['plan'][:40]}.")
    starts_on, ends_on = _date(row, "starts_on"), _date(row, "ends_on")
    if starts_on is None or ends_on is None or ends_on <= starts_on:
        raise BadLine("ends_on must be after starts_on.")
    imported = Subscription.objects.granted().filter(member=person, plan=plan, origin=Origin.MIGRATED)
    # An imported period keeps its length and its first possible day when the frozen days of an earlier one move it.
    same = Q(not_before=starts_on, base_ends_on=F("starts_on") + (ends_on - starts_on))
    if imported.filter(same | Q(starts_on=starts_on, base_ends_on=ends_on)).exists():
        return False
    import_period(member_id=person.pk, plan=plan, starts_on=starts_on, ends_on=ends_on, by_id=by_id, now=now)
    return True


def _date(row: dict[str, str], name: str) -> date | None:
    if not row.get(name):
        return None
    try:
        return date.fromisoformat(row[name])
    except ValueError:
        raise BadLine(f"{name} must be a date such as 2027-02-28.") from None


def _past_date(row: dict[str, str], name: str, now: datetime) -> date | None:
    found = _date(row, name)
    if found and found > business_day(now):
        raise BadLine(f"{name} is in the future.")
    return found


def summary(report: Report, *, dry_run: bool, skip_bad: bool) -> Iterator[str]:
    """Yield the lines of text at the end of an import."""
    people = f"People added: {report.added}, already known: {report.known}"
    yield f"{people}; periods: {report.periods}; bad lines: {report.bad}."
    if dry_run:
        yield "This was a dry run. Nothing was written."
    elif report.has_bad_lines and not skip_bad:
        yield "Nothing was written. Correct the bad lines, or skip them with --skip-bad."
