"""Deleting what access leaves behind once it can serve nobody. The audit (SecurityEvent) stays."""

from contextlib import suppress
from datetime import datetime, timedelta
from importlib import import_module

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, ProtectedError

from accounts.models import CustomUser, LoginSession, Notice, OneTimeCode, PendingLogin, SecurityEvent
from accounts.services import audit
from accounts.services.audit import Caller
from accounts.services.registration import is_unproved_registration
from api import throttling

# Ended sessions tell for a while where a stolen one was used from; codes and notices hold addresses.
KEEP_SESSIONS = timedelta(days=90)
KEEP_CODES = timedelta(days=1)
KEEP_NOTICES = timedelta(days=30)
KEEP_UNPROVED = timedelta(days=30)


def forget_old(*, now: datetime) -> dict[str, int]:
    """Delete sessions, codes, notices and counters whose time is long over; return how many. Twice is harmless."""
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()  # the admin's
    return {
        "sessions": LoginSession.objects.filter(absolute_expires_at__lt=now - KEEP_SESSIONS).delete()[0],
        "codes": OneTimeCode.objects.filter(expires_at__lt=now - KEEP_CODES).delete()[0],
        "pending_logins": PendingLogin.objects.filter(expires_at__lt=now - KEEP_CODES).delete()[0],
        "notices": Notice.objects.filter(created_at__lt=now - KEEP_NOTICES).delete()[0],
        "counters": throttling.delete_expired(now),
    }


def forget_unproved(*, now: datetime) -> int:
    """Delete who registered from outside and never proved an address; return how many. Twice is harmless.

    They keep somebody's address from that somebody. Whom staff added, imported or sold something to stays.
    """
    registered = SecurityEvent.objects.filter(user=OuterRef("pk"), event="registered", outcome="ok")
    proved = SecurityEvent.objects.filter(user=OuterRef("pk"), event="address_verified")
    waiting = CustomUser.objects.filter(
        Exists(registered),
        ~Exists(proved),  # who has a proof no more, since staff corrected the address
        date_joined__lt=now - KEEP_UNPROVED,
        email_verified_at=None,
        phone_verified_at=None,
        added_by=None,
    )
    return sum(_forget(person_id, now) for person_id in waiting.values_list("pk", flat=True))


def _forget(person_id: int, now: datetime) -> bool:
    with suppress(ProtectedError), transaction.atomic():
        person = CustomUser.objects.select_for_update().filter(pk=person_id).first()
        if person and is_unproved_registration(person):  # still so, under the lock
            audit.record("registration_forgotten", user=person, caller=Caller(), now=now)
            person.delete()
            return True
    return False
