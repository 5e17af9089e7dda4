"""Logging: one line for each record, with the request id, and without phone numbers or tokens."""

import json
import logging
import re
import threading
import time

from api import request_ids


def in_url(word: str) -> str:
    """Return a pattern for a word of a URL, with each character as it is or percent-encoded, also twice."""
    return "".join(f"(?:{re.escape(each)}|%(?:25)*(?:{ord(each):02x}|{ord(each.upper()):02x}))" for each in word)


CALLBACK_PATH = f"{in_url('/callbacks/')}(?:{in_url('stk')}|{in_url('c2b')}|{in_url('result')}){in_url('/')}+"
# A Kenyan mobile number in its usual forms; a JSON Web Token; the path of a callback; an Authorization header; the
# whole row, which PostgreSQL shows as the detail of a broken constraint.
SECRETS = (
    (re.compile(r"(?<!\d)(?:\+?254[ -]?|0)?([17]\d)\d[ -]?\d{3}[ -]?(\d{3})(?!\d)"), r"\1****\2"),
    (re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*"), "[token]"),
    (re.compile(rf"(?i)({CALLBACK_PATH})[^/\s\"]+"), r"\1[secret]"),
    (re.compile(r"(?i)(bearer|basic) [\w+/=.-]{8,}"), r"\1 [secret]"),
    (re.compile(r"(?s)DETAIL:  .*?(?=\n\n|\Z)"), "DETAIL: [row]"),
)


def without_secrets(text: str) -> str:
    """Return the text with phone numbers masked, and with tokens and rows replaced."""
    for pattern, replacement in SECRETS:
        text = pattern.sub(replacement, text)
    return text


class PlainFormatter(logging.Formatter):
    """A formatter for people. Line breaks in a message are escaped, so that it cannot forge a second line."""

    def format(self, record: logging.LogRecord) -> str:
        text = without_secrets(super().format(record))
        if not record.exc_info:
            text = text.replace("\r", "\\r").replace("\n", "\\n")
        request_id = request_ids.current.get()
        return f"{text} [{request_id}]" if request_id else text


class JsonFormatter(logging.Formatter):
    """A formatter for machines: one JSON object on each line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "message": without_secrets(record.getMessage()),
            "request_id": request_ids.current.get(),
        }
        if record.exc_info:
            line["traceback"] = without_secrets(self.formatException(record.exc_info))
        return json.dumps(line)


def log_config(*, level: str, formatter: str) -> dict:
    """Return Django's LOGGING setting: everything goes to standard error. `formatter` is "plain" or "json"."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "plain": {"()": "api.logs.PlainFormatter", "format": "%(levelname)s %(name)s: %(message)s"},
            "json": {"()": "api.logs.JsonFormatter"},
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": formatter}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "django": {"handlers": [], "level": "INFO", "propagate": True},
            "django.server": {"handlers": []},
            "procrastinate": {"level": "WARNING"},  # on INFO it logs the start and end of each job
            "fontTools": {"level": "WARNING"},  # on INFO it logs each letter of a receipt PDF
        },
    }


class CountedWarning:
    """A warning that anybody on the internet can cause: logged at once, then once a minute at most, with its number.

    `message` has one %d for how many happened since its last line.
    """

    interval = 60.0  # seconds

    all: list["CountedWarning"] = []  # of this process

    def __init__(self, logger: logging.Logger, message: str):
        self.logger, self.message = logger, message
        CountedWarning.all.append(self)
        self._lock = threading.Lock()
        self._count, self._due = 0, 0.0

    def happened(self) -> None:
        """Count one, and log if no line was written in this interval."""
        with self._lock:
            self._count += 1
        self.log_due()

    def log_due(self) -> None:
        """Log what was counted since the last line, when the interval is over. With nothing counted, do nothing."""
        with self._lock:
            count, moment = self._count, time.monotonic()
            if not count or moment < self._due:
                return
            self._count, self._due = 0, moment + self.interval
        self.logger.warning(self.message, count)
