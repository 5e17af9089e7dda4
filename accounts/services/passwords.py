"""Changing a password by the one before, or by a code for who has forgotten it."""

from datetime import datetime

from django.db import transaction

from accounts.backends import find_by_identifier
from accounts.models import CodePurpose, CustomUser, LoginSession, NoticeKind
from accounts.services import audit, login_sessions, notices, one_time_codes, two_factor
from accounts.services.audit import Caller
from api.errors import Unauthenticated


class ReauthRequired(Unauthenticated):
    code, message = "reauth_required", "Please enter your password again."


def request_reset(*, identifier: str, caller: Caller, now: datetime) -> None:
    """Send a reset code, if the identifier is somebody's. Always answered alike.

    :raises TooMany: too many codes to one address, or asked for from one place
    """
    one_time_codes.count_asked(caller.ip, now)
    user = find_by_identifier(identifier)
    address = user and user.proved_address
    if not address or not user.is_active:
        one_time_codes.count_send(identifier, CodePurpose.RESET, now)
        return
    with transaction.atomic():
        one_time_codes.request(user=user, purpose=CodePurpose.RESET, address=address, now=now)
        audit.record("password_reset_requested", user=user, caller=caller, now=now)


def confirm_reset(*, identifier: str, code: str, password: str, caller: Caller, now: datetime) -> None:
    """Set a new password by a code; every session ends, and nobody is logged in.

    :raises InvalidOrExpiredKey: whatever is wrong with the code
    :raises TooMany: too many tries from one place
    """
    one_time_codes.count_try(caller.ip, now)
    user = one_time_codes.redeem(
        user=find_by_identifier(identifier), purpose=CodePurpose.RESET, code=code, now=now
    ).user
    put(user=user, password=password, event="password_reset", caller=caller, now=now)


def change(*, session: LoginSession, current: str, new: str, caller: Caller, now: datetime) -> login_sessions.Tokens:
    """Change the password; every other session ends, and this one is exchanged for a new one.

    :raises ReauthRequired: the current password is not right
    :raises TooManyAttempts: tries here and at log-in count together
    :raises SessionRevoked: the session has ended since the request began
    """
    user = session.user
    check_current(user=user, password=current, caller=caller, now=now)
    with transaction.atomic():
        set_new(user=user, password=new, session=session, caller=caller, now=now)
        return login_sessions.open_session(
            user=user, amr=session.amr, remember=session.remember, caller=caller, now=now
        )


def replace(*, user: CustomUser, current: str, new: str, caller: Caller, now: datetime) -> None:
    """Change a person's password by the one they have; every session ends, the caller's too.

    :raises ReauthRequired: the current password is not right
    :raises TooManyAttempts: tries here and at log-in count together
    """
    check_current(user=user, password=current, caller=caller, now=now)
    set_new(user=user, password=new, session=None, caller=caller, now=now)


def check_current(*, user: CustomUser, password: str, caller: Caller, now: datetime) -> None:
    """Let pass who knows the person's password. A refusal is kept: call it outside a transaction.

    :raises ReauthRequired: it is not right
    :raises TooManyAttempts: tries here and at log-in count together
    """
    login_sessions.limit_tries(user.username, user, caller, now)
    if not user.check_password(password):
        audit.record("password_changed", user=user, caller=caller, now=now, outcome="refused")
        raise ReauthRequired
    login_sessions.forget_tries(user.username, caller)


@transaction.atomic
def set_new(*, user: CustomUser, password: str, session: LoginSession | None, caller: Caller, now: datetime) -> None:
    """Replace the password that was just checked; every session ends.

    :raises ReauthRequired: the password was changed since it was checked
    :raises SessionRevoked: the session has ended since the request began
    """
    # Hashing takes a while: a password that was changed meanwhile changes nothing any more.
    if two_factor.lock(user.pk).password != user.password:
        raise ReauthRequired
    if session:
        login_sessions.hold(session)
    put(user=user, password=password, event="password_changed", caller=caller, now=now)


@transaction.atomic
def put(*, user: CustomUser, password: str, event: str, caller: Caller, now: datetime) -> None:
    """Put a password in place of the one before; every session and open code of the person ends, and they are told."""
    user.set_password(password)
    user.save(update_fields=["password"])
    one_time_codes.end_open(user=user, now=now)
    login_sessions.revoke_all(user=user, reason=event, caller=caller, now=now)
    audit.record(event, user=user, caller=caller, now=now)
    notices.tell(user=user, kind=NoticeKind.PASSWORD_CHANGED, now=now)
