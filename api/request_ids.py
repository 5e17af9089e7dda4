"""Request ids: each request has one, in its answer, its log lines and its audit rows."""

import re
import secrets
from contextvars import ContextVar

ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{8,64}")

current: ContextVar[str] = ContextVar("request_id", default="")


def from_header(value: str | None) -> str:
    """Return the client's own id if it has 8 to 64 safe characters, else a new one."""
    if value and ACCEPTABLE.fullmatch(value):
        return value
    return secrets.token_hex(13)
