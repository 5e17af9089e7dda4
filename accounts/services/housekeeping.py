"""Deleting what access leaves behind once it can serve nobody. The audit (SecurityEvent) stays."""

from datetime import datetime, timedelta
from importlib import import_module

from django.conf import settings

from accounts.models import LoginSession, Notice, OneTimeCode
from api import throttling

# Ended sessions tell for a while where a stolen one was used from; codes and notices hold addresses.
KEEP_SESSIONS = timedelta(days=90)
KEEP_CODES = timedelta(days=1)
KEEP_NOTICES = timedelta(days=30)


def forget_old(*, now: datetime) -> dict[str, int]:
    """Delete sessions, codes, notices and counters whose time is long over; return how many. Twice is harmless."""
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()  # the admin's
    return {
        "sessions": LoginSession.objects.filter(absolute_expires_at__lt=now - KEEP_SESSIONS).delete()[0],
        "codes": OneTimeCode.objects.filter(expires_at__lt=now - KEEP_CODES).delete()[0],
        "notices": Notice.objects.filter(created_at__lt=now - KEEP_NOTICES).delete()[0],
        "counters": throttling.forget_old(now),
    }
