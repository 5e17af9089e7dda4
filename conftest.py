"""What every test of every app shares."""

import pytest
from django.db import connection


@pytest.fixture(autouse=True)
def _no_jobs_left_behind(request):
    """Empty the job tables after a test that commits: Django empties its own tables only."""
    mark = request.node.get_closest_marker("django_db")
    if mark is None or not mark.kwargs.get("transaction"):
        yield
        return
    request.getfixturevalue("transactional_db")
    yield
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE procrastinate_jobs, procrastinate_workers, procrastinate_periodic_defers CASCADE")
