"""System checks of our own settings, for `manage.py check --deploy`."""

from django.conf import settings
from django.core.checks import CheckMessage, Info, Tags, register

# A browser accepts a cookie with such a prefix only over HTTPS, and with __Host- only from this host (ASVS 5.0, 3.3.1).
# __Host- requires the path /. The Refresh and MfaPending cookies have narrower paths, so they use __Secure-.
PREFIXES = {
    "AUTH_COOKIE": "__Host-",
    "AUTH_COOKIE_REFRESH": "__Secure-",
    "AUTH_COOKIE_MFA": "__Secure-",
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
