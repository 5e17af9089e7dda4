"""What every request passes: a request id, and headers that keep answers private."""

from django.contrib.messages.middleware import MessageMiddleware
from django.core.signals import request_finished
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

from api import request_ids
from api.exceptions import plain_answer
from api.parsers import MAX_UPLOAD_BYTES

PERMISSIONS_POLICY = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
# An API answer is data: a browser that opens one as a page may run and load nothing.
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"
# Our own pages take everything from our own origin.
PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'self';"
    " form-action 'self'; frame-ancestors 'none'"
)
# django-unfold's pages are Alpine.js, which evaluates the attributes it finds ('unsafe-eval') and hides what is not
# yet shown by style attributes ('unsafe-inline', for styles alone). Without these two, nobody can even log in.
# Scripts still come from our own origin only, and inline ones never run.
ADMIN_POLICY = PAGE_POLICY + "; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'"


class RequestIdMiddleware:
    """Give each request an id: in its log lines, its envelope and the X-Request-ID header of its answer."""

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
    """Begin anew when the answer is sent: until then Django logs refusals, and a long answer is still being made."""
    request_ids.current.set("")


class PlainRequestMiddleware:
    """Refuse what no address of ours takes: a NUL character in the query or the path, a body larger than any upload."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "%00" in request.META.get("QUERY_STRING", "") or "\x00" in request.path:
            return plain_answer(400, "bad_request", "The request is not valid.")
        # Django reads no further than the length that was announced, and nothing when none was.
        announced = request.META.get("CONTENT_LENGTH") or "0"
        if announced.isdecimal() and int(announced[:12]) > MAX_UPLOAD_BYTES:
            return plain_answer(413, "too_large", "The request is too large.")
        return self.get_response(request)


class AdminMessageMiddleware(MessageMiddleware):
    """Django's, for the only pages that tell something after a redirect; an API call has no use for it."""

    def process_request(self, request: HttpRequest) -> None:
        if request.path.startswith("/admin/"):
            super().process_request(request)


class PrivacyHeadersMiddleware:
    """Set the headers that keep answers out of caches, frames and foreign scripts."""

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
        """Return the least that the answer needs."""
        if not response.get("Content-Type", "").startswith("text/html"):
            return DATA_POLICY
        return ADMIN_POLICY if request.path.startswith("/admin/") else PAGE_POLICY
