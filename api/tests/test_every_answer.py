"""What every answer under /api/ carries, whoever gave it: a view, Django, or the middleware before both."""

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
def served(settings, monkeypatch):
    """A client of an origin that we allow, over HTTPS as in production; faults are answered, not raised."""
    settings.CORS_ALLOWED_ORIGINS = settings.CSRF_TRUSTED_ORIGINS = [APP]
    settings.SECURE_HSTS_SECONDS = 3600
    client = logged_in_as(UserFactory())
    client.defaults["HTTP_ORIGIN"] = APP
    client.raise_request_exception = False
    return client


def fault(monkeypatch, raised):
    def fail(**kwargs):
        raise raised

    monkeypatch.setattr(people, "change_profile", fail)


def big(client):
    return client.patch(ME, {"first_name": "x" * 100_000})


def csrf_failed(client):
    client.csrf_token = None
    return client.patch(ME, {})


ANSWERS = {
    "a success": (200, lambda client: client.get(ME)),
    "no log-in": (401, lambda client: BrowserClient().get(ME, HTTP_ORIGIN=APP)),
    "a role too low": (403, lambda client: client.get("/api/v1/users/")),
    "no CSRF token": (403, csrf_failed),
    "an unknown address": (404, lambda client: client.get("/api/v1/nothing/")),
    "an id that is none": (404, lambda client: client.delete("/api/v1/auth/sessions/not-a-uuid/")),
    "a wrong method": (405, lambda client: client.put(ME, {})),
    "a format that we have not": (406, lambda client: client.get(ME, HTTP_ACCEPT="text/html")),
    "too large": (413, big),
    "a type that we read not": (415, lambda client: client.generic("PATCH", ME, b"a=1", content_type="text/plain")),
    "NUL in the query": (400, lambda client: client.get(f"{ME}?x=%00")),
    "another host": (400, lambda client: client.get(ME, HTTP_HOST="evil.example")),
    "a fault": (500, lambda client: client.patch(ME, {"first_name": "Asha"})),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_every_answer_is_in_the_envelope_with_its_headers(served, monkeypatch, name):
    fault(monkeypatch, RuntimeError("a bug"))
    status, call = ANSWERS[name]

    answer = call(served)

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


def test_a_script_of_an_allowed_origin_may_send_and_read_what_the_api_works_with(served):
    asked = "content-type,idempotency-key,x-csrftoken,x-request-id"

    preflight = served.options(
        ME, HTTP_ACCESS_CONTROL_REQUEST_METHOD="PATCH", HTTP_ACCESS_CONTROL_REQUEST_HEADERS=asked
    )

    assert set(asked.split(",")) <= set(preflight["Access-Control-Allow-Headers"].split(", "))
    assert set(served.get(ME)["Access-Control-Expose-Headers"].split(", ")) == {
        "X-CSRFToken",
        "X-Request-ID",
        "Retry-After",
        "Location",
    }


@pytest.mark.parametrize("origin", ["https://evil.example", f"{APP}.evil.example", "null", f"{APP}:8443"])
def test_a_script_of_any_other_origin_may_not(served, origin):
    assert "Access-Control-Allow-Origin" not in served.get(ME, HTTP_ORIGIN=origin)


def test_no_origin_may_read_the_admin(served):
    assert "Access-Control-Allow-Origin" not in served.get("/admin/login/")


def test_an_answer_without_a_body_has_no_type_of_one():
    client = logged_in_as(UserFactory())
    session = client.get("/api/v1/auth/sessions/").json()["data"][0]["id"]

    answer = client.delete(f"/api/v1/auth/sessions/{session}/")

    assert (answer.status_code, answer.content, "Content-Type" in answer) == (204, b"", False)


def test_a_head_has_no_body():
    answer = logged_in_as(UserFactory()).head(ME)

    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("path", ["/api/v1/schema/", "/api/v1/docs/", "/healthz", "/readyz"])
def test_documents_and_probes_stay_bare(path):
    answer = browser().get(path)

    assert answer.status_code == 200
    assert b'"meta"' not in answer.content.split(b"paths", 1)[0]


def raised_answer(exception):
    answer = exceptions.handle(exception, {})
    error = answer.data["error"]
    return answer.status_code, error["type"], error["code"]


def test_what_django_raises_is_told_as_what_rest_framework_raises():
    of_a_field = exceptions.translate(DjangoValidationError({"dob": ["Enter a valid date."]}))

    assert of_a_field.details == [{"field": "dob", "code": "invalid", "message": "Enter a valid date."}]
    assert raised_answer(DjangoValidationError("No.")) == (400, "validation_error", "validation_error")
    assert raised_answer(Http404()) == (404, "not_found", "not_found")
    assert raised_answer(CustomUser.DoesNotExist("CustomUser matching query")) == (404, "not_found", "not_found")
    assert raised_answer(ProtectedError("protected", set())) == (409, "conflict", "conflict")
    assert raised_answer(RecursionError()) == (400, "validation_error", "parse_error")
    assert raised_answer(RequestDataTooBig()) == (413, "client_error", "too_large")
    assert raised_answer(SuspiciousOperation("../etc/passwd")) == (400, "validation_error", "bad_request")


def test_errors_of_lists_inside_bodies_say_where():
    nested = ValidationError({"items": [{}, {"email": [ErrorDetail("Enter a valid email address.", "invalid")]}]})

    assert exceptions.translate(nested).details == [
        {"field": "items.1.email", "code": "invalid", "message": "Enter a valid email address."}
    ]


def test_a_fault_is_logged_with_its_traceback_and_told_to_who_listens(served, monkeypatch, caplog):
    fault(monkeypatch, RuntimeError("the cause"))
    heard = []
    got_request_exception.connect(lambda **told: heard.append(told["request"].path), weak=False, dispatch_uid="heard")
    caplog.set_level(logging.ERROR)

    answer = served.patch(ME, {"first_name": "Asha"}, headers={"X-Request-ID": "a-request-of-mine"})

    got_request_exception.disconnect(dispatch_uid="heard")
    assert answer.json()["error"]["code"] == "server_error"
    assert answer.json()["meta"]["request_id"] == "a-request-of-mine"
    assert "RuntimeError: the cause" in caplog.text
    assert heard == [ME]


def test_whoever_finds_the_database_away_is_told_when_to_come_again(served, monkeypatch):
    fault(monkeypatch, OperationalError("server closed the connection"))

    answer = served.patch(ME, {"first_name": "Asha"})

    assert (answer.status_code, answer["Retry-After"]) == (503, "2")


def test_what_was_written_before_a_refusal_is_taken_back_where_requests_are_transactions(monkeypatch):
    member = UserFactory(first_name="Whole")

    def write_and_fail(*, person_id, **kwargs):
        CustomUser.objects.filter(pk=person_id).update(first_name="Half")
        raise IntegrityError("a clash")

    monkeypatch.setattr(people, "change_person", write_and_fail)
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    answer = logged_in_as(UserFactory(role="Manager")).patch(f"/api/v1/users/{member.pk}/", {"first_name": "Asha"})

    member.refresh_from_db()
    assert (answer.status_code, member.first_name) == (409, "Whole")


def test_a_clash_names_no_constraint(served, monkeypatch):
    fault(monkeypatch, IntegrityError('duplicate key value violates unique constraint "user_email_unique_in_any_case"'))

    answer = served.patch(ME, {"first_name": "Asha"})

    assert answer.status_code == 409
    assert "user_email" not in json.dumps(answer.json())


def test_a_fault_before_any_view_is_answered_alike(settings):
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
