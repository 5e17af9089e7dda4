"""Logging in to the admin: the rules of the API, for a session of Django's."""

from datetime import UTC, datetime

from django.db import transaction

from accounts.models import CustomUser, SecurityEvent
from accounts.services import audit, factors, sessions
from accounts.services.audit import Caller
from api.authentication import needs_second_factor
from api.errors import Unauthenticated


class CodeNeeded(Unauthenticated):
    """Told only to who knows the password."""

    code, message = "mfa_required", "Please give the password again, and the code that your authenticator app shows."


def log_in(*, identifier: str, password: str, code: str, caller: Caller, now: datetime) -> CustomUser:
    """Check the password and, of who has one, the second factor; the person's `amr` says what was proved.

    No proved address is asked for, as the API does: only who may already enter makes somebody staff.

    :raises InvalidCredentials: unknown, wrong, inactive or not staff, told alike
    :raises CodeNeeded: the password is right, and a code is needed as well
    :raises MfaInvalid: the code is wrong, or was used before
    :raises TooMany: too many tries, of either
    """
    user = sessions.check_password(identifier=identifier, password=password, caller=caller, now=now)
    if not user.is_staff:
        audit.record("login", user=user, caller=caller, now=now, outcome="refused", reason="not_staff")
        raise sessions.InvalidCredentials
    user.amr = ["pwd"]
    if factors.has_second_factor(user):
        check_code(user=user, code=code, caller=caller, now=now)
        user.amr = ["pwd", "otp"]
    audit.record("login", user=user, caller=caller, now=now, to="admin")
    return user


def check_code(*, user: CustomUser, code: str, caller: Caller, now: datetime) -> None:
    """Use up a code of the app, six digits, or a recovery code, which is longer.

    :raises CodeNeeded: there is none
    :raises MfaInvalid: it is wrong, or was used before
    :raises TooMany: earlier wrong codes make this one wait
    """
    if not code:
        raise CodeNeeded
    method = factors.TOTP if len(code) == 6 else factors.RECOVERY
    with transaction.atomic():
        factors.lock(user.pk)
        is_right = factors.accept(user=user, method=method, code=code, caller=caller, now=now)
    if not is_right:
        raise factors.MfaInvalid


def has_proved_enough(user: CustomUser, amr: list[str]) -> bool:
    """Say whether who proved `amr` at log-in may act: with a second factor if they have one now, or must have one."""
    if factors.has_second_factor(user):
        return "otp" in amr
    return not needs_second_factor(user)


def sessions_ended_since(user: CustomUser, began: float) -> bool:
    """Say whether all of the person's sessions were ended after the moment (a POSIX timestamp) at which one began."""
    began_at = datetime.fromtimestamp(began, UTC)
    return SecurityEvent.objects.filter(user=user, event="sessions_revoked", at__gt=began_at).exists()
