"""The second factor at login: codes of an authenticator app, and recovery codes for a lost phone.

django-otp stores both and accepts each code once. Every check runs under a lock on the user's row, so that two
concurrent requests cannot use the same code or the same pending login.

A guarded login asks everybody for a code (services/login_sessions.py). Who has no app gets one by message.
"""

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.core import signing
from django.db import transaction
from django.db.models import F
from django.utils.crypto import salted_hmac
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from procrastinate.contrib.django import app

from accounts import messages, seals
from accounts.models import Authenticator, CustomUser, NoticeKind, PendingLogin
from accounts.services import audit, devices, notices, one_time_codes
from accounts.services.audit import Caller
from api import throttling
from api.errors import TooMany, Unauthenticated

TOTP, RECOVERY, MESSAGE = "totp", "recovery", "message"
ATTEMPTS_PER_LOGIN = 5  # wrong codes after one correct password
# Wrong codes for one user, after any number of correct passwords. Three of a million codes are correct at a time.
CODES_PER_PERSON, CODES_WINDOW = 10, 60 * 60  # seconds
MESSAGES_PER_PERSON, MESSAGES_WINDOW = 10, 60 * 60  # seconds
RECOVERY_CODES = 10
# Without 0, 1, l and o, since people read the codes from paper. Ten of 32 letters are 50 bits.
RECOVERY_ALPHABET, RECOVERY_LENGTH = "abcdefghijkmnpqrstuvwxyz23456789", 10

signer = signing.Signer(salt="accounts.pending-login")


class MfaInvalid(Unauthenticated):
    """The code is wrong, or was used before."""

    code, message = "mfa_invalid", "This code is wrong or was used before. Try another one."


class MfaExpired(Unauthenticated):
    """The pending login is missing, forged, expired, used, or had too many attempts."""

    code, message = "mfa_expired", "Please log in again."


@dataclass(frozen=True, slots=True)
class Challenge:
    """The answer to a correct password when a second factor is needed: the token of the pending cookie, and methods."""

    token: str
    methods: list[str]


@dataclass(frozen=True, slots=True)
class Answered:
    """A pending login after the correct code: the user, how they logged in (RFC 8176 names), and for how long."""

    user: CustomUser
    amr: list[str]
    remember: bool


def lock_user(user_id: int) -> CustomUser:
    """Return the user, locked until the caller's transaction ends."""
    return CustomUser.objects.select_for_update(no_key=True).get(pk=user_id)


def has_second_factor(user: CustomUser) -> bool:
    """Return whether the user must give a second factor at login."""
    return Authenticator.objects.filter(user=user, confirmed=True).exists()


def create_challenge(*, user: CustomUser, remember: bool, now: datetime) -> Challenge:
    """Create the pending login of a user whose password was correct."""
    pending = PendingLogin.objects.create(
        user=user, remember=remember, created_at=now, expires_at=now + settings.MFA_PENDING_LIFETIME
    )
    has_recovery_codes = StaticToken.objects.filter(device__user=user).exists()
    return Challenge(token=signer.sign(str(pending.pk)), methods=[TOTP, RECOVERY] if has_recovery_codes else [TOTP])


def create_guarded_challenge(*, user: CustomUser | None, remember: bool, now: datetime) -> Challenge:
    """Create the pending login of a guarded attempt, also after a wrong password (then `user` is None).

    Both run the same statements. A job sends a code to a user without an authenticator app.
    """
    with transaction.atomic():
        # Read again: a password changed or an account deactivated during the check must not leave a pending login.
        unchanged = {"pk": user.pk, "password": user.password} if user else {"pk": 0, "password": ""}
        current = CustomUser.objects.select_for_update(no_key=True).filter(is_active=True, **unchanged).first()
        pending = PendingLogin.objects.create(
            user=current,
            is_guarded=True,
            remember=remember,
            created_at=now,
            expires_at=now + settings.MFA_PENDING_LIFETIME,
        )
        app.configure_task("accounts.send_login_code").defer(pending_id=str(pending.pk))
    return Challenge(token=signer.sign(str(pending.pk)), methods=[TOTP, RECOVERY, MESSAGE])


def deliver_login_code(*, pending_id: str, now: datetime) -> None:
    """Send the code of a guarded login to the user's phone, or by e-mail. A repeated call sends other digits.

    :raises SmsNotSent: the gateway refused the message; the job tries again
    """
    usable = PendingLogin.objects.select_related("user").filter(used_at__isnull=True, expires_at__gt=now)
    pending = usable.filter(pk=pending_id).first()
    user = pending and pending.user
    if not pending or not user or has_second_factor(user):
        return
    contact = user.verified_contact or user.phone_number or user.email
    key = f"code:login:{user.pk}"
    if not contact or throttling.count_all({key: MESSAGES_PER_PERSON}, MESSAGES_WINDOW, now)[key].is_over:
        return
    code = one_time_codes.random_code()
    pending.code_hash = one_time_codes.hash_of(code)
    pending.save(update_fields=["code_hash"])
    text = f"{code} is your code to log in to {settings.CLUB_NAME}. If you are not logging in, change your password."
    messages.send(contact=contact, subject="your code", text=text)


def answer_challenge(*, token: str | None, method: str, code: str, caller: Caller, now: datetime) -> Answered | None:
    """Use up a pending login and return its user if the code is correct; else count the attempt and return None.

    Call it in the transaction that opens the login session, and commit in both cases.

    :raises MfaExpired: the token names no pending login, or one that can no longer be used
    :raises TooMany: too many wrong codes for this user
    """
    pending_id = _pending_id(token)
    found = PendingLogin.objects.filter(pk=pending_id).values_list("user_id", flat=True)[:1]
    if not found:
        raise MfaExpired
    user = CustomUser.objects.select_for_update(no_key=True).filter(pk=found[0] or 0).first()
    usable = PendingLogin.objects.filter(
        pk=pending_id, used_at__isnull=True, expires_at__gt=now, attempts__lt=ATTEMPTS_PER_LOGIN
    )
    pending = usable.select_for_update().first()
    if pending is None or (user and not user.is_active):
        raise MfaExpired
    if pending.is_guarded:
        amr = accept_guarded(pending=pending, user=user, method=method, code=code, caller=caller, now=now)
    elif user and accept_code(user=user, method=method, code=code, caller=caller, now=now):
        amr = ["pwd", "otp"]
    else:
        amr = []
    if not user or not amr:
        usable.update(attempts=F("attempts") + 1)
        return None
    pending.used_at = now
    pending.save(update_fields=["used_at"])
    return Answered(user, amr, pending.remember)


def accept_guarded(
    *, pending: PendingLogin, user: CustomUser | None, method: str, code: str, caller: Caller, now: datetime
) -> list[str]:
    """Check the code of a guarded login: of the app or a recovery code, or of the message if the user has no app.

    Return the methods of the login, or nothing. A wrong code looks the same after a correct and after a wrong password,
    and so does one too many.
    """
    has_app = Authenticator.objects.filter(user_id=user.pk if user else 0, confirmed=True).exists()
    if user and has_app:
        try:
            is_correct = accept_code(user=user, method=method, code=code, caller=caller, now=now)
        except TooMany:
            is_correct = False
        return ["pwd", "otp"] if is_correct else []
    is_correct = method == TOTP and hmac.compare_digest(pending.code_hash, one_time_codes.hash_of(code))
    outcome = "ok" if is_correct else "refused"
    audit.record("second_factor", user=user, caller=caller, now=now, outcome=outcome, method=MESSAGE)
    return ["pwd"] if is_correct else []


def accept_code(*, user: CustomUser, method: str, code: str, caller: Caller, now: datetime) -> bool:
    """Use up a code, write the audit log, and return whether the code was correct.

    Call it with the user locked, and let the transaction commit.

    :raises TooMany: too many wrong codes for this user. A browser in which they have logged in before has its own count
    """
    key = f"mfa:{user.pk}:{devices.device_of(caller.device, user) or 'anywhere'}"
    throttling.count(key, CODES_PER_PERSON, CODES_WINDOW, now)
    is_correct = use_recovery_code(user, code) if method == RECOVERY else use_totp(user, code)
    outcome = "ok" if is_correct else "refused"
    audit.record("second_factor", user=user, caller=caller, now=now, outcome=outcome, method=method)
    if is_correct:
        throttling.reset(key)
    if is_correct and method == RECOVERY:
        notices.create(user=user, kind=NoticeKind.RECOVERY_CODE_USED, now=now)
    return is_correct


def use_totp(user: CustomUser, code: str, *, confirmed: bool = True) -> bool:
    """Return whether the authenticator app shows this code now and the code was not used before."""
    device = Authenticator.objects.filter(user=user, confirmed=confirmed).first()
    if device is None:
        return False
    # Encrypted again, and saved by verify_token: after this call a former SECRET_KEY is no longer needed.
    device.key = seals.seal(device.bin_key, owner=user.pk)
    return device.verify_token(code)


def use_recovery_code(user: CustomUser, code: str) -> bool:
    """Return whether this is one of the user's recovery codes, and delete it."""
    return StaticToken.objects.filter(device__user=user, token__in=hashes_of(code, user)).delete()[0] > 0


def replace_recovery_codes(user: CustomUser) -> list[str]:
    """Create new recovery codes and delete the old ones. Only this call can return them: the database has hashes."""
    StaticDevice.objects.filter(user=user).delete()
    device = StaticDevice.objects.create(user=user, name="recovery codes")
    codes = ["".join(secrets.choice(RECOVERY_ALPHABET) for _ in range(RECOVERY_LENGTH)) for _ in range(RECOVERY_CODES)]
    StaticToken.objects.bulk_create(StaticToken(device=device, token=hashes_of(code, user)[0]) for code in codes)
    return [f"{code[:5]}-{code[5:]}" for code in codes]


def hashes_of(code: str, user: CustomUser) -> list[str]:
    """Return the keyed hashes of a recovery code: under SECRET_KEY, and under each of SECRET_KEY_FALLBACKS."""
    plain = code.lower().replace("-", "").replace(" ", "")
    return [
        salted_hmac(f"accounts.recovery-code.{user.pk}", plain, secret=key, algorithm="sha256").hexdigest()[:16]
        for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    ]


def _pending_id(token: str | None) -> UUID:
    try:
        return UUID(signer.unsign(token or ""))
    except (signing.BadSignature, ValueError) as error:
        raise MfaExpired from error
