"""After every test that touches the database the books must prove themselves."""

import pytest

from config.management.commands.audit_books import offending_rows
from payments.invariants import INVARIANTS


def broken_invariants():
    """The codes of the invariants that hold at every moment, and do not now, with their rows."""
    return {each.code: rows for each in INVARIANTS if not each.quiet and (rows := offending_rows(each))}


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
