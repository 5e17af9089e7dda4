"""Code requests: a job looks up who asked for a code, and sends it.

The request itself only counts and stores what was typed. So its answer, its limits and its time are the same for a
known and for an unknown identifier.
"""

from datetime import datetime

from django.db import transaction

from accounts.backends import find_by_identifier
from accounts.models import CodePurpose, CustomUser, NoticeKind, OneTimeCode
from accounts.services import audit, notices, one_time_codes, registration
from accounts.services.audit import Caller


def answer(*, code_id: int, now: datetime) -> None:
    """Look up the identifier of a code request and send the code, if somebody gets one.

    A repeated call sends other digits, as `one_time_codes.deliver` does.

    :raises SmsNotSent: the gateway refused the message; the job tries again
    """
    look_up(code_id=code_id, now=now)
    one_time_codes.deliver(code_id=code_id, now=now)


@transaction.atomic
def look_up(*, code_id: int, now: datetime) -> None:
    """Look up the identifier of a code request, once. A repeated call changes nothing."""
    row = OneTimeCode.objects.select_for_update().filter(pk=code_id, used_at=None, expires_at__gt=now).first()
    if row is not None and row.user_id is None:
        _find_recipient(row, now=now)


def _find_recipient(row: OneTimeCode, *, now: datetime) -> None:
    """Set the user and the contact of a code request, and end the earlier codes. Without a user the request ends."""
    purpose, caller = CodePurpose(row.purpose), Caller(**row.request["caller"])
    if row.request["registration"]:
        user, contact = registration.complete(row, caller=caller, now=now)
    elif purpose == CodePurpose.VERIFY:
        user, contact = registration.repeat(row, now=now)
    else:
        user = find_by_identifier(row.address)
        contact = user.verified_contact if user and user.is_active else None
    if user and not contact and purpose == CodePurpose.VERIFY:
        _tell_owner(user, row, now=now)
    if not user or not contact or not one_time_codes.may_send_to(contact, now):
        row.used_at = now
        row.save(update_fields=["used_at"])
        return
    one_time_codes.end_open(user=user, purpose=purpose, selector=row.selector, now=now)
    row.user, row.address = user, contact
    row.save(update_fields=["user", "address", "password", "selector"])
    if purpose == CodePurpose.RESET:
        audit.record("password_reset_requested", user=user, caller=caller, now=now)


def _tell_owner(user: CustomUser, row: OneTimeCode, *, now: datetime) -> None:
    """Send a message instead of a code to a user who has verified the contact: they have an account already."""
    verified = user.verified(registration.field_of(row.address))
    if verified and one_time_codes.may_send_to(verified, now):
        notices.create(user=user, kind=NoticeKind.KNOWN_CONTACT, contact=verified, now=now)
