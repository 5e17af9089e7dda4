"""Lines of member lists: the values of one line, checked and converted.

Messages about a value say which value was found, and how to write it.
"""

import calendar
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TypeVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator, validate_email

from api.emails import plain_email
from api.errors import DomainError, Invalid
from api.money import MAX_KES
from api.phones import normalise
from subscriptions.member_import.files import Cell
from subscriptions.member_import.headings import MemberLine, MemberList
from subscriptions.models import Plan
from subscriptions.services.calendars import LATEST_DATE

T = TypeVar("T")

EARLIEST_BIRTH, EARLIEST_DATE = date(1900, 1, 1), date(2000, 1, 1)
LONGEST_NAME, LONGEST_EMAIL = 150, 254
SHEET_ERRORS = {"#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!", "#SPILL!"}
MONTHS = [name.casefold() for name in calendar.month_name]  # the first one is empty
ISO_DATE = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})(?:[T ]00:00(?::00)?)?")
DAY_FIRST = re.compile(r"([0-9]{1,2})([./ -])([0-9]{1,2})\2([0-9]{4}|[0-9]{2})")
NAMED_MONTH = re.compile(
    r"([0-9]{1,2})(?:st|nd|rd|th)?[ ./-]?([a-z]{3,9})\.?,?[ ./-]?([0-9]{4}|[0-9]{2})", re.IGNORECASE
)
AMOUNT = re.compile(
    r"(?:KES|KSHS?|SHS?)?[. ]{0,2}([0-9]+|[0-9]{1,3}(?:[, ][0-9]{3})+)(?:\.([0-9]{1,2}))?(?: ?/[=-])?", re.IGNORECASE
)
NO_AMOUNT = re.compile(r"-|nil|none", re.IGNORECASE)
SCIENTIFIC = re.compile(r"[0-9.,]+E\+?[0-9]+", re.IGNORECASE)
# What is left of 712 345 678 and of 254 712 345 678 after 7.12346E+08 and 2.54712E+11 were read as numbers.
ROUNDED = re.compile(r"[17][0-9]{5}000|254[0-9]{3}000000")


class BadLine(Invalid):
    """A value of a line is wrong. The message says which one, and how to correct it."""

    code = "bad_line"


class _BadValue(Invalid):
    code = "bad_value"


@dataclass(frozen=True)
class Member:
    """The checked values of a line. The period is half-open: `ends_on` is the first day without access."""

    first_name: str
    last_name: str
    phone_number: str | None = None
    email: str | None = None
    dob: date | None = None
    consented_on: date | None = None
    plan: Plan | None = None
    starts_on: date | None = None
    ends_on: date | None = None
    visits_left: int | None = None
    paid: int | None = None  # whole KES, as all amounts
    owed: int | None = None
    credit: int | None = None


class Plans:
    """The club's plans, found by code or by name in any case."""

    def __init__(self, plans: Iterable[Plan]):
        self.plans = list(plans)

    def find(self, cell: Cell) -> Plan:
        """Return the plan with this code, else the one with this name.

        :raises Invalid: no plan, or several plans, have it
        """
        text = str(cell).casefold()
        for of_plan in (lambda plan: plan.code, lambda plan: plan.name):
            found = [plan for plan in self.plans if of_plan(plan).casefold() == text]
            if len(found) == 1:
                return found[0]
            if found:
                codes = ", ".join(plan.code for plan in found)
                raise _BadValue(f"several plans have this name. Use the code: {codes}.")
        offered = ", ".join(f"{plan.code} ({plan.name})" for plan in self.plans[:10]) or "none"
        raise _BadValue(f"there is no plan {_shown(cell)}. The plans are: {offered}.")


def check_line(line: MemberLine, members: MemberList, plans: Plans, *, today: date) -> Member:
    """Return the checked values of a line.

    :raises BadLine: values are wrong or missing. The message names all of them
    """
    problems: list[str] = []

    def read(column: str, convert: Callable[[Cell], T]) -> T | None:
        if column not in line.values:
            return None
        try:
            return convert(line.values[column])
        except DomainError as error:
            problems.append(f"{members.heading_of(column)}: {error.message}")
            return None

    if line.has_too_many:
        problems.append("The line has more values than the list has headings. Check it for a separator in a value.")
    first_name, last_name = read("first_name", _name), read("last_name", _name)
    if not problems and "name" in line.values:
        both = read("name", _first_and_last_name)
        first_name, last_name = both or (first_name, last_name)
    if not problems and not (first_name and last_name):
        problems.append("The first name or the last name is missing.")
    phone, email = read("phone_number", _phone), read("email", _email)
    dob = read("dob", lambda cell: _past(_date(cell, earliest=EARLIEST_BIRTH, needs_century=True), today))
    consented_on = read("consented_on", lambda cell: _past(_date(cell), today))
    plan, starts_on = read("plan", plans.find), read("starts_on", _date)
    ends_on, last_day = read("ends_on", _date), read("valid_until", _date)
    visits_left = read("visits_left", _count)
    paid, owed, credit = read("paid", _amount), read("owed", _amount), read("credit", _amount)
    if not problems:
        ends_on = _end_of(ends_on, last_day, problems)
        _check_period(plan, starts_on, ends_on, visits_left, problems)
        if paid and plan is None:
            problems.append("An amount paid needs the period that it paid. For money in advance, use the credit.")
        if owed and credit:
            problems.append("A person owes money or has credit. Enter only the difference.")
    if problems or not first_name or not last_name:
        raise BadLine(" ".join(problems))
    return Member(
        first_name=first_name,
        last_name=last_name,
        phone_number=phone,
        email=email,
        dob=dob,
        consented_on=consented_on,
        plan=plan,
        starts_on=starts_on,
        ends_on=ends_on,
        visits_left=visits_left,
        paid=paid,
        owed=owed,
        credit=credit,
    )


def _end_of(ends_on: date | None, last_day: date | None, problems: list[str]) -> date | None:
    """Return the first day without access, from the one of the two columns that has a date."""
    if ends_on and last_day:
        problems.append("The line has a last day (valid_until) and a first day without access (ends_on). Use one.")
    return last_day + timedelta(days=1) if last_day else ends_on


def _check_period(
    plan: Plan | None, starts_on: date | None, ends_on: date | None, visits_left: int | None, problems: list[str]
) -> None:
    """Add what is wrong with the values of a period, taken together."""
    given = [plan is not None, starts_on is not None, ends_on is not None]
    if not any(given) and visits_left is None:
        return
    if plan is None or starts_on is None or ends_on is None:
        problems.append("A period needs the plan, the first day and the last day. Fill in all three or none.")
        return
    if ends_on <= starts_on:
        problems.append("The period ends before it starts. Check both dates.")
    if ends_on > LATEST_DATE:
        problems.append(f"The period ends after {LATEST_DATE.year - 1}. Check the year.")
    if plan.visits is None and visits_left is not None:
        problems.append(f"The plan {plan.name} has no visits to count. Leave the visits empty.")
    if plan.visits is not None and visits_left is None:
        problems.append(f"The plan {plan.name} is a pack of {plan.visits} visits. Fill in how many are left.")
    if plan.visits is not None and visits_left is not None and visits_left > plan.visits:
        problems.append(f"The plan {plan.name} has {plan.visits} visits, fewer than {visits_left}. Check the number.")


# --- Values -----------------------------------------------------------------------------------------


def _shown(cell: Cell) -> str:
    return str(cell)[:40]


def _text(cell: Cell) -> str:
    """Return the text of a cell without the mark for text of a spreadsheet: an apostrophe, or ="...".

    :raises Invalid: it is a formula, or the error of one
    """
    text = str(cell).removeprefix("'").strip()
    if marked := re.fullmatch(r'="([^"]*)"', text):
        return marked[1].strip()
    if text in SHEET_ERRORS:
        raise _BadValue(f"{text} is an error in the spreadsheet. Enter the value.")
    if text.startswith("="):
        raise _BadValue(f"{_shown(text)} is a formula. Copy the column, and paste it as values.")
    return text


def _name(cell: Cell) -> str:
    text = _text(cell)
    if len(text) > LONGEST_NAME:
        raise _BadValue(f"the name has more than {LONGEST_NAME} characters.")
    if not any(letter.isalpha() for letter in text):
        raise _BadValue(f"{_shown(text)} is not a name.")
    return text


def _first_and_last_name(cell: Cell) -> tuple[str, str]:
    """Return the first word and the others; with a comma, the name in front of it is the last name."""
    text = _name(cell)
    last, comma, first = text.partition(",")
    if not comma:
        first, _, last = text.partition(" ")
    if not first.strip() or not last.strip():
        raise _BadValue(f"{_shown(text)} is one name only. Write the first and the last name.")
    return _name(first.strip()), _name(last.strip())


def _phone(cell: Cell) -> str:
    if isinstance(cell, date):
        raise _BadValue("a date is not a phone number.")
    text = _text(cell)
    digits = re.sub(r"\.0$", "", text)
    if ROUNDED.fullmatch(digits):
        raise _BadValue(
            f"a spreadsheet has probably rounded the number to {digits}. Compare it with the club's records. If it is "
            f"right, write it as {_spaced(digits)}."
        )
    if SCIENTIFIC.fullmatch(text):
        raise _BadValue(
            f"the spreadsheet has shortened the number to {_shown(text)}, and its last digits are lost. Take it from "
            "the club's records again. In the spreadsheet, format the column as text before you enter numbers."
        )
    return normalise(digits)


def _spaced(digits: str) -> str:
    """Return nine or twelve digits as people write a phone number, which no spreadsheet takes for a number."""
    nine = digits[-9:]
    return f"0{nine[:3]} {nine[3:6]} {nine[6:]}"


def _email(cell: Cell) -> str:
    text = _text(cell)
    try:
        validate_email(text)
        plain_email(text)
        MaxLengthValidator(LONGEST_EMAIL)(text)
    except ValidationError:
        raise _BadValue(f"{_shown(text)} is not a valid e-mail address.") from None
    return text


def _count(cell: Cell) -> int:
    text = re.sub(r"\.0$", "", _text(cell))
    if not re.fullmatch(r"[0-9]{1,4}", text):
        raise _BadValue(f"{_shown(cell)} is not a whole number.")
    return int(text)


def _amount(cell: Cell) -> int:
    """Return an amount in whole KES, such as that of "KES 12,500.00" or "Ksh 12500/="."""
    text = _text(cell)
    if NO_AMOUNT.fullmatch(text):
        return 0
    found = AMOUNT.fullmatch(text)
    if not found:
        raise _BadValue(f"{_shown(text)} is not an amount. Write whole shillings, such as 12500 or KES 12,500.00.")
    if int(found[2] or 0):
        raise _BadValue(f"{_shown(text)} has cents. Write whole shillings.")
    digits = re.sub("[, ]", "", found[1])
    if len(digits) > 12 or int(digits) > MAX_KES:
        raise _BadValue(f"{_shown(text)} is more than KES {MAX_KES:,}.")
    return int(digits)


def _date(cell: Cell, *, earliest: date = EARLIEST_DATE, needs_century: bool = False) -> date:
    """Return the date of a cell. In text the day comes first, or the year with four digits.

    Two digits of a year are of this century, unless `needs_century` refuses them.
    """
    if isinstance(cell, date):
        return _in_range(cell, cell, earliest)
    text = _text(cell)
    if isinstance(cell, int | float):
        raise _BadValue(f"{_shown(cell)} is a number, not a date. Write it as 28/02/2027.")
    if found := ISO_DATE.fullmatch(text):
        year, month, day = found[1], int(found[2]), int(found[3])
    elif found := DAY_FIRST.fullmatch(text):
        year, month, day = found[4], int(found[3]), int(found[1])
    elif (found := NAMED_MONTH.fullmatch(text)) and (named := _month(found[2])):
        year, month, day = found[3], named, int(found[1])
    else:
        raise _BadValue(f"{_shown(text)} is not a date. Write it as 28/02/2027, 28 Feb 2027 or 2027-02-28.")
    if len(year) == 2 and needs_century:
        raise _BadValue(f"{_shown(text)} has a year of two digits. Write four.")
    try:
        found_date = date(int(year) + (2000 if len(year) == 2 else 0), month, day)
    except ValueError:
        hint = " The day comes first: 28/02/2027." if month > 12 else ""
        raise _BadValue(f"{_shown(text)} is not a date of the calendar.{hint}") from None
    return _in_range(found_date, text, earliest)


def _month(name: str) -> int | None:
    """Return the month with this English name, or with at least its first three letters."""
    return next((month for month, full in enumerate(MONTHS) if month and full.startswith(name.casefold())), None)


def _in_range(found: date, cell: Cell, earliest: date) -> date:
    if not earliest <= found <= LATEST_DATE:
        raise _BadValue(f"{_shown(cell)} has the year {found.year}. Check the year.")
    return found


def _past(found: date, today: date) -> date:
    if found > today:
        raise _BadValue(f"{found:%d/%m/%Y} is in the future.")
    return found
