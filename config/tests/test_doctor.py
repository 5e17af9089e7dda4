"""`manage.py doctor`: missing settings and how to correct them."""

import io
import os
import time

import pytest
import requests
import responses
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from payments.callbacks import spool

pytestmark = pytest.mark.server

OAUTH = "https://sandbox.safaricom.co.ke/oauth/v1/generate"
PRINTED = {"default": {"BACKEND": "django.core.mail.backends.console.EmailBackend"}}
SANDBOX = {
    "DARAJA_ENVIRONMENT": "sandbox",
    "SIMULATED": False,
    "DARAJA_BASE_URL": "https://sandbox.safaricom.co.ke",
    "DARAJA_CONSUMER_KEY": "key-of-the-app",
    "DARAJA_CONSUMER_SECRET": "secret-of-the-app",
    "DARAJA_PASSKEY": "passkey-of-the-app",
    "DARAJA_SHORTCODE": "174379",
    "PUBLIC_URL": "https://club.ke",
    "ALLOWED_HOSTS": [".ke", ".app", "127.0.0.1", "10.0.0.1"],
    "MAILERS": {"default": {"BACKEND": "django.core.mail.backends.smtp.EmailBackend"}},
    "SMS_BACKEND": "console",
}


@pytest.fixture(autouse=True)
def safaricom():
    """Safaricom, which accepts the key and the secret unless a test changes that."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as wire:
        wire.get(OAUTH, json={"access_token": "a-token", "expires_in": "3599"})
        yield wire


@pytest.fixture
def worker(db):
    """A worker with a recent heartbeat."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now())")


def run_doctor(settings, **changed) -> tuple[str, str]:
    """Return the output of the doctor, and its error if it failed."""
    for name, value in {**SANDBOX, **changed}.items():
        setattr(settings, name, value)
    out = io.StringIO()
    try:
        call_command("doctor", stdout=out)
    except CommandError as failure:
        return out.getvalue(), str(failure)
    return out.getvalue(), ""


@pytest.mark.usefixtures("worker")
def test_complete_settings_are_listed_in_one_line_each(settings):
    out, error = run_doctor(settings)

    assert error == ""
    assert out.splitlines() == [
        f"M-Pesa: sandbox ({settings.DARAJA_BASE_URL})",
        "    ok       DARAJA_CONSUMER_KEY",
        "    ok       DARAJA_CONSUMER_SECRET",
        "    ok       DARAJA_PASSKEY",
        "    ok       DARAJA_SHORTCODE",
        "    ok       Safaricom",
        "    ok       PUBLIC_URL",
        "    ok       Hosts and origins",
        "    ok       Callback URL",
        "    ok       Database",
        "    ok       Migrations",
        "    ok       Worker",
        "    ok       Spool",
        "    ok       E-mail",
        "    ok       SMS",
        "Nothing is missing.",
    ]


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (
            {"DARAJA_CONSUMER_KEY": ""},
            "DARAJA_CONSUMER_KEY: not set: copy it from https://developer.safaricom.co.ke, My Apps",
        ),
        (
            {"DARAJA_CONSUMER_SECRET": ""},
            "DARAJA_CONSUMER_SECRET: not set: copy it from https://developer.safaricom.co.ke, My Apps",
        ),
        ({"DARAJA_PASSKEY": ""}, "DARAJA_PASSKEY: not set: Safaricom mails it when the app goes live"),
        ({"DARAJA_SHORTCODE": ""}, "DARAJA_SHORTCODE: not set: set your paybill, or for Buy Goods the store number"),
        ({"DARAJA_SHORTCODE": "12x"}, "DARAJA_SHORTCODE: it must be 5 to 7 digits"),
        (
            {"DARAJA_ENVIRONMENT": "production"},
            "DARAJA_SHORTCODE: 174379 belongs to the sandbox; set your own paybill",
        ),
        (
            {"PUBLIC_URL": "http://127.0.0.1:8000"},
            "PUBLIC_URL: http://127.0.0.1:8000 cannot be reached from the internet: run `manage.py tunnel`, or set the"
            " https URL of your own tunnel or server",
        ),
        (
            {"PUBLIC_URL": "http://club.ke"},
            "PUBLIC_URL: it must start with https: run `manage.py tunnel`, or set the https URL of your own tunnel"
            " or server",
        ),
        (
            {"DARAJA_ENVIRONMENT": "production", "DARAJA_SHORTCODE": "600100", "PUBLIC_URL": "https://a.ngrok.app"},
            "PUBLIC_URL: Safaricom blocks tunnels in production: use the domain of your server",
        ),
        (
            {"ALLOWED_HOSTS": ["www.club.ke"]},
            "Hosts and origins: ALLOWED_HOSTS lacks club.ke, the host of PUBLIC_URL: the app and the admin would"
            " answer 400.",
        ),
        (
            {"PUBLIC_URL": "https://mpesa.club.ke"},
            "Callback URL: Safaricom refuses the word 'mpesa' in it: choose another domain",
        ),
        (
            {
                "DARAJA_ENVIRONMENT": "production",
                "DARAJA_SHORTCODE": "600100",
                "MAILERS": PRINTED,
            },
            "E-mail: EMAIL_URL only prints e-mail: set your mail server",
        ),
        (
            {"SMS_BACKEND": "phone"},
            "SMS: SMS_BACKEND=phone works with the simulator only: set console or africastalking",
        ),
        (
            {"SMS_BACKEND": "africastalking", "AFRICASTALKING_USERNAME": "club", "AFRICASTALKING_API_KEY": ""},
            "SMS: set AFRICASTALKING_USERNAME and AFRICASTALKING_API_KEY",
        ),
    ],
)
def test_each_missing_setting_is_named_with_its_remedy(settings, changed, line):
    out, error = run_doctor(settings, **changed)

    missing = [each.removeprefix("    MISSING  ") for each in out.splitlines() if "MISSING" in each]
    assert missing == [line]
    assert error == "1 thing is missing."


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        (
            {"status": 400, "body": ""},
            "it refused DARAJA_CONSUMER_KEY and DARAJA_CONSUMER_SECRET: copy both again from"
            " https://developer.safaricom.co.ke, My Apps, from an app for sandbox",
        ),
        (
            {"body": requests.ConnectionError("no route")},
            "https://sandbox.safaricom.co.ke gave no token (The call to Safaricom failed: ConnectionError.):"
            " check that this machine is online",
        ),
    ],
    ids=["wrong key", "no answer"],
)
def test_key_that_safaricom_refuses_is_reported(settings, safaricom, answer, remedy):
    safaricom.replace("GET", OAUTH, **answer)

    out, error = run_doctor(settings)

    assert f"    MISSING  Safaricom: {remedy}\n" in out
    assert error == "1 thing is missing."


@pytest.mark.django_db
def test_worker_without_heartbeat_is_missing(settings):
    out, error = run_doctor(settings)

    assert "Worker: none has run in the last two minutes: run `manage.py procrastinate worker`" in out
    assert error == "1 thing is missing."


@pytest.mark.usefixtures("worker")
def test_spooled_callback_that_stays_on_this_host_is_reported(settings, tmp_path):
    settings.STATE_DIR = tmp_path
    spool.append(spool.Message("c2b_confirmation", b"{}", {}, None, timezone.now(), None))
    fresh, _ = run_doctor(settings)
    [path] = spool.folder().iterdir()
    os.utime(path, (time.time() - 200, time.time() - 200))

    out, error = run_doctor(settings)

    assert "    ok       Spool\n" in fresh
    assert (
        "    MISSING  Spool: 1 callbacks of this host are not in the database, the oldest for 3 minutes: run the web"
        " server or a worker here, and read its log\n"
    ) in out
    assert error == "1 thing is missing."


@pytest.mark.usefixtures("worker")
def test_role_that_could_empty_tables_is_reported_in_production(settings):
    out, error = run_doctor(settings, ENVIRONMENT="production")

    assert (
        "    MISSING  Database role: the role in DATABASE_URL could empty or change tables, or switch off triggers:"
        ' give the tables to an owner, see step 1 of "On a server" in docs/operations.md\n'
    ) in out
    assert error == "1 thing is missing."


@pytest.mark.usefixtures("worker")
def test_role_without_these_rights_is_ok(settings):
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE ROLE without_rights; GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO without_rights"
        )
        cursor.execute("SET LOCAL ROLE without_rights")

    out, _ = run_doctor(settings, ENVIRONMENT="production")

    assert "    ok       Database role\n" in out


@pytest.mark.usefixtures("worker")
def test_sandbox_may_print_its_codes(settings):
    _, error = run_doctor(settings, SMS_BACKEND="console", MAILERS=PRINTED)

    assert error == ""


@pytest.mark.usefixtures("worker")
def test_simulator_needs_no_keys_and_no_public_url(settings):
    out, error = run_doctor(
        settings,
        DARAJA_ENVIRONMENT="simulator",
        SIMULATED=True,
        DARAJA_CONSUMER_KEY="",
        PUBLIC_URL="http://localhost:8000",
    )

    assert error == ""
    assert "DARAJA_CONSUMER_KEY" not in out


@pytest.mark.usefixtures("worker")
def test_output_has_no_secrets(settings):
    out, error = run_doctor(settings, PUBLIC_URL="http://10.0.0.1")

    for secret in ("key-of-the-app", "secret-of-the-app", "passkey-of-the-app", settings.C2B_SECRET):
        assert secret not in out + error
