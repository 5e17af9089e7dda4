"""Turning the second factor on and off."""

from datetime import datetime

from django.db import transaction
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import default_key

from accounts import seals
from accounts.models import Authenticator, CustomUser, LoginSession, NoticeKind
from accounts.services import audit, login_sessions, notices, two_factor
from accounts.services.audit import Caller
from api.errors import Conflict, Invalid


class AlreadyEnrolled(Conflict):
    code, message = "mfa_already_enrolled", "Your account has an authenticator app already. Remove it first."


class NotEnrolled(Conflict):
    code, message = "mfa_not_enrolled", "There is no authenticator app that this could be done with."


class CodeNotRight(Invalid):
    """Unlike MfaInvalid, told to who is logged in and stays so."""

    code, message = "mfa_invalid", "This code is not right. Does the phone show the right time?"


@transaction.atomic
def begin(*, user: CustomUser, now: datetime) -> Authenticator:
    """Draw the secret of a new authenticator app, which asks for nothing until a code of it confirms it.

    Beginning again draws another secret; the one before is forgotten.

    :raises AlreadyEnrolled: a confirmed one is there
    """
    two_factor.lock(user.pk)
    if two_factor.has_second_factor(user):
        raise AlreadyEnrolled
    Authenticator.objects.filter(user=user).delete()
    sealed = seals.seal(bytes.fromhex(default_key()), owner=user.pk)
    return Authenticator.objects.create(user=user, key=sealed, confirmed=False, name="authenticator app")


def confirm(*, user: CustomUser, session: LoginSession | None, code: str, caller: Caller, now: datetime) -> list[str]:
    """Turn the second factor on by a code of the new app, and return the recovery codes, this once.

    The session, if this is one of the API's, has proved both factors from now on; the person's others end.

    :raises NotEnrolled: nothing was begun
    :raises CodeNotRight: the code is wrong
    :raises TooMany: earlier wrong codes make this one wait
    :raises SessionRevoked: the session has ended since the request began
    """
    with transaction.atomic():
        two_factor.lock(user.pk)
        if session:
            login_sessions.hold(session)
        begun = Authenticator.objects.filter(user=user, confirmed=False)
        if not begun.exists():
            raise NotEnrolled
        if two_factor.use_totp(user, code, confirmed=False):
            begun.update(confirmed=True)
            codes = two_factor.replace_recovery_codes(user)
            _changed(user, session, ["pwd", "otp"], "mfa_enrolled", NoticeKind.SECOND_FACTOR_ADDED, caller, now)
            return codes
        audit.record("mfa_enrolled", user=user, caller=caller, now=now, outcome="refused")
    raise CodeNotRight


@transaction.atomic
def remove(
    *,
    user: CustomUser,
    session: LoginSession | None,
    caller: Caller,
    now: datetime,
    actor: CustomUser | None = None,
) -> None:
    """Turn the second factor off and forget its recovery codes; the person's other sessions end. Twice is harmless.

    :raises SessionRevoked: the session has ended since the request began
    """
    two_factor.lock(user.pk)
    if session:
        login_sessions.hold(session)
    had_one = two_factor.has_second_factor(user)
    Authenticator.objects.filter(user=user).delete()
    StaticDevice.objects.filter(user=user).delete()
    if had_one:
        _changed(user, session, ["pwd"], "mfa_removed", NoticeKind.SECOND_FACTOR_REMOVED, caller, now, actor)


@transaction.atomic
def renew_recovery_codes(*, user: CustomUser, session: LoginSession | None, caller: Caller, now: datetime) -> list[str]:
    """Return new recovery codes, this once; the old ones are none from now on.

    :raises NotEnrolled: there is no second factor that they could stand in for
    :raises SessionRevoked: the session has ended since the request began
    """
    two_factor.lock(user.pk)
    if session:
        login_sessions.hold(session)
    if not two_factor.has_second_factor(user):
        raise NotEnrolled
    codes = two_factor.replace_recovery_codes(user)
    audit.record("recovery_codes_renewed", user=user, caller=caller, now=now)
    return codes


def _changed(user, session, amr, event, notice, caller, now, actor=None) -> None:
    """Write down that the second factor is on or off, end the other sessions, and tell the person."""
    audit.record(event, user=user, actor=actor, caller=caller, now=now)
    if session:
        LoginSession.objects.filter(pk=session.pk).update(amr=amr)
    login_sessions.revoke_all(
        user=user, actor=actor, reason=event, caller=caller, now=now, keep=session.pk if session else None
    )
    notices.tell(user=user, kind=notice, now=now)
