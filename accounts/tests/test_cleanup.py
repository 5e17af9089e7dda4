"""Nightly deletion of old sessions, codes, notices and unverified registrations."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.sessions.models import Session
from procrastinate.contrib.django import app

from accounts.models import (
    CodePurpose,
    CustomUser,
    LoginSession,
    Notice,
    NoticeKind,
    OneTimeCode,
    PendingLogin,
    SecurityEvent,
)
from accounts.services import audit, cleanup
from accounts.services.audit import Caller
from accounts.tests.factories import UserFactory
from api import throttling
from api.models import Counter

pytestmark = [pytest.mark.django_db, pytest.mark.server]

NOW = datetime(2026, 6, 1, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def session(user, ended):
    """Create a session with the absolute end `ended`."""
    times = {"created_at": ended - 30 * DAY, "auth_time": ended - 30 * DAY, "idle_expires_at": ended}
    return LoginSession.objects.create(user=user, absolute_expires_at=ended, **times)


def code(user, expired):
    return OneTimeCode.objects.create(
        user=user, purpose=CodePurpose.RESET, address="a@example.com", created_at=expired, expires_at=expired
    )


def pending(user, expired):
    return PendingLogin.objects.create(user=user, remember=True, created_at=expired, expires_at=expired)


def notice(user, made):
    return Notice.objects.create(user=user, kind=NoticeKind.EMAIL_CHANGED, address="a@example.com", created_at=made)


def test_cleanup_deletes_old_rows_only():
    user = UserFactory()
    session(user, NOW - 91 * DAY)
    code(user, NOW - 2 * DAY)
    pending(user, NOW - 2 * DAY)
    pending(user, NOW)
    notice(user, NOW - 31 * DAY)
    kept = [session(user, NOW - 89 * DAY), session(user, NOW + DAY), code(user, NOW), notice(user, NOW - 29 * DAY)]
    throttling.count("old", 9, 60, NOW - DAY)
    throttling.count("running", 9, 60, NOW)

    deleted = cleanup.delete_old(now=NOW)

    assert deleted == {"sessions": 1, "codes": 1, "pending_logins": 1, "notices": 1, "counters": 1}
    assert [
        *LoginSession.objects.order_by("absolute_expires_at"),
        OneTimeCode.objects.get(),
        Notice.objects.get(),
    ] == kept
    assert PendingLogin.objects.get().expires_at == NOW
    assert Counter.objects.get().key == "running"


def test_audit_rows_survive_their_session():
    user = UserFactory()
    ended = session(user, NOW - 91 * DAY)
    audit.record("login", user=user, caller=Caller(), now=NOW - 121 * DAY, session_id=ended.pk)

    cleanup.delete_old(now=NOW)

    assert SecurityEvent.objects.get().session_id == ended.pk


def test_second_cleanup_deletes_nothing():
    session(UserFactory(), NOW - 91 * DAY)
    cleanup.delete_old(now=NOW)

    again = cleanup.delete_old(now=NOW)

    assert again == {"sessions": 0, "codes": 0, "pending_logins": 0, "notices": 0, "counters": 0}


def test_expired_admin_sessions_are_deleted():
    Session.objects.create(session_key="old", session_data="x", expire_date=NOW - 300 * DAY)

    cleanup.delete_old(now=NOW)

    assert not Session.objects.exists()


def test_cleanup_runs_every_night():
    periodic = app.periodic_registry.periodic_tasks[("accounts.forget_old", "")]

    assert periodic.cron == "10 3 * * *"


def unverified_registration(**fields):
    """Create a member who registered 31 days ago and verified no contact."""
    fields = {"email_verified_at": None, "phone_verified_at": None, "date_joined": NOW - 31 * DAY, **fields}
    person = UserFactory(**fields)
    audit.record("registered", user=person, caller=Caller(), now=person.date_joined)
    return person


def test_unverified_registration_is_deleted_after_a_month():
    person = unverified_registration(email="asha@example.com")

    forgotten = cleanup.delete_unverified(now=NOW)

    assert forgotten == 1
    assert not CustomUser.objects.exists()
    assert SecurityEvent.objects.latest("id").event == "registration_forgotten"
    assert list(SecurityEvent.objects.values_list("user_id", flat=True)) == [person.pk] * 2


@pytest.mark.parametrize(
    "fields",
    [
        {"date_joined": NOW - 29 * DAY},
        {"email_verified_at": NOW},
        {"phone_verified_at": NOW},
        {"role": "Trainer"},
        {"is_staff": True},
        {"is_superuser": True},
    ],
)
def test_verified_or_staff_registration_is_not_deleted(fields):
    unverified_registration(**fields)

    assert cleanup.delete_unverified(now=NOW) == 0
    assert CustomUser.objects.exists()


def test_registration_verified_once_is_not_deleted():
    audit.record("address_verified", user=unverified_registration(), caller=Caller(), now=NOW - 30 * DAY)

    assert cleanup.delete_unverified(now=NOW) == 0


def test_added_or_imported_member_is_not_deleted():
    UserFactory(email_verified_at=None, phone_verified_at=None, date_joined=NOW - 31 * DAY)  # imported, not registered
    unverified_registration(added_by=UserFactory())

    assert cleanup.delete_unverified(now=NOW) == 0


def test_unverified_registrations_are_deleted_every_night():
    assert app.periodic_registry.periodic_tasks[("accounts.forget_unproved", "")].cron == "15 3 * * *"
