"""Changing one's own e-mail address or phone number: proved at the new one, told at the old one."""

from datetime import datetime

from django.db import IntegrityError, transaction

from accounts.backends import contact_matches
from accounts.models import CodePurpose, CustomUser, LoginSession, NoticeKind
from accounts.services import audit, login_sessions, notices, one_time_codes, people, registration
from accounts.services.audit import Caller
from api import throttling

CHANGES_PER_PERSON, CHANGES_WINDOW = 10, 60 * 60  # seconds

# What a purpose changes, and what the person is told of it.
FIELDS = {CodePurpose.EMAIL: "email", CodePurpose.PHONE: "phone_number"}
ASKED = {CodePurpose.EMAIL: NoticeKind.EMAIL_CHANGE_ASKED, CodePurpose.PHONE: NoticeKind.PHONE_CHANGE_ASKED}
CHANGED = {CodePurpose.EMAIL: NoticeKind.EMAIL_CHANGED, CodePurpose.PHONE: NoticeKind.PHONE_CHANGED}


def request_change(*, user: CustomUser, purpose: CodePurpose, address: str, caller: Caller, now: datetime) -> None:
    """Send a code to the new address and a notice to the old one.

    Answered alike when the address is proved to be somebody else's: they get no code, and the asker learns nothing.

    :raises TooMany: too many changes asked by one person, or codes to one address
    """
    throttling.count(f"change:{user.pk}", CHANGES_PER_PERSON, CHANGES_WINDOW, now)
    field = FIELDS[purpose]
    with transaction.atomic():
        one_time_codes.end_open(user=user, purpose=purpose, now=now)
        theirs = CustomUser.objects.filter(contact_matches(field, address)).exclude(**{user.PROOFS[field]: None})
        if theirs.exclude(pk=user.pk).exists():
            one_time_codes.count_send(address, purpose, now)
            outcome = "refused"
        else:
            one_time_codes.request(user=user, purpose=purpose, address=address, now=now)
            outcome = "ok"
        audit.record(f"{field}_change_asked", user=user, actor=user, caller=caller, now=now, outcome=outcome)
        notices.tell(user=user, kind=ASKED[purpose], address=user.proved(field), now=now)


def confirm_change(
    *, session: LoginSession, purpose: CodePurpose, code: str, caller: Caller, now: datetime
) -> CustomUser:
    """Put the new address in place of the old one; the person's other sessions and open codes end.

    :raises InvalidOrExpiredKey: whatever is wrong with the code
    :raises AlreadyTaken: somebody else has proved the address since the code was sent
    :raises SessionRevoked: the session has ended since the request began
    """
    used = one_time_codes.redeem(user=session.user, purpose=purpose, code=code, now=now)
    field = FIELDS[purpose]
    with transaction.atomic():
        user = registration.lock_for_proof(session.user, field, used.address)
        login_sessions.hold(session)
        told_at = user.proved(field) or user.proved_address
        try:
            registration.prove(user, field, used.address, now=now)
        except IntegrityError as error:
            raise people.AlreadyTaken from error
        # A code on its way to the old address must not open the account again.
        one_time_codes.end_open(user=user, now=now)
        login_sessions.revoke_all(user=user, reason=f"{field}_changed", caller=caller, now=now, keep=session.pk)
        audit.record(f"{field}_changed", user=user, caller=caller, now=now, session_id=session.pk)
        notices.tell(user=user, kind=CHANGED[purpose], address=told_at, now=now)
    return user
