"""`manage.py dev`: the product for who works on it; changed code is running a moment later."""

import threading

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.dev import product
from config.dev.processes import CannotRun, Stopped, ending_on_signals


class Command(BaseCommand):
    help = "Run web server, worker and simulator, and restart them when the code changes."

    def add_arguments(self, parser: CommandParser) -> None:
        product.add_port_arguments(parser)

    def handle(self, *args: object, port: int, simulator_port: int | None, **options: object) -> None:
        try:
            with ending_on_signals():
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
    """Run the product with autoreload until a signal comes."""
    places = product.prepare_database(places, say)
    with product.supervisor(places, autoreload=True, say=say) as running:
        running.wait_until_ready()
        for name, url in product.doors(places):
            say(f"    {name:<8} {url}")
        say(f"Logs: {running.log_dir}. Ctrl-C stops everything; `manage.py seed_demo` makes people to log in as.")
        threading.Event().wait()
