"""What `manage.py check --deploy` says about our own settings."""

from django.conf import settings
from django.core.checks import CheckMessage, Info, Tags, register

# By its prefix a browser holds a cookie to this host and HTTPS, whatever else is served beside it (ASVS 5.0, 3.3.1).
# __Host- is for cookies of every path; two of ours are sent to a few addresses only.
PREFIXES = {
    "AUTH_COOKIE": "__Host-",
    "AUTH_COOKIE_REFRESH": "__Secure-",
    "AUTH_COOKIE_MFA": "__Secure-",
    "CSRF_COOKIE_NAME": "__Host-",
}


@register(Tags.security, deploy=True)
def check_cookie_names(app_configs, **kwargs) -> list[CheckMessage]:
    """Recommend the prefixes that keep another host of the same domain from setting our cookies."""
    return [
        Info(f"{name} could be {prefix}{value}: no other host could then set it.", id="api.I001")
        for name, prefix in PREFIXES.items()
        if not (value := getattr(settings, name)).startswith(prefix)
    ]
