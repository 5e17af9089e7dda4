"""Comparison of requests and answers with the committed OpenAPI document."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import jsonschema
import yaml
from django.conf import settings
from django.http import HttpResponse

FORMATS = jsonschema.FormatChecker(formats=())


@FORMATS.checks("date-time")
def is_moment_in_utc(value) -> bool:
    """Return whether a moment is written as the whole API writes it."""
    return value is None or re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", str(value)) is not None


COMMITTED = Path(settings.BASE_DIR) / "docs" / "openapi.yaml"


@cache
def document() -> dict:
    """Return the document as JSON Schema, where `nullable` is written as a type of null."""
    return _with_null(yaml.load(COMMITTED.read_text(), Loader=yaml.CSafeLoader))


def _with_null(node):
    if isinstance(node, list):
        return [_with_null(each) for each in node]
    if not isinstance(node, dict):
        return node
    node = {key: _with_null(value) for key, value in node.items()}
    if node.pop("nullable", False) is not True:
        return node
    return {"readOnly": node.get("readOnly"), "anyOf": [node, {"type": "null"}]} if node else node


@cache
def operations() -> list[tuple[str, re.Pattern, dict]]:
    """Return (method, pattern of the path, operation), paths with fewer placeholders first."""
    paths = sorted(document()["paths"].items(), key=lambda item: item[0].count("{"))
    return [
        (method.upper(), re.compile(re.sub(r"{[^}]+}", "[^/]+", path)), operation)
        for path, methods in paths
        for method, operation in methods.items()
    ]


def mismatches(method: str, path: str, body: str | bytes, answer: HttpResponse) -> list[str]:
    """Return the differences between a call of the API and its description."""
    operation = next((each for verb, pattern, each in operations() if verb == method and pattern.fullmatch(path)), None)
    if operation is None:
        return []
    found = list(_of_answer(operation["responses"], answer))
    if answer.status_code < 300 and body:
        found += _of_body(operation.get("requestBody", {"content": {}})["content"], body)
    return [f"{method} {path}: {each}" for each in found]


def words_of(answer: dict) -> list[str]:
    """Return the words of an answer's description. For an error they include its codes."""
    return re.findall(r"\w+", answer["description"])


def _of_answer(described: dict, answer: HttpResponse) -> Iterator[str]:
    status = answer.status_code
    if str(status) not in described and status < 500 and status not in (405, 406):
        yield f"answers {status}, which is not described"
        return
    schema = described.get(str(status), described["default"])
    if "$ref" in schema:
        schema = document()["components"]["responses"][schema["$ref"].rsplit("/", 1)[1]]
        code = json.loads(answer.content)["error"]["code"]
        if str(status) in described and code not in words_of(schema):
            yield f"answers {status} with the code {code}, which is not described"
    content = schema.get("content", {})
    kind = answer.get("Content-Type", "").split(";")[0]
    if kind not in content and (kind or content):
        yield f"answers {status} as {kind or 'nothing'}, which is not described"
    elif kind == "application/json":
        yield from (
            f"answers {status}: {each}" for each in _against(content[kind]["schema"], json.loads(answer.content))
        )


def _of_body(content: dict, body: str | bytes) -> Iterator[str]:
    sent = json.loads(body) if content.keys() <= {"application/json"} else None
    if not content and sent:
        yield "takes a body, which is not described"
    elif sent is not None and content:
        yield from (
            f"takes a body: {each}" for each in _against(content["application/json"]["schema"], sent, is_request=True)
        )


def _against(schema: dict, value, *, is_request: bool = False) -> Iterator[str]:
    checker = jsonschema.Draft7Validator(
        {**schema, "components": document()["components"]}, format_checker=None if is_request else FORMATS
    )
    for error in checker.iter_errors(value):
        # Read-only fields are not required in a request, and accepted where they are sent back unchanged.
        if is_request and error.schema.get("readOnly"):
            continue
        if is_request and error.validator == "required":
            name = re.match("'(.*)' is a required", error.message)[1]
            if error.schema["properties"].get(name, {}).get("readOnly"):
                continue
        yield f"{'.'.join(map(str, error.path))}: {error.message}"
