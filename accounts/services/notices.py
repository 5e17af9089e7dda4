"""Notices: messages about a user's access, so that they see changes that somebody else made, and about their orders."""

from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from procrastinate.contrib.django import app

from accounts import messages
from accounts.models import CustomUser, Notice, NoticeKind
from api import throttling
from api.errors import TooMany

# An SMS costs money, and nobody reads the twentieth warning of a day.
NOTICES_PER_CONTACT, NOTICES_WINDOW = 10, 24 * 60 * 60  # seconds

TEXTS = {
    NoticeKind.EMAIL_CHANGE_ASKED: "somebody asked to change the e-mail address of your {club} account",
    NoticeKind.EMAIL_CHANGED: "the e-mail address of your {club} account was changed",
    NoticeKind.PHONE_CHANGE_ASKED: "somebody asked to change the phone number of your {club} account",
    NoticeKind.PHONE_CHANGED: "the phone number of your {club} account was changed",
    NoticeKind.PASSWORD_CHANGED: "the password of your {club} account was changed",
    NoticeKind.SESSION_COPIED: "we ended a login to your {club} account because it may have been copied",
    NoticeKind.NEW_DEVICE: "somebody logged in to your {club} account from a new device",
    NoticeKind.SECOND_FACTOR_ADDED: "an authenticator app was added to your {club} account",
    NoticeKind.SECOND_FACTOR_REMOVED: "the authenticator app was removed from your {club} account",
    NoticeKind.RECOVERY_CODE_USED: "somebody logged in to your {club} account with a recovery code",
    NoticeKind.KNOWN_CONTACT: "somebody tried to register this contact at {club}, where it has an account already",
}
ADVICE = "If this was not you, change your password and tell the club."
OPEN_ACCOUNT = "To use the account, log in, or choose a new password. If this was not you, do nothing."
CLOSED_ACCOUNT = "It is closed. To use it again, ask the club. If this was not you, do nothing."


def create(*, user: CustomUser, kind: NoticeKind, now: datetime, contact: str | None = None, text: str = "") -> None:
    """Create a notice and the job that sends it, in the caller's transaction.

    It goes to `contact`, or else to the user's verified contact. Without either, and beyond ten notices a day to one
    contact, it does nothing. A notice with its own `text` is not about access: it also goes to a phone number that
    staff or an import entered.
    """
    contact = contact or (user.known_contact if text else user.verified_contact)
    if not contact:
        return
    with transaction.atomic():
        try:
            throttling.count(f"notice:{throttling.hashed(contact)}", NOTICES_PER_CONTACT, NOTICES_WINDOW, now)
        except TooMany:
            return
        notice = Notice.objects.create(user=user, kind=kind, address=contact, text=text, created_at=now)
        # By name: accounts.jobs imports this module.
        app.configure_task("accounts.send_notice").defer(notice_id=notice.pk)


def deliver(*, notice_id: int, now: datetime) -> None:
    """Send a notice by SMS or e-mail. A repeated call sends nothing, unless the worker died before it saved `sent_at`.

    :raises SmsNotSent: the gateway refused the message; the job tries again
    """
    notice = Notice.objects.select_related("user").filter(pk=notice_id, sent_at__isnull=True).first()
    if notice is None:
        return
    messages.send(contact=notice.address, subject="your account", text=text_of(notice))
    Notice.objects.filter(pk=notice.pk).update(sent_at=now)


def text_of(notice: Notice) -> str:
    """Return the message: its own text, or the time, the event, and advice for a user who did not do this."""
    if notice.text:
        return notice.text
    at = timezone.localtime(notice.created_at)
    event = TEXTS[NoticeKind(notice.kind)].format(club=settings.CLUB_NAME)
    advice = ADVICE
    if notice.kind == NoticeKind.KNOWN_CONTACT:
        advice = OPEN_ACCOUNT if notice.user.is_active else CLOSED_ACCOUNT
    return f"On {at:%d %b at %H:%M} {event}. {advice}"
