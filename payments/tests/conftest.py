"""After every test that touches the database the books must prove themselves."""

from collections import defaultdict
from hashlib import sha256

import pytest
from django.db import connection

from payments.invariants import INVARIANTS

AT_EVERY_MOMENT = [each for each in INVARIANTS if not each.quiet]


def broken_invariants(invariants=AT_EVERY_MOMENT):
    """The codes of the invariants that do not hold, with their rows.

    Asked after every test and every step of some: in one statement, which each connection plans once. To plan them
    one by one takes ten times as long as to run them.
    """
    statement = " UNION ALL ".join(
        f"SELECT '{each.code}', broken::text FROM ({each.sql}) broken"  # noqa: S608 (our own SQL)
        for each in invariants
    )
    name = f"broken_{sha256(statement.encode()).hexdigest()[:16]}"
    broken = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_prepared_statements WHERE name = %s", [name])
        if cursor.fetchone() is None:
            cursor.execute(f"PREPARE {name} AS {statement}")
        cursor.execute(f"EXECUTE {name}")
        for code, row in cursor.fetchall():
            broken[code].append(row)
    return broken


@pytest.fixture(autouse=True)
def _books_agree(request):
    """Prove the books at the end; a test that plants a fault in them is marked `breaks_the_books`."""
    if request.node.get_closest_marker("django_db") is None:
        yield
        return
    # With transactions of their own the tables are emptied at the end: look before that.
    request.getfixturevalue("transactional_db" if is_transactional(request) else "db")
    yield
    if request.node.get_closest_marker("breaks_the_books") is None:
        assert broken_invariants() == {}


def is_transactional(request):
    """Say whether the test commits for real."""
    return bool(request.node.get_closest_marker("django_db").kwargs.get("transaction"))
