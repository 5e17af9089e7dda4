"""Measure every row in a new database, and print the table.

`--large` adds the rows with a million payments. `--club` measures a club of a million members (or `--members`) instead,
and `--load` the real processes under load.

The product and the reference answer in this process through Django's WSGI handler. The times are CPU times of this
process. They do not include PostgreSQL, so the SQL statements of each call are counted too.
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
    """Print the table. A ratio above its goal is printed as missed, and the run still succeeds."""
    print(f"{'product':<38}{'CPU µs':>8}{'SQL':>5}   {'reference':<44}{'CPU µs':>8}{'SQL':>5}   ratio")
    for row in [*basics.ROWS, *gate.ROWS, *lists.ROWS, *sessions.ROWS]:
        show(row)
    if large:
        ten_thousand, a_million = [show(row) for row in pages.rows()]
        growth = a_million.product / ten_thousand.product
        print(f"{'a page of a million, relative to ten thousand':<107}{growth:.2f}  {goal(growth, pages.GROWTH)}")


def show(row: Row) -> Result:
    """Measure a row, print it, and return its result."""
    found = measure(row)
    goals = [goal(found.ratio, row.at_most), goal(found.product_statements, row.statements, "SQL")]
    print(
        f"{row.name:<38}{found.product:>8.0f}{found.product_statements:>5}   {row.against:<44}"
        f"{found.reference:>8.0f}{found.reference_statements:>5}   {found.ratio:.2f}  {'  '.join(filter(None, goals))}",
        flush=True,
    )
    return found


def goal(found: float, at_most: float | None, unit: str = "") -> str:
    """Return whether a goal was met, or "" without a goal."""
    if at_most is None:
        return ""
    return f"goal {at_most} {unit}".rstrip() + (": met" if found <= at_most else ": missed")


parser = ArgumentParser(prog="benchmarks")
parser.add_argument("--large", action="store_true", help="add the rows with a million payments")
parser.add_argument("--club", action="store_true", help="measure a large club instead")
parser.add_argument("--members", type=int, default=1_000_000, help="number of members of the club")
parser.add_argument("--load", action="store_true", help="measure the real processes under load instead")
parser.add_argument("--seconds", type=int, default=60, help="duration of the load in seconds")
options = parser.parse_args()
setup_test_environment(debug=False)
connection.settings_dict["TEST"]["NAME"] = f"bench_{os.getpid()}"
# As with a real server, the connection is reused for the next request.
connection.settings_dict["CONN_MAX_AGE"] = None
databases = setup_databases(verbosity=0, interactive=False)
try:
    if options.club:
        club.report(options.members)
    elif options.load:
        load.report(seconds=options.seconds)
    else:
        main(large=options.large)
finally:
    teardown_databases(databases, verbosity=0)
