"""Log lines have no secrets, and no message can forge a line."""

import json
import logging
from types import SimpleNamespace

import pytest

from api import logs, request_ids
from api.logs import CountedWarning, JsonFormatter, PlainFormatter, without_secrets


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
        ("POST /API/V1/CALLBACKS/STK/aBcD-123/ 404", "POST /API/V1/CALLBACKS/STK/[secret]/ 404"),
        ("GET /api/v1/%63allbacks%2Fs%74k/aBcD-123/ 404", "GET /api/v1/%63allbacks%2Fs%74k/[secret]/ 404"),
        ("GET /api%2Fv1%2FCallbacks%2fC2B%2FaBcD-123%2Fx 404", "GET /api%2Fv1%2FCallbacks%2fC2B%2F[secret] 404"),
        ("GET /%2563allbacks%252Fresult%252FaBcD-123 404", "GET /%2563allbacks%252Fresult%252F[secret] 404"),
        ("GET /callbacks/stk//aBcD-123/ 404", "GET /callbacks/stk//[secret]/ 404"),
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


def test_counted_warning_is_logged_once_per_interval_with_its_number(caplog, monkeypatch):
    moments = iter([1000.0] * 5 + [1061.0, 1062.0, 1130.0, 1300.0])
    monkeypatch.setattr(logs, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    monkeypatch.setattr(CountedWarning, "all", [])
    warning = CountedWarning(logging.getLogger("kilabu"), "Refused: %d.")

    for _ in range(6):
        warning.happened()
    warning.happened()
    warning.log_due()
    warning.log_due()  # nothing has happened since

    assert [each.message for each in caplog.records] == ["Refused: 1.", "Refused: 5.", "Refused: 1."]


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
