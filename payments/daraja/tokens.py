"""The OAuth token that all processes share. Each new token ends the one before it (Daraja portal, Authorization, FAQ),
so a process that fetched one of its own would end the token of the others.

One process at a time fetches, under a lease in the row. The lease expires when that process dies. No lock and no
transaction is open during the call to Safaricom.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from django.db import connection

from payments.daraja.errors import NotSent
from payments.daraja.identity import app_key

LEASE = 30  # seconds; longer than one call can take
FETCH_TIMEOUT = 40  # seconds to wait for another process's token
POLL = 0.05  # seconds
MARGIN = 60  # seconds before its end from which a token is no longer used

READ = """
SELECT value, version FROM payments_darajatoken
WHERE app = %(app)s AND version > %(refused)s AND expires_at > clock_timestamp()
"""
ACQUIRE_LEASE = """
INSERT INTO payments_darajatoken AS token (app, value, version, expires_at, fetching_until)
VALUES (%(app)s, '', 0, clock_timestamp(), clock_timestamp() + make_interval(secs => %(lease)s))
ON CONFLICT (app) DO UPDATE SET fetching_until = excluded.fetching_until
WHERE (token.fetching_until IS NULL
        OR token.fetching_until NOT BETWEEN clock_timestamp() AND excluded.fetching_until)  -- the clock was set back
    AND (token.version <= %(refused)s OR token.expires_at <= clock_timestamp())
RETURNING fetching_until
"""
STORE = """
UPDATE payments_darajatoken
SET value = %(value)s, version = version + 1, fetching_until = NULL,
    expires_at = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE app = %(app)s AND fetching_until = %(lease)s
RETURNING version
"""
RELEASE_LEASE = (
    "UPDATE payments_darajatoken SET fetching_until = NULL WHERE app = %(app)s AND fetching_until = %(lease)s"
)


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token. `version` identifies it without showing it."""

    value: str = field(repr=False)
    version: int


def get(fetch: Callable[[], tuple[str, int]], *, refused: int = 0) -> Token:
    """Return a token that is valid now and newer than the version that Safaricom `refused`.

    `fetch` asks Safaricom and returns the token and its lifetime in seconds. Of several callers only one calls it.

    :raises NotSent: another process is fetching and has not finished in time
    :raises DarajaError: `fetch` raised it
    """
    deadline = time.monotonic() + FETCH_TIMEOUT
    names = {"app": app_key(), "refused": refused, "lease": LEASE}
    while time.monotonic() < deadline:
        if found := _row(READ, names):
            return Token(*found)
        if lease := _row(ACQUIRE_LEASE, names):
            token = _fetch(fetch, {**names, "lease": lease[0]})
            if token is not None:
                return token
        time.sleep(POLL)
    raise NotSent("Another process did not get a token from Safaricom in time.")


def _fetch(fetch: Callable[[], tuple[str, int]], names: dict) -> Token | None:
    """Fetch and store a token under our lease. Return None when the lease has expired and another may be fetching."""
    try:
        value, seconds = fetch()
    except BaseException:
        _row(RELEASE_LEASE + " RETURNING 1", names)
        raise
    stored = _row(STORE, {**names, "value": value, "seconds": max(1, seconds - MARGIN)})
    return Token(value, stored[0]) if stored else None


def _row(statement: str, names: dict) -> tuple | None:
    with connection.cursor() as cursor:
        cursor.execute(statement, names)
        return cursor.fetchone()
