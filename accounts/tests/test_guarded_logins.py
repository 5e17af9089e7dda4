"""Guarded logins: after too many failures at a place, or for an identifier, every login needs a code."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from procrastinate.contrib.django.models import ProcrastinateJob

from accounts.models import CustomUser, LoginSession, PendingLogin
from accounts.services import login_sessions, two_factor
from accounts.tests.authenticators import AUTH, authenticator_of, code_of
from accounts.tests.factories import PASSWORD, UserFactory
from accounts.tests.worker import work
from api.roles import Role
from api.tests.clients import browser

pytestmark = [pytest.mark.django_db, pytest.mark.server]

ASKED = {"mfa_required": True, "methods": ["totp", "recovery", "message"]}


@pytest.fixture
def exhausted_place(monkeypatch):
    """Let as many logins fail here as are allowed."""
    monkeypatch.setattr(login_sessions, "FAILURES_PER_PLACE", 1)
    monkeypatch.setattr(login_sessions, "SLOW_ATTEMPTS", 50)
    browser().post(f"{AUTH}login/", {"identifier": "nobody", "password": "no"})


def log_in(identifier, password=PASSWORD, client=None):
    client = client or browser()
    return client, client.post(f"{AUTH}login/", {"identifier": identifier, "password": password})


def send(client, code, method="verify"):
    return client.post(f"{AUTH}mfa/{method}/", {"code": code})


PEOPLE = {
    "the right password": ({}, PASSWORD),
    "a wrong password": ({}, "not-the-password"),
    "an unknown identifier": (None, PASSWORD),
    "an inactive person": ({"is_active": False}, PASSWORD),
    "no password": ({"password": None}, PASSWORD),
    "an app": ({"app": True}, PASSWORD),
}


def person_of(who):
    """Return the identifier and the password that a row of `PEOPLE` sends."""
    fields, password = PEOPLE[who]
    if fields is None:
        return "unknown", password
    fields = dict(fields)
    has_app = fields.pop("app", False)
    user = UserFactory(**fields)
    if has_app:
        authenticator_of(user)
    return user.username, password


@pytest.mark.parametrize("who", PEOPLE)
def test_every_login_is_asked_for_a_code(exhausted_place, who):
    client, answer = log_in(*person_of(who))

    assert (answer.status_code, answer.json()["data"]) == (200, ASKED)
    assert set(answer.cookies) == {"MfaPending"}
    wrong = [send(client, "000000") for _ in range(6)]
    codes = [each.json()["error"]["code"] for each in wrong]
    assert codes == ["mfa_invalid"] * 5 + ["mfa_expired"]


def test_every_login_runs_the_same_statements(exhausted_place):
    asked = {}
    for who in PEOPLE:
        identifier, password = person_of(who)
        client = browser()
        with CaptureQueriesContext(connection) as queries:
            client.post(f"{AUTH}login/", {"identifier": identifier, "password": password})
        asked[who] = [query["sql"].split()[0] for query in queries.captured_queries]

    assert len({tuple(statements) for statements in asked.values()}) == 1


def test_code_in_a_message_finishes_the_login(exhausted_place, texts):
    user = UserFactory()
    client, _ = log_in(user.email)
    work()

    answer = send(client, texts[-1][1].split()[0])

    assert answer.json()["data"]["user"]["id"] == user.pk
    assert (texts[-1][0], LoginSession.objects.get().amr) == (user.phone_number, ["pwd"])


@pytest.mark.parametrize("who", ["a wrong password", "an unknown identifier", "an inactive person", "an app"])
def test_no_message_is_sent(exhausted_place, texts, mailoutbox, who):
    log_in(*person_of(who))

    work()

    assert (texts, mailoutbox) == ([], [])


def test_user_with_an_app_needs_its_code(exhausted_place):
    user = UserFactory()
    device = authenticator_of(user)
    client, _ = log_in(user.username)

    assert send(client, code_of(device)).status_code == 200
    assert LoginSession.objects.get().amr == ["pwd", "otp"]


def test_password_changed_during_the_check_gets_no_code(exhausted_place, monkeypatch):
    user = UserFactory()
    check = CustomUser.check_password

    def changed_meanwhile(person, password):
        CustomUser.objects.update(password="another")
        return check(person, password)

    monkeypatch.setattr(CustomUser, "check_password", changed_meanwhile)
    log_in(user.username)

    assert PendingLogin.objects.get().user is None


def test_exhausted_place_answers_slowly(exhausted_place, monkeypatch):
    monkeypatch.setattr(login_sessions, "SLOW_ATTEMPTS", 2)

    answers = [log_in(f"person{n}")[1] for n in range(4)]

    assert [answer.status_code for answer in answers[-2:]] == [429, 429]
    assert int(answers[-1]["Retry-After"]) <= 10


def test_guessing_from_many_places_guards_the_identifier(monkeypatch, texts):
    monkeypatch.setattr(login_sessions, "ATTEMPTS_PER_PERSON", 6)
    user = UserFactory()
    for n in range(6):
        browser().post(f"{AUTH}login/", {"identifier": user.username, "password": "no"}, REMOTE_ADDR=f"10.0.0.{n}")

    client, answer = log_in(user.username)
    work()

    assert answer.json()["data"] == ASKED
    assert send(client, texts[-1][1].split()[0]).status_code == 200


def test_messages_to_one_user_are_limited(exhausted_place, texts, monkeypatch):
    monkeypatch.setattr(two_factor, "MESSAGES_PER_PERSON", 2)
    user = UserFactory()
    for _ in range(4):
        log_in(user.username)

    work()

    assert len(texts) == 2


def test_wrong_codes_of_a_guarded_login_are_not_counted_visibly(exhausted_place, monkeypatch):
    monkeypatch.setattr(two_factor, "CODES_PER_PERSON", 1)
    user = UserFactory()
    device = authenticator_of(user)
    client, _ = log_in(user.username)

    answers = [send(client, code) for code in ("000000", "000000", code_of(device))]

    assert [answer.json()["error"]["code"] for answer in answers] == ["mfa_invalid"] * 3


def admin_errors(identifier, password, code=""):
    form = {"username": identifier, "password": password, "code": code, "next": "/admin/"}
    page = Client().post("/admin/login/", form, secure=True)
    return page.status_code, page.context["form"].non_field_errors() if page.status_code == 200 else []


@pytest.mark.parametrize("password", [PASSWORD, "not-the-password"])
@pytest.mark.parametrize("code", ["", "000000"])
def test_admin_answers_alike_to_right_and_wrong_passwords(exhausted_place, password, code):
    staff = UserFactory(role=Role.MANAGER, is_staff=True)
    with_app = UserFactory(role=Role.MANAGER, is_staff=True)
    authenticator_of(with_app)

    answers = [admin_errors(name, password, code) for name in (staff.username, with_app.username, "unknown")]

    wanted = "Enter your password again" if not code else "The username or password is wrong"
    assert [(status, errors[0].startswith(wanted)) for status, errors in answers] == [(200, True)] * 3


def test_admin_lets_staff_in_with_their_app(exhausted_place):
    staff = UserFactory(role=Role.MANAGER, is_staff=True)
    device = authenticator_of(staff)

    assert admin_errors(staff.username, PASSWORD, code_of(device)) == (302, [])


def test_job_of_a_guarded_login_names_no_person(exhausted_place):
    log_in(UserFactory().username)

    job = ProcrastinateJob.objects.get(task_name="accounts.send_login_code")
    assert job.args == {"pending_id": str(PendingLogin.objects.get().pk)}
