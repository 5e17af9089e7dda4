"""`manage.py demo`: run the whole product on this machine, and show how a member buys a membership."""

import signal
import threading

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from api.clock import now
from config.dev import demo_gym, product
from config.dev.processes import CannotRun, Stopped, stopping_on_signals
from config.dev.walkthrough import WalkFailed, walk


class Command(BaseCommand):
    help = "Run web server, worker and simulator, show the purchase of a membership, and keep running for the browser."

    def add_arguments(self, parser: CommandParser) -> None:
        product.add_port_arguments(parser)
        parser.add_argument(
            "--once", action="store_true", help="stop after the walkthrough; exit 0 only if every step succeeded"
        )
        parser.add_argument(
            "--members", type=int, default=200, help="number of members in the demo gym (default: %(default)s)"
        )
        parser.add_argument("--phone", help="without the simulator: the phone that gets the STK push, 2547XXXXXXXX")
        parser.add_argument("--main-only", action="store_true", help="show only the first story of the walkthrough")

    def handle(self, *args: object, once: bool, phone: str | None, main_only: bool, **options: object) -> None:
        try:
            with stopping_on_signals():
                self.run(once, phone, main_only, options)
        except Stopped:
            self.say(product.farewell())
            if once:
                raise SystemExit(128 + signal.SIGTERM) from None
        except CannotRun as error:
            raise CommandError(str(error)) from None

    def run(self, once: bool, phone: str | None, main_only: bool, options: dict) -> None:
        places = product.choose_places(port=options["port"], simulator_port=options["simulator_port"])
        places = product.prepare_database(places, self.say)
        if demo_gym.create_gym(members=options["members"], seed=1, now=now()):
            self.say(f"Created a demo gym: {demo_gym.summary()}.")
        self.say("Starting the processes.")
        with product.supervisor(places, autoreload=False, say=self.say) as running:
            running.wait_until_ready()
            if places.simulator_port:
                # A club does this once with the real M-Pesa: it registers the URLs that receive paybill payments.
                product.run_command(places, "register_c2b_urls")
            failure = self.walk(places, phone, main_only)
            if once:
                if failure:
                    raise CommandError(failure)
                return
            self.show_urls(places)
            threading.Event().wait()

    def walk(self, places: product.Places, phone: str | None, main_only: bool) -> str:
        """Run the walkthrough, then audit the books. Return what failed, or ""."""
        failure = ""
        try:
            walk(
                places.web,
                simulator=places.simulator if places.simulator_port else None,
                phone=phone,
                main_only=main_only,
                say=self.say,
            )
        except WalkFailed as error:
            failure = f"The walkthrough failed: {error}"
            self.say(f"\n{failure}\nThe logs are in var/log.")
        try:
            self.say("\nDo the books balance? (manage.py audit_books)")
            call_command("audit_books", stdout=self.stdout)
        except CommandError as error:
            failure = failure or f"The books do not balance: {error}"
        self.say(f"\n{failure}" if failure else "\nThe membership is active and the books balance.")
        return failure

    def show_urls(self, places: product.Places) -> None:
        """Print the URLs of the running copy, and the logins of the demo gym."""
        self.say("\nKilabu is running. Open the first URL and buy a membership. Ctrl-C stops everything.\n")
        for name, url in product.urls(places):
            self.say(f"    {name:<8} {url}")
        self.say(f"\nLog in with the password {demo_gym.PASSWORD}, as staff in the admin or as a member in the app:")
        for role, username in demo_gym.logins():
            self.say(f"    {username:<10} {role}")

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
