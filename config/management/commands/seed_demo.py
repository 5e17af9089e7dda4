"""Fill an empty database with a gym to look at: `manage.py seed_demo`."""

import sys
from collections.abc import Iterable

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from api.clock import now
from config.dev import demo_gym


class Command(BaseCommand):
    help = "Make a demo gym: plans, staff of every role, members with a history. A second time changes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--members", type=int, default=200, help="how many members (default: %(default)s)")
        parser.add_argument("--seed", type=int, default=1, help="another seed, another gym (default: %(default)s)")
        parser.add_argument("--force", action="store_true", help="also outside development; its passwords are known")

    def handle(self, *args: object, members: int, seed: int, force: bool, **options: object) -> None:
        if settings.ENVIRONMENT != "development" and not force:
            raise CommandError(
                "seed_demo makes an administrator whose password everybody knows: it runs in development only"
                " (--force insists)."
            )
        if not 1 <= members <= 20_000:
            raise CommandError("--members must be from 1 to 20000.")

        def follow(people: list) -> Iterable:
            return tqdm(people, desc="Members", unit="", disable=not sys.stderr.isatty(), delay=2, leave=False)

        if demo_gym.open_gym(members=members, seed=seed, now=now(), follow=follow):
            self.stdout.write(f"The demo gym is open: {demo_gym.summary()}.")
        else:
            self.stdout.write("The demo gym is here already; nothing was changed.")
        for role, username in demo_gym.log_ins():
            self.stdout.write(f"    {role:<13} {username:<10} {demo_gym.PASSWORD}")
