"""Setup of the second factor: add and remove an authenticator app, and replace recovery codes."""

from datetime import datetime

from django.db import transaction
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import default_key

from accounts import seals
from accounts.models import Authenticator, CustomUser, LoginSession, NoticeKind
from accounts.services import audit, login_sessions, notices, two_factor
from accounts.services.audit import Caller
from api import throttling
from api.errors import Conflict, Invalid


class AlreadyEnrolled(Conflict):
    code, message = "mfa_already_enrolled", "Your account already has an authenticator app. Remove it first."


class NotEnrolled(Conflict):
    code, message = "mfa_not_enrolled", "Your account has no authenticator app. Add one first."


class WrongCode(Invalid):
    """The code is wrong during setup. Unlike MfaInvalid it is a 400, since the caller stays logged in."""

    code, message = "mfa_invalid", "This code is wrong. Check that your phone shows the correct time."


@transaction.atomic
def begin(*, user: CustomUser, now: datetime) -> Authenticator:
    """Create an authenticator app with a new secret. Logins do not ask for it until `confirm`.

    A repeated call replaces the secret.

    :raises AlreadyEnrolled: the user has a confirmed app
    """
    two_factor.lock_user(user.pk)
    if two_factor.has_second_factor(user):
        raise AlreadyEnrolled
    Authenticator.objects.filter(user=user).delete()
    sealed = seals.seal(bytes.fromhex(default_key()), owner=user.pk)
    return Authenticator.objects.create(user=user, key=sealed, confirmed=False, name="authenticator app")


def confirm(*, user: CustomUser, session: LoginSession | None, code: str, caller: Caller, now: datetime) -> list[str]:
    """Turn the second factor on by a code of the new app, and return the recovery codes.

    `session` is the caller's login session in the API, None in the admin. It counts as logged in with both factors from
    now on; the user's other login sessions end.

    :raises NotEnrolled: `begin` was not called
    :raises WrongCode: the code is wrong
    :raises TooMany: too many wrong codes
    :raises SessionRevoked: the login session has ended since the request began
    """
    throttling.count(f"mfa:{user.pk}:setup", two_factor.CODES_PER_PERSON, two_factor.CODES_WINDOW, now)
    with transaction.atomic():
        two_factor.lock_user(user.pk)
        if session:
            login_sessions.lock_live(session)
        unconfirmed = Authenticator.objects.filter(user=user, confirmed=False)
        if not unconfirmed.exists():
            raise NotEnrolled
        if two_factor.use_totp(user, code, confirmed=False):
            unconfirmed.update(confirmed=True)
            codes = two_factor.replace_recovery_codes(user)
            _record_change(user, session, ["pwd", "otp"], "mfa_enrolled", NoticeKind.SECOND_FACTOR_ADDED, caller, now)
            return codes
        audit.record("mfa_enrolled", user=user, caller=caller, now=now, outcome="refused")
    raise WrongCode


@transaction.atomic
def remove(
    *,
    user: CustomUser,
    session: LoginSession | None,
    caller: Caller,
    now: datetime,
    actor: CustomUser | None = None,
) -> None:
    """Turn the second factor off and delete its recovery codes. The user's other login sessions end.

    A repeated call changes nothing.

    :raises SessionRevoked: the login session has ended since the request began
    """
    two_factor.lock_user(user.pk)
    if session:
        login_sessions.lock_live(session)
    had_one = two_factor.has_second_factor(user)
    Authenticator.objects.filter(user=user).delete()
    StaticDevice.objects.filter(user=user).delete()
    if had_one:
        _record_change(user, session, ["pwd"], "mfa_removed", NoticeKind.SECOND_FACTOR_REMOVED, caller, now, actor)


@transaction.atomic
def renew_recovery_codes(*, user: CustomUser, session: LoginSession | None, caller: Caller, now: datetime) -> list[str]:
    """Create new recovery codes and return them; the old ones stop working.

    :raises NotEnrolled: the user has no second factor
    :raises SessionRevoked: the login session has ended since the request began
    """
    two_factor.lock_user(user.pk)
    if session:
        login_sessions.lock_live(session)
    if not two_factor.has_second_factor(user):
        raise NotEnrolled
    codes = two_factor.replace_recovery_codes(user)
    audit.record("recovery_codes_renewed", user=user, caller=caller, now=now)
    return codes


def _record_change(user, session, amr, event, notice, caller, now, actor=None) -> None:
    """Write the audit log, end the user's other login sessions, and notify the user."""
    audit.record(event, user=user, actor=actor, caller=caller, now=now)
    if session:
        LoginSession.objects.filter(pk=session.pk).update(amr=amr)
    login_sessions.revoke_all(
        user=user, actor=actor, reason=event, caller=caller, now=now, keep=session.pk if session else None
    )
    notices.create(user=user, kind=notice, now=now)
