"""Short codes that prove a phone number or an e-mail address.

A code is drawn by the job that sends it, so that it stands in no job argument, log or answer; the database
keeps a keyed hash. Five tries, then it is dead; six digits and ten minutes make guessing hopeless.
"""

import hashlib
import hmac
import secrets
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
TRIES = 5
# How many codes within how many seconds. Five tries each make fifty guesses a day at a million.
SENDS_PER_ADDRESS = {60 * 60: 5, 24 * 60 * 60: 10}
# From one place, whoever they are for: codes asked for, so that no stranger texts every member, and tries at them.
ASKED_PER_PLACE, ASKED_WINDOW = 30, 60 * 60  # seconds
TRIES_PER_PLACE, TRIES_WINDOW = 60, 15 * 60  # seconds

TEXTS = {
    CodePurpose.VERIFY: "{code} is your {club} code. It works for 10 minutes. Tell it to nobody.",
    CodePurpose.RESET: "{code} lets you set a new {club} password. It works for 10 minutes. Tell it to nobody.",
    CodePurpose.EMAIL: "{code} makes this the e-mail address of your {club} account. It works for 10 minutes.",
    CodePurpose.PHONE: "{code} makes this the phone number of your {club} account. It works for 10 minutes.",
}


class InvalidOrExpiredKey(Invalid):
    """Wrong, used, tried too often, too old or nobody's: told alike."""

    code, message = "invalid_or_expired_key", "This code is not right, or no longer."


def request(*, user: CustomUser, purpose: CodePurpose, address: str, now: datetime, password: str = "") -> None:
    """Have a fresh code sent; it replaces any earlier one. Call inside the caller's transaction.

    `password` is the hash of one that becomes theirs with the code, if any.

    :raises TooMany: too many codes were sent to this address
    """
    count_send(address, purpose, now)
    end_open(user=user, purpose=purpose, now=now)
    code = OneTimeCode.objects.create(
        user=user, purpose=purpose, address=address, password=password, created_at=now, expires_at=now + LIFETIME
    )
    # By name: accounts.jobs imports this module.
    app.configure_task("accounts.send_code").defer(code_id=code.pk)


def count_asked(ip: str | None, now: datetime) -> None:
    """Count a code that a place asks for, for whomever.

    :raises TooMany: it has asked for too many
    """
    throttling.count(f"codes:{ip}", ASKED_PER_PLACE, ASKED_WINDOW, now)


def count_try(ip: str | None, now: datetime) -> None:
    """Count a code that a place gives, right or wrong.

    :raises TooMany: it has tried too many
    """
    throttling.count(f"verify:{ip}", TRIES_PER_PLACE, TRIES_WINDOW, now)


def count_send(address: str, purpose: CodePurpose, now: datetime) -> None:
    """Count a code to an address, also one that is nobody's and gets none: the limit must tell nothing.

    Each purpose by itself: strangers who register somebody's address do not keep them from resetting their password.

    :raises TooMany: too many codes were sent to this address
    """
    for window, sends in SENDS_PER_ADDRESS.items():
        throttling.count(f"code:{purpose}:{window}:{throttling.hashed(address)}", sends, window, now)


def end_open(*, user: CustomUser, now: datetime, purpose: CodePurpose | None = None) -> None:
    """End the person's open codes, of one purpose or of all. Twice is harmless."""
    still_open = OneTimeCode.objects.filter(user=user, used_at__isnull=True)
    if purpose is not None:
        still_open = still_open.filter(purpose=purpose)
    still_open.update(used_at=now)


def deliver(*, code_id: int, now: datetime) -> None:
    """Draw the code and send it. A repeat draws another one: the last message sent is the one that works.

    :raises SmsNotSent: the gateway did not take it; the job tries again
    """
    row = OneTimeCode.objects.filter(pk=code_id, used_at__isnull=True, expires_at__gt=now).first()
    if row is None:
        return
    code = f"{secrets.randbelow(1_000_000):06d}"
    row.code_hash = hash_of(code)
    row.save(update_fields=["code_hash"])
    text = TEXTS[CodePurpose(row.purpose)].format(code=code, club=settings.CLUB_NAME)
    messages.send(address=row.address, subject="your code", text=text)


def redeem(*, user: CustomUser | None, purpose: CodePurpose, code: str, now: datetime) -> OneTimeCode:
    """Use a person's code up. A wrong try counts even when the caller's answer is a refusal.

    :raises InvalidOrExpiredKey: whatever is wrong with it
    """
    row = open_codes(purpose, now).filter(user=user).first()
    if row is None:
        raise InvalidOrExpiredKey
    return use(row, code=code, now=now)


def find_open(
    *, purpose: CodePurpose, of: CustomUser | None, address: str, code: str, now: datetime
) -> OneTimeCode | None:
    """Return the row of a code that waits at an address or for a person: the one that was given, or else the newest."""
    rows = list(
        open_codes(purpose, now).filter(Q(user=of) | contact_matches("address", address)).select_related("user")
    )
    given = (row for row in rows if hmac.compare_digest(row.code_hash, hash_of(code)))
    return next(given, rows[0] if rows else None)


def open_codes(purpose: CodePurpose, now: datetime):
    """Return the codes that may still be given, the newest first."""
    waiting = OneTimeCode.objects.filter(purpose=purpose, used_at__isnull=True, expires_at__gt=now, attempts__lt=TRIES)
    return waiting.order_by("-created_at")


def use(row: OneTimeCode, *, code: str, now: datetime) -> OneTimeCode:
    """Use a code up, once. A wrong try counts even when the caller's answer is a refusal.

    :raises InvalidOrExpiredKey: it is wrong, or no longer good
    """
    with transaction.atomic():
        still_open = open_codes(CodePurpose(row.purpose), now).select_for_update(of=["self"]).filter(pk=row.pk).first()
        if still_open and hmac.compare_digest(still_open.code_hash, hash_of(code)):
            still_open.used_at = now
            still_open.save(update_fields=["used_at"])
            return still_open
        if still_open:
            OneTimeCode.objects.filter(pk=row.pk).update(attempts=F("attempts") + 1)
    raise InvalidOrExpiredKey


def hash_of(code: str) -> str:
    """Return a keyed hash: six digits alone could be tried out by who reads the table."""
    return hmac.new(settings.SECRET_KEY.encode(), code.encode(), hashlib.sha256).hexdigest()
