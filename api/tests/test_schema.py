"""The OpenAPI document tells the truth, and the committed copy is the present one."""

import io
from pathlib import Path

import pytest
import yaml
from django.conf import settings
from django.core.management import call_command
from django.urls import reverse

COMMITTED = Path(settings.BASE_DIR) / "docs" / "openapi.yaml"


@pytest.fixture(scope="module")
def document():
    out = io.StringIO()
    call_command("spectacular", validate=True, fail_on_warn=True, stdout=out)
    return out.getvalue()


def test_the_committed_document_is_the_present_one(document):
    assert COMMITTED.read_text() == document, "run `make schema` and commit docs/openapi.yaml"


def test_every_unsafe_call_asks_for_the_csrf_header(document):
    without = [
        f"{method} {path}"
        for path, operations in yaml.safe_load(document)["paths"].items()
        for method, operation in operations.items()
        if method in ("post", "put", "patch", "delete")
        and "X-CSRFToken" not in [parameter["name"] for parameter in operation.get("parameters", [])]
    ]

    assert without == []


def test_every_answer_with_a_body_is_in_the_envelope(document):
    bare = [
        f"{method} {path} {status}"
        for path, operations in yaml.safe_load(document)["paths"].items()
        for method, operation in operations.items()
        for status, answer in operation["responses"].items()
        for content in answer.get("content", {}).values()
        if content["schema"].get("$ref") != "#/components/schemas/Error"
        and list(content["schema"].get("properties", {})) != ["status", "data", "meta"]
    ]

    assert bare == []


def test_a_list_is_described_as_rows_in_data(document):
    schemas = yaml.safe_load(document)["components"]["schemas"]

    assert schemas["PaginatedPlanList"] == {"type": "array", "items": {"$ref": "#/components/schemas/Plan"}}
    assert schemas["PaginatedPaymentList"]["type"] == "array"  # by cursor


def test_a_call_is_described_by_what_it_asks_and_by_what_it_answers(document):
    purchase = yaml.safe_load(document)["paths"]["/api/v1/subscriptions/"]["post"]
    asked = purchase["requestBody"]["content"]["application/json"]["schema"]
    answered = purchase["responses"]["200"]["content"]["application/json"]["schema"]["properties"]["data"]

    assert (asked["$ref"], answered["$ref"]) == ("#/components/schemas/Subscribe", "#/components/schemas/Subscription")


@pytest.mark.django_db
def test_the_page_that_explains_the_api_runs_no_inline_script(client):
    page = client.get(reverse("docs"), secure=True).content.decode()

    assert "<script>" not in page
    assert "swagger-ui" in page
