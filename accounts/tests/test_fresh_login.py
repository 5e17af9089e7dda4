"""Calls that need a login within the last ten minutes."""

from datetime import timedelta

import pytest
from django.conf import settings
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.views import APIView

from accounts.models import LoginSession
from accounts.permissions import HasFreshLogin
from accounts.tests.factories import PASSWORD, UserFactory
from api.clock import now
from api.tests.clients import logged_in_as

pytestmark = pytest.mark.django_db


class Guarded(APIView):
    permission_classes = [HasFreshLogin]

    def post(self, request):
        return Response(None)


def answer_to(session):
    """Return the response of the guarded view to a caller with this session, or with None."""
    request = APIRequestFactory().post("/")
    force_authenticate(request, UserFactory.build() if session is None else session.user, session)
    response = Guarded.as_view()(request)
    return response.status_code, response.data and response.data["error"]["code"]


def session_of_age(age):
    logged_in_as(UserFactory())
    LoginSession.objects.update(auth_time=now() - age)
    return LoginSession.objects.get()


def test_login_within_ten_minutes_is_fresh():
    assert answer_to(session_of_age(settings.FRESH_LOGIN_LIFETIME - timedelta(seconds=5))) == (200, None)


def test_older_login_must_log_in_again():
    assert answer_to(session_of_age(settings.FRESH_LOGIN_LIFETIME + timedelta(seconds=1))) == (401, "reauth_required")


def test_admin_session_is_never_a_fresh_login():
    assert answer_to(None) == (403, "permission_denied")


def test_refresh_does_not_make_a_login_fresh():
    client = logged_in_as(UserFactory())
    LoginSession.objects.update(auth_time=now() - timedelta(hours=1))

    client.post("/api/v1/auth/refresh/")

    assert answer_to(LoginSession.objects.get()) == (401, "reauth_required")


def test_password_change_does_not_make_a_login_fresh():
    client = logged_in_as(UserFactory())
    LoginSession.objects.update(auth_time=now() - timedelta(hours=1))

    changed = client.post("/api/v1/auth/password/change/", {"current": PASSWORD, "new": "another-long-password"})

    assert (changed.status_code, client.get("/api/v1/auth/me/").status_code) == (200, 200)
    assert answer_to(LoginSession.objects.get(revoked_at=None)) == (401, "reauth_required")
    assert client.delete("/api/v1/auth/mfa/totp/").status_code == 401
