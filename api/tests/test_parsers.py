"""The JSON parser: the content that it refuses, and its limits."""

import pytest
from rest_framework.exceptions import ErrorDetail, ValidationError

from api import exceptions
from api.parsers import MAX_DEPTH, MAX_NUMBER_DIGITS, ParseError, UnstorableText, read_json

DIGITS = b"9" * MAX_NUMBER_DIGITS
NESTED = MAX_DEPTH - 1  # lists around one value


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1, "a": 2}',
        DIGITS + b"9",
        b"0." + DIGITS,
        b"NaN",
        b"-Infinity",
        b"[" * (NESTED + 1) + b"1" + b"]" * (NESTED + 1),
        b"[" * 100_000 + b"]" * 100_000,
        b"\xff",
    ],
    ids=["duplicate name", "long number", "long fraction", "NaN", "infinity", "deep", "very deep", "not UTF-8"],
)
def test_json_outside_the_limits_is_refused(body):
    with pytest.raises(ParseError):
        read_json(body)


@pytest.mark.parametrize("body", [b'["a\\u0000b"]', b'{"a\\u0000b": 1}', b'["\\ud800"]', b'{"\\udfff": 1}'])
def test_text_that_postgresql_cannot_store_is_refused(body):
    with pytest.raises(UnstorableText):
        read_json(body)


def test_json_at_the_limits_is_read():
    assert read_json(DIGITS) == int(DIGITS)
    assert read_json(b"[" * NESTED + b"1" + b"]" * NESTED)
    assert read_json('{"a": "\U0001f3cb"}'.encode()) == {"a": "\U0001f3cb"}


def test_error_of_a_nested_object_names_its_field():
    within = ValidationError({"person": {"non_field_errors": [ErrorDetail("Give one of them.", "required")]}})

    assert exceptions.translate(within).details == [
        {"field": "person", "code": "required", "message": "Give one of them."}
    ]
