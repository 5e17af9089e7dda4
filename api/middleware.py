"""Middleware for every request: request ids, checks before any view, and security headers."""

import re

from django.conf import settings
from django.contrib.messages.middleware import MessageMiddleware
from django.core.signals import request_finished
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

from api import request_ids
from api.exceptions import plain_answer
from api.parsers import MAX_UPLOAD_BYTES

PERMISSIONS_POLICY = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
# API answers are data. A browser that opens one as a page must not run or load anything.
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"
# Our pages load everything from our own origin.
PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'self';"
    " form-action 'self'; frame-ancestors 'none'"
)
# django-unfold uses Alpine.js, which evaluates attributes ('unsafe-eval') and hides elements by style attributes
# ('unsafe-inline', for styles only). The login page does not work without these two. Scripts still come from our own
# origin only, and inline scripts do not run.
ADMIN_POLICY = PAGE_POLICY + "; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'"


class RequestIdMiddleware:
    """Assign an id to each request, for its log lines, its envelope and the X-Request-ID header of its answer."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request_id = request_ids.from_header(request.headers.get("X-Request-ID"))
        request_ids.current.set(request_id)
        response = self.get_response(request)
        response["X-Request-ID"] = request_id
        return response


@receiver(request_finished, dispatch_uid="api.forget_request_id")
def forget_request_id(sender, **kwargs) -> None:
    """Clear the id after the answer is sent. Until then Django logs errors, and a streamed answer needs the id."""
    request_ids.current.set("")


class AnyHostMiddleware:
    """Answer the paths of SECURE_REDIRECT_EXEMPT (callbacks and probes) under any host name.

    A host that is missing in ALLOWED_HOSTS must not cost a callback, which is sent once. Their views do not use the
    host. It comes before every middleware that asks for it.
    """

    def __init__(self, get_response):
        self.get_response = get_response
        self.exempt = [re.compile(pattern) for pattern in settings.SECURE_REDIRECT_EXEMPT]

    def __call__(self, request: HttpRequest) -> HttpResponse:
        path = request.path.lstrip("/")  # as SecurityMiddleware compares it
        if any(pattern.search(path) for pattern in self.exempt):
            request.get_host = request._get_raw_host  # type: ignore[method-assign, attr-defined]  # Django's own, without the check
        return self.get_response(request)


class PlainRequestMiddleware:
    """Refuse requests that no view accepts: a NUL character in the path or query, a body larger than any upload."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "%00" in request.META.get("QUERY_STRING", "") or "\x00" in request.path:
            return plain_answer(400, "bad_request", "The request is not valid.")
        # Django reads only as many bytes as Content-Length announces, and none without it.
        announced = request.META.get("CONTENT_LENGTH") or "0"
        if announced.isdecimal() and int(announced[:12]) > MAX_UPLOAD_BYTES:
            return plain_answer(413, "too_large", "The request is too large.")
        return self.get_response(request)


class AdminCsrfCookieMiddleware:
    """Give the admin a CSRF cookie of its own, which Django's middleware then reads and sets as usual.

    The app and the admin are open in one browser, and each rotates its secret: the app with every refresh.
    """

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path.startswith("/admin/"):
            return self.get_response(request)
        name, own_name = settings.CSRF_COOKIE_NAME, settings.ADMIN_CSRF_COOKIE_NAME
        request.COOKIES.pop(name, None)
        if own_name in request.COOKIES:
            request.COOKIES[name] = request.COOKIES[own_name]
        response = self.get_response(request)
        if name in response.cookies:
            cookie = response.cookies.pop(name)
            cookie.set(own_name, cookie.value, cookie.coded_value)
            response.cookies[own_name] = cookie
        return response


class AdminMessageMiddleware(MessageMiddleware):
    """Django's MessageMiddleware for the admin only. API calls do not use messages."""

    def process_request(self, request: HttpRequest) -> None:
        if request.path.startswith("/admin/"):
            super().process_request(request)


class PrivacyHeadersMiddleware:
    """Set headers that keep answers out of caches and frames, and limit the scripts that may run."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        response.setdefault("Content-Security-Policy", self.policy_for(request, response))
        if request.path.startswith("/api/"):
            response.setdefault("Cache-Control", "no-store")
            patch_vary_headers(response, ["Cookie"])
        return response

    def policy_for(self, request: HttpRequest, response: HttpResponse) -> str:
        """Return the strictest Content-Security-Policy with which the answer works."""
        if not response.get("Content-Type", "").startswith("text/html"):
            return DATA_POLICY
        return ADMIN_POLICY if request.path.startswith("/admin/") else PAGE_POLICY
