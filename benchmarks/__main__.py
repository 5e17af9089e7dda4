"""Measure every row in a database of its own, and print the table.

Product and reference answer in this process through Django's WSGI handler. The times are CPU times of this process;
PostgreSQL's are not in them, so each call's SQL statements are counted beside.
"""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.db import connection  # noqa: E402
from django.test.utils import override_settings, setup_databases, setup_test_environment, teardown_databases  # noqa: E402

# dj-rest-auth reads these when it is imported.
REFERENCE = {"USE_JWT": True, "JWT_AUTH_COOKIE": "reference", "TOKEN_MODEL": None, "SESSION_LOGIN": False}


def main() -> None:
    """Print the table; a ratio over the goal is called missed, which is news and no failure of the run."""
    from benchmarks.measure import measure  # needs the reference's settings
    from benchmarks.rows import basics

    print(f"{'product':<32}{'CPU µs':>8}{'SQL':>5}   {'reference':<38}{'CPU µs':>8}{'SQL':>5}   ratio")
    for row in basics.ROWS:
        found = measure(row)
        goal = (
            "" if row.at_most is None else f"  goal {row.at_most}: {'met' if found.ratio <= row.at_most else 'missed'}"
        )
        print(
            f"{row.name:<32}{found.product:>8.0f}{found.product_statements:>5}   {row.against:<38}"
            f"{found.reference:>8.0f}{found.reference_statements:>5}   {found.ratio:.2f}{goal}",
            flush=True,
        )


setup_test_environment(debug=False)
connection.settings_dict["TEST"]["NAME"] = f"bench_{os.getpid()}"
# As behind a real server: the connection outlives the request.
connection.settings_dict["CONN_MAX_AGE"] = None
databases = setup_databases(verbosity=0, interactive=False)
try:
    with override_settings(REST_AUTH=REFERENCE, ROOT_URLCONF="benchmarks.urls", SECURE_SSL_REDIRECT=False):
        main()
finally:
    teardown_databases(databases, verbosity=0)
