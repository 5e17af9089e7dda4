"""One-time codes: six digits that prove that a user can read a phone number or an e-mail address.

The job that sends a code also creates it, so that no job argument, log or response contains it. The database stores a
keyed hash. A code allows five attempts within ten minutes, which makes guessing hopeless.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from procrastinate.contrib.django import app

from accounts import messages
from accounts.backends import contact_matches
from accounts.models import CodePurpose, CustomUser, OneTimeCode
from api import throttling
from api.errors import Invalid

LIFETIME = timedelta(minutes=10)
ATTEMPTS = 5
# Seconds of a window: codes to one contact within it. With five attempts each, fifty guesses a day at a million codes.
CODES_PER_CONTACT = {60 * 60: 5, 24 * 60 * 60: 10}
# From one IP address, for any contacts: code requests, so that nobody sends an SMS to every member; and attempts.
REQUESTS_PER_IP, REQUESTS_WINDOW = 30, 60 * 60  # seconds
ATTEMPTS_PER_IP, ATTEMPTS_WINDOW = 60, 15 * 60  # seconds

TEXTS = {
    CodePurpose.VERIFY: "{code} is your {club} code.",
    CodePurpose.RESET: "{code} is your code for a new {club} password.",
    CodePurpose.EMAIL: "{code} confirms this e-mail address for your {club} account.",
    CodePurpose.PHONE: "{code} confirms this phone number for your {club} account.",
}
ADVICE = "It works for 10 minutes. Do not share it with anyone."


class InvalidOrExpiredKey(Invalid):
    """The code is wrong, used, expired, of another user, or had too many attempts: one error for all."""

    code, message = "invalid_or_expired_key", "This code is wrong or has expired. Ask for a new one."


def request(*, user: CustomUser, purpose: CodePurpose, contact: str, now: datetime, password: str = "") -> None:
    """Create a code and the job that sends it, in the caller's transaction. Earlier codes of this purpose end.

    `password` is the hash of a password that the code activates, if any.

    :raises TooMany: too many codes were sent to this contact
    """
    count_code(contact, purpose, now)
    end_open(user=user, purpose=purpose, now=now)
    code = OneTimeCode.objects.create(
        user=user, purpose=purpose, address=contact, password=password, created_at=now, expires_at=now + LIFETIME
    )
    # By name: accounts.jobs imports this module.
    app.configure_task("accounts.send_code").defer(code_id=code.pk)


def count_request(ip: str | None, now: datetime) -> None:
    """Count a code that an IP address asks for, for any contact.

    :raises TooMany: too many requests from this IP address
    """
    throttling.count(f"codes:{ip}", REQUESTS_PER_IP, REQUESTS_WINDOW, now)


def count_attempt(ip: str | None, now: datetime) -> None:
    """Count a code that an IP address sends in, right or wrong.

    :raises TooMany: too many attempts from this IP address
    """
    throttling.count(f"verify:{ip}", ATTEMPTS_PER_IP, ATTEMPTS_WINDOW, now)


def count_code(contact: str, purpose: CodePurpose, now: datetime) -> None:
    """Count one code for a contact, known or unknown, so that the limit cannot be used to find accounts.

    Each purpose has its own count: strangers who register another user's contact cannot use up the codes that this
    user needs to reset a password.

    :raises TooMany: too many codes for this contact
    """
    for window, limit in CODES_PER_CONTACT.items():
        throttling.count(f"code:{purpose}:{window}:{throttling.hashed(contact)}", limit, window, now)


def end_open(*, user: CustomUser, now: datetime, purpose: CodePurpose | None = None) -> None:
    """End the user's open codes, of one purpose or of all. A repeated call changes nothing."""
    open_rows = OneTimeCode.objects.filter(user=user, used_at__isnull=True)
    if purpose is not None:
        open_rows = open_rows.filter(purpose=purpose)
    open_rows.update(used_at=now)


def deliver(*, code_id: int, now: datetime) -> None:
    """Create the six digits and send them. A repeated call creates new digits: the last message is the one that works.

    :raises SmsNotSent: the gateway refused the message; the job tries again
    """
    row = OneTimeCode.objects.filter(pk=code_id, used_at__isnull=True, expires_at__gt=now).first()
    if row is None:
        return
    code = random_code()
    row.code_hash = hash_of(code)
    row.save(update_fields=["code_hash"])
    text = TEXTS[CodePurpose(row.purpose)].format(code=code, club=settings.CLUB_NAME)
    messages.send(contact=row.address, subject="your code", text=f"{text} {ADVICE}")


def redeem(
    *,
    user: CustomUser | None,
    purpose: CodePurpose,
    code: str,
    now: datetime,
    check: Callable[[CustomUser], None] | None = None,
) -> OneTimeCode:
    """Use up the newest code of a user. A wrong attempt is counted, and its count is committed.

    `check` is called with the user after the code proved correct. What it raises leaves the code open.

    :raises InvalidOrExpiredKey: for any reason
    """
    row = open_codes(purpose, now).filter(user=user).first()
    if row is None:
        raise InvalidOrExpiredKey
    return use(row, code=code, now=now, check=check)


def find_open(
    *, purpose: CodePurpose, user: CustomUser | None, contact: str, code: str, now: datetime
) -> OneTimeCode | None:
    """Return the open code of a user or of a contact that has these digits, or else the newest one, or None."""
    matching = open_codes(purpose, now).filter(Q(user=user) | contact_matches("address", contact))
    rows = list(matching.select_related("user"))
    with_these_digits = (row for row in rows if hmac.compare_digest(row.code_hash, hash_of(code)))
    return next(with_these_digits, rows[0] if rows else None)


def open_codes(purpose: CodePurpose, now: datetime):
    """Return the codes that can still be used, newest first."""
    rows = OneTimeCode.objects.filter(purpose=purpose, used_at__isnull=True, expires_at__gt=now, attempts__lt=ATTEMPTS)
    return rows.order_by("-created_at")


def use(
    row: OneTimeCode, *, code: str, now: datetime, check: Callable[[CustomUser], None] | None = None
) -> OneTimeCode:
    """Use up a code, once. A wrong attempt is counted, and its count is committed. `check` as for `redeem`.

    :raises InvalidOrExpiredKey: the code is wrong, or can no longer be used
    """
    with transaction.atomic():
        still_open = open_codes(CodePurpose(row.purpose), now).select_for_update(of=["self"]).filter(pk=row.pk).first()
        if still_open and hmac.compare_digest(still_open.code_hash, hash_of(code)):
            if check:
                check(still_open.user)
            still_open.used_at = now
            still_open.save(update_fields=["used_at"])
            return still_open
        if still_open:
            OneTimeCode.objects.filter(pk=row.pk).update(attempts=F("attempts") + 1)
    raise InvalidOrExpiredKey


def random_code() -> str:
    """Return six random digits."""
    return f"{secrets.randbelow(1_000_000):06d}"


def hash_of(code: str) -> str:
    """Return a keyed hash: a plain hash of six digits could be reversed by anyone who reads the table."""
    return hmac.new(settings.SECRET_KEY.encode(), code.encode(), hashlib.sha256).hexdigest()
