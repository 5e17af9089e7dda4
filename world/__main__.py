"""`make world`: play a simulated club in a new database, and tell whether the product kept its promises.

One process plays the members, M-Pesa, the gate and the desk in simulated time, on the product's own services and SQL.
"""

import os
import sys
from argparse import ArgumentParser
from time import monotonic

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "world.settings"
django.setup()

from django.db import connection  # noqa: E402
from django.test.utils import setup_databases, teardown_databases  # noqa: E402

from world import checks, simulation  # noqa: E402


def main(*, journeys: int, members: int, seed: int) -> bool:
    """Play the world, print what happened, and return whether every promise was kept."""
    begun = monotonic()
    world = simulation.World(seed=seed, members=members)
    kept = True
    try:
        world.play(journeys, progress=lambda done: print(f"\r{done:,} of {journeys:,} journeys", end="", flush=True))
    except checks.BrokenPromise as broken:
        kept = False
        print(f"\nA promise was broken at {world.now} after {world.journeys:,} journeys: {broken}")
        print(f"Play it again: make world ARGS='--seed {seed} --members {members} --journeys {journeys}'")
    print(f"\r{world.journeys:,} journeys until {world.now:%d %b %Y} in {monotonic() - begun:.0f} s (seed {seed})")
    print(", ".join(f"{name} {count:,}" for name, count in sorted(world.counts.items())))
    if kept:
        print("Every promise was kept.")
    return kept


parser = ArgumentParser(prog="world", description=__doc__)
parser.add_argument("--journeys", type=int, default=5_000, help="number of orders, payments and taps")
parser.add_argument("--members", type=int, default=100, help="number of members")
parser.add_argument("--seed", type=int, default=1, help="seed of the random generator")
options = parser.parse_args()
connection.settings_dict["TEST"]["NAME"] = f"world_{os.getpid()}"
databases = setup_databases(verbosity=0, interactive=False)
try:
    is_kept = main(journeys=options.journeys, members=options.members, seed=options.seed)
finally:
    teardown_databases(databases, verbosity=0)
sys.exit(0 if is_kept else 1)
