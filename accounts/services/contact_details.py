"""Change of one's own e-mail address or phone number: a code goes to the new one, a notice to the old one."""

from datetime import datetime

from django.db import IntegrityError, transaction

from accounts.backends import contact_matches
from accounts.models import CodePurpose, CustomUser, LoginSession, NoticeKind
from accounts.services import audit, login_sessions, notices, one_time_codes, people, registration
from accounts.services.audit import Caller
from api import throttling

CHANGES_PER_PERSON, CHANGES_WINDOW = 10, 60 * 60  # seconds

# For each purpose, the field that it changes and the two notices about it.
FIELDS = {CodePurpose.EMAIL: "email", CodePurpose.PHONE: "phone_number"}
REQUESTED = {CodePurpose.EMAIL: NoticeKind.EMAIL_CHANGE_ASKED, CodePurpose.PHONE: NoticeKind.PHONE_CHANGE_ASKED}
CHANGED = {CodePurpose.EMAIL: NoticeKind.EMAIL_CHANGED, CodePurpose.PHONE: NoticeKind.PHONE_CHANGED}


def request_change(*, user: CustomUser, purpose: CodePurpose, contact: str, caller: Caller, now: datetime) -> None:
    """Send a code to the new contact and a notice to the old one.

    If another user has verified the new contact, that user gets a message instead of the code, but the answer is the
    same: the caller does not learn which contacts are known.

    :raises TooMany: too many changes by one user or at one place, or codes to one contact
    """
    throttling.count(f"change:{user.pk}", CHANGES_PER_PERSON, CHANGES_WINDOW, now)
    one_time_codes.count_code(contact, purpose, caller, now)
    field = FIELDS[purpose]
    with transaction.atomic():
        one_time_codes.end_open(user=user, purpose=purpose, now=now)
        owners = CustomUser.objects.filter(contact_matches(field, contact)).exclude(**{user.VERIFIED_AT[field]: None})
        if owner := owners.exclude(pk=user.pk).first():
            notices.create(user=owner, kind=NoticeKind.KNOWN_CONTACT, contact=owner.verified(field), now=now)
            outcome = "refused"
        else:
            one_time_codes.request(user=user, purpose=purpose, contact=contact, now=now)
            outcome = "ok"
        audit.record(f"{field}_change_asked", user=user, actor=user, caller=caller, now=now, outcome=outcome)
        notices.create(user=user, kind=REQUESTED[purpose], contact=user.verified(field), now=now)


def confirm_change(
    *, session: LoginSession, purpose: CodePurpose, code: str, caller: Caller, now: datetime
) -> CustomUser:
    """Replace the old contact by the new one. The user's other login sessions and open codes end.

    :raises InvalidOrExpiredKey: the code is wrong or can no longer be used
    :raises AlreadyTaken: another user has verified the contact since the code was sent
    :raises SessionRevoked: the login session has ended since the request began
    """
    used = one_time_codes.redeem(user=session.user, purpose=purpose, code=code, now=now)
    field = FIELDS[purpose]
    one_time_codes.count_proof(caller)
    with transaction.atomic():
        user = registration.lock_for_verification(session.user, field, used.address)
        login_sessions.lock_live(session)
        old_contact = user.verified(field) or user.verified_contact
        try:
            registration.save_verified(user, field, used.address, now=now)
        except IntegrityError as error:
            raise people.AlreadyTaken from error
        # A code on its way to the old contact must not give access to the account.
        one_time_codes.end_open(user=user, now=now)
        login_sessions.revoke_all(user=user, reason=f"{field}_changed", caller=caller, now=now, keep=session.pk)
        audit.record(f"{field}_changed", user=user, caller=caller, now=now, session_id=session.pk)
        notices.create(user=user, kind=CHANGED[purpose], contact=old_contact, now=now)
    return user
