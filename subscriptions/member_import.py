"""Bringing along the member list of a club's former books: people, their plan, the period that runs.

The file is CSV in UTF-8 with a header. `first_name` and `last_name` must be there; `phone_number`, `email`, `dob`,
`consented_on`, `plan` (a code), `starts_on` and `ends_on` may be. Dates are 2027-02-28; `ends_on` is the first day
without access.
A person is known by phone number, else by e-mail; who has neither, by name and date of birth among those who have
neither. So the same file twice adds nobody and no period twice.
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

from api.business_days import NAIROBI, business_day
from api.emails import plain_email
from api.errors import DomainError, Invalid
from api.phones import normalise
from subscriptions.models import Plan, Subscription
from subscriptions.services.free_periods import import_period

REQUIRED = ("first_name", "last_name")
COLUMNS = (*REQUIRED, "phone_number", "email", "dob", "consented_on", "plan", "starts_on", "ends_on")
PERIOD = ("plan", "starts_on", "ends_on")


class UnreadableFile(Invalid):
    """The file is not such a CSV file."""

    code, message = "unreadable_file", "The file is not a CSV file with the columns of a member list."


class BadLine(Invalid):
    """Something in a line cannot be right; the message says what."""

    code = "bad_line"


@dataclass
class Report:
    """What an import did, or would do; `lines` are (line number, verdict, words)."""

    added: int = 0
    known: int = 0
    periods: int = 0
    bad: int = 0
    lines: list[tuple[int, str, str]] = field(default_factory=list)

    @property
    def has_bad_lines(self) -> bool:
        return self.bad > 0


class _Undo(Exception):
    """Leaves the transaction without a trace."""


def read(file: TextIO) -> list[tuple[int, dict[str, str]]]:
    """Return the file's lines as (line number, values without surrounding spaces).

    :raises UnreadableFile: a column is missing or unknown, a line is longer than the header, it is not UTF-8 or CSV
    """
    try:
        reader = csv.DictReader(file, strict=True)
        header = [name.strip() for name in reader.fieldnames or []]
        strangers, missing = set(header) - set(COLUMNS), set(REQUIRED) - set(header)
        if strangers or missing or len(set(header)) != len(header):
            raise UnreadableFile(
                f"Unknown columns: {', '.join(sorted(strangers)) or 'none'}; "
                f"missing: {', '.join(sorted(missing)) or 'none'}; each may stand once."
            )
        reader.fieldnames = header
        lines = [(reader.line_num, row) for row in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise UnreadableFile(f"The file cannot be read: {error}") from error
    if long := [number for number, row in lines if None in row]:
        raise UnreadableFile(f"Line {long[0]} has more values than the header.")
    return [(number, {name: (value or "").strip() for name, value in row.items()}) for number, row in lines]


def import_members(
    lines: Iterable[tuple[int, dict[str, str]]],
    *,
    by_id: int,
    now: datetime,
    dry_run: bool = False,
    skip_bad: bool = False,
) -> Report:
    """Add the people and their running periods; return what was done, line by line.

    Nothing is written on a dry run, nor when a line is bad, unless `skip_bad` leaves the bad ones out.
    """
    report = Report()
    try:
        with transaction.atomic():
            plans = {plan.code: plan for plan in Plan.objects.all()}
            for number, row in lines:
                report.lines.append((number, *_import_line(row, plans, report, by_id=by_id, now=now, dry_run=dry_run)))
            if dry_run or (report.has_bad_lines and not skip_bad):
                raise _Undo
    except _Undo:
        pass
    return report


def _import_line(
    row: dict[str, str], plans: dict[str, Plan], report: Report, *, by_id: int, now: datetime, dry_run: bool
) -> tuple[str, str]:
    """Import one line in a savepoint of its own; return the verdict and the words for it."""
    try:
        with transaction.atomic():
            person, is_new = _person(row, by_id=by_id, now=now)
            has_period = _period(person, row, plans, by_id=by_id, now=now)
    except DomainError as error:
        report.bad += 1
        return "bad", error.message
    report.added += is_new
    report.known += not is_new
    report.periods += has_period
    words = [f"{'' if is_new else 'known already as '}{person.get_full_name()}"]
    if not (dry_run and is_new):  # a dry run's new number goes with it: the import gives another
        words[0] += f", member number {person.member_number}"
    words += [f"{row['plan']} until {row['ends_on']}"] if has_period else []
    return "added" if is_new else "known", "; ".join(words)


def _person(row: dict[str, str], *, by_id: int, now: datetime):
    """Return the person of a line, and whether they were added."""
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
            raise BadLine("email is no e-mail address.") from None
    born, agreed_on = _past(row, "dob", now), _past(row, "consented_on", now)
    known = _known(row, phone, email, born)
    if known:
        return known, False
    return (
        get_user_model().objects.create_member(
            first_name=row["first_name"],
            last_name=row["last_name"],
            phone_number=phone,
            email=email,
            dob=born,
            consented_at=datetime.combine(agreed_on, time(12), NAIROBI) if agreed_on else None,
            added_by_id=by_id,
        ),
        True,
    )


def _known(row: dict[str, str], phone: str | None, email: str | None, born: date | None):
    """Return who of those in the books the line is about, if anybody.

    :raises BadLine: the phone number or the e-mail address is another's
    """
    people = get_user_model().objects
    if not phone and not email:
        same = people.filter(first_name__iexact=row["first_name"], last_name__iexact=row["last_name"], dob=born)
        return same.filter(phone_number=None, email=None).order_by("pk").first()
    by_phone = people.filter(phone_number=phone).first() if phone else None
    by_email = people.filter(email__iexact=email).first() if email else None
    if by_phone and by_email and by_phone != by_email:
        raise BadLine("The phone number and the e-mail address belong to two different people.")
    known = by_phone or by_email
    if known and known.first_name.casefold() != row["first_name"].casefold():
        # A child on its parent's phone, say: what is the child's must not become the parent's.
        whose = "phone number" if by_phone else "e-mail address"
        raise BadLine(f"The {whose} is that of {known.get_full_name()}; leave it empty for another person.")
    return known


def _period(person, row: dict[str, str], plans: dict[str, Plan], *, by_id: int, now: datetime) -> bool:
    """Bring the line's period along; return whether one was added."""
    said = [name for name in PERIOD if row.get(name)]
    if not said:
        return False
    if len(said) < len(PERIOD):
        raise BadLine("plan, starts_on and ends_on go together.")
    plan = plans.get(row["plan"])
    if plan is None:
        raise BadLine(f"There is no plan {row['plan'][:40]}.")
    starts_on, ends_on = _date(row, "starts_on"), _date(row, "ends_on")
    if starts_on is None or ends_on is None or ends_on <= starts_on:
        raise BadLine("ends_on must be after starts_on.")
    same = Subscription.objects.granted().filter(member=person, plan=plan, starts_on=starts_on, base_ends_on=ends_on)
    if same.exists():
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


def _past(row: dict[str, str], name: str, now: datetime) -> date | None:
    found = _date(row, name)
    if found and found > business_day(now):
        raise BadLine(f"{name} is in the future.")
    return found


def summary(report: Report, *, dry_run: bool, skip_bad: bool) -> Iterator[str]:
    """Yield what people read at the end."""
    people = f"People added: {report.added}, known already: {report.known}"
    yield f"{people}; periods: {report.periods}; bad lines: {report.bad}."
    if dry_run:
        yield "A dry run: nothing was written."
    elif report.has_bad_lines and not skip_bad:
        yield "Nothing was written. Mend the bad lines, or leave them out with --skip-bad."
