"""Telling people what happened to their access, so that they notice what they did not do themselves."""

from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from procrastinate.contrib.django import app

from accounts import messages
from accounts.models import CustomUser, Notice, NoticeKind
from api import throttling
from api.errors import TooMany

# An SMS costs money, and the twentieth warning of a day warns nobody.
NOTICES_PER_ADDRESS, NOTICES_WINDOW = 10, 24 * 60 * 60  # seconds

TEXTS = {
    NoticeKind.EMAIL_CHANGE_ASKED: "somebody asked to change the e-mail address of your {club} account",
    NoticeKind.EMAIL_CHANGED: "the e-mail address of your {club} account was changed",
    NoticeKind.PHONE_CHANGE_ASKED: "somebody asked to change the phone number of your {club} account",
    NoticeKind.PHONE_CHANGED: "the phone number of your {club} account was changed",
    NoticeKind.PASSWORD_CHANGED: "the password of your {club} account was changed",
    NoticeKind.SESSION_COPIED: "a log-in to your {club} account seemed to be copied, so it was ended",
    NoticeKind.NEW_DEVICE: "somebody logged in to your {club} account from a new device",
    NoticeKind.SECOND_FACTOR_ADDED: "an authenticator app was added to your {club} account",
    NoticeKind.SECOND_FACTOR_REMOVED: "the authenticator app was removed from your {club} account",
    NoticeKind.RECOVERY_CODE_USED: "somebody logged in to your {club} account with a recovery code",
}


def tell(*, user: CustomUser, kind: NoticeKind, now: datetime, address: str | None = None) -> None:
    """Have a message sent to `address`, or else to where the person is certain to be reached.

    Commits with the caller's transaction. Nothing is sent, and nothing fails, when there is no such address or it
    was told too much today.
    """
    address = address or user.proved_address
    if not address:
        return
    with transaction.atomic():
        try:
            throttling.count(f"notice:{throttling.hashed(address)}", NOTICES_PER_ADDRESS, NOTICES_WINDOW, now)
        except TooMany:
            return
        notice = Notice.objects.create(user=user, kind=kind, address=address, created_at=now)
        # By name: accounts.jobs imports this module.
        app.configure_task("accounts.send_notice").defer(notice_id=notice.pk)


def deliver(*, notice_id: int, now: datetime) -> None:
    """Send a notice. A repeat sends nothing, unless the worker died between sending and writing that down.

    :raises SmsNotSent: the gateway did not take it; the job tries again
    """
    notice = Notice.objects.filter(pk=notice_id, sent_at__isnull=True).first()
    if notice is None:
        return
    messages.send(address=notice.address, subject="your account", text=text_of(notice))
    Notice.objects.filter(pk=notice.pk).update(sent_at=now)


def text_of(notice: Notice) -> str:
    """Return the sentence for people: when, what, and what to do if it was not them."""
    at = timezone.localtime(notice.created_at)
    what = TEXTS[NoticeKind(notice.kind)].format(club=settings.CLUB_NAME)
    return f"On {at:%d %b at %H:%M} {what}. Was it not you? Change your password and tell the club."
