"""`manage.py daraja_simulator`: run a simulated Daraja with phones in the browser. See docs/simulator.md."""

import logging
import signal
import threading
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from payments.simulator.options import CHOICES, Options
from payments.simulator.server import Simulator

DEFAULT_PORT = 8099


class Command(BaseCommand):
    help = "Run a simulated Safaricom Daraja, with phones in the browser, until Ctrl-C."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="IP address to listen on (default: %(default)s)")
        parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="port to listen on (default: %(default)s)")
        parser.add_argument(
            "--book",
            type=Path,
            help="SQLite file with its accounts and messages (default: STATE_DIR/simulator.sqlite3)",
        )
        parser.add_argument("--fresh", action="store_true", help="start with an empty book")
        parser.add_argument("--speed", type=float, default=1.0, help="30 makes a minute last two seconds")
        parser.add_argument("--seed", type=int, help="make the same faults and identifiers in every run")
        parser.add_argument("--business", default=settings.CLUB_NAME, help="name on the prompts (default: %(default)s)")
        parser.add_argument("--ca", default="", help="certificate authority to trust when calling back over https")
        for name, words in CHOICES.items():
            parser.add_argument(f"--{name.replace('_', '-')}", choices=words, default=getattr(Options, name))

    def handle(self, *args: object, **given: Any) -> None:
        if settings.PRODUCTION:
            raise CommandError("The simulator does not run with ENVIRONMENT=production, because its money is not real.")
        if given["speed"] <= 0:
            raise CommandError("--speed must be above 0.")
        options = Options(
            business=given["business"],
            shortcode=settings.DARAJA_SHORTCODE,
            till=settings.DARAJA_TILL,
            passkey=settings.DARAJA_PASSKEY,
            consumer_key=settings.DARAJA_CONSUMER_KEY,
            consumer_secret=settings.DARAJA_CONSUMER_SECRET,
            speed=given["speed"],
            ca_file=given["ca"],
            **{name: given[name] for name in CHOICES},
        )
        if given["seed"] is not None:
            options.seed = given["seed"]
        book = given["book"] or settings.STATE_DIR / "simulator.sqlite3"
        if given["fresh"]:
            for leftover in (book, Path(f"{book}-wal"), Path(f"{book}-shm")):
                leftover.unlink(missing_ok=True)
        try:
            simulator = Simulator(options, book=book, host=given["host"], port=given["port"])
        except OSError as error:
            raise CommandError(f"Port {given['port']} of {given['host']} cannot be used: {error.strerror}.") from None
        if given["verbosity"] > 1:
            logging.basicConfig(level=logging.INFO)

        ended = threading.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, lambda *_: ended.set())
        simulator.start()
        self.stdout.write(f"Daraja simulator at {simulator.url}, seed {options.seed}. Phones: {simulator.url}/phone/")
        self.stdout.flush()
        ended.wait()
        simulator.stop()
