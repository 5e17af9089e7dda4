"""Logging in to the admin: the rules of the API, for a session of Django's."""

from dataclasses import dataclass
from datetime import UTC, datetime

from django.contrib.sessions.backends.base import SessionBase
from django.db import transaction
from django.db.models import Exists, OuterRef

from accounts.models import Authenticator, CustomUser, SecurityEvent
from accounts.receivers import AMR, LOGGED_IN_AT
from accounts.services import audit, login_sessions, two_factor
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
    user = login_sessions.check_password(identifier=identifier, password=password, caller=caller, now=now)
    if not user.is_staff:
        audit.record("login", user=user, caller=caller, now=now, outcome="refused", reason="not_staff")
        raise login_sessions.InvalidCredentials
    user.amr = ["pwd"]
    if two_factor.has_second_factor(user):
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
    method = two_factor.TOTP if len(code) == 6 else two_factor.RECOVERY
    with transaction.atomic():
        two_factor.lock(user.pk)
        is_right = two_factor.accept(user=user, method=method, code=code, caller=caller, now=now)
    if not is_right:
        raise two_factor.MfaInvalid


@dataclass(frozen=True, slots=True)
class Standing:
    """What has become of a log-in to the admin, which is a session of Django's."""

    has_second_factor: bool
    was_ended: bool
    may_act: bool


def standing_of(user: CustomUser, session: SessionBase) -> Standing:
    """Say in one query whether who logged in so may still act.

    Not without the second factor that they have by now, or must have; and not when all of their sessions were ended
    since, which ends the API's by their rows, and the admin's by what the audit says of those.
    """
    began = datetime.fromtimestamp(session.get(LOGGED_IN_AT, 0), UTC)
    has_factor, was_ended = CustomUser.objects.values_list(
        Exists(Authenticator.objects.filter(user=OuterRef("pk"), confirmed=True)),
        Exists(SecurityEvent.objects.filter(user=OuterRef("pk"), event="sessions_revoked", at__gt=began)),
    ).get(pk=user.pk)
    has_proved_enough = "otp" in session.get(AMR, []) if has_factor else not needs_second_factor(user)
    return Standing(has_factor, was_ended, may_act=has_proved_enough and not was_ended)
