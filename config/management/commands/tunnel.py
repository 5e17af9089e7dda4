"""`manage.py tunnel`: run the product on this machine behind an ngrok tunnel, so that Safaricom can call back."""

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.dev import product
from config.dev.processes import CannotRun, Stopped, stopping_on_signals
from config.management.commands.dev import run

HOW_TO_GET_ONE = """NGROK_AUTHTOKEN is not set. To get one, free of charge:
    1. Register at https://dashboard.ngrok.com/signup
    2. Copy the token from https://dashboard.ngrok.com/get-started/your-authtoken
    3. Add the line NGROK_AUTHTOKEN=<the token> to .env, and run this again.
Any other tunnel works too. For example localtunnel:
    npx localtunnel --port {port}
    PUBLIC_URL=https://<the host that it prints> python manage.py dev --port {port}"""


class Command(BaseCommand):
    help = "Open an ngrok tunnel, and run the product behind it like `manage.py dev`. Ctrl-C closes both."

    def add_arguments(self, parser: CommandParser) -> None:
        product.add_port_arguments(parser)

    def handle(self, *args: object, port: int, simulator_port: int | None, **options: object) -> None:
        token = settings.NGROK_AUTHTOKEN
        if not token:
            raise CommandError(HOW_TO_GET_ONE.format(port=port))
        # Slow to import, and not used elsewhere.
        from pyngrok import conf, exception, ngrok

        config = conf.PyngrokConfig(auth_token=token, monitor_thread=False)
        try:
            with stopping_on_signals():
                # Check the ports before the tunnel is opened.
                product.choose_places(port=port, simulator_port=simulator_port)
                try:
                    opened = ngrok.connect(str(port), "http", pyngrok_config=config).public_url or ""
                    public_url = opened.replace("http://", "https://")
                    self.say(f"{public_url} forwards to http://127.0.0.1:{port}. Callbacks are sent there.")
                    if settings.SIMULATED:
                        self.say(
                            "M-Pesa is still simulated. Set DARAJA_ENVIRONMENT=sandbox to use Safaricom's sandbox."
                        )
                    places = product.choose_places(port=port, simulator_port=simulator_port, public_url=public_url)
                    run(places, self.say)
                finally:
                    ngrok.kill(config)
        except Stopped:
            self.say("Stopped. The tunnel is closed.")
        except exception.PyngrokError as error:
            reason = str(error).replace(token, "********")
            raise CommandError(f"ngrok did not open the tunnel: {reason}") from None
        except CannotRun as error:
            raise CommandError(str(error)) from None

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
