"""System checks of our own settings, for `manage.py check --deploy`."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Info, Tags, Warning, register
from django.http.request import validate_host

# A browser accepts a cookie with such a prefix only over HTTPS, and with __Host- only from this host (ASVS 5.0, 3.3.1).
# __Host- requires the path /. The Refresh and MfaPending cookies have narrower paths, so they use __Secure-.
PREFIXES = {
    "AUTH_COOKIE": "__Host-",
    "AUTH_COOKIE_REFRESH": "__Secure-",
    "AUTH_COOKIE_MFA": "__Secure-",
    "AUTH_COOKIE_DEVICE": "__Host-",
    "CSRF_COOKIE_NAME": "__Host-",
}


@register(Tags.security, deploy=True)
def check_cookie_names(app_configs, **kwargs) -> list[CheckMessage]:
    """Recommend cookie name prefixes, so that another host of the same domain cannot set our cookies."""
    return [
        Info(f"{name} could be {prefix}{value}, so that no other host can set the cookie.", id="api.I001")
        for name, prefix in PREFIXES.items()
        if not (value := getattr(settings, name)).startswith(prefix)
    ]


@register(Tags.security, deploy=True)
def check_origins(app_configs, **kwargs) -> list[CheckMessage]:
    """Warn of settings about hosts and origins that disagree."""
    return [Warning(text, id="api.W002") for text in origin_conflicts()]


def origin_conflicts() -> Iterator[str]:
    """Yield how PUBLIC_URL, ALLOWED_HOSTS, CSRF_TRUSTED_ORIGINS and CORS_ALLOWED_ORIGINS disagree, in sentences."""
    public = urlsplit(settings.PUBLIC_URL)
    host = public.hostname or ""
    if not validate_host(host, settings.ALLOWED_HOSTS):
        yield f"ALLOWED_HOSTS lacks {host}, the host of PUBLIC_URL: the app and the admin would answer 400."
    for origin in settings.CSRF_TRUSTED_ORIGINS:
        parts = urlsplit(origin)
        if parts.hostname == host and parts[:2] != public[:2]:
            yield f"CSRF_TRUSTED_ORIGINS has {origin}, but PUBLIC_URL is {settings.PUBLIC_URL}."
        elif public.scheme == "https" and parts.scheme != "https":
            yield f"CSRF_TRUSTED_ORIGINS has {origin}, which is not https: browsers send it no cookie of ours."
    for origin in settings.CORS_ALLOWED_ORIGINS:
        if origin != settings.PUBLIC_URL and origin not in settings.CSRF_TRUSTED_ORIGINS:
            yield f"CSRF_TRUSTED_ORIGINS lacks {origin} of CORS_ALLOWED_ORIGINS: its pages could read and not write."
