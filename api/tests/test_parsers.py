"""What a JSON body may not hold is refused before any serializer sees it, and what it may is read as it stands."""

import pytest
from rest_framework.exceptions import ErrorDetail, ValidationError

from api import exceptions
from api.parsers import DEEPEST, LONGEST_NUMBER, ParseError, UnkeepableText, read_json

DIGITS = b"9" * LONGEST_NUMBER
NESTED = DEEPEST - 1  # lists around one value


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
    ids=["a name twice", "a long number", "a long fraction", "no number", "infinity", "deep", "very deep", "not UTF-8"],
)
def test_what_none_of_our_fields_could_mean_is_refused(body):
    with pytest.raises(ParseError):
        read_json(body)


@pytest.mark.parametrize("body", [b'["a\\u0000b"]', b'{"a\\u0000b": 1}', b'["\\ud800"]', b'{"\\udfff": 1}'])
def test_what_postgresql_cannot_hold_is_refused_in_names_and_values(body):
    with pytest.raises(UnkeepableText):
        read_json(body)


def test_what_is_just_short_and_shallow_enough_is_read():
    assert read_json(DIGITS) == int(DIGITS)
    assert read_json(b"[" * NESTED + b"1" + b"]" * NESTED)
    assert read_json('{"a": "\U0001f3cb"}'.encode()) == {"a": "\U0001f3cb"}


def test_an_error_of_no_single_field_names_what_it_is_within():
    within = ValidationError({"person": {"non_field_errors": [ErrorDetail("Give one of them.", "required")]}})

    assert exceptions.translate(within).details == [
        {"field": "person", "code": "required", "message": "Give one of them."}
    ]
