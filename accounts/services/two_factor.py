"""The second factor at login: codes of an authenticator app, and recovery codes for a lost phone.

django-otp stores both, accepts each code once, and doubles the waiting time after each wrong code. Every check runs
under a lock on the user's row, so that two concurrent requests cannot use the same code or the same pending login.
"""

import math
import secrets
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.core import signing
from django.db.models import F
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken

from accounts import seals
from accounts.models import Authenticator, CustomUser, NoticeKind, PendingLogin
from accounts.services import audit, notices
from accounts.services.audit import Caller
from api.errors import TooMany, Unauthenticated

TOTP, RECOVERY = "totp", "recovery"
ATTEMPTS_PER_LOGIN = 5  # wrong codes after one correct password
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


def answer_challenge(
    *, token: str | None, method: str, code: str, caller: Caller, now: datetime
) -> PendingLogin | None:
    """Use up a pending login and return it if the code is correct; else count the attempt and return None.

    Call it in the transaction that opens the login session, and commit in both cases.

    :raises MfaExpired: the token names no pending login, or one that can no longer be used
    :raises TooMany: the waiting time after the last wrong code is not over
    """
    pending_id = _pending_id(token)
    user_id = PendingLogin.objects.filter(pk=pending_id).values_list("user_id", flat=True).first()
    if user_id is None:
        raise MfaExpired
    user = lock_user(user_id)
    usable = PendingLogin.objects.filter(
        pk=pending_id, used_at__isnull=True, expires_at__gt=now, attempts__lt=ATTEMPTS_PER_LOGIN
    )
    pending = usable.first()
    if pending is None or not user.is_active:
        raise MfaExpired
    if not accept_code(user=user, method=method, code=code, caller=caller, now=now):
        usable.update(attempts=F("attempts") + 1)
        return None
    pending.used_at, pending.user = now, user
    pending.save(update_fields=["used_at"])
    return pending


def accept_code(*, user: CustomUser, method: str, code: str, caller: Caller, now: datetime) -> bool:
    """Use up a code, write the audit log, and return whether the code was correct.

    Call it with the user locked, and let the transaction commit.

    :raises TooMany: the waiting time after the last wrong code is not over
    """
    is_correct = use_recovery_code(user, code) if method == RECOVERY else use_totp(user, code)
    outcome = "ok" if is_correct else "refused"
    audit.record("second_factor", user=user, caller=caller, now=now, outcome=outcome, method=method)
    if is_correct and method == RECOVERY:
        notices.create(user=user, kind=NoticeKind.RECOVERY_CODE_USED, now=now)
    return is_correct


def use_totp(user: CustomUser, code: str, *, confirmed: bool = True) -> bool:
    """Return whether the authenticator app shows this code now and the code was not used before.

    :raises TooMany: the waiting time after the last wrong code is not over
    """
    device = Authenticator.objects.filter(user=user, confirmed=confirmed).first()
    if device is None:
        return False
    require_wait_is_over(device)
    # Encrypted again, and saved by verify_token: after this call a former SECRET_KEY is no longer needed.
    device.key = seals.seal(device.bin_key, owner=user.pk)
    return device.verify_token(code)


def use_recovery_code(user: CustomUser, code: str) -> bool:
    """Return whether this is one of the user's recovery codes, and delete it.

    :raises TooMany: the waiting time after the last wrong code is not over
    """
    device = StaticDevice.objects.filter(user=user).first()
    if device is None:
        return False
    require_wait_is_over(device)
    stored = device.token_set.filter(token__in=hashes_of(code, user)).values_list("token", flat=True).first()
    return device.verify_token(stored or "")


def require_wait_is_over(device: Authenticator | StaticDevice) -> None:
    """:raises TooMany: the waiting time after the last wrong code is not over"""
    is_allowed, why = device.verify_is_allowed()
    if not is_allowed:
        raise TooMany(retry_after=math.ceil((why["locked_until"] - timezone.now()).total_seconds()))


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
