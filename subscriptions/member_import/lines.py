"""Lines of member lists: the values of one line, checked and converted."""

from datetime import date, datetime

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from api.business_days import business_day
from api.emails import plain_email
from api.errors import Invalid
from subscriptions.member_import.files import REQUIRED


class BadLine(Invalid):
    """A value of a line is wrong. The message says which one."""

    code = "bad_line"


def check_names(row: dict[str, str]) -> None:
    """Check the required values of a line.

    :raises BadLine: one is empty, too long, or has a null character
    """
    for name in REQUIRED:
        if not row[name] or len(row[name]) > 150 or "\x00" in row[name]:
            raise BadLine(f"{name} is empty or too long.")


def email_of(row: dict[str, str]) -> str | None:
    """Return the e-mail address of a line.

    :raises BadLine: it is not a valid address
    """
    email = row.get("email") or None
    if email:
        try:
            validate_email(email)
            plain_email(email)
        except ValidationError:
            raise BadLine("email is not a valid e-mail address.") from None
    return email


def date_of(row: dict[str, str], name: str) -> date | None:
    """Return the date in a column, or None if it is empty.

    :raises BadLine: it is not a date
    """
    if not row.get(name):
        return None
    try:
        return date.fromisoformat(row[name])
    except ValueError:
        raise BadLine(f"{name} must be a date such as 2027-02-28.") from None


def past_date_of(row: dict[str, str], name: str, now: datetime) -> date | None:
    """Return the date in a column.

    :raises BadLine: it is not a date, or in the future
    """
    found = date_of(row, name)
    if found and found > business_day(now):
        raise BadLine(f"{name} is in the future.")
    return found
