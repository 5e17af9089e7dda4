"""The OpenAPI document describes the API, and the committed copy is current."""

import os
import subprocess
import sys

import pytest
import yaml
from django.conf import settings
from django.http import HttpResponse, JsonResponse
from django.urls import reverse

from api.tests import schema_checks

SAFE = ("get", "head", "options")


@pytest.fixture(scope="module")
def document():
    """The current document, written by a separate process, because its codes depend on the modules that are loaded."""
    command = [sys.executable, "manage.py", "spectacular", "--validate", "--fail-on-warn"]
    made = subprocess.run(command, cwd=settings.BASE_DIR, env=os.environ, capture_output=True, text=True)  # noqa: S603
    assert made.returncode == 0, made.stderr
    return made.stdout


@pytest.fixture(scope="module")
def operations(document):
    """Operations by method and path."""
    paths = yaml.load(document, Loader=yaml.CSafeLoader)["paths"]
    return {f"{method} {path}": operation for path, methods in paths.items() for method, operation in methods.items()}


def test_committed_document_is_current(document):
    assert schema_checks.COMMITTED.read_text() == document, "run `make schema` and commit docs/openapi.yaml"


def test_every_unsafe_call_requires_the_csrf_token(operations):
    missing = {
        name
        for name, operation in operations.items()
        if name.split()[0] not in SAFE
        and not all({"csrf", "csrfWithCookies"} & way.keys() for way in operation["security"] or [{}])
    }

    assert missing == set()


def test_only_public_reads_need_no_cookie(operations):
    open_to_all = {name for name, operation in operations.items() if {} in operation.get("security", [{}])}

    assert {name.removeprefix("get /api/v1/") for name in open_to_all} == {
        "auth/csrf/",
        "club/",
        "plan-groups/",
        "plans/",
        "plans/{id}/",
    }


def test_every_json_answer_has_the_envelope(operations):
    bare = [
        f"{name} {status}"
        for name, operation in operations.items()
        for status, answer in operation["responses"].items()
        for kind, content in answer.get("content", {}).items()
        if kind == "application/json" and set(content["schema"]["properties"]) != {"status", "data", "meta"}
    ]

    assert bare == []


def test_every_operation_lists_its_error_statuses(operations):
    for name, operation in operations.items():
        described = set(operation["responses"])
        assert {"400", "default"} <= described, name
        if {"cookie": []} in operation["security"]:
            ignores_cookie = {} in operation["security"]
            assert {"401", "403"} & described == ({"403"} if ignores_cookie else {"401", "403"}), name
        if name.split()[0] not in SAFE:
            assert {"403", "409", "413", "415", "429"} <= described, name
        if "{" in name:
            assert "404" in described, name


def test_error_response_lists_codes_and_headers():
    kinds = schema_checks.document()["components"]["responses"]

    assert {"not_authenticated", "token_expired", "refresh_reused"} <= set(schema_checks.words_of(kinds["401"]))
    assert {"throttled", "too_many_attempts"} <= set(schema_checks.words_of(kinds["429"]))
    assert [*kinds["401"]["headers"], *kinds["429"]["headers"]] == ["WWW-Authenticate", "Retry-After"]


def test_list_offers_only_its_own_parameters(operations):
    offered = {
        name: [each["name"] for each in operations[f"get /api/v1/{name}"]["parameters"] if each["in"] == "query"]
        for name in ("users/", "auth/security-events/")
    }

    assert {"search", "ordering", "page", "page_size", "dob__gte", "role"} <= set(offered["users/"])
    assert offered["auth/security-events/"] == ["cursor", "page_size"]


def test_list_is_described_as_an_array():
    schemas = schema_checks.document()["components"]["schemas"]

    assert schemas["PaginatedPlanList"] == {"type": "array", "items": {"$ref": "#/components/schemas/Plan"}}
    assert schemas["PaginatedPaymentList"]["type"] == "array"  # by cursor


def test_request_and_answer_have_their_own_schemas(operations):
    push = operations["post /api/v1/payments/{reference}/push/"]
    requested = push["requestBody"]["content"]["application/json"]["schema"]
    answered = push["responses"]["202"]["content"]["application/json"]["schema"]["properties"]["data"]

    assert (requested["$ref"], answered["$ref"]) == (
        "#/components/schemas/PushRequest",
        "#/components/schemas/PaymentDetail",
    )


def test_pdf_is_described_as_a_file(operations):
    assert list(operations["get /api/v1/receipts/{id}/pdf/"]["responses"]["200"]["content"]) == ["application/pdf"]


ME = "/api/v1/auth/me/"
PERSON = {
    "id": 1, "username": "asha", "first_name": "Asha", "last_name": "Otieno", "email": None, "role": "Member",
    "dob": None, "profile_picture": None, "phone_number": None, "emergency_contact": "", "added_by": None,
    "member_number": "1000015", "has_second_factor": False,
}  # fmt: skip


def success(data):
    return JsonResponse({"status": "success", "data": data, "meta": {"request_id": "a-request"}})


def refusal(status, code):
    error = {"type": "not_found", "code": code, "message": "", "details": []}
    return JsonResponse({"status": "error", "error": error, "meta": {"request_id": "a-request"}}, status=status)


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (("GET", ME, b""), success(PERSON)),
        (("PATCH", ME, b'{"first_name": "Asha"}'), success(PERSON)),
        (("GET", ME, b""), refusal(401, "token_expired")),
        (("GET", "/not/ours/", b""), HttpResponse("anything")),
    ],
)
def test_answer_that_matches_the_schema_is_accepted(call, answer):
    assert schema_checks.mismatches(*call, answer) == []


@pytest.mark.parametrize(
    ("call", "answer", "mismatch"),
    [
        (("GET", ME, b""), success({**PERSON, "dob": 5}), "answers 200: data.dob"),
        (("GET", ME, b""), success({key: PERSON[key] for key in PERSON if key != "id"}), "'id' is a required property"),
        (("GET", ME, b""), refusal(409, "conflict"), "answers 409, which is not described"),
        (("GET", ME, b""), refusal(401, "made_up"), "with the code made_up"),
        (("GET", ME, b""), HttpResponse(b"%PDF", content_type="application/pdf"), "answers 200 as application/pdf"),
        (("PATCH", ME, b'{"first_name": 5}'), success(PERSON), "takes a body: first_name"),
        (("POST", "/api/v1/auth/refresh/", b'{"refresh": "x"}'), success({}), "takes a body, which is not described"),
    ],
)
def test_answer_that_differs_from_the_schema_is_reported(call, answer, mismatch):
    assert [each for each in schema_checks.mismatches(*call, answer) if mismatch in each]


@pytest.mark.django_db
def test_documentation_page_has_no_inline_script(client):
    page = client.get(reverse("docs"), secure=True).content.decode()

    assert "<script>" not in page
    assert "<style>" not in page
    assert "swagger-ui" in page


@pytest.mark.parametrize("query", ["version=%0d%0aX", "lang=sw"])
def test_document_refuses_unknown_parameters(client, query):
    answer = client.get(f"/api/v1/schema/?{query}", secure=True)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_parameter")


def test_document_is_served_as_yaml(client):
    answer = client.get("/api/v1/schema/", secure=True)

    assert (answer.status_code, answer["Content-Type"]) == (200, "application/vnd.oai.openapi; charset=utf-8")
    assert answer.content.startswith(b"openapi: 3")


def test_document_is_served_as_json_on_request(client):
    answer = client.get("/api/v1/schema/", headers={"Accept": "application/json"}, secure=True)

    assert answer.json()["info"]["title"] == "Kilabu"


def test_status_of_a_subscription_lists_its_values(document):
    properties = yaml.load(document, Loader=yaml.CSafeLoader)["components"]["schemas"]["Subscription"]["properties"]

    assert properties["status"]["allOf"] == [{"$ref": "#/components/schemas/SubscriptionStatus"}]


def test_document_has_no_time_format_and_no_unspecified_object(document):
    # The hours of a plan have no offset from UTC, which `format: time` requires (RFC 3339).
    assert "format: time\n" not in document
    assert "additionalProperties: {}" not in document
