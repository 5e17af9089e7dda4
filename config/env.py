"""Readers of environment variables. Their errors name the variable, and never show its value."""

import os
import re
from ipaddress import ip_network

import environ
from django.core.exceptions import ImproperlyConfigured


class PlainEnv(environ.Env):
    """A reader that takes each value as it is. django-environ takes $NAME for the value of another variable."""

    def get_value(self, var, cast=None, default=environ.Env.NOTSET, parse_default=False):
        value = self.ENVIRON.get(var, "")
        if value.startswith("$"):
            return self.parse_value(value, cast)
        return super().get_value(var, cast=cast, default=default, parse_default=parse_default)


env = PlainEnv()


def is_testing() -> bool:
    """Return whether pytest runs this process. Pytest sets this variable itself."""
    return "PYTEST_VERSION" in os.environ


def is_production() -> bool:
    """Return whether this process runs in production."""
    return not is_testing() and env.str("ENVIRONMENT", default="") == "production"


def choice(name: str, allowed: tuple[str, ...], default: str | None = None) -> str:
    """Read one of the `allowed` words.

    :raises ImproperlyConfigured: the variable is missing without a default, or is another word
    """
    value = env.str(name, default=default or "")
    if value not in allowed:
        raise ImproperlyConfigured(
            f"{name} must be one of: {', '.join(allowed)}. In development, copy .env.example to .env."
        )
    return value


def required_in_production(name: str, development: str) -> str:
    """Read a variable that production must set itself and development may leave out.

    :raises ImproperlyConfigured: it is missing or empty in production
    """
    value = env.str(name, default="" if is_production() else development)
    if not value:
        raise ImproperlyConfigured(f"{name} is not set.")
    return value


def secret(name: str, development: str, shortest: int = 32) -> str:
    """Read a secret of at least `shortest` characters.

    :raises ImproperlyConfigured: it is missing in production, or too short
    """
    value = required_in_production(name, development)
    if len(value) < shortest:
        raise ImproperlyConfigured(f"{name} must have at least {shortest} characters.")
    return value


def number(name: str, default: int, *, least: int = 0, most: int | None = None) -> int:
    """Read a whole number between `least` and `most`.

    :raises ImproperlyConfigured: it is not a whole number, or it is out of bounds
    """
    text = env.str(name, default=str(default))
    if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) < least or (most is not None and int(text) > most):
        bounds = f"from {least}" + (f" to {most}" if most is not None else " up")
        raise ImproperlyConfigured(f"{name} must be a whole number {bounds}.")
    return int(text)


def flag(name: str, default: bool) -> bool:
    """Read True or False.

    :raises ImproperlyConfigured: it is another word. A typing error must not switch a protection off
    """
    value = env.str(name, default=str(default)).lower()
    if value not in ("true", "false", "1", "0"):
        raise ImproperlyConfigured(f"{name} must be True or False.")
    return value in ("true", "1")


def words(name: str, allowed: tuple[str, ...], default: list[str]) -> list[str]:
    """Read any of the `allowed` words, separated by commas. An empty variable means none of them.

    :raises ImproperlyConfigured: one of the words is not allowed. A typing error must not switch a protection off
    """
    value = env.list(name, default=default)
    if not set(value) <= set(allowed):
        raise ImproperlyConfigured(f"{name} must hold some of: {', '.join(allowed)}, separated by commas.")
    return value


def key_pairs(name: str, development: str) -> dict[str, str]:
    """Read pairs of id and key such as "2026-11=...", separated by commas. A key has at least 32 bytes.

    :raises ImproperlyConfigured: a pair is malformed or short, or an id or a key occurs twice
    """
    pairs = [entry.partition("=")[::2] for entry in required_in_production(name, development).split(",")]
    if not all(kid and len(key.encode()) >= 32 for kid, key in pairs):
        raise ImproperlyConfigured(f"{name} must be kid=key pairs with keys of at least 32 bytes.")
    if len({kid for kid, _ in pairs}) < len(pairs) or len({key for _, key in pairs}) < len(pairs):
        raise ImproperlyConfigured(f"{name} must not hold an id or a key twice.")
    return dict(pairs)


def cookie_name(name: str, default: str, *, secure: bool, has_path: bool = False) -> str:
    """Read the name of a cookie. `secure`: cookies are sent over HTTPS only. `has_path`: the cookie's path is not /.

    :raises ImproperlyConfigured: browsers reject a cookie of that name (RFC 6265bis, section 4.1.3)
    """
    value = env.str(name, default=default)
    if not re.fullmatch(r"[A-Za-z0-9_-]+", value):
        raise ImproperlyConfigured(f"{name} must be letters, digits, - and _.")
    if value.startswith("__Host-") and has_path:
        raise ImproperlyConfigured(f"{name} must not begin with __Host-, because this cookie has its own path.")
    if value.startswith(("__Host-", "__Secure-")) and not secure:
        raise ImproperlyConfigured(f"{name} must not begin with __Host- or __Secure- while SECURE_COOKIES is off.")
    return value


def origins(name: str) -> list[str]:
    """Read origins such as https://app.club.example, separated by commas.

    :raises ImproperlyConfigured: one of them is not an origin
    """
    value = env.list(name, default=[])
    if not all(re.fullmatch(r"https?://[^/\s]+", origin) for origin in value):
        raise ImproperlyConfigured(f"{name} must hold origins such as https://app.club.example, without a path.")
    return value


def postgresql(name: str) -> dict:
    """Read the URL of a PostgreSQL database. The error does not show it, because it may contain a password.

    :raises ImproperlyConfigured: it is not such a URL
    """
    wrong = ImproperlyConfigured(f"{name} must be a URL such as postgresql://user:password@host:5432/name.")
    if not re.match(r"postgres(ql)?://", env.str(name)):
        raise wrong
    try:
        value = env.db(name, engine="config.postgresql")
    except ValueError:
        raise wrong from None
    if not value["NAME"]:
        raise wrong
    return value


def email_server(name: str, default: str) -> dict:
    """Read the URL of the server for outgoing e-mail. The error does not show it, because it may contain a password.

    :raises ImproperlyConfigured: it is not such a URL
    """
    try:
        return env.email_url(name, default=default)
    except (ValueError, ImproperlyConfigured):
        raise ImproperlyConfigured(f"{name} must be a URL such as smtp+tls://user:password@host:587.") from None


def mailer(email: dict) -> dict:
    """Convert the e-mail settings of Django 5.2 to an entry of Django 6.1's MAILERS."""
    options = {
        "django.core.mail.backends.smtp.EmailBackend": {
            "host": email["EMAIL_HOST"],
            "port": email["EMAIL_PORT"],
            "username": email["EMAIL_HOST_USER"],
            "password": email["EMAIL_HOST_PASSWORD"],
            "use_tls": email.get("EMAIL_USE_TLS", False),
            "use_ssl": email.get("EMAIL_USE_SSL", False),
        },
        "django.core.mail.backends.filebased.EmailBackend": {"file_path": email["EMAIL_FILE_PATH"]},
    }
    return {"BACKEND": email["EMAIL_BACKEND"], "OPTIONS": options.get(email["EMAIL_BACKEND"], {})}


def networks(name: str) -> list[str]:
    """Read networks such as 10.0.0.0/8, separated by commas.

    :raises ImproperlyConfigured: one of them is not a network
    """
    value = env.list(name, default=[])
    try:
        for network in value:
            ip_network(network)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must hold networks such as 10.0.0.0/8, separated by commas.") from None
    return value
