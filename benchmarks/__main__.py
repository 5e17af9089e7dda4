"""Measure every row in a database of its own, and print the table; `--large` adds the rows over a million payments,
and `--club` measures a club of a million members (or `--members`) instead.

Product and reference answer in this process through Django's WSGI handler. The times are CPU times of this process;
PostgreSQL's are not in them, so each call's SQL statements are counted beside.
"""

import os
from argparse import ArgumentParser

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
django.setup()

from django.db import connection  # noqa: E402
from django.test.utils import setup_databases, setup_test_environment, teardown_databases  # noqa: E402

from benchmarks import club  # noqa: E402
from benchmarks.measure import Row, measure  # noqa: E402
from benchmarks.rows import basics, gate, pages, sessions  # noqa: E402


def main(*, large: bool) -> None:
    """Print the table; a ratio over the goal is called missed, which is news and no failure of the run."""
    print(f"{'product':<38}{'CPU µs':>8}{'SQL':>5}   {'reference':<44}{'CPU µs':>8}{'SQL':>5}   ratio")
    for row in [*basics.ROWS, *gate.ROWS, *sessions.ROWS]:
        show(row)
    if large:
        for row in pages.rows():
            show(row)


def show(row: Row) -> None:
    """Measure a row and print it."""
    found = measure(row)
    goal = "" if row.at_most is None else f"  goal {row.at_most}: {'met' if found.ratio <= row.at_most else 'missed'}"
    print(
        f"{row.name:<38}{found.product:>8.0f}{found.product_statements:>5}   {row.against:<44}"
        f"{found.reference:>8.0f}{found.reference_statements:>5}   {found.ratio:.2f}{goal}",
        flush=True,
    )


parser = ArgumentParser(prog="benchmarks")
parser.add_argument("--large", action="store_true", help="add the rows over a million payments")
parser.add_argument("--club", action="store_true", help="measure a large club instead")
parser.add_argument("--members", type=int, default=1_000_000, help="how many the club has")
asked = parser.parse_args()
setup_test_environment(debug=False)
connection.settings_dict["TEST"]["NAME"] = f"bench_{os.getpid()}"
# As behind a real server: the connection outlives the request.
connection.settings_dict["CONN_MAX_AGE"] = None
databases = setup_databases(verbosity=0, interactive=False)
try:
    club.report(asked.members) if asked.club else main(large=asked.large)
finally:
    teardown_databases(databases, verbosity=0)
