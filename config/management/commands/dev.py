"""`manage.py dev`: run the product while you change its code. It restarts when a file changes."""

import threading

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.dev import product
from config.dev.processes import CannotRun, Stopped, stopping_on_signals


class Command(BaseCommand):
    help = "Run web server, worker and simulator, and restart them when the code changes."

    def add_arguments(self, parser: CommandParser) -> None:
        product.add_port_arguments(parser)

    def handle(self, *args: object, port: int, simulator_port: int | None, **options: object) -> None:
        try:
            with stopping_on_signals():
                places = product.choose_places(port=port, simulator_port=simulator_port)
                run(places, self.say)
        except Stopped:
            self.say(product.farewell())
        except CannotRun as error:
            raise CommandError(str(error)) from None

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def run(places: product.Places, say) -> None:
    """Run the product with autoreload until a signal stops it."""
    places = product.prepare_database(places, say)
    with product.supervisor(places, autoreload=True, say=say) as running:
        running.wait_until_ready()
        for name, url in product.urls(places):
            say(f"    {name:<8} {url}")
        say(f"Logs: {running.log_dir}. Ctrl-C stops everything. `manage.py seed_demo` creates users to log in as.")
        threading.Event().wait()
