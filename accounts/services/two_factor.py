"""The second factor: codes of an authenticator app, and recovery codes for the day the phone is gone.

django-otp keeps both, accepts a code once, and makes each wrong try wait twice as long as the one before. Every check
runs under a lock on the person's row, so that two requests never use one code, or one pending log-in, both.
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
TRIES_PER_LOGIN = 5  # wrong codes that one right password may be followed by
RECOVERY_CODES = 10
# Without 0, 1, l and o, for they are read off paper. Ten of 32 letters are 50 bits.
RECOVERY_ALPHABET, RECOVERY_LENGTH = "abcdefghijkmnpqrstuvwxyz23456789", 10

signer = signing.Signer(salt="accounts.pending-login")


class MfaInvalid(Unauthenticated):
    """The code is wrong, or was used before."""

    code, message = "mfa_invalid", "This code is not right, or was used before."


class MfaExpired(Unauthenticated):
    """No log-in waits for a code: too old, used, tried too often, forged or none."""

    code, message = "mfa_expired", "Please log in again."


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a right password earns who has a second factor: a token for the pending cookie, and ways to go on."""

    token: str
    methods: list[str]


def lock(user_id: int) -> CustomUser:
    """Return the person, locked until the caller's transaction ends: one look at their second factor at a time."""
    return CustomUser.objects.select_for_update(no_key=True).get(pk=user_id)


def has_second_factor(user: CustomUser) -> bool:
    """Say whether the person's log-ins ask for a second factor."""
    return Authenticator.objects.filter(user=user, confirmed=True).exists()


def challenge(*, user: CustomUser, remember: bool, now: datetime) -> Challenge:
    """Keep that the password was right, and ask for the second factor."""
    pending = PendingLogin.objects.create(
        user=user, remember=remember, created_at=now, expires_at=now + settings.MFA_PENDING_LIFETIME
    )
    has_codes = StaticToken.objects.filter(device__user=user).exists()
    return Challenge(token=signer.sign(str(pending.pk)), methods=[TOTP, RECOVERY] if has_codes else [TOTP])


def answer(*, token: str | None, method: str, code: str, caller: Caller, now: datetime) -> PendingLogin | None:
    """Use a pending log-in up by a right code; None for a wrong one, which is counted.

    Call inside the transaction that opens the session, and let it commit in both cases.

    :raises MfaExpired: no log-in waits for a code
    :raises TooMany: earlier wrong codes make this one wait
    """
    pending_id = _read(token)
    user_id = PendingLogin.objects.filter(pk=pending_id).values_list("user_id", flat=True).first()
    if user_id is None:
        raise MfaExpired
    user = lock(user_id)
    waiting = PendingLogin.objects.filter(
        pk=pending_id, used_at__isnull=True, expires_at__gt=now, attempts__lt=TRIES_PER_LOGIN
    )
    pending = waiting.first()
    if pending is None or not user.is_active:
        raise MfaExpired
    if not accept(user=user, method=method, code=code, caller=caller, now=now):
        waiting.update(attempts=F("attempts") + 1)
        return None
    pending.used_at, pending.user = now, user
    pending.save(update_fields=["used_at"])
    return pending


def accept(*, user: CustomUser, method: str, code: str, caller: Caller, now: datetime) -> bool:
    """Use a code up and say whether it was right. Call with the person locked, and let the transaction commit.

    :raises TooMany: earlier wrong codes make this one wait
    """
    right = use_recovery_code(user, code) if method == RECOVERY else use_totp(user, code)
    outcome = "ok" if right else "refused"
    audit.record("second_factor", user=user, caller=caller, now=now, outcome=outcome, method=method)
    if right and method == RECOVERY:
        notices.tell(user=user, kind=NoticeKind.RECOVERY_CODE_USED, now=now)
    return right


def use_totp(user: CustomUser, code: str, *, confirmed: bool = True) -> bool:
    """Say whether the authenticator app shows this code now, and showed it for the first time.

    :raises TooMany: earlier wrong codes make this one wait
    """
    device = Authenticator.objects.filter(user=user, confirmed=confirmed).first()
    if device is None:
        return False
    require_patience(device)
    device.key = seals.seal(device.bin_key, owner=user.pk)  # saved below: a former SECRET_KEY is needed once more only
    return device.verify_token(code)


def use_recovery_code(user: CustomUser, code: str) -> bool:
    """Say whether this is one of the person's recovery codes; it is none from now on.

    :raises TooMany: earlier wrong codes make this one wait
    """
    device = StaticDevice.objects.filter(user=user).first()
    if device is None:
        return False
    require_patience(device)
    kept = device.token_set.filter(token__in=hashes_of(code, user)).values_list("token", flat=True).first()
    return device.verify_token(kept or "")


def require_patience(device: Authenticator | StaticDevice) -> None:
    """:raises TooMany: the wait that the last wrong code earned is not over"""
    is_allowed, why = device.verify_is_allowed()
    if not is_allowed:
        raise TooMany(retry_after=math.ceil((why["locked_until"] - timezone.now()).total_seconds()))


def replace_recovery_codes(user: CustomUser) -> list[str]:
    """Draw new recovery codes and return them, this once; the old ones are none from now on."""
    StaticDevice.objects.filter(user=user).delete()
    device = StaticDevice.objects.create(user=user, name="recovery codes")
    codes = ["".join(secrets.choice(RECOVERY_ALPHABET) for _ in range(RECOVERY_LENGTH)) for _ in range(RECOVERY_CODES)]
    StaticToken.objects.bulk_create(StaticToken(device=device, token=hashes_of(code, user)[0]) for code in codes)
    return [f"{code[:5]}-{code[5:]}" for code in codes]


def hashes_of(code: str, user: CustomUser) -> list[str]:
    """Return what is kept of a recovery code under SECRET_KEY, and under the ones before it."""
    plain = code.lower().replace("-", "").replace(" ", "")
    return [
        salted_hmac(f"accounts.recovery-code.{user.pk}", plain, secret=key, algorithm="sha256").hexdigest()[:16]
        for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    ]


def _read(token: str | None) -> UUID:
    try:
        return UUID(signer.unsign(token or ""))
    except (signing.BadSignature, ValueError) as error:
        raise MfaExpired from error
