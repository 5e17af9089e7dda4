"""Settings: required variables, malformed values and defaults."""

import ast
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from unittest import mock

import django
import environ
import pytest
from django.conf import settings
from django.core import mail
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
    "AUTH_COOKIE_DEVICE": "__Host-Device",
    "CSRF_COOKIE_NAME": "__Host-csrftoken",
}
# Methods of `env` that read a variable in settings.py, such as env.str("X").
READERS = {"str", "list", "db", "email_url", "bool", "int"}


def manage(environment, *arguments):
    """Run manage.py in another process, with this environment and without a .env file."""
    # Pytest marks its processes, and these ignore .env. This one must not be marked, so the reader is replaced.
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
    """Return the settings for this environment, computed in this process."""
    with mock.patch.dict(os.environ, environment, clear=True), mock.patch.object(environ.Env, "read_env"):
        return runpy.run_path(str(ROOT / "config" / "settings.py"))


def error_of(environment):
    """Return the error of settings.py for this environment."""
    with pytest.raises(ImproperlyConfigured) as raised:
        load(environment)
    return str(raised.value)


def settings_read():
    """Return the names of all environment variables that settings.py reads."""
    tree = ast.parse((ROOT / "config" / "settings.py").read_text())
    readers = {
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
            if by_env or (isinstance(function, ast.Name) and function.id in readers):
                names.add(node.args[0].value)
    return names


def test_example_lists_exactly_the_settings():
    listed = re.findall(r"^#?([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)

    assert sorted(listed) == sorted(settings_read())


def test_every_setting_of_the_example_is_explained():
    blocks = (ROOT / ".env.example").read_text().split("\n\n")

    unexplained = [
        block
        for block in blocks
        if re.search(r"^#?[A-Z][A-Z0-9_]+=", block, re.MULTILINE) and not re.match(r"# [\w(]", block)
    ]

    assert unexplained == []


def test_example_starts_in_development():
    lines = (ROOT / ".env.example").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z]", line))

    checked = check(values)

    assert (checked.returncode, checked.stderr) == (0, "")


def test_production_checks_without_warning_or_database():
    checked = check(PRODUCTION | PREFIXED, "--deploy", "--fail-level", "WARNING")

    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("changed", "warning"),
    [
        (
            {"ALLOWED_HOSTS": "www.club.example"},
            "ALLOWED_HOSTS lacks club.example, the host of PUBLIC_URL: the app and the admin would answer 400.",
        ),
        (
            {"CSRF_TRUSTED_ORIGINS": "http://club.example"},
            "CSRF_TRUSTED_ORIGINS has http://club.example, but PUBLIC_URL is https://club.example.",
        ),
        (
            {"CSRF_TRUSTED_ORIGINS": "http://app.club.example"},
            "CSRF_TRUSTED_ORIGINS has http://app.club.example, which is not https: browsers send it no cookie of ours.",
        ),
        (
            {"CORS_ALLOWED_ORIGINS": "https://app.club.example"},
            "CSRF_TRUSTED_ORIGINS lacks https://app.club.example of CORS_ALLOWED_ORIGINS: its pages could read and not"
            " write.",
        ),
    ],
)
def test_production_warns_of_hosts_and_origins_that_disagree(changed, warning):
    checked = check(PRODUCTION | PREFIXED | changed, "--deploy", "--fail-level", "WARNING")

    assert checked.returncode == 1
    assert re.findall(r"\(api\.W002\) (.+)", checked.stderr) == [warning]


def test_production_recommends_cookie_name_prefixes():
    checked = check(PRODUCTION, "--deploy", "--fail-level", "WARNING")

    assert checked.returncode == 0
    assert sorted(re.findall(r"([A-Z_]+) could be (\S+),", checked.stderr)) == sorted(PREFIXED.items())


def test_invalid_setting_stops_the_start_with_one_line():
    checked = check({**PRODUCTION, "SECRET_KEY": ""})

    assert (checked.returncode, checked.stderr) == (1, "Kilabu cannot start: SECRET_KEY is not set.\n")


def test_secure_cookie_name_needs_secure_cookies():
    error = error_of(PRODUCTION | {"SECURE_COOKIES": "False", "AUTH_COOKIE": "__Secure-Authentication"})

    assert re.fullmatch(r"AUTH_COOKIE [^\n]+", error)


def test_connections_are_reused_in_production_by_default():
    show = "from django.conf import settings as s; d = s.DATABASES['default']; print(d['CONN_MAX_AGE'])"
    urls = {"reused": "", "not reused": "?conn_max_age=0"}
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

    assert shown == {"reused": "60", "not reused": "0"}


def test_reused_connections_are_checked():
    found = load(PRODUCTION)["DATABASES"]["default"]

    assert (found["ENGINE"], found["CONN_HEALTH_CHECKS"]) == ("config.postgresql", True)
    assert found["OPTIONS"]["keepalives_idle"] == 30


def test_club_clock_can_be_moved_in_development_only():
    assert load(PRODUCTION)["CLUB_CLOCK_FILE"] is None
    assert load({"ENVIRONMENT": "development"})["CLUB_CLOCK_FILE"].name == "club-clock"


def test_admin_session_can_be_limited_to_the_admin():
    shown = [load(PRODUCTION), load(PRODUCTION | {"ADMIN_SESSION_ON_API": "False"})]

    assert [
        (each["SESSION_COOKIE_PATH"], len(each["REST_FRAMEWORK"]["DEFAULT_AUTHENTICATION_CLASSES"])) for each in shown
    ] == [("/", 2), ("/admin/", 1)]


def test_secret_that_begins_with_a_dollar_is_taken_as_it_is():
    values = {"SECRET_KEY": "$" + "k" * 40, "AFRICASTALKING_API_KEY": "$$PATH", "DARAJA_PASSKEY": "a$b\\$c"}

    found = load(PRODUCTION | values | {"SECRET_KEY_FALLBACKS": "$old,other", "PATH": "/bin"})

    assert {name: found[name] for name in values} == values
    assert found["SECRET_KEY_FALLBACKS"] == ["$old", "other"]


@pytest.mark.parametrize("name", sorted(PRODUCTION))
def test_missing_required_setting_is_named(name):
    error = error_of({key: value for key, value in PRODUCTION.items() if key != name})

    assert re.fullmatch(rf"{name} [^\n]+", error)


@pytest.mark.parametrize("name", sorted(PRODUCTION))
def test_empty_required_setting_is_named(name):
    error = error_of(PRODUCTION | {name: ""})

    assert re.fullmatch(rf"{name} [^\n]+", error)


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
        ("ORDER_LIFETIME_DAYS", "0"),
        ("ORDER_LIFETIME_DAYS", "٣٠"),  # 30 in Arabic digits
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
def test_malformed_setting_is_named(name, value):
    error = error_of(PRODUCTION | {name: value})

    assert re.fullmatch(rf"{name} [^\n]+", error)
    assert "hush" not in error


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail:25", ("smtp", "mail", 25, None, None, False, False)),
        ("smtp+tls://kilabu:hush@mail:587", ("smtp", "mail", 587, "kilabu", "hush", True, False)),
        ("smtp+ssl://kilabu:hush@mail:465", ("smtp", "mail", 465, "kilabu", "hush", False, True)),
        ("consolemail://", ("console",)),
        ("filemail://localhost/var/mail", ("filebased", str(ROOT / "var" / "mail"))),
    ],
)
def test_email_url_names_the_mail_server(url, server, settings):
    loaded = load(PRODUCTION | {"EMAIL_URL": url})
    named = {name for name in loaded if name.startswith("EMAIL_")} - {"EMAIL_CONFIG"}
    for name in {"MAILERS", *named}:
        setattr(settings, name, loaded[name])

    backend = mail.mailers.default if django.VERSION >= (6, 1) else mail.get_connection()

    attributes = ("host", "port", "username", "password", "use_tls", "use_ssl", "file_path")
    found = [getattr(backend, name) for name in attributes if hasattr(backend, name)]
    assert (type(backend).__module__.split(".")[-1], *found) == server
    assert (named == set()) == (django.VERSION >= (6, 1))


@pytest.mark.parametrize(
    ("environment", "roles"),
    [
        (PRODUCTION, ["Admin", "Manager"]),
        (PRODUCTION | {"MFA_REQUIRED_ROLES": "Admin,Trainer"}, ["Admin", "Trainer"]),
        ({"ENVIRONMENT": "development"}, []),
    ],
)
def test_roles_with_a_second_factor_by_default(environment, roles):
    assert load(environment)["MFA_REQUIRED_ROLES"] == roles
