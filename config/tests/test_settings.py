"""Production starts only with every setting it needs, and says in one line which one is wrong."""

import ast
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from unittest import mock

import environ
import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

ROOT = Path(settings.BASE_DIR)
SECRETS = {
    "SECRET_KEY": "0123456789abcdef" * 4,
    "C2B_SECRET": "c" * 40,
    "DARAJA_CONSUMER_KEY": "key",
    "DARAJA_CONSUMER_SECRET": "secret",
    "DARAJA_PASSKEY": "passkey",
    "JWT_KEYS": "2026-11=" + "fedcba9876543210" * 3,
    "AFRICASTALKING_API_KEY": "key",
}
PRODUCTION = {
    "ENVIRONMENT": "production",
    "PUBLIC_URL": "https://club.example",
    "ALLOWED_HOSTS": "club.example",
    "DATABASE_URL": "postgresql://kilabu:hush@127.0.0.1:1/kilabu",
    "DARAJA_ENVIRONMENT": "production",
    "DARAJA_SHORTCODE": "600000",
    "JWT_ACTIVE_KID": "2026-11",
    "AFRICASTALKING_USERNAME": "kilabu",
    **SECRETS,
}
PREFIXED = {
    "AUTH_COOKIE": "__Host-Authentication",
    "AUTH_COOKIE_REFRESH": "__Secure-Refresh",
    "AUTH_COOKIE_MFA": "__Secure-MfaPending",
    "CSRF_COOKIE_NAME": "__Host-csrftoken",
}
# What reads a variable in settings.py: env.str("X"), number("X", ...) and their like.
READERS = {"str", "list", "db", "email_url", "bool", "int"}


def manage(environment, *arguments):
    """Run manage.py in a process of its own, with this environment and no .env file."""
    # The tests' own marker keeps a developer's .env out, but means "test"; so the file's reader is put aside instead.
    program = (
        "import environ, sys; environ.Env.read_env = lambda *a, **k: None; "
        "sys.argv = ['manage.py', *sys.argv[1:]]; import manage; manage.main()"
    )
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
    )


def check(environment, *arguments):
    return manage(environment, "check", *arguments)


def load(environment):
    """Return what settings.py makes of this environment, without a process of its own."""
    with mock.patch.dict(os.environ, environment, clear=True), mock.patch.object(environ.Env, "read_env"):
        return runpy.run_path(str(ROOT / "config" / "settings.py"))


def refusal(environment):
    """Return the words with which settings.py refuses this environment."""
    with pytest.raises(ImproperlyConfigured) as raised:
        load(environment)
    return str(raised.value)


def settings_read():
    """Return the names of all variables that settings.py reads from the environment."""
    tree = ast.parse((ROOT / "config" / "settings.py").read_text())
    own = {
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "config.env"
        for alias in node.names
    }
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func
            by_env = (
                isinstance(function, ast.Attribute)
                and function.attr in READERS
                and isinstance(function.value, ast.Name)
                and function.value.id == "env"
            )
            if by_env or (isinstance(function, ast.Name) and function.id in own):
                names.add(node.args[0].value)
    return names


def test_the_example_lists_every_setting_and_no_other():
    listed = re.findall(r"^#?([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)

    assert sorted(listed) == sorted(settings_read())


def test_every_setting_of_the_example_has_its_meaning_above_it():
    blocks = (ROOT / ".env.example").read_text().split("\n\n")

    unexplained = [
        block
        for block in blocks
        if re.search(r"^#?[A-Z][A-Z0-9_]+=", block, re.MULTILINE) and not re.match(r"# [\w(]", block)
    ]

    assert unexplained == []


def test_the_example_starts_in_development():
    lines = (ROOT / ".env.example").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z]", line))

    checked = check(values)

    assert (checked.returncode, checked.stderr) == (0, "")


def test_production_starts_without_a_warning_or_a_database():
    checked = check(PRODUCTION | PREFIXED, "--deploy", "--fail-level", "WARNING")

    assert (checked.returncode, checked.stderr) == (0, "")


def test_production_recommends_names_that_tie_a_cookie_to_this_host_and_https():
    checked = check(PRODUCTION, "--deploy", "--fail-level", "WARNING")

    assert checked.returncode == 0
    assert sorted(re.findall(r"([A-Z_]+) could be (\S+):", checked.stderr)) == sorted(PREFIXED.items())


def test_a_refused_setting_stops_the_start_with_one_line():
    checked = check({**PRODUCTION, "SECRET_KEY": ""})

    assert (checked.returncode, checked.stderr) == (1, "Kilabu cannot start: SECRET_KEY is not set.\n")


def test_a_name_that_no_browser_keeps_over_plain_http_is_refused():
    refused = refusal(PRODUCTION | {"SECURE_COOKIES": "False", "AUTH_COOKIE": "__Secure-Authentication"})

    assert re.fullmatch(r"AUTH_COOKIE [^\n]+", refused)


def test_connections_are_kept_in_production_unless_told_otherwise():
    show = "from django.conf import settings as s; d = s.DATABASES['default']; print(d['CONN_MAX_AGE'])"
    urls = {"kept": "", "not kept": "?conn_max_age=0"}
    shown = {
        name: manage(
            PRODUCTION | {"DATABASE_URL": PRODUCTION["DATABASE_URL"] + query},
            "shell",
            "--no-imports",
            "--command",
            show,
        ).stdout.strip()
        for name, query in urls.items()
    }

    assert shown == {"kept": "60", "not kept": "0"}


def test_a_kept_connection_is_looked_at_before_its_next_request():
    found = load(PRODUCTION)["DATABASES"]["default"]

    assert (found["ENGINE"], found["CONN_HEALTH_CHECKS"]) == ("config.postgresql", True)
    assert found["OPTIONS"]["keepalives_idle"] == 30


def test_the_club_clock_can_be_set_in_development_and_never_in_production():
    assert load(PRODUCTION)["CLUB_CLOCK_FILE"] is None
    assert load({"ENVIRONMENT": "development"})["CLUB_CLOCK_FILE"].name == "club-clock"


def test_the_admins_session_can_be_kept_off_the_api():
    shown = [load(PRODUCTION), load(PRODUCTION | {"ADMIN_SESSION_ON_API": "False"})]

    assert [
        (each["SESSION_COOKIE_PATH"], len(each["REST_FRAMEWORK"]["DEFAULT_AUTHENTICATION_CLASSES"])) for each in shown
    ] == [("/", 2), ("/admin/", 1)]


@pytest.mark.parametrize("name", sorted(PRODUCTION))
def test_production_without_a_required_setting_is_refused_in_one_line_naming_it(name):
    refused = refusal({key: value for key, value in PRODUCTION.items() if key != name})

    assert re.fullmatch(rf"{name} [^\n]+", refused)


@pytest.mark.parametrize("name", sorted(PRODUCTION))
def test_production_takes_an_empty_setting_for_a_missing_one(name):
    refused = refusal(PRODUCTION | {name: ""})

    assert re.fullmatch(rf"{name} [^\n]+", refused)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENVIRONMENT", "prod"),
        ("PUBLIC_URL", "club.example"),
        ("PUBLIC_URL", "https://club.example/app"),
        ("SECRET_KEY", "short"),
        ("C2B_SECRET", "short"),
        ("DARAJA_SHORTCODE", "paybill"),
        ("DARAJA_TILL", "12"),
        ("CLUB_TERMS_URL", "club.example/terms"),
        ("CLUB_TERMS_URL", "javascript:alert(1)"),
        ("DATABASE_URL", "mysql://kilabu:hush@db/kilabu"),
        ("DATABASE_URL", "sqlite:///db.sqlite3"),
        ("DATABASE_URL", "postgresql://kilabu:hush@db"),
        ("DATABASE_URL", "postgresql://kilabu:hush@db:port/kilabu"),
        ("DATABASE_URL", "hush"),
        ("JWT_KEYS", "2026-11=short"),
        ("JWT_KEYS", SECRETS["JWT_KEYS"].partition("=")[2]),
        ("JWT_KEYS", SECRETS["JWT_KEYS"] + ",2026-11=" + "x" * 40),
        ("JWT_KEYS", SECRETS["JWT_KEYS"] + "," + SECRETS["JWT_KEYS"].replace("11", "12")),
        ("JWT_KEYS", "2026-11=" + SECRETS["SECRET_KEY"]),
        ("JWT_ACTIVE_KID", "2026-10"),
        ("EMAIL_URL", "smtp://kilabu:hush@mail:port"),
        ("EMAIL_URL", "hush"),
        ("SMS_BACKEND", "phone"),
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ("MFA_REQUIRED_ROLES", "admin"),
        ("MFA_REQUIRED_ROLES", "Admin;Manager"),
        ("ACCESS_SECONDS", "5 minutes"),
        ("DARAJA_ENVIRONMENT", "simulator"),
        ("DARAJA_ENVIRONMENT", "live"),
        ("MPESA_MAX_AMOUNT", "250,000"),
        ("MPESA_MAX_AMOUNT", "0"),
        ("PAYMENT_LIFETIME_HOURS", "-1"),
        ("SECURE_HSTS_SECONDS", "1e3"),
        ("AUTH_COOKIE_REFRESH", "__Host-Refresh"),
        ("AUTH_COOKIE_MFA", "__Host-MfaPending"),
        ("AUTH_COOKIE", "Authentication; Path=/"),
        ("CSRF_COOKIE_NAME", ""),
        ("SECURE_COOKIES", "ture"),
        ("SECURE_SSL_REDIRECT", "on"),
        ("BEHIND_HTTPS_PROXY", ""),
        ("CSRF_TRUSTED_ORIGINS", "club.example"),
        ("CORS_ALLOWED_ORIGINS", "https://app.club.example/path"),
    ],
)
def test_production_with_a_malformed_setting_is_refused_in_one_line_naming_it(name, value):
    refused = refusal(PRODUCTION | {name: value})

    assert re.fullmatch(rf"{name} [^\n]+", refused)
    assert "hush" not in refused


@pytest.mark.parametrize(
    ("environment", "roles"),
    [
        (PRODUCTION, ["Admin", "Manager"]),
        (PRODUCTION | {"MFA_REQUIRED_ROLES": "Admin,Trainer"}, ["Admin", "Trainer"]),
        ({"ENVIRONMENT": "development"}, []),
    ],
)
def test_production_asks_who_runs_the_club_for_a_second_factor(environment, roles):
    assert load(environment)["MFA_REQUIRED_ROLES"] == roles
