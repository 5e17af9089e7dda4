"""Login to the admin: the rules of the API's login, for a session of Django's session framework."""

from dataclasses import dataclass
from datetime import UTC, datetime

from django.contrib.sessions.backends.base import SessionBase
from django.db import transaction
from django.db.models import Exists, OuterRef

from accounts.models import Authenticator, CustomUser, SecurityEvent
from accounts.receivers import AMR, KEPT_AT, LOGGED_IN_AT
from accounts.services import audit, login_sessions, two_factor
from accounts.services.audit import Caller
from api.authentication import needs_second_factor
from api.errors import TooMany, Unauthenticated


class CodeRequired(Unauthenticated):
    """Raised after the correct password, and after any password of a guarded login."""

    code, message = "mfa_required", "Enter your password again, and the code that your authenticator app shows."


def log_in(*, identifier: str, password: str, code: str, caller: Caller, now: datetime) -> CustomUser:
    """Check the password and, if the user has one, the second factor. Return the user with their `amr`.

    A guarded login (services/login_sessions.py) needs the authenticator app, and every refusal of it looks the same.

    :raises InvalidCredentials: unknown, wrong, inactive or not staff: one error for all
    :raises CodeRequired: a code is needed as well; in a guarded login this does not say that the password is correct
    :raises MfaInvalid: the code is wrong, or was used before
    :raises TooMany: too many attempts of either
    """
    checked = login_sessions.check_password(identifier=identifier, password=password, caller=caller, now=now)
    if checked.is_guarded and not code:
        raise CodeRequired
    user = checked.user
    if user is None or (checked.is_guarded and not two_factor.has_second_factor(user)):
        raise login_sessions.InvalidCredentials
    if not user.is_staff:
        audit.record("login", user=user, caller=caller, now=now, outcome="refused", reason="not_staff")
        raise login_sessions.InvalidCredentials
    user.amr = ["pwd"]
    if two_factor.has_second_factor(user):
        try:
            check_code(user=user, code=code, caller=caller, now=now)
        except (two_factor.MfaInvalid, TooMany) as error:
            if checked.is_guarded:
                raise login_sessions.InvalidCredentials from error
            raise
        user.amr = ["pwd", "otp"]
    audit.record("login", user=user, caller=caller, now=now, to="admin")
    return user


def check_code(*, user: CustomUser, code: str, caller: Caller, now: datetime) -> None:
    """Use up a code: one of the app if it has six characters, else a recovery code.

    :raises CodeRequired: the code is empty
    :raises MfaInvalid: the code is wrong, or was used before
    :raises TooMany: too many wrong codes
    """
    if not code:
        raise CodeRequired
    method = two_factor.TOTP if len(code) == 6 else two_factor.RECOVERY
    with transaction.atomic():
        two_factor.lock_user(user.pk)
        is_correct = two_factor.accept_code(user=user, method=method, code=code, caller=caller, now=now)
    if not is_correct:
        raise two_factor.MfaInvalid


@dataclass(frozen=True, slots=True)
class LoginState:
    """The current state of a login to the admin."""

    has_second_factor: bool
    was_ended: bool
    may_act: bool


def state_of(user: CustomUser, session: SessionBase) -> LoginState:
    """Return, by one query, whether the login is still valid.

    It is not valid without the second factor that the user has or needs by now. It also ends when all login sessions
    of the user are revoked: those are rows, but this is a session of Django's, so the audit log is read for it.
    """
    began = datetime.fromtimestamp(max(session.get(LOGGED_IN_AT, 0), session.get(KEPT_AT, 0)), UTC)
    has_factor, was_ended = CustomUser.objects.values_list(
        Exists(Authenticator.objects.filter(user=OuterRef("pk"), confirmed=True)),
        Exists(SecurityEvent.objects.filter(user=OuterRef("pk"), event="sessions_revoked", at__gt=began)),
    ).get(pk=user.pk)
    has_enough_factors = "otp" in session.get(AMR, []) if has_factor else not needs_second_factor(user)
    return LoginState(has_factor, was_ended, may_act=has_enough_factors and not was_ended)
