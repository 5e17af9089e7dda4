"""`manage.py demo`: the whole product on this machine, and one member walked through the main job."""

import signal
import threading

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from api.clock import now
from config.dev import demo_gym, product
from config.dev.processes import CannotRun, Stopped, ending_on_signals
from config.dev.walkthrough import WalkFailed, walk


class Command(BaseCommand):
    help = "Run web server, worker and simulator, buy a membership before your eyes, and stay up for the browser."

    def add_arguments(self, parser: CommandParser) -> None:
        product.add_port_arguments(parser)
        parser.add_argument("--once", action="store_true", help="stop after the walk; exit 0 only if all of it held")
        parser.add_argument("--members", type=int, default=200, help="of the demo gym (default: %(default)s)")
        parser.add_argument("--phone", help="without the simulator: the phone to prompt, 2547XXXXXXXX")
        parser.add_argument(
            "--main-only", action="store_true", help="walk the main job and leave out the other stories"
        )

    def handle(self, *args: object, once: bool, phone: str | None, main_only: bool, **options: object) -> None:
        try:
            with ending_on_signals():
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
        if demo_gym.open_gym(members=options["members"], seed=1, now=now()):
            self.say(f"Opened a demo gym: {demo_gym.summary()}.")
        self.say("Starting the processes.")
        with product.supervisor(places, autoreload=False, say=self.say) as running:
            running.wait_until_ready()
            if places.simulator_port:
                # As a club does once with the real M-Pesa: say where paybill deposits are reported to.
                product.run_command(places, "register_c2b_urls")
            verdict = self.walk(places, phone, main_only)
            if once:
                if verdict:
                    raise CommandError(verdict)
                return
            self.show_doors(places)
            threading.Event().wait()

    def walk(self, places: product.Places, phone: str | None, main_only: bool) -> str:
        """Walk, then prove the books; return what went wrong, or nothing."""
        verdict = ""
        try:
            walk(
                places.web,
                simulator=places.simulator if places.simulator_port else None,
                phone=phone,
                main_only=main_only,
                say=self.say,
            )
        except WalkFailed as error:
            verdict = f"The walk stopped: {error}"
            self.say(f"\n{verdict}\nThe logs are in var/log.")
        try:
            self.say("\nAre the books right? (manage.py audit_books)")
            call_command("audit_books", stdout=self.stdout)
        except CommandError as error:
            verdict = verdict or f"The books are not right: {error}"
        self.say(f"\n{verdict}" if verdict else "\nThe membership is active and the books balance.")
        return verdict

    def show_doors(self, places: product.Places) -> None:
        self.say("\nKilabu stays up for you. Ctrl-C stops it. Open the first one and buy a membership.\n")
        for name, url in product.doors(places):
            self.say(f"    {name:<8} {url}")
        self.say(f"\nLog in with the password {demo_gym.PASSWORD}, staff at the admin and the member at the app, as:")
        for role, username in demo_gym.log_ins():
            self.say(f"    {username:<10} {role}")

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
