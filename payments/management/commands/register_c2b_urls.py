"""`manage.py register_c2b_urls`: register the URLs to which Safaricom reports paybill and till payments."""

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import reverse

from payments.daraja import client
from payments.daraja.errors import DarajaError


class Command(BaseCommand):
    help = (
        "Register our confirmation and validation URLs for the shortcode. In production Safaricom accepts them "
        "once. To change them, first delete the old ones in its portal (Self Services, URL Management)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--when-silent",
            choices=["Completed", "Cancelled"],
            default="Completed",
            help="what M-Pesa does with a payment when our validation does not answer in time (default: %(default)s)",
        )

    def handle(self, *args: object, when_silent: str, **options: object) -> None:
        try:
            client.register_c2b_urls(
                confirmation_url=_url("payments:c2b-confirmation"),
                validation_url=_url("payments:c2b-validation"),
                when_silent=when_silent,
            )
        except DarajaError as error:
            if error.code == "already_registered":
                raise CommandError("URLs are already registered. Delete them in Safaricom's portal first.") from None
            raise CommandError(f"The URLs were not registered. {error}") from None
        self.stdout.write(f"Registered for {settings.DARAJA_SHORTCODE}, at {settings.PUBLIC_URL}.")


def _url(name: str) -> str:
    return settings.PUBLIC_URL + reverse(name, args=[settings.C2B_SECRET])
