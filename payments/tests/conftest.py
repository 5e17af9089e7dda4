"""The check of the invariants after every test of payments."""

import pytest

from payments.tests.invariants import broken_invariants


@pytest.fixture(autouse=True)
def _no_invariant_is_broken(request):
    """Check the invariants of payments after each test with a database, except one marked `breaks_the_books`."""
    mark = request.node.get_closest_marker("django_db")
    if mark is None:
        yield
        return
    # The tables of a test that commits are emptied at its end. Requested here, that comes after this check.
    request.getfixturevalue("transactional_db" if mark.kwargs.get("transaction") else "db")
    yield
    if request.node.get_closest_marker("breaks_the_books") is None and (broken := broken_invariants()):
        pytest.fail(f"The test broke invariants of payments: {dict(broken)}")
