"""Deletion of old rows: login sessions, codes, notices and unverified registrations. The audit log is never deleted."""

from contextlib import suppress
from datetime import datetime, timedelta
from importlib import import_module

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, ProtectedError

from accounts.models import CustomUser, LoginSession, Notice, OneTimeCode, PendingLogin, SecurityEvent
from accounts.services import audit
from accounts.services.audit import Caller
from accounts.services.registration import is_unverified_registration
from api import throttling

# Ended login sessions show for a while where a stolen one was used. Codes and notices contain contacts.
KEEP_SESSIONS = timedelta(days=90)
KEEP_CODES = timedelta(days=1)
KEEP_NOTICES = timedelta(days=30)
KEEP_UNVERIFIED = timedelta(days=30)


def delete_old(*, now: datetime) -> dict[str, int]:
    """Delete old sessions, codes, pending logins, notices and counters; return how many of each.

    A repeated call deletes nothing more.
    """
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()  # sessions of the admin
    return {
        "sessions": LoginSession.objects.filter(absolute_expires_at__lt=now - KEEP_SESSIONS).delete()[0],
        "codes": OneTimeCode.objects.filter(expires_at__lt=now - KEEP_CODES).delete()[0],
        "pending_logins": PendingLogin.objects.filter(expires_at__lt=now - KEEP_CODES).delete()[0],
        "notices": Notice.objects.filter(created_at__lt=now - KEEP_NOTICES).delete()[0],
        "counters": throttling.delete_expired(now),
    }


def delete_unverified(*, now: datetime) -> int:
    """Delete people who registered 30 days ago and never verified a contact; return how many.

    Such a row could hold a contact of another user. People whom staff added or imported stay, and so do people with
    a subscription or a payment. A repeated call deletes nothing more.
    """
    registered = SecurityEvent.objects.filter(user=OuterRef("pk"), event="registered", outcome="ok")
    verified = SecurityEvent.objects.filter(user=OuterRef("pk"), event="address_verified")
    unverified = CustomUser.objects.filter(
        Exists(registered),
        ~Exists(verified),  # a user whose verified contact was then changed by staff has such an event, and stays
        date_joined__lt=now - KEEP_UNVERIFIED,
        email_verified_at=None,
        phone_verified_at=None,
        added_by=None,
    )
    return sum(_delete_if_unverified(person_id, now) for person_id in unverified.values_list("pk", flat=True))


def _delete_if_unverified(person_id: int, now: datetime) -> bool:
    with suppress(ProtectedError), transaction.atomic():
        person = CustomUser.objects.select_for_update().filter(pk=person_id).first()
        if person and is_unverified_registration(person):  # checked again under the lock
            audit.record("registration_forgotten", user=person, caller=Caller(), now=now)
            person.delete()
            return True
    return False
