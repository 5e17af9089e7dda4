"""Checks of `manage.py doctor`: each looks at one thing that Kilabu needs here, and says how to correct it."""

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.db import DatabaseError, OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.urls import reverse

from api.checks import origin_conflicts
from payments.callbacks import spool
from payments.daraja import client
from payments.daraja.errors import DarajaError, Refused

PORTAL = "https://developer.safaricom.co.ke, My Apps"
# Daraja portal, Customer to Business: words that a URL registered for paybill payments must not contain.
BARRED_WORDS = ("mpesa", "m-pesa", "safaricom", "exec", "exe", "cmd", "sql", "query")
# Daraja portal and its FAQ: hosts that are blocked in production.
BARRED_HOSTS = ("ngrok", "mockbin", "requestbin")

# Tables that this role could empty, change or free of triggers.
UNPROTECTED_TABLES = """
SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND (
    pg_has_role(relowner, 'MEMBER') OR has_table_privilege(oid, 'TRUNCATE') OR has_table_privilege(oid, 'TRIGGER')
    OR has_parameter_privilege('session_replication_role', 'SET'))
"""

MAX_SPOOL_AGE = 60  # seconds after which a spooled callback should have been moved to the database


@dataclass(frozen=True)
class Finding:
    """The result of one check. `remedy` is empty when there is nothing to correct. It has no secrets."""

    name: str
    remedy: str = ""

    @property
    def is_ok(self) -> bool:
        return not self.remedy


Check = Callable[[], Iterator[Finding]]


def daraja_keys() -> Iterator[Finding]:
    """Check the credentials for Safaricom's own hosts."""
    yield Finding("DARAJA_CONSUMER_KEY", needed(settings.DARAJA_CONSUMER_KEY, f"copy it from {PORTAL}"))
    yield Finding("DARAJA_CONSUMER_SECRET", needed(settings.DARAJA_CONSUMER_SECRET, f"copy it from {PORTAL}"))
    yield Finding("DARAJA_PASSKEY", needed(settings.DARAJA_PASSKEY, "Safaricom mails it when the app goes live"))
    remedy = needed(settings.DARAJA_SHORTCODE, "set your paybill, or for Buy Goods the store number")
    if not remedy and not re.fullmatch(r"[0-9]{5,7}", settings.DARAJA_SHORTCODE):
        remedy = "it must be 5 to 7 digits"
    if not remedy and settings.DARAJA_ENVIRONMENT == "production" and settings.DARAJA_SHORTCODE == "174379":
        remedy = "174379 belongs to the sandbox; set your own paybill"
    yield Finding("DARAJA_SHORTCODE", remedy)


def daraja_answers() -> Iterator[Finding]:
    """Check with Safaricom whether it accepts the key and the secret."""
    if not (settings.DARAJA_CONSUMER_KEY and settings.DARAJA_CONSUMER_SECRET):
        return
    try:
        client.check_credentials()
    except Refused:
        remedy = (
            f"it refused DARAJA_CONSUMER_KEY and DARAJA_CONSUMER_SECRET: copy both again from {PORTAL}, from an app"
            f" for {settings.DARAJA_ENVIRONMENT}"
        )
    except DatabaseError:
        return  # the client counts its calls in the database, which has a check of its own
    except DarajaError as error:
        remedy = f"{settings.DARAJA_BASE_URL} gave no token ({error}): check that this machine is online"
    else:
        remedy = ""
    yield Finding("Safaricom", remedy)


def public_url() -> Iterator[Finding]:
    """Check the URL to which Safaricom sends callbacks."""
    url = urlsplit(settings.PUBLIC_URL)
    host = url.hostname or ""
    tunnel = "run `manage.py tunnel`, or set the https URL of your own tunnel or server"
    remedy = ""
    if not is_public(host):
        remedy = f"{settings.PUBLIC_URL} cannot be reached from the internet: {tunnel}"
    elif url.scheme != "https":
        remedy = f"it must start with https: {tunnel}"
    elif settings.DARAJA_ENVIRONMENT == "production" and any(word in host for word in BARRED_HOSTS):
        remedy = "Safaricom blocks tunnels in production: use the domain of your server"
    yield Finding("PUBLIC_URL", remedy)


def origins() -> Iterator[Finding]:
    """Check that the settings about hosts and origins agree with each other."""
    yield Finding("Hosts and origins", " ".join(origin_conflicts()))


def callback_words() -> Iterator[Finding]:
    """Check that the callback URL has no word that Safaricom refuses."""
    url = settings.PUBLIC_URL + reverse("payments:c2b-confirmation", args=["x"])
    found = [word for word in BARRED_WORDS if word in url.lower()]
    yield Finding(
        "Callback URL", f"Safaricom refuses the word {found[0]!r} in it: choose another domain" if found else ""
    )


def database() -> Iterator[Finding]:
    """Check the database, its migrations and the worker."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        yield Finding("Database")
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except OperationalError:
        yield Finding("Database", "it cannot be reached: start it, or correct DATABASE_URL")
        return
    yield Finding("Migrations", f"{len(missing)} are not applied: run `manage.py migrate`" if missing else "")
    if not missing:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT EXISTS (SELECT FROM procrastinate_workers WHERE last_heartbeat > now() - interval '2 minutes')"
            )
            alive = cursor.fetchone()[0]
        yield Finding(
            "Worker", "" if alive else "none has run in the last two minutes: run `manage.py procrastinate worker`"
        )


def database_role() -> Iterator[Finding]:
    """Check, in production, that the role of the application cannot go around the triggers that protect the books."""
    if settings.ENVIRONMENT != "production":
        return
    with connection.cursor() as cursor:
        cursor.execute(UNPROTECTED_TABLES)
        unprotected = cursor.fetchone()[0]
    remedy = (
        "the role in DATABASE_URL could empty or change tables, or switch off triggers: give the tables to an"
        ' owner, see step 1 of "On a server" in docs/operations.md'
    )
    yield Finding("Database role", remedy if unprotected else "")


def spooled_callbacks() -> Iterator[Finding]:
    """Check the callbacks that this host stored while the database was away."""
    found = spool.status()
    remedy = ""
    if found.oldest_seconds is not None and found.oldest_seconds > MAX_SPOOL_AGE:
        remedy = (
            f"{found.waiting} callbacks of this host are not in the database, the oldest for"
            f" {found.oldest_seconds // 60} minutes: run the web server or a worker here, and read its log"
        )
    elif found.set_aside:
        remedy = f"{found.set_aside} files in {spool.folder()} are set aside as .bad: see docs/operations.md"
    yield Finding("Spool", remedy)


def messages() -> Iterator[Finding]:
    """Check how codes are sent by e-mail and SMS."""
    is_printed = settings.MAILERS["default"]["BACKEND"].endswith("console.EmailBackend")
    is_real = settings.DARAJA_ENVIRONMENT == "production"  # with the sandbox, printed codes are enough
    remedy = "EMAIL_URL only prints e-mail: set your mail server" if is_printed and is_real else ""
    yield Finding("E-mail", remedy)
    if settings.SMS_BACKEND == "africastalking":
        is_set = settings.AFRICASTALKING_USERNAME and settings.AFRICASTALKING_API_KEY
        remedy = "" if is_set else "set AFRICASTALKING_USERNAME and AFRICASTALKING_API_KEY"
        yield Finding("SMS", remedy)
    elif settings.SMS_BACKEND == "phone" and not settings.SIMULATED:
        yield Finding("SMS", "SMS_BACKEND=phone works with the simulator only: set console or africastalking")
    else:
        yield Finding("SMS")


def findings() -> Iterator[Finding]:
    """Run the checks for this DARAJA_ENVIRONMENT."""
    checks: list[Check] = [database, database_role, spooled_callbacks, messages]
    if not settings.SIMULATED:
        checks = [daraja_keys, daraja_answers, public_url, origins, callback_words, *checks]
    for check in checks:
        yield from check()


def needed(value: str, how: str) -> str:
    """Return a remedy if the setting is empty."""
    return "" if value else f"not set: {how}"


def is_public(host: str) -> bool:
    """Return whether a host name can be public on the internet."""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".local", ".localhost", ".internal", ".example", ".test"))
