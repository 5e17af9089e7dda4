"""The import of a member list: people are found or created, and their periods are added, in one transaction."""

import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, time
from itertools import count
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import F, Q

from api import changes
from api.business_days import NAIROBI, business_day
from api.errors import DomainError
from api.member_numbers import check_digit
from api.phones import masked
from payments.desk import opening_balances
from subscriptions.member_import.files import MAX_ROWS
from subscriptions.member_import.headings import MemberLine, MemberList
from subscriptions.member_import.lines import BadLine, Member, Plans, check_line
from subscriptions.member_import.reports import Report, Result, Verdict
from subscriptions.models import Origin, Plan, Subscription, format_days
from subscriptions.services.free_periods import import_period

Progress = Callable[[list[MemberLine]], Iterable[MemberLine]]


class _Rollback(Exception):
    """Raised inside the transaction to roll it back."""


@dataclass(frozen=True)
class _Run:
    """What every line of an import needs. A dry run has its own member numbers."""

    members: MemberList
    plans: Plans
    by_id: int
    now: datetime
    numbers: Iterator[str] | None
    with_balance: set[int] = field(default_factory=set)  # ids of people with an amount owed or credit on a line


def import_members(
    members: MemberList,
    *,
    by_id: int,
    now: datetime,
    dry_run: bool = False,
    skip_bad: bool = False,
    progress: Progress = iter,
) -> Report:
    """Import the people and their periods in one transaction, and return a report of every line.

    Nothing is written on a dry run, or when a line is bad, unless `skip_bad` skips the bad lines. A dry run does all
    that an import does and rolls it back. An import begins with a dry run, so that bad lines use up no member numbers.
    """
    report = _import_all(members, members.lines, by_id=by_id, now=now, is_dry=True, progress=progress)
    if dry_run or (report.bad_lines and not skip_bad):
        return report
    bad = {result.line.number: result for result in report.bad_lines}
    good = [line for line in members.lines if line.number not in bad]
    done = _import_all(members, good, by_id=by_id, now=now, is_dry=False, progress=progress)
    done.results = sorted([*done.results, *bad.values()], key=lambda result: result.line.number)
    return done


def _import_all(
    members: MemberList, lines: list[MemberLine], *, by_id: int, now: datetime, is_dry: bool, progress: Progress
) -> Report:
    """Import the lines and keep all, or nothing: on a dry run, or if a line is bad that was good a moment before."""
    report = Report()
    try:
        with transaction.atomic():
            numbers = _numbers_of_a_dry_run() if is_dry else None
            run = _Run(members, Plans(Plan.objects.order_by("pk")), by_id, now, numbers)
            for line in progress(lines):
                _import_line(line, run, report)
            if is_dry or report.bad_lines:
                raise _Rollback
    except _Rollback:
        pass
    return report


def _numbers_of_a_dry_run() -> Iterator[str]:
    """Yield member numbers with a wrong check digit. No member has such a number, and no real number is used up.

    They begin anywhere, so that two dry runs at the same time rarely wait for each other.
    """
    for each in count(secrets.randbelow(1_000_000 - MAX_ROWS)):
        digits = f"{each:06d}"
        yield f"{digits}{(int(check_digit(digits)) + 1) % 10}"


def _import_line(line: MemberLine, run: _Run, report: Report) -> None:
    """Import one line in its own savepoint, and report it."""
    try:
        with transaction.atomic():
            member = check_line(line, run.members, run.plans, today=business_day(run.now))
            person = _find_person(member)
            is_new = person is None
            if person is None:
                person = _create_person(member, run)
            period = _import_period_of(person, member, run)
            balance = _import_balance_of(person, member, run)
    except DomainError as error:
        report.results.append(Result(line, Verdict.BAD, error.message))
        return
    report.periods += period is not None
    text = _text_of(person, member, period, balance, shows_number=not (is_new and run.numbers))
    report.results.append(Result(line, Verdict.NEW if is_new else Verdict.KNOWN, text))


def _text_of(person: Any, member: Member, period: Subscription | None, balance: str, *, shows_number: bool) -> str:
    """Return what a line does, in words. The real import gives a new person another number than the dry run."""
    words = [person.get_full_name()]
    words += [f"member number {person.member_number}"] if shows_number else []
    words += [f"phone {masked(person.phone_number)}"] if person.phone_number else []
    if member.phone_number and member.phone_number != person.phone_number:
        words.append("keeps that phone number" if person.phone_number else "the phone number is not added")
    if period is not None and period.starts_on and period.ends_on:
        left = "" if period.visits is None else f", {period.visits} visits left"
        left += f", KES {member.paid:,} paid before" if member.paid else ""
        words.append(f"{period.plan.name} from {format_days(period.starts_on, period.ends_on)}{left}")
    elif member.plan:
        words.append("the period is already imported")
    words += [balance] if balance else []
    return ", ".join(words)


def _create_person(member: Member, run: _Run):
    agreed = datetime.combine(member.consented_on, time(12), NAIROBI) if member.consented_on else None
    number = {"member_number": next(run.numbers)} if run.numbers else {}
    person = get_user_model().objects.create_member(
        first_name=member.first_name,
        last_name=member.last_name,
        phone_number=member.phone_number,
        email=member.email,
        dob=member.dob,
        consented_at=agreed,
        added_by_id=run.by_id,
        **number,
    )
    changes.record_addition(person, by_id=run.by_id, now=run.now)
    return person


def _find_person(member: Member):
    """Return the existing person of a line, or None.

    :raises BadLine: the phone number or the e-mail address belongs to somebody else
    """
    people = get_user_model().objects
    phone, email = member.phone_number, member.email
    if not phone and not email:
        same = people.filter(first_name__iexact=member.first_name, last_name__iexact=member.last_name, dob=member.dob)
        return same.filter(phone_number=None, email=None).order_by("pk").first()
    by_phone = people.filter(phone_number=phone, phone_is_self_declared=False).first() if phone else None
    by_email = people.filter(email__iexact=email).first() if email else None
    if by_phone and by_email and by_phone != by_email:
        raise BadLine("The phone number and the e-mail address belong to two different people.")
    if by_email and by_email != by_phone and by_email.email_verified_at is None and by_email.added_by_id is None:
        raise BadLine(
            f"{by_email.get_full_name()} (member number {by_email.member_number}) typed this e-mail address at "
            "registration and has not confirmed it. Leave the e-mail address empty, or ask them to confirm it."
        )
    known = by_phone or by_email
    if known and known.first_name.casefold() != member.first_name.casefold():
        # For example a child with its parent's phone number: the child's period must not become the parent's.
        whose = "phone number" if by_phone else "e-mail address"
        raise BadLine(f"The {whose} belongs to {known.get_full_name()}. For another person, leave it empty.")
    return known


def _import_period_of(person: Any, member: Member, run: _Run) -> Subscription | None:
    """Import the period of a line, and return it. Return None if the line has none or it was imported before."""
    plan, starts_on, ends_on = member.plan, member.starts_on, member.ends_on
    if plan is None or starts_on is None or ends_on is None:
        return None
    imported = Subscription.objects.granted().filter(member=person, plan=plan, origin=Origin.MIGRATED)
    # An imported period keeps its length and its first possible day when the frozen days of an earlier one move it.
    same = Q(not_before=starts_on, base_ends_on=F("starts_on") + (ends_on - starts_on))
    if imported.filter(same | Q(starts_on=starts_on, base_ends_on=ends_on)).exists():
        return None
    return import_period(
        member_id=person.pk,
        plan=plan,
        starts_on=starts_on,
        ends_on=ends_on,
        visits_left=member.visits_left,
        amount_paid=member.paid,
        by_id=run.by_id,
        now=run.now,
    )


def _import_balance_of(person: Any, member: Member, run: _Run) -> str:
    """Import what the person owes, or their credit. Return it in words, or an empty text if the line has none.

    :raises BadLine: an earlier line of the file has an amount of the same person
    """
    if not (member.owed or member.credit):
        return ""
    if person.pk in run.with_balance:
        raise BadLine("Another line has an amount of this person. Write the sum of both on one line.")
    if member.owed:
        text = f"owes KES {member.owed:,}"
        done: object = opening_balances.record_debt(
            member_id=person.pk, amount=member.owed, by_id=run.by_id, now=run.now
        )
    else:
        text = f"credit of KES {member.credit:,}"
        done = opening_balances.record_credit(
            member_id=person.pk, amount=member.credit or 0, by_id=run.by_id, now=run.now
        )
    run.with_balance.add(person.pk)
    return text if done else f"{text} is already imported"
