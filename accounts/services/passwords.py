"""Change of a password: by the current password, or by a code sent to a verified contact."""

from datetime import datetime
from typing import cast

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction

from accounts.backends import find_by_identifier
from accounts.models import CodePurpose, CustomUser, LoginSession, NoticeKind
from accounts.services import audit, login_sessions, notices, one_time_codes, two_factor
from accounts.services.audit import Caller
from api.errors import Unauthenticated


class ReauthRequired(Unauthenticated):
    code, message = "reauth_required", "Please enter your password again."


def request_reset(*, identifier: str, caller: Caller, now: datetime) -> None:
    """Send a reset code to the verified contact of the user. The answer is always the same.

    :raises TooMany: too many codes for this identifier, or requests from one place
    """
    one_time_codes.count_code(identifier, CodePurpose.RESET, caller, now)
    one_time_codes.ask(identifier=identifier, purpose=CodePurpose.RESET, caller=caller, now=now)


def confirm_reset(*, identifier: str, code: str, password: str, caller: Caller, now: datetime) -> None:
    """Set a new password by a reset code. Every login session ends, and no new one is opened.

    :raises ValidationError: the code is correct, but the password is made of the user's own data. The code stays open
    :raises InvalidOrExpiredKey: for any other reason
    :raises TooMany: too many wrong codes from one place
    """
    one_time_codes.count_attempt(caller, now)
    person = find_by_identifier(identifier)
    one_time_codes.redeem(
        user=person, purpose=CodePurpose.RESET, code=code, now=now, check=lambda user: check_new(password, user)
    )
    user = cast(CustomUser, person)
    one_time_codes.count_proof(caller)
    save_new(user=user, password=password, event="password_reset", caller=caller, now=now)


def check_new(password: str, user: CustomUser) -> None:
    """:raises ValidationError: the new password is too weak for this user"""
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise ValidationError({"password": error}) from error


def change(*, session: LoginSession, current: str, new: str, caller: Caller, now: datetime) -> login_sessions.Tokens:
    """Change the password of the API's caller. Every login session ends; the caller gets the tokens of a new one.

    The new session is as fresh as the old one: who knows only the password must not remove the second factor by it.

    :raises ReauthRequired: the current password is wrong
    :raises TooManyAttempts: attempts here and at login count together
    :raises SessionRevoked: the login session has ended since the request began
    """
    user = session.user
    check_current(user=user, password=current, caller=caller, now=now)
    with transaction.atomic():
        save_checked(user=user, password=new, session=session, caller=caller, now=now)
        return login_sessions.open_session(
            user=user,
            amr=session.amr,
            remember=session.remember,
            caller=caller,
            now=now,
            auth_time=session.auth_time,
        )


def change_in_admin(*, user: CustomUser, current: str, new: str, caller: Caller, now: datetime) -> None:
    """Change the password of the admin's caller. Every login session ends.

    :raises ReauthRequired: the current password is wrong
    :raises TooManyAttempts: attempts here and at login count together
    """
    check_current(user=user, password=current, caller=caller, now=now)
    save_checked(user=user, password=new, session=None, caller=caller, now=now)


def check_current(*, user: CustomUser, password: str, caller: Caller, now: datetime) -> None:
    """Check the user's current password. Call it outside a transaction: the audit of a refusal must be committed.

    :raises ReauthRequired: the password is wrong
    :raises TooManyAttempts: attempts here and at login count together
    """
    attempt = login_sessions.count_attempt(user.username, user, caller, now)
    is_correct = user.check_password(password)
    if attempt.is_refused or not is_correct:
        audit.record("password_changed", user=user, caller=caller, now=now, outcome="refused")
        raise ReauthRequired
    attempt.succeed()


@transaction.atomic
def save_checked(
    *, user: CustomUser, password: str, session: LoginSession | None, caller: Caller, now: datetime
) -> None:
    """Save a new password after `check_current`. Every login session ends.

    :raises ReauthRequired: the password was changed after the check
    :raises SessionRevoked: the login session has ended since the request began
    """
    # The check takes a while: if a concurrent request changed the password, the checked one is no longer current.
    if two_factor.lock_user(user.pk).password != user.password:
        raise ReauthRequired
    if session:
        login_sessions.lock_live(session)
    save_new(user=user, password=password, event="password_changed", caller=caller, now=now)


@transaction.atomic
def save_new(*, user: CustomUser, password: str, event: str, caller: Caller, now: datetime) -> None:
    """Save a new password and notify the user. Every login session and open code ends."""
    user.set_password(password)
    user.save(update_fields=["password"])
    one_time_codes.end_open(user=user, now=now)
    login_sessions.revoke_all(user=user, reason=event, caller=caller, now=now)
    audit.record(event, user=user, caller=caller, now=now)
    notices.create(user=user, kind=NoticeKind.PASSWORD_CHANGED, now=now)
