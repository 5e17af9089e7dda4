"""Writes of a refused request are committed, also with ATOMIC_REQUESTS."""

from datetime import timedelta

import pytest
from django.db import connection

from accounts.models import LoginSession, OneTimeCode, PendingLogin, SecurityEvent
from accounts.services import one_time_codes
from accounts.tests.authenticators import AUTH, asked_for_a_code, authenticator_of, wrong_code
from accounts.tests.factories import PASSWORD, UserFactory
from accounts.tests.worker import look_up
from api.clock import now
from api.models import Counter
from api.tests.clients import browser, logged_in_as
from api.tests.test_every_url import VIEWS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.server]


@pytest.fixture(autouse=True)
def _atomic_requests():
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    yield
    connection.settings_dict["ATOMIC_REQUESTS"] = False


def test_auth_views_are_outside_atomic_requests():
    auth = {path: callback for path, _, callback in VIEWS if path.startswith("api/v1/auth/")}

    assert len(auth) > 20
    assert {path for path, view in auth.items() if getattr(view, "_non_atomic_requests", None) != {"default"}} == set()


def test_wrong_passwords_stay_counted_and_audited():
    user = UserFactory()
    client = browser()

    answers = [client.post(f"{AUTH}login/", {"identifier": user.username, "password": "no"}) for _ in range(6)]

    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert SecurityEvent.objects.filter(event="login", outcome="refused").count() == 6


def test_wrong_second_factor_codes_stay_counted():
    user = UserFactory()
    device = authenticator_of(user)

    asked_for_a_code(user).post(f"{AUTH}mfa/verify/", {"code": wrong_code(device)})

    assert Counter.objects.get(key=f"mfa:{user.pk}:anywhere").count == 1
    assert PendingLogin.objects.get().attempts == 1


def test_wrong_one_time_codes_stay_counted():
    user = UserFactory(email_verified_at=None, phone_verified_at=None)
    client = browser()
    client.post(f"{AUTH}verify/resend/", {"identifier": user.email})
    look_up()
    OneTimeCode.objects.update(code_hash=one_time_codes.hash_of("123456"))

    client.post(f"{AUTH}verify/", {"identifier": user.email, "password": PASSWORD, "code": "654321"})

    assert OneTimeCode.objects.get().attempts == 1


def test_revocation_for_a_reused_token_is_committed():
    client = logged_in_as(UserFactory())
    first = client.cookies["Refresh"].value
    client.post(f"{AUTH}refresh/")
    LoginSession.objects.update(rotated_at=now() - timedelta(minutes=1))

    client.cookies["Refresh"] = first
    client.post(f"{AUTH}refresh/")

    assert LoginSession.objects.get().revoke_reason == "refresh_reused"
