"""Roles that need a second factor: a login without one reaches only its setup."""

import pytest

from accounts.models import Authenticator, LoginSession
from accounts.tests.authenticators import AUTH, asked_for_a_code, authenticator_of, code_of
from accounts.tests.factories import UserFactory
from api.authentication import CookieJWTAuthentication, EnrolmentAuthentication
from api.roles import Role
from api.tests.clients import browser, logged_in_as
from api.tests.test_every_url import UNSAFE, VIEWS, example_url

pytestmark = pytest.mark.django_db

REQUIRED = "mfa_enrolment_required"
# URLs that are open before the setup. Extend this list only by a deliberate decision.
FOR_ENROLMENT = {"TotpView", "TotpConfirmView"}


@pytest.fixture(autouse=True)
def _required(settings):
    settings.MFA_REQUIRED_ROLES = ["Admin", "Manager"]


def code_in(answer):
    return answer.status_code, answer.json().get("error", {}).get("code")


def test_required_role_without_second_factor_must_set_it_up():
    client = logged_in_as(UserFactory(role=Role.MANAGER))

    answer = client.get(f"{AUTH}me/")

    assert answer.status_code == 403
    assert answer.json() == {
        "status": "error",
        "error": {
            "type": "permission_error",
            "code": REQUIRED,
            "message": "Your role needs a second factor. Add an authenticator app.",
            "details": [],
        },
        "meta": {"request_id": answer["X-Request-ID"]},
    }


def test_all_other_urls_are_refused_before_setup():
    client = logged_in_as(UserFactory(role=Role.ADMIN))

    answers = {
        f"{method} {path}": code_in(getattr(client, method)(example_url(path), {}))
        for path, cls, callback in VIEWS
        for method in ("get", *UNSAFE)
        if hasattr(cls, method) or method in (getattr(callback, "actions", None) or {})
        if CookieJWTAuthentication in cls.authentication_classes
        if callback.initkwargs.get("permission_classes") is None  # the OpenAPI document is public
    }

    assert set(answers.values()) == {(403, REQUIRED)}
    assert len(answers) > 40


def test_only_setup_urls_are_open_before_setup():
    open_views = {cls.__name__ for _, cls, _ in VIEWS if EnrolmentAuthentication in cls.authentication_classes}

    assert open_views == FOR_ENROLMENT


def test_setup_opens_all_urls_to_the_same_session():
    client = logged_in_as(UserFactory(role=Role.MANAGER))

    begun = client.post(f"{AUTH}mfa/totp/")
    confirmed = client.post(f"{AUTH}mfa/totp/confirm/", {"code": code_of(Authenticator.objects.get())})

    assert [begun.status_code, confirmed.status_code] == [201, 200]
    assert client.get(f"{AUTH}me/").status_code == 200


def test_removal_closes_all_other_urls_again():
    user = UserFactory(role=Role.MANAGER)
    device = authenticator_of(user)
    client = asked_for_a_code(user)
    client.post(f"{AUTH}mfa/verify/", {"code": code_of(device)})

    removed = client.delete(f"{AUTH}mfa/totp/")

    assert removed.status_code == 204
    assert code_in(client.get(f"{AUTH}me/")) == (403, REQUIRED)


def test_login_with_a_second_factor_opens_all_urls():
    user = UserFactory(role=Role.ADMIN)
    device = authenticator_of(user)
    client = asked_for_a_code(user)

    client.post(f"{AUTH}mfa/verify/", {"code": code_of(device)})

    assert client.get(f"{AUTH}me/").status_code == 200


def test_newly_required_role_closes_existing_sessions(settings):
    settings.MFA_REQUIRED_ROLES = []
    client = logged_in_as(UserFactory(role=Role.TRAINER))
    assert client.get(f"{AUTH}me/").status_code == 200

    settings.MFA_REQUIRED_ROLES = ["Trainer"]

    assert code_in(client.get(f"{AUTH}me/")) == (403, REQUIRED)


def test_other_roles_need_only_a_password():
    assert logged_in_as(UserFactory(role=Role.RECEPTIONIST)).get(f"{AUTH}me/").status_code == 200


def test_superuser_of_any_role_counts_as_admin():
    client = logged_in_as(UserFactory(role=Role.MEMBER, is_superuser=True))

    assert code_in(client.get(f"{AUTH}me/")) == (403, REQUIRED)


def test_refresh_and_logout_work_before_setup():
    client = logged_in_as(UserFactory(role=Role.MANAGER))

    answers = [client.post(f"{AUTH}refresh/"), client.post(f"{AUTH}logout/")]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert LoginSession.objects.get().revoke_reason == "logout"


def test_setup_needs_the_csrf_token():
    client = logged_in_as(UserFactory(role=Role.MANAGER))
    client.csrf_token = None

    assert code_in(client.post(f"{AUTH}mfa/totp/")) == (403, "csrf_failed")


def test_second_factor_check_costs_no_query(django_assert_num_queries):
    user = UserFactory(role=Role.MANAGER)
    device = authenticator_of(user)
    client = asked_for_a_code(user)
    client.post(f"{AUTH}mfa/verify/", {"code": code_of(device)})

    with django_assert_num_queries(1):  # the session with its user
        client.get(f"{AUTH}me/")


def test_anonymous_caller_gets_401_not_the_setup_error():
    assert code_in(browser().get(f"{AUTH}me/")) == (401, "not_authenticated")
