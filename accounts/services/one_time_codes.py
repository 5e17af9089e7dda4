"""One-time codes: six digits that prove that a user can read a phone number or an e-mail address.

The job that sends a code also creates it, so that no job argument, log or response contains it. The database stores a
keyed hash. A code allows five attempts within ten minutes, which makes guessing hopeless.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils.crypto import salted_hmac
from procrastinate.contrib.django import app

from accounts import messages
from accounts.backends import contact_matches, find_by_identifier
from accounts.models import CodePurpose, CustomUser, OneTimeCode
from accounts.services import devices
from accounts.services.audit import Caller
from api import throttling
from api.errors import Invalid
from api.identifiers import fold
from api.ip_addresses import place_of

LIFETIME = timedelta(minutes=10)
ATTEMPTS = 5
# Seconds of a window: codes for one identifier within it, asked for at one place or in one known browser.
CODES_PER_IDENTIFIER = {60 * 60: 5, 24 * 60 * 60: 10}
# Codes for one identifier from all places within an hour, and codes to one contact. Not for a day: strangers who use
# them up must not lock the owner out for longer, and the codes that they ask for work for the owner.
CODES_FROM_EVERYWHERE, EVERYWHERE_WINDOW = 10, 60 * 60  # seconds
REQUESTS_WINDOW = 60 * 60  # seconds, of settings.UNPROVED_CODES_PER_PLACE
ATTEMPTS_PER_PLACE, ATTEMPTS_WINDOW = 60, 15 * 60  # wrong codes; seconds

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


def request(*, user: CustomUser, purpose: CodePurpose, contact: str, now: datetime) -> None:
    """Create a code and the job that sends it, in the caller's transaction. Earlier codes of this purpose end."""
    end_open(user=user, purpose=purpose, now=now)
    code = OneTimeCode.objects.create(
        user=user, purpose=purpose, address=contact, created_at=now, expires_at=now + LIFETIME
    )
    # By name: accounts.jobs imports this module.
    app.configure_task("accounts.send_code").defer(code_id=code.pk)


def ask(
    *,
    identifier: str,
    purpose: CodePurpose,
    caller: Caller,
    now: datetime,
    password: str = "",
    selector: str = "",
    registration: dict[str, Any] | None = None,
) -> None:
    """Ask for a code by an identifier, known or unknown. A job looks it up (services/code_requests.py).

    Count it first, by `count_code`.
    """
    origin = {"ip": caller.ip, "user_agent": caller.user_agent, "request_id": caller.request_id}
    with transaction.atomic():
        row = OneTimeCode.objects.create(
            purpose=purpose,
            address=fold(identifier),
            password=password,
            selector=selector,
            request={"caller": origin, "registration": registration},
            created_at=now,
            expires_at=now + LIFETIME,
        )
        app.configure_task("accounts.answer_code_request").defer(code_id=row.pk)


def count_attempt(caller: Caller, now: datetime) -> None:
    """Count a code that is sent in from a place. `count_proof` takes a correct one back.

    :raises TooMany: too many wrong codes from this place
    """
    throttling.count(f"verify:{place_of(caller.ip)}", ATTEMPTS_PER_PLACE, ATTEMPTS_WINDOW, now)


def count_proof(caller: Caller) -> None:
    """Take back what a correct code was counted for: the request of the code, and the attempt."""
    place = place_of(caller.ip)
    throttling.give_back(f"codes:{place}", f"verify:{place}")


def count_code(identifier: str, purpose: CodePurpose, caller: Caller, now: datetime) -> None:
    """Count one code for an identifier, known or unknown, as it was typed, and for the place of the caller.

    The limit shows neither which identifiers are known, nor which of them belong to one user. A browser in which the
    user has logged in before has its own counter, which strangers cannot use up. Each purpose has its own count:
    strangers who register another user's contact cannot use up the codes that this user needs to reset a password.

    :raises TooMany: too many codes for this identifier, or from this place
    """
    place = place_of(caller.ip)
    throttling.count(f"codes:{place}", settings.UNPROVED_CODES_PER_PLACE, REQUESTS_WINDOW, now)
    key = f"code:{purpose}:{throttling.hashed(identifier)}"
    device = devices.device_of(caller.device, find_by_identifier(identifier)) if caller.device else None
    for window, limit in CODES_PER_IDENTIFIER.items():
        throttling.count(f"{key}:{device or place}:{window}", limit, window, now)
    if not device:
        throttling.count(key, CODES_FROM_EVERYWHERE, EVERYWHERE_WINDOW, now)


def may_send_to(contact: str, now: datetime) -> bool:
    """Count a code that goes to a contact, by whichever identifier it was asked for; return whether it may be sent."""
    key = f"code:to:{throttling.hashed(contact)}"
    return not throttling.count_all({key: CODES_FROM_EVERYWHERE}, EVERYWHERE_WINDOW, now)[key].is_over


def end_open(*, user: CustomUser, now: datetime, purpose: CodePurpose | None = None, selector: str = "") -> None:
    """End the user's open codes, of one purpose or of all. A repeated call changes nothing.

    With a `selector` only the codes of the same registration end: a stranger who registers the same contact must not
    end the owner's registration.
    """
    open_rows = OneTimeCode.objects.filter(user=user, used_at__isnull=True)
    if purpose is not None:
        open_rows = open_rows.filter(purpose=purpose)
    if selector:
        open_rows = open_rows.filter(selector=selector)
    open_rows.update(used_at=now)


def deliver(*, code_id: int, now: datetime) -> None:
    """Create the six digits and send them. A repeated call creates new digits: the last message is the one that works.

    :raises SmsNotSent: the gateway refused the message; the job tries again
    """
    usable = OneTimeCode.objects.filter(used_at__isnull=True, expires_at__gt=now, user__isnull=False)
    row = usable.filter(pk=code_id).first()
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
    *, purpose: CodePurpose, user: CustomUser | None, contact: str, selector: str, now: datetime
) -> OneTimeCode | None:
    """Return the one open code of a user or of a contact at which a guess is made, or None.

    It is the newest one of the registration that has this selector, or else the newest one without a registration.
    Several people may have registered the contact at once; a guess is never held against more than one of their codes.
    """
    matching = open_codes(purpose, now).filter(Q(user=user) | contact_matches("address", contact))
    by_selector: dict[str, OneTimeCode] = {}
    for row in matching.select_related("user"):
        by_selector.setdefault(row.selector, row)
    return by_selector.get(selector) or by_selector.get("")


def selector_of(password: str) -> str:
    """Return 16 bits of a keyed hash of a password: enough to tell a few registrations apart, too few to find it."""
    return salted_hmac("accounts.registration", password, algorithm="sha256").hexdigest()[:4]


def open_codes(purpose: CodePurpose, now: datetime):
    """Return the codes that can still be used, newest first."""
    rows = OneTimeCode.objects.filter(
        purpose=purpose, used_at__isnull=True, expires_at__gt=now, attempts__lt=ATTEMPTS, user__isnull=False
    )
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
