"""Login to the admin: the same rules as in the API."""

from datetime import timedelta

import pytest

from accounts.models import Authenticator, CustomUser, SecurityEvent
from accounts.receivers import LOGGED_IN_AT
from accounts.services import login_sessions, two_factor
from accounts.services.audit import Caller
from accounts.tests.authenticators import AUTH, authenticator_of, code_of, wrong_code
from accounts.tests.factories import PASSWORD, UserFactory
from api.clock import now
from api.roles import Role
from api.tests.clients import browser

pytestmark = pytest.mark.django_db

LOGIN, INDEX, SECOND_FACTOR = "/admin/login/", "/admin/", "/admin/second-factor/"
REQUIRED = (403, "mfa_enrolment_required")
WRONG = "The username or password is wrong, or you have not confirmed your phone number or e-mail address yet."
WRONG_CODE = "This code is wrong or was used before. Try another one."


@pytest.fixture
def owner():
    return UserFactory(role=Role.ADMIN, is_staff=True, is_superuser=True)


@pytest.fixture
def required(settings):
    settings.MFA_REQUIRED_ROLES = ["Admin", "Manager"]


def log_in(client, person, *, password=PASSWORD, code=""):
    return client.post(
        LOGIN, {"username": person.username, "password": password, "code": code, "next": INDEX}, secure=True
    )


def get(client, path):
    return client.get(path, secure=True)


def errors_on(answer):
    """Return the errors on the login page."""
    assert answer.status_code == 200
    return answer.context["form"].non_field_errors()


def code_in(answer):
    return answer.status_code, answer.json().get("error", {}).get("code")


def events(user):
    return list(SecurityEvent.objects.filter(user=user).order_by("id").values_list("event", "outcome", "detail"))


def test_staff_log_in_with_a_password(client, owner):
    answer = log_in(client, owner)

    assert (answer.status_code, answer.url) == (302, INDEX)
    assert get(client, INDEX).status_code == 200
    assert events(owner) == [("login", "ok", {"to": "admin"})]


@pytest.mark.parametrize("wrong", ["password", "name", "not staff", "inactive"])
def test_every_failed_admin_login_gets_the_same_error_and_audit(client, owner, wrong):
    person = {
        "password": owner,
        "name": UserFactory.build(username="nobody"),
        "not staff": UserFactory(),
        "inactive": UserFactory(is_staff=True, is_active=False),
    }[wrong]

    answer = log_in(client, person, password="wrong-password" if wrong == "password" else PASSWORD)

    assert errors_on(answer) == [WRONG]
    assert SecurityEvent.objects.get().outcome == "refused"
    assert get(client, INDEX).status_code == 302


def test_sixth_wrong_attempt_is_limited_in_admin_and_api(client, owner):
    answers = [log_in(client, owner, password="wrong-password") for _ in range(6)]

    assert errors_on(answers[-1]) == ["Too many attempts. Wait a few minutes and try again."]
    api = browser().post(f"{AUTH}login/", {"identifier": owner.username, "password": PASSWORD})
    assert code_in(api) == (429, "too_many_attempts")


def test_admin_login_asks_for_the_second_factor(client, owner):
    authenticator_of(owner)

    answer = log_in(client, owner)

    assert errors_on(answer) == ["Enter your password again, and the code that your authenticator app shows."]
    assert get(client, INDEX).status_code == 302


def test_wrong_password_does_not_reveal_the_second_factor(client, owner):
    authenticator_of(owner)

    assert errors_on(log_in(client, owner, password="wrong")) == [
        "The username or password is wrong, or you have not confirmed your phone number or e-mail address yet."
    ]


def test_admin_login_uses_up_the_code(client, owner):
    code = code_of(authenticator_of(owner))

    first = log_in(client, owner, code=code)
    index = get(client, INDEX)
    client.logout()
    again = log_in(client, owner, code=code)

    assert (first.status_code, index.status_code) == (302, 200)
    assert errors_on(again) == [WRONG_CODE]


def test_recovery_code_logs_in_to_the_admin_once(client, owner):
    authenticator_of(owner)
    code, *_ = two_factor.replace_recovery_codes(owner)

    assert log_in(client, owner, code=code).status_code == 302
    client.logout()
    assert errors_on(log_in(client, owner, code=code)) == [WRONG_CODE]


def test_wrong_codes_are_audited_and_limited(client, owner, monkeypatch):
    monkeypatch.setattr(two_factor, "CODES_PER_PERSON", 1)
    device = authenticator_of(owner)

    log_in(client, owner, code=wrong_code(device))

    assert errors_on(log_in(client, owner, code=code_of(device))) == ["Too many requests. Please wait and try again."]
    assert events(owner) == [("second_factor", "refused", {"method": "totp"})]


def test_admin_session_ends_when_a_second_factor_is_added(client, owner):
    log_in(client, owner)
    authenticator_of(owner)

    assert get(client, INDEX).status_code == 302
    assert code_in(get(client, f"{AUTH}me/")) == REQUIRED


def test_role_that_needs_a_second_factor_reaches_only_its_setup(client, owner, required):
    log_in(client, owner)

    page = client.get(INDEX, secure=True, follow=True)

    assert page.redirect_chain[-1] == (SECOND_FACTOR, 302)
    assert page.status_code == 200
    assert get(client, "/admin/accounts/customuser/").status_code == 302
    assert code_in(get(client, f"{AUTH}me/")) == REQUIRED


def test_setup_of_the_second_factor_opens_the_admin(client, owner, required):
    log_in(client, owner)
    begun = client.post(SECOND_FACTOR, secure=True)
    device = Authenticator.objects.get()
    mistyped = client.post(SECOND_FACTOR, {"code": wrong_code(device)}, secure=True)
    Authenticator.objects.update(throttling_failure_count=0)

    done = client.post(SECOND_FACTOR, {"code": code_of(device)}, secure=True)

    assert begun.context["secret"] == mistyped.context["secret"]
    assert mistyped.context["error"] == "This code is wrong. Check that your phone shows the correct time."
    assert len(done.context["recovery_codes"]) == 10
    assert done.context["recovery_codes"][0] in done.content.decode()
    assert done["Cache-Control"] == "max-age=0, no-cache, no-store, must-revalidate, private"
    assert get(client, INDEX).status_code == 200


@pytest.mark.parametrize("who", ["stranger", "member", "stale", "enrolled"])
def test_setup_page_requires_staff_fresh_login_and_no_second_factor(client, owner, who):
    if who == "member":
        client.force_login(UserFactory())
    if who in ("stale", "enrolled"):
        log_in(client, owner)
    if who == "stale":
        session = client.session
        session[LOGGED_IN_AT] = (now() - timedelta(minutes=11)).timestamp()
        session.save()
    if who == "enrolled":
        authenticator_of(owner)

    answer = client.post(SECOND_FACTOR, secure=True)

    assert (answer.status_code, answer.url) == (302, LOGIN)
    assert not Authenticator.objects.filter(confirmed=False).exists()


def test_admin_session_reaches_the_api_under_the_same_rules(client, owner, required):
    log_in(client, owner, code=code_of(authenticator_of(owner)))

    assert code_in(get(client, f"{AUTH}me/")) == (200, None)


def test_ending_sessions_ends_the_admin_session_too(client, owner):
    log_in(client, owner)
    assert (get(client, INDEX).status_code, get(client, f"{AUTH}me/").status_code) == (200, 200)

    login_sessions.revoke_all(user=owner, reason="by_staff", caller=Caller(ip="127.0.0.1"), now=now())

    assert (get(client, INDEX).status_code, get(client, f"{AUTH}me/").status_code) == (302, 401)
    assert get(client, SECOND_FACTOR).status_code == 302
    log_in(client, owner)
    assert get(client, INDEX).status_code == 200


@pytest.mark.parametrize("change", [{"is_staff": False}, {"is_active": False}])
def test_former_staff_lose_the_admin_at_once(client, owner, change):
    log_in(client, owner)

    CustomUser.objects.update(**change)

    assert get(client, INDEX).status_code == 302
    assert code_in(get(client, f"{AUTH}me/")) == (401, "not_authenticated")


def test_lower_role_applies_on_the_next_admin_request(client, owner):
    log_in(client, owner)

    CustomUser.objects.update(role=Role.MEMBER, is_superuser=False)

    assert code_in(get(client, "/api/v1/users/")) == (403, "permission_denied")


def test_admin_session_needs_the_csrf_token_in_the_api(owner):
    client = browser()
    client.force_login(owner)
    client.csrf_token = None

    assert code_in(client.post(f"{AUTH}logout-all/")) == (403, "csrf_failed")


def test_admin_page_reads_the_login_state_once(client, owner, django_assert_max_num_queries):
    log_in(client, owner)

    with django_assert_max_num_queries(8) as asked:
        get(client, "/admin/subscriptions/plan/")

    assert len([query for query in asked.captured_queries if "otp_totp" in query["sql"]]) == 1


def test_session_limit_of_the_api_keeps_the_admin_session(client, owner, settings):
    settings.SESSIONS_PER_USER = 1
    log_in(client, owner)

    for _ in range(2):
        browser().post(f"{AUTH}login/", {"identifier": owner.username, "password": PASSWORD})

    assert get(client, INDEX).status_code == 200


@pytest.mark.parametrize("page", ["2", "x", "-1", "9" * 5000])
def test_sidebar_search_refuses_the_page_parameter(client, owner, page):
    client.force_login(owner)

    assert get(client, f"{INDEX}search/?s=people").status_code == 200
    assert get(client, f"{INDEX}search/?s=people&page={page}").status_code == 404
