"""One OAuth token for all processes. Each new token ends the one before it (Daraja portal, Authorization, FAQ), so
processes that fetched their own would break one another's.

One process at a time fetches, under a lease in the row that ends by itself when the process dies: no lock and no
transaction is held while Safaricom is asked.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from django.db import connection

from payments.daraja.errors import NotSent
from payments.daraja.identity import app_key

LEASE = 30  # seconds; longer than one call can take
PATIENCE = 40  # seconds to wait for another process's token
POLL = 0.05  # seconds
MARGIN = 60  # seconds before its end a token is not used any more

READ = """
SELECT value, version FROM payments_darajatoken
WHERE app = %(app)s AND version > %(refused)s AND expires_at > clock_timestamp()
"""
TAKE_LEASE = """
INSERT INTO payments_darajatoken AS token (app, value, version, expires_at, fetching_until)
VALUES (%(app)s, '', 0, clock_timestamp(), clock_timestamp() + make_interval(secs => %(lease)s))
ON CONFLICT (app) DO UPDATE SET fetching_until = excluded.fetching_until
WHERE (token.fetching_until IS NULL OR token.fetching_until <= clock_timestamp())
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
GIVE_BACK = "UPDATE payments_darajatoken SET fetching_until = NULL WHERE app = %(app)s AND fetching_until = %(lease)s"


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token; `version` names it without showing it."""

    value: str = field(repr=False)
    version: int


def get(fetch: Callable[[], tuple[str, int]], *, refused: int = 0) -> Token:
    """Return a token that is good now and newer than the version Safaricom `refused`.

    `fetch` asks Safaricom and returns the token and its seconds; however many callers wait, one of them calls it.

    :raises NotSent: another process is fetching and does not come to an end; and whatever `fetch` raises
    """
    deadline = time.monotonic() + PATIENCE
    names = {"app": app_key(), "refused": refused, "lease": LEASE}
    while time.monotonic() < deadline:
        if found := _row(READ, names):
            return Token(*found)
        if lease := _row(TAKE_LEASE, names):
            token = _fetch(fetch, {**names, "lease": lease[0]})
            if token is not None:
                return token
        time.sleep(POLL)
    raise NotSent("Another process did not get a token from Safaricom in time.")


def _fetch(fetch: Callable[[], tuple[str, int]], names: dict) -> Token | None:
    """Fetch under our lease; None when the lease ended meanwhile and another's token is the good one."""
    try:
        value, seconds = fetch()
    except BaseException:
        _row(GIVE_BACK + " RETURNING 1", names)
        raise
    stored = _row(STORE, {**names, "value": value, "seconds": max(1, seconds - MARGIN)})
    return Token(value, stored[0]) if stored else None


def _row(statement: str, names: dict) -> tuple | None:
    with connection.cursor() as cursor:
        cursor.execute(statement, names)
        return cursor.fetchone()
