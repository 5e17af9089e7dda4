"""Log lines have no secrets, and no message can forge a line."""

import json
import logging

import pytest

from api import request_ids
from api.logs import JsonFormatter, PlainFormatter, without_secrets


@pytest.mark.parametrize(
    ("text", "logged"),
    [
        ("to 254712345678 now", "to 71****678 now"),
        ("to +254112345678", "to 11****678"),
        ("to 0712345678", "to 71****678"),
        ("to +254 712 345 678 now", "to 71****678 now"),
        ("to 254-712-345-678", "to 71****678"),
        ("to 0712 345 678", "to 71****678"),
        ("to 712345678", "to 71****678"),
        ("at 2026-11-23 17:10:57", "at 2026-11-23 17:10:57"),
        ("POST /api/v1/callbacks/stk/aBcD-123/ 200", "POST /api/v1/callbacks/stk/[secret]/ 200"),
        ("POST /api/v1/callbacks/result/aBcD-123/late/ 200", "POST /api/v1/callbacks/result/[secret]/late/ 200"),
        ("cookie eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl", "cookie [token]"),
        ("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer [secret]"),
        (
            "breaks a constraint\nDETAIL:  Failing row contains (1, argon2$x,\nasha@example.com).\n\nThe above",
            "breaks a constraint\nDETAIL: [row]\n\nThe above",
        ),
        ("payment 12345678901234", "payment 12345678901234"),
    ],
)
def test_phone_numbers_and_tokens_are_masked(text, logged):
    assert without_secrets(text) == logged


def record(message):
    return logging.LogRecord("kilabu", logging.INFO, __file__, 1, message, None, None)


def test_line_break_cannot_forge_a_plain_line():
    assert PlainFormatter("%(message)s").format(record("one\r\ntwo")) == "one\\r\\ntwo"


def test_json_record_is_one_line():
    line = JsonFormatter().format(record("one\ntwo"))

    assert "\n" not in line
    assert json.loads(line)["message"] == "one\ntwo"


def test_log_line_of_an_error_has_the_request_id(client):
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(json.loads(JsonFormatter().format(record)))
    logging.getLogger("django.request").addHandler(handler)

    answer = client.get("/api/v1/nowhere/", headers={"X-Request-ID": "asked-for-by-a-test"})
    logging.getLogger("django.request").removeHandler(handler)

    assert [(line["message"], line["request_id"]) for line in lines] == [
        ("Not Found: /api/v1/nowhere/", answer.headers["X-Request-ID"])
    ]
    assert request_ids.current.get() == ""
