"""The envelope of answers under /api/, for successes and for errors of every origin."""

import json

import pytest
from django.db import IntegrityError, OperationalError

from accounts.services import login_sessions
from accounts.tests.factories import UserFactory
from api.parsers import MAX_UPLOAD_BYTES
from api.tests.clients import browser, logged_in_as

pytestmark = [pytest.mark.django_db, pytest.mark.server]

LOGIN = "/api/v1/auth/login/"


def error(answer):
    return answer.status_code, answer.json()["error"]["type"], answer.json()["error"]["code"]


def test_success_has_an_envelope_with_the_request_id():
    answer = browser().get("/api/v1/auth/csrf/", headers={"X-Request-ID": "my-own-id-1"})

    assert answer.json() == {
        "status": "success",
        "data": {"csrf_token": answer["X-CSRFToken"]},
        "meta": {"request_id": "my-own-id-1"},
    }
    assert answer["X-Request-ID"] == "my-own-id-1"


@pytest.mark.parametrize("strange", ["short", "has space in it", "x" * 65, "line\tbreak-id"])
def test_unsafe_request_id_is_replaced(strange):
    answer = browser().get("/api/v1/auth/csrf/", headers={"X-Request-ID": strange})

    assert answer["X-Request-ID"] != strange


def test_field_errors_have_field_code_and_message():
    answer = browser().post(LOGIN, {"identifier": "x" * 300, "remember": "perhaps"})

    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "type": "validation_error",
        "code": "validation_error",
        "message": "Some fields are not valid.",
        "details": [
            {
                "field": "identifier",
                "code": "max_length",
                "message": "Ensure this field has no more than 254 characters.",
            },
            {"field": "password", "code": "required", "message": "This field is required."},
            {"field": "remember", "code": "invalid", "message": "Send true or false, without quotes."},
        ],
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 20 + b"1" + b"}" * 20,
        b'{"identifier": ' + b"9" * 5000 + b"}",
        b'{"identifier": NaN}',
        b'{"identifier": 1e999999999999999999999}',
        b'{"identifier": "a\\u0000b", "password": "x"}',
        b'{"identifier": "\\ud800", "password": "x"}',
        b'{"identifier": "a", "identifier": "b", "password": "x"}',
        "{}".encode("utf-16"),
        b"\xff\xfe",
        b"[]",
        b"null",
        b'"text"',
        b"true",
    ],
)
def test_hostile_json_is_answered_with_an_envelope(body):
    answer = browser().generic("POST", LOGIN, body, content_type="application/json")

    assert 400 <= answer.status_code < 500
    assert answer.json()["status"] == "error"


def test_large_json_body_is_refused():
    body = json.dumps({"identifier": "x", "password": "y" * 1_000_000})

    answer = browser().generic("POST", LOGIN, body, content_type="application/json")

    assert error(answer) == (413, "client_error", "too_large")


def test_body_in_another_charset_is_refused():
    answer = browser().generic("POST", LOGIN, b"{}", content_type="application/json; charset=latin-1")

    assert error(answer) == (400, "validation_error", "parse_error")


def test_html_form_is_an_unsupported_media_type():
    answer = browser().generic("POST", LOGIN, b"a=1", content_type="application/x-www-form-urlencoded")

    assert error(answer) == (415, "client_error", "unsupported_media_type")


def test_unknown_url_under_api_answers_json():
    answer = browser().get("/api/v1/nothing-here/")

    assert error(answer) == (404, "not_found", "not_found")


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("path", ["/api/v1/auth/login", "/api/v1/nothing/"])
def test_url_without_final_slash_is_answered_in_json(path, debug, settings):
    settings.DEBUG = debug

    answer = browser().post(path, {"identifier": "x"}, format="json")

    assert error(answer) == (404, "not_found", "not_found")


def test_callback_token_in_an_unknown_url_is_not_logged(client, caplog):
    client.post("/api/v1/callbacks/stk/a-secret-token", b"{}", content_type="application/json")

    assert "a-secret-token" not in caplog.text


def test_unknown_url_elsewhere_answers_a_page(client):
    answer = client.get("/nothing-here/")

    assert answer.status_code == 404
    assert answer["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("path", ["/api/v1/auth/me/?x=%00", "/r/a%00b/", "/admin/members/%00/"])
def test_nul_character_in_a_url_is_refused(path):
    answer = browser().get(path)

    assert error(answer) == (400, "validation_error", "bad_request")


def test_wrong_method_answers_the_allowed_methods():
    answer = logged_in_as(UserFactory()).put("/api/v1/auth/me/", {})

    assert error(answer) == (405, "client_error", "method_not_allowed")
    assert answer["Allow"] == "GET, PATCH, HEAD, OPTIONS"


@pytest.mark.parametrize(
    ("raised", "status", "code"),
    [
        (IntegrityError("duplicate key value violates unique constraint"), 409, "conflict"),
        (OperationalError("server closed the connection"), 503, "unavailable"),
        (RuntimeError("a bug"), 500, "server_error"),
    ],
)
def test_unexpected_exception_is_answered_without_its_text(monkeypatch, raised, status, code):
    def fail(**kwargs):
        raise raised

    monkeypatch.setattr(login_sessions, "log_in", fail)
    client = browser()
    client.raise_request_exception = False

    answer = client.post(LOGIN, {"identifier": "a", "password": "b"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert str(raised) not in answer.content.decode()


def test_answers_cannot_be_cached_framed_or_run():
    answer = logged_in_as(UserFactory()).get("/api/v1/auth/me/")

    assert {
        name: answer[name]
        for name in (
            "Cache-Control",
            "Content-Security-Policy",
            "X-Frame-Options",
            "X-Content-Type-Options",
            "Referrer-Policy",
            "Permissions-Policy",
        )
    } == {
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    }
    assert "Cookie" in answer["Vary"]


@pytest.mark.parametrize("path", [LOGIN, "/admin/login/"])
def test_body_larger_than_any_upload_is_not_read(path):
    body = b"--x\r\n" + b"x" * MAX_UPLOAD_BYTES

    answer = browser().generic("POST", path, body, content_type="multipart/form-data; boundary=x")

    assert error(answer) == (413, "client_error", "too_large")
