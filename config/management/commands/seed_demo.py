"""`manage.py seed_demo`: fill an empty database with a demo gym."""

import sys
from collections.abc import Iterable

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from api.clock import now
from config.dev import demo_gym


class Command(BaseCommand):
    help = "Create a demo gym: plans, staff of every role, members with a history. A second run changes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--members", type=int, default=200, help="number of members (default: %(default)s)")
        parser.add_argument(
            "--seed", type=int, default=1, help="a different number makes a different gym (default: %(default)s)"
        )
        parser.add_argument(
            "--force", action="store_true", help="run outside development too, although the passwords are public"
        )

    def handle(self, *args: object, members: int, seed: int, force: bool, **options: object) -> None:
        if settings.ENVIRONMENT != "development" and not force:
            raise CommandError(
                "seed_demo creates an administrator with a public password, so it runs in development only. To run it"
                " elsewhere, add --force."
            )
        if not 1 <= members <= 20_000:
            raise CommandError("--members must be from 1 to 20000.")

        def show_progress(people: list) -> Iterable:
            return tqdm(people, desc="Members", unit="", disable=not sys.stderr.isatty(), delay=2, leave=False)

        if demo_gym.create_gym(members=members, seed=seed, now=now(), progress=show_progress):
            self.stdout.write(f"Created a demo gym: {demo_gym.summary()}.")
        else:
            self.stdout.write("The demo gym exists already. Nothing was changed.")
        for role, username in demo_gym.logins():
            self.stdout.write(f"    {role:<13} {username:<10} {demo_gym.PASSWORD}")
