"""The envelope and headers of answers by views, by Django and by middleware."""

import json
import logging

import pytest
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.core.exceptions import ValidationError as DjangoValidationError
from django.core.signals import got_request_exception
from django.db import IntegrityError, OperationalError, connection
from django.db.models import ProtectedError
from django.http import Http404
from rest_framework.exceptions import ErrorDetail, ValidationError

from accounts.models import CustomUser
from accounts.services import people
from accounts.tests.factories import UserFactory
from api import exceptions
from api.tests.clients import BrowserClient, browser, logged_in_as

pytestmark = [pytest.mark.django_db, pytest.mark.server]

APP = "https://app.club.example"
ME = "/api/v1/auth/me/"


@pytest.fixture
def cors_client(settings, monkeypatch):
    """A client of an allowed origin, over HTTPS as in production. Exceptions are answered, not raised."""
    settings.CORS_ALLOWED_ORIGINS = settings.CSRF_TRUSTED_ORIGINS = [APP]
    settings.SECURE_HSTS_SECONDS = 3600
    client = logged_in_as(UserFactory())
    client.defaults["HTTP_ORIGIN"] = APP
    client.raise_request_exception = False
    return client


def break_profile(monkeypatch, raised):
    def fail(**kwargs):
        raise raised

    monkeypatch.setattr(people, "change_profile", fail)


def send_large_body(client):
    return client.patch(ME, {"first_name": "x" * 100_000})


def fail_csrf(client):
    client.csrf_token = None
    return client.patch(ME, {})


ANSWERS = {
    "a success": (200, lambda client: client.get(ME)),
    "no login": (401, lambda client: BrowserClient().get(ME, HTTP_ORIGIN=APP)),
    "a role too low": (403, lambda client: client.get("/api/v1/users/")),
    "no CSRF token": (403, fail_csrf),
    "an unknown URL": (404, lambda client: client.get("/api/v1/nothing/")),
    "an invalid id": (404, lambda client: client.delete("/api/v1/auth/sessions/not-a-uuid/")),
    "a wrong method": (405, lambda client: client.put(ME, {})),
    "an unsupported format": (406, lambda client: client.get(ME, HTTP_ACCEPT="text/html")),
    "too large": (413, send_large_body),
    "an unsupported media type": (415, lambda client: client.generic("PATCH", ME, b"a=1", content_type="text/plain")),
    "NUL in the query": (400, lambda client: client.get(f"{ME}?x=%00")),
    "another host": (400, lambda client: client.get(ME, HTTP_HOST="evil.example")),
    "an exception": (500, lambda client: client.patch(ME, {"first_name": "Asha"})),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_every_answer_has_the_envelope_and_headers(cors_client, monkeypatch, name):
    break_profile(monkeypatch, RuntimeError("a bug"))
    status, call = ANSWERS[name]

    answer = call(cors_client)

    assert answer.status_code == status
    body = answer.json()
    assert set(body) == ({"status", "data", "meta"} if status < 400 else {"status", "error", "meta"})
    assert body["meta"] == {"request_id": answer["X-Request-ID"]}
    assert {
        name: answer.get(name)
        for name in (
            "Content-Type",
            "Cache-Control",
            "Content-Security-Policy",
            "X-Frame-Options",
            "X-Content-Type-Options",
            "Referrer-Policy",
            "Strict-Transport-Security",
            "Access-Control-Allow-Origin",
            "Access-Control-Allow-Credentials",
        )
    } == {
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Strict-Transport-Security": "max-age=3600",
        "Access-Control-Allow-Origin": APP,
        "Access-Control-Allow-Credentials": "true",
    }
    assert {"Cookie", "origin"} <= {each.strip() for each in answer["Vary"].split(",")}


def test_allowed_origin_may_use_the_headers_of_the_api(cors_client):
    requested = "content-type,idempotency-key,x-csrftoken,x-request-id"

    preflight = cors_client.options(
        ME, HTTP_ACCESS_CONTROL_REQUEST_METHOD="PATCH", HTTP_ACCESS_CONTROL_REQUEST_HEADERS=requested
    )

    assert set(requested.split(",")) <= set(preflight["Access-Control-Allow-Headers"].split(", "))
    assert set(cors_client.get(ME)["Access-Control-Expose-Headers"].split(", ")) == {
        "X-CSRFToken",
        "X-Request-ID",
        "Retry-After",
        "Location",
    }


@pytest.mark.parametrize("origin", ["https://evil.example", f"{APP}.evil.example", "null", f"{APP}:8443"])
def test_other_origin_may_not_read_an_answer(cors_client, origin):
    assert "Access-Control-Allow-Origin" not in cors_client.get(ME, HTTP_ORIGIN=origin)


def test_no_origin_may_read_the_admin(cors_client):
    assert "Access-Control-Allow-Origin" not in cors_client.get("/admin/login/")


def test_empty_answer_has_no_content_type():
    client = logged_in_as(UserFactory())
    session = client.get("/api/v1/auth/sessions/").json()["data"][0]["id"]

    answer = client.delete(f"/api/v1/auth/sessions/{session}/")

    assert (answer.status_code, answer.content, "Content-Type" in answer) == (204, b"", False)


def test_head_request_is_answered_without_body():
    answer = logged_in_as(UserFactory()).head(ME)

    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("path", ["/api/v1/schema/", "/api/v1/docs/", "/healthz", "/readyz"])
def test_documents_and_probes_have_no_envelope(path):
    answer = browser().get(path)

    assert answer.status_code == 200
    assert b'"meta"' not in answer.content.split(b"paths", 1)[0]


def raised_answer(exception):
    answer = exceptions.handle(exception, {})
    error = answer.data["error"]
    return answer.status_code, error["type"], error["code"]


def test_django_exceptions_have_the_same_envelope():
    of_a_field = exceptions.translate(DjangoValidationError({"dob": ["Enter a valid date."]}))

    assert of_a_field.details == [{"field": "dob", "code": "invalid", "message": "Enter a valid date."}]
    assert raised_answer(DjangoValidationError("No.")) == (400, "validation_error", "validation_error")
    assert raised_answer(Http404()) == (404, "not_found", "not_found")
    assert raised_answer(CustomUser.DoesNotExist("CustomUser matching query")) == (404, "not_found", "not_found")
    assert raised_answer(ProtectedError("protected", set())) == (409, "conflict", "conflict")
    assert raised_answer(RecursionError()) == (400, "validation_error", "parse_error")
    assert raised_answer(RequestDataTooBig()) == (413, "client_error", "too_large")
    assert raised_answer(SuspiciousOperation("../etc/passwd")) == (400, "validation_error", "bad_request")


def test_errors_in_a_nested_list_name_their_place():
    nested = ValidationError({"items": [{}, {"email": [ErrorDetail("Enter a valid email address.", "invalid")]}]})

    assert exceptions.translate(nested).details == [
        {"field": "items.1.email", "code": "invalid", "message": "Enter a valid email address."}
    ]


def test_exception_is_logged_with_traceback_and_signalled(cors_client, monkeypatch, caplog):
    break_profile(monkeypatch, RuntimeError("the cause"))
    paths = []
    got_request_exception.connect(lambda **sent: paths.append(sent["request"].path), weak=False, dispatch_uid="test")
    caplog.set_level(logging.ERROR)

    answer = cors_client.patch(ME, {"first_name": "Asha"}, headers={"X-Request-ID": "a-request-of-mine"})

    got_request_exception.disconnect(dispatch_uid="test")
    assert answer.json()["error"]["code"] == "server_error"
    assert answer.json()["meta"]["request_id"] == "a-request-of-mine"
    assert "RuntimeError: the cause" in caplog.text
    assert paths == [ME]


def test_lost_database_is_answered_with_retry_after(cors_client, monkeypatch):
    break_profile(monkeypatch, OperationalError("server closed the connection"))

    answer = cors_client.patch(ME, {"first_name": "Asha"})

    assert (answer.status_code, answer["Retry-After"]) == (503, "2")


def test_error_rolls_back_with_atomic_requests(monkeypatch):
    member = UserFactory(first_name="Whole")

    def write_and_fail(*, person_id, **kwargs):
        CustomUser.objects.filter(pk=person_id).update(first_name="Half")
        raise IntegrityError("a clash")

    monkeypatch.setattr(people, "change_person", write_and_fail)
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    answer = logged_in_as(UserFactory(role="Manager")).patch(f"/api/v1/users/{member.pk}/", {"first_name": "Asha"})

    member.refresh_from_db()
    assert (answer.status_code, member.first_name) == (409, "Whole")


def test_conflict_names_no_constraint(cors_client, monkeypatch):
    break_profile(
        monkeypatch, IntegrityError('duplicate key value violates unique constraint "user_email_unique_in_any_case"')
    )

    answer = cors_client.patch(ME, {"first_name": "Asha"})

    assert answer.status_code == 409
    assert "user_email" not in json.dumps(answer.json())


def test_exception_in_middleware_is_answered_in_the_envelope(settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "api.tests.test_every_answer.broken"]
    client = BrowserClient(raise_request_exception=False)

    answers = [client.get(ME), client.get("/admin/login/")]

    assert [answer.status_code for answer in answers] == [500, 500]
    assert answers[0].json()["error"]["code"] == "server_error"
    assert answers[1]["Content-Type"].startswith("text/html")


def broken(get_response):
    def middleware(request):
        raise RuntimeError("a bug of a middleware")

    return middleware
