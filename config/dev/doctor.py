"""Is everything set that Kilabu needs here? Each check looks at one thing and says what to do about it."""

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.db import DatabaseError, OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.urls import reverse

from payments.daraja import client
from payments.daraja.errors import DarajaError, Refused

PORTAL = "https://developer.safaricom.co.ke, My Apps"
# Daraja portal, Customer to Business: words that an address registered for deposits must not hold.
BARRED_WORDS = ("mpesa", "m-pesa", "safaricom", "exec", "exe", "cmd", "sql", "query")
# Daraja portal and its FAQ: blocked in production.
BARRED_HOSTS = ("ngrok", "mockbin", "requestbin")


@dataclass(frozen=True)
class Finding:
    """What one check found. `remedy` is empty when all is well; no secret ever stands in it."""

    name: str
    remedy: str = ""

    @property
    def is_well(self) -> bool:
        return not self.remedy


Check = Callable[[], Iterator[Finding]]


def daraja_keys() -> Iterator[Finding]:
    """The app's credentials, for Safaricom's own hosts."""
    yield Finding("DARAJA_CONSUMER_KEY", needed(settings.DARAJA_CONSUMER_KEY, f"copy it from {PORTAL}"))
    yield Finding("DARAJA_CONSUMER_SECRET", needed(settings.DARAJA_CONSUMER_SECRET, f"copy it from {PORTAL}"))
    yield Finding("DARAJA_PASSKEY", needed(settings.DARAJA_PASSKEY, "Safaricom mails it when the app goes live"))
    remedy = needed(settings.DARAJA_SHORTCODE, "set your paybill, or for buy goods the store number")
    if not remedy and not re.fullmatch(r"[0-9]{5,7}", settings.DARAJA_SHORTCODE):
        remedy = "it must be 5 to 7 digits"
    if not remedy and settings.DARAJA_ENVIRONMENT == "production" and settings.DARAJA_SHORTCODE == "174379":
        remedy = "174379 is the sandbox's; set your own paybill"
    yield Finding("DARAJA_SHORTCODE", remedy)


def daraja_answers() -> Iterator[Finding]:
    """Whether Safaricom takes the key and the secret, which only it can tell."""
    if not (settings.DARAJA_CONSUMER_KEY and settings.DARAJA_CONSUMER_SECRET):
        return
    try:
        client.check_credentials()
    except Refused:
        remedy = (
            f"it does not know DARAJA_CONSUMER_KEY and DARAJA_CONSUMER_SECRET: copy both anew, from {PORTAL}, of an app"
            f" for {settings.DARAJA_ENVIRONMENT}"
        )
    except DatabaseError:
        return  # calls are counted there; its own line says what is wrong with it
    except DarajaError as error:
        remedy = f"{settings.DARAJA_BASE_URL} gave no token ({error}): is this machine online?"
    else:
        remedy = ""
    yield Finding("Safaricom", remedy)


def public_address() -> Iterator[Finding]:
    """Where Safaricom calls back."""
    address = urlsplit(settings.PUBLIC_URL)
    host = address.hostname or ""
    tunnel = "run `manage.py tunnel`, or set the https address of your own tunnel or server"
    remedy = ""
    if not is_public(host):
        remedy = f"{settings.PUBLIC_URL} cannot be reached from outside: {tunnel}"
    elif address.scheme != "https":
        remedy = f"it must begin with https: {tunnel}"
    elif settings.DARAJA_ENVIRONMENT == "production" and any(word in host for word in BARRED_HOSTS):
        remedy = "Safaricom blocks tunnels in production: use the server's own name"
    yield Finding("PUBLIC_URL", remedy)


def callback_words() -> Iterator[Finding]:
    """Safaricom refuses addresses with certain words in them."""
    address = settings.PUBLIC_URL + reverse("payments:c2b-confirmation", args=["x"])
    found = [word for word in BARRED_WORDS if word in address.lower()]
    yield Finding(
        "Callback address", f"Safaricom refuses the word {found[0]!r} in it: choose another name" if found else ""
    )


def database() -> Iterator[Finding]:
    """The database, and whether it is of this version."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        yield Finding("Database")
        executor = MigrationExecutor(connection)
        waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except OperationalError:
        yield Finding("Database", "it cannot be reached: is it running, and is DATABASE_URL right?")
        return
    yield Finding("Migrations", f"{len(waiting)} are not applied: run `manage.py migrate`" if waiting else "")
    if not waiting:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT EXISTS (SELECT FROM procrastinate_workers WHERE last_heartbeat > now() - interval '2 minutes')"
            )
            alive = cursor.fetchone()[0]
        yield Finding(
            "Worker", "" if alive else "none was heard of in two minutes: run `manage.py procrastinate worker`"
        )


def messages() -> Iterator[Finding]:
    """What sends codes to people."""
    prints = settings.EMAIL_BACKEND.endswith("console.EmailBackend")
    is_real = (
        settings.DARAJA_ENVIRONMENT == "production"
    )  # trying the sandbox, one reads the codes where they are printed
    remedy = "EMAIL_URL only prints e-mail: set your mail server" if prints and is_real else ""
    yield Finding("E-mail", remedy)
    if settings.SMS_BACKEND == "africastalking":
        given = settings.AFRICASTALKING_USERNAME and settings.AFRICASTALKING_API_KEY
        remedy = "" if given else "set AFRICASTALKING_USERNAME and AFRICASTALKING_API_KEY"
        yield Finding("SMS", remedy)
    elif settings.SMS_BACKEND == "phone" and not settings.SIMULATED:
        yield Finding("SMS", "SMS_BACKEND=phone needs the simulator: set console or africastalking")
    else:
        yield Finding("SMS")


def findings() -> Iterator[Finding]:
    """Run the checks that matter for this DARAJA_ENVIRONMENT."""
    checks: list[Check] = [database, messages]
    if not settings.SIMULATED:
        checks = [daraja_keys, daraja_answers, public_address, callback_words, *checks]
    for check in checks:
        yield from check()


def needed(value: str, how: str) -> str:
    """Return how to get a setting that is empty."""
    return "" if value else f"not set: {how}"


def is_public(host: str) -> bool:
    """Return whether a host name could be reached from the internet."""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".local", ".localhost", ".internal", ".example", ".test"))
