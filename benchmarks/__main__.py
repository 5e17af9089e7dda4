"""Measure every row in a database of its own, and print the table; `--large` adds the rows over a million payments,
`--club` measures a club of a million members (or `--members`) instead, and `--load` the real processes under load.

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

from benchmarks import club, load  # noqa: E402
from benchmarks.measure import Result, Row, measure  # noqa: E402
from benchmarks.rows import basics, gate, lists, pages, sessions  # noqa: E402


def main(*, large: bool) -> None:
    """Print the table; a ratio over the goal is called missed, which is news and no failure of the run."""
    print(f"{'product':<38}{'CPU µs':>8}{'SQL':>5}   {'reference':<44}{'CPU µs':>8}{'SQL':>5}   ratio")
    for row in [*basics.ROWS, *gate.ROWS, *lists.ROWS, *sessions.ROWS]:
        show(row)
    if large:
        ten_thousand, a_million = [show(row) for row in pages.rows()]
        growth = a_million.product / ten_thousand.product
        print(f"{'the page of a million, by the page of ten thousand':<107}{growth:.2f}  {goal(growth, pages.GROWTH)}")


def show(row: Row) -> Result:
    """Measure a row, print it, and return what was found."""
    found = measure(row)
    goals = [goal(found.ratio, row.at_most), goal(found.product_statements, row.statements, "SQL")]
    print(
        f"{row.name:<38}{found.product:>8.0f}{found.product_statements:>5}   {row.against:<44}"
        f"{found.reference:>8.0f}{found.reference_statements:>5}   {found.ratio:.2f}  {'  '.join(filter(None, goals))}",
        flush=True,
    )
    return found


def goal(found: float, at_most: float | None, unit: str = "") -> str:
    """Say whether a promise was kept; nothing when none was made."""
    if at_most is None:
        return ""
    return f"goal {at_most} {unit}".rstrip() + (": met" if found <= at_most else ": missed")


parser = ArgumentParser(prog="benchmarks")
parser.add_argument("--large", action="store_true", help="add the rows over a million payments")
parser.add_argument("--club", action="store_true", help="measure a large club instead")
parser.add_argument("--members", type=int, default=1_000_000, help="how many the club has")
parser.add_argument("--load", action="store_true", help="measure the real processes under load instead")
parser.add_argument("--seconds", type=int, default=60, help="how long the load stays")
asked = parser.parse_args()
setup_test_environment(debug=False)
connection.settings_dict["TEST"]["NAME"] = f"bench_{os.getpid()}"
# As behind a real server: the connection outlives the request.
connection.settings_dict["CONN_MAX_AGE"] = None
databases = setup_databases(verbosity=0, interactive=False)
try:
    if asked.club:
        club.report(asked.members)
    elif asked.load:
        load.report(seconds=asked.seconds)
    else:
        main(large=asked.large)
finally:
    teardown_databases(databases, verbosity=0)
