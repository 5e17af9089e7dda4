"""The import of a member list: people are found or created, and their periods are added, in one transaction."""

from collections.abc import Iterable
from datetime import date, datetime, time

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import F, Q

from api.business_days import NAIROBI
from api.errors import DomainError
from api.phones import normalise
from subscriptions.member_import.lines import BadLine, check_names, date_of, email_of, past_date_of
from subscriptions.member_import.reports import Report
from subscriptions.models import Origin, Plan, Subscription
from subscriptions.services.free_periods import import_period

PERIOD = ("plan", "starts_on", "ends_on")


class _Rollback(Exception):
    """Raised inside the transaction to roll it back."""


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
    check_names(row)
    phone = normalise(row["phone_number"]) if row.get("phone_number") else None
    email = email_of(row)
    born, consented_on = past_date_of(row, "dob", now), past_date_of(row, "consented_on", now)
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
    starts_on, ends_on = date_of(row, "starts_on"), date_of(row, "ends_on")
    if starts_on is None or ends_on is None or ends_on <= starts_on:
        raise BadLine("ends_on must be after starts_on.")
    imported = Subscription.objects.granted().filter(member=person, plan=plan, origin=Origin.MIGRATED)
    # An imported period keeps its length and its first possible day when the frozen days of an earlier one move it.
    same = Q(not_before=starts_on, base_ends_on=F("starts_on") + (ends_on - starts_on))
    if imported.filter(same | Q(starts_on=starts_on, base_ends_on=ends_on)).exists():
        return False
    import_period(member_id=person.pk, plan=plan, starts_on=starts_on, ends_on=ends_on, by_id=by_id, now=now)
    return True
