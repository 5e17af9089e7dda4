"""Random input, by strangers and by staff, never causes a server error."""

import json
from base64 import b64encode
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.tests.factories import UserFactory
from api.tests.clients import BrowserClient, browser, logged_in_as

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

FIELDS = [
    "identifier",
    "password",
    "remember",
    "code",
    "phone_number",
    "email",
    "username",
    "first_name",
    "dob",
    "emergency_contact",
    "plan",
    "member",
    "amount",
    "channel",
    "member_number",
]
PARAMETERS = ["page", "page_size", "cursor", "search", "ordering", "role", "status", "dob__gte", "member", "plan"]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8"), max_size=40)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
BODIES = st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=8) | ANYTHING
# The examples share one client and its rows on purpose: the state that they leave is part of the attack.
hostile = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def assert_refused_or_answered(answer):
    assert answer.status_code < 500, answer.content
    assert answer.status_code == 204 or answer.json()["status"] in ("success", "error")


@pytest.mark.parametrize("path", ["auth/login/", "auth/register/", "auth/verify/", "auth/password/reset/confirm/"])
def test_random_bytes_without_login_are_answered(path):
    client = browser()
    client.raise_request_exception = False

    @hostile
    @given(st.binary(max_size=200))
    def attack(body):
        assert_refused_or_answered(client.generic("POST", f"/api/v1/{path}", body, content_type="application/json"))

    attack()


@pytest.mark.parametrize("path", ["auth/login/", "auth/register/", "auth/refresh/", "auth/logout/"])
@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=\x00"])
def test_form_without_boundary_is_refused(path, content_type):
    client = BrowserClient(raise_request_exception=False)
    client.get("/api/v1/auth/csrf/")
    client.csrf_token = None  # so that the CSRF check reads the form
    client.cookies["Refresh"] = "x"  # without a cookie, logout has no CSRF check

    answer = client.generic("POST", f"/api/v1/{path}", b"--x\r\n", content_type=content_type)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "parse_error")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", "auth/me/"),
        ("POST", "users/"),
        ("POST", "subscriptions/"),
        ("POST", "receipts/"),
        ("POST", "checkins/"),
    ],
)
def test_random_json_of_staff_is_answered(method, path):
    client = logged_in_as(UserFactory(role="Admin"))
    client.raise_request_exception = False

    @hostile
    @given(BODIES)
    def attack(body):
        # Python writes NaN and Infinity in a way that is not JSON.
        answer = client.generic(method, f"/api/v1/{path}", json.dumps(body), content_type="application/json")
        assert_refused_or_answered(answer)

    attack()


@pytest.mark.parametrize(
    "path", ["users/", "subscriptions/", "payments/", "receipts/", "review-items/", "plans/", "closures/"]
)
def test_random_query_of_staff_is_answered(path):
    client = logged_in_as(UserFactory(role="Admin"))
    client.raise_request_exception = False

    @hostile
    @given(st.dictionaries(st.sampled_from(PARAMETERS), st.text(st.characters(codec="utf-8"), max_size=20), max_size=3))
    def attack(parameters):
        assert_refused_or_answered(client.get(f"/api/v1/{path}", parameters))

    attack()


@pytest.mark.parametrize(
    "position",
    [
        "",
        "abc",
        "now",
        "infinity",
        "\x00",
        "9" * 40,
        "9999-99-99",
        "2026-11-02T09:00:00",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+23:59",
    ],
)
@pytest.mark.parametrize("path", ["payments", "receipts", "refunds", "code-claims", "review-items"])
def test_forged_cursor_is_not_found(path, position):
    cursor = b64encode(urlencode({"p": position}).encode()).decode()

    answer = logged_in_as(UserFactory(role="Admin")).get(f"/api/v1/{path}/", {"cursor": cursor})

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
