"""The fixtures that the tests of all apps share."""

import os
import shutil
import threading

import pytest
from django.db import connection
from django.test import TransactionTestCase
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from playwright.sync_api import sync_playwright
from rest_framework.test import APIClient

from api.tests.schema_checks import mismatches
from config.tests.template import empty_tables, migrated_template
from payments.tests.invariants import broken_invariants

QUIET_BROWSER = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]

# The suite draws the same examples each time, so that a small commit does not fail because of an old fault that chance
# has just found. `make test ARGS=--hypothesis-profile=explore` draws other examples each time. A busy machine fails no
# test either: examples have no deadline.
UNHURRIED = {"print_blob": True, "deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
hypothesis_settings.register_profile("steady", derandomize=True, **UNHURRIED)
hypothesis_settings.register_profile("explore", derandomize=False, **UNHURRIED)
hypothesis_settings.load_profile("steady")


def pytest_xdist_auto_num_workers() -> int:
    """Run one process more than there are processors, at most four: some tests wait for other processes."""
    return min((os.cpu_count() or 1) + 1, 4)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix, django_db_blocker):
    """Copy the test databases from a migrated one. pytest-django calls this before it creates them."""
    with django_db_blocker.unblock():
        connection.settings_dict["TEST"]["TEMPLATE"] = migrated_template()


@pytest.fixture(scope="session")
def chromium():
    """Start the Chromium that is installed on the machine."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        pytest.fail("make e2e needs Chromium on the machine (Debian: apt-get install chromium).")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=QUIET_BROWSER)
        yield browser
        browser.close()


@pytest.fixture
def free_apply_slots(monkeypatch):
    """Apply each callback in its own request, however many arrive at once: no worker runs to apply the others."""
    monkeypatch.setattr("payments.callbacks.inbox.APPLY_SLOT", threading.BoundedSemaphore(100))


@pytest.fixture(autouse=True, scope="session")
def _responses_match_the_schema():
    """Compare every API response of every test with docs/openapi.yaml."""
    generic = APIClient.generic

    def checked(client, method, path, data="", *args, **kwargs):
        response = generic(client, method, path, data, *args, **kwargs)
        if found := mismatches(method, path.partition("?")[0], data, response):
            message = "The response differs from docs/openapi.yaml. Describe the view, then run `make schema`:"
            pytest.fail("\n".join([message, *found]))
        return response

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(APIClient, "generic", checked)
        yield


@pytest.fixture(autouse=True, scope="session")
def _fast_flush():
    """Empty the tables after a test that commits by `empty_tables` instead of Django's slow flush."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TransactionTestCase, "_fixture_teardown", lambda case: empty_tables())
        yield


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
    if connection.closed_in_transaction:  # the test left no rows
        return
    if request.node.get_closest_marker("breaks_the_books") is None and (broken := broken_invariants()):
        pytest.fail(f"The test broke invariants of payments: {dict(broken)}")
