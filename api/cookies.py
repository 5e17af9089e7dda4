"""The cookies of a login session and of a known browser.

Only this module sets and deletes them, so that both use the same attributes.
"""

from datetime import datetime

from django.conf import settings
from django.http import HttpResponse

AUTH_PATH = "/api/v1/auth/"
MFA_PATH = f"{AUTH_PATH}mfa/"
DEVICE_LIFETIME = 365 * 24 * 60 * 60  # seconds


def _flags(path: str, samesite: str) -> dict:
    return {
        "path": path,
        "samesite": samesite,
        "domain": settings.AUTH_COOKIE_DOMAIN,
        "secure": settings.AUTH_COOKIE_SECURE,
        "httponly": settings.AUTH_COOKIE_HTTPONLY,
    }


def set_session(
    response: HttpResponse,
    *,
    access: str,
    access_expires_at: datetime,
    refresh: str,
    refresh_expires_at: datetime,
    remember: bool,
    now: datetime,
) -> None:
    """Set the access cookie and the refresh cookie.

    Each cookie expires with its token. Without `remember`, the refresh cookie also ends when the browser closes.
    """
    response.set_cookie(
        settings.AUTH_COOKIE,
        access,
        max_age=int((access_expires_at - now).total_seconds()),
        **_flags("/", settings.AUTH_COOKIE_SAMESITE),
    )
    response.set_cookie(
        settings.AUTH_COOKIE_REFRESH,
        refresh,
        max_age=int((refresh_expires_at - now).total_seconds()) if remember else None,
        **_flags(AUTH_PATH, "Strict"),
    )


def set_pending(response: HttpResponse, token: str) -> None:
    """Set the cookie of a login whose second factor is still missing."""
    lifetime = int(settings.MFA_PENDING_LIFETIME.total_seconds())
    response.set_cookie(settings.AUTH_COOKIE_MFA, token, max_age=lifetime, **_flags(MFA_PATH, "Strict"))


def clear_pending(response: HttpResponse) -> None:
    """Delete the cookie of a login whose second factor was missing."""
    _delete(response, settings.AUTH_COOKIE_MFA, MFA_PATH, "Strict")


def set_device(response: HttpResponse, token: str) -> None:
    """Set the cookie of a browser in which somebody has logged in. The API and the admin both read it; it stays."""
    response.set_cookie(settings.AUTH_COOKIE_DEVICE, token, max_age=DEVICE_LIFETIME, **_flags("/", "Strict"))


def clear_session(response: HttpResponse) -> None:
    """Delete the access cookie and the refresh cookie."""
    _delete(response, settings.AUTH_COOKIE, "/", settings.AUTH_COOKIE_SAMESITE)
    _delete(response, settings.AUTH_COOKIE_REFRESH, AUTH_PATH, "Strict")


def _delete(response: HttpResponse, name: str, path: str, samesite: str) -> None:
    # Django's delete_cookie does not set every attribute, and browsers ignore a cookie named __Secure- or __Host- that
    # is not marked Secure.
    response.set_cookie(name, "", max_age=0, expires="Thu, 01 Jan 1970 00:00:00 GMT", **_flags(path, samesite))
