"""The views for Safaricom's callbacks: they hand the bytes to the callback inbox and answer 200."""

import logging
import secrets

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from api.clock import now
from api.ip_addresses import client_ip
from api.logs import CountedWarning
from payments.callbacks import c2b_validation, inbox, spool
from payments.daraja.messages import MAX_CALLBACK
from payments.models import CallbackSource

logger = logging.getLogger(__name__)
unknown_urls = CountedWarning(logger, "Callbacks to unknown URLs: %d since the last such line.")

# Safaricom expects this body without our envelope, and takes any answer with 200 as accepted.
ACCEPTED = {"ResultCode": 0, "ResultDesc": "Accepted"}


class BodyRefused(Exception):
    """A request body that is refused with an HTTP status."""

    def __init__(self, status: int):
        super().__init__(status)
        self.status = status


def body_of(request: HttpRequest) -> bytes:
    """Return the bytes of a callback, sent with a length or in chunks.

    :raises BodyRefused: 400 incomplete, 411 chunks that the web server cannot read, 413 too long
    """
    try:
        return _body_in_chunks(request) if "Transfer-Encoding" in request.headers else _body_with_length(request)
    except UnreadablePostError:
        raise BodyRefused(400) from None  # the sender closed the connection


def _body_with_length(request: HttpRequest) -> bytes:
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not (length.isascii() and length.isdigit()):
        raise BodyRefused(400)
    if int(length[:12]) > MAX_CALLBACK:
        raise BodyRefused(413)
    return request.body


def _body_in_chunks(request: HttpRequest) -> bytes:
    """Read a chunked body. Django itself reads by Content-Length alone and would return an empty one."""
    if not request.META.get("wsgi.input_terminated"):  # the server cannot tell where the body ends
        raise BodyRefused(411)
    try:
        body = request.META["wsgi.input"].read(MAX_CALLBACK + 1)
    except Exception as error:  # each web server raises its own for bytes that are not chunks
        raise UnreadablePostError from error
    if len(body) > MAX_CALLBACK:
        raise BodyRefused(413)
    return body


class UnloggedResponse(HttpResponse):
    """An empty response that Django does not log, because the path holds the token."""

    _has_been_logged = True  # the mark that django.utils.log.log_response sets and reads


def unknown_url() -> HttpResponse:
    """Answer a callback whose token or secret is unknown. It is counted in the log and not stored."""
    unknown_urls.happened()
    return UnloggedResponse(status=404)


@method_decorator(csrf_exempt, name="dispatch")
class CallbackView(View):
    """The base of the callback views: no login, no cookies, no envelope. The secret is in the path.

    It is a plain Django view, so that no part of REST framework (parsing, negotiation, authentication) can refuse a
    callback before it is stored. The URL is never logged.
    """

    http_method_names = ["post"]
    source: CallbackSource

    def http_method_not_allowed(self, request: HttpRequest, *args, **kwargs) -> HttpResponse:
        return UnloggedResponse(status=405)

    def store(self, request: HttpRequest, token: str | None = None) -> HttpResponse:
        """Hand the bytes to the callback inbox and answer; 404, with nothing stored, when the token is unknown."""
        try:
            is_stored = inbox.receive(
                source=self.source,
                body=body_of(request),
                headers=request.headers,
                peer=client_ip(request),
                now=now(),
                token=token,
            )
        except BodyRefused as refused:
            return UnloggedResponse(status=refused.status)
        except spool.SpoolFull:
            return UnloggedResponse(status=503)
        return JsonResponse(ACCEPTED) if is_stored else unknown_url()


class StkCallbackView(CallbackView):
    """Receives the result of an STK push. The token in the path finds the push."""

    source = CallbackSource.STK

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        return self.store(request, token=token)


class CodeCheckResultView(CallbackView):
    """Receives the result of a code check (Transaction Status). The token in the path finds the check."""

    source = CallbackSource.CODE_CHECK

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        return self.store(request, token=token)


class CodeCheckTimeoutView(CodeCheckResultView):
    """Receives the notice that a code check expired in Safaricom's queue."""

    source = CallbackSource.CODE_CHECK_TIMEOUT


class C2bView(CallbackView):
    """The base of the paybill's two views: the path holds a secret of this installation."""

    def is_our_secret(self, secret: str) -> bool:
        """Compare the path's secret with ours, in a time that does not depend on how much of it is right."""
        return secrets.compare_digest(secret.encode(), settings.C2B_SECRET.encode())


class C2bConfirmationView(C2bView):
    """Receives the confirmation of money that was paid to the paybill or till."""

    source = CallbackSource.C2B_CONFIRMATION

    def post(self, request: HttpRequest, secret: str) -> HttpResponse:
        return self.store(request) if self.is_our_secret(secret) else unknown_url()


class C2bValidationView(C2bView):
    """Answers whether a payment to the paybill may proceed; see payments.callbacks.c2b_validation."""

    def post(self, request: HttpRequest, secret: str) -> HttpResponse:
        if not self.is_our_secret(secret):
            return unknown_url()
        try:
            return JsonResponse(c2b_validation.answer(body=body_of(request)))
        except BodyRefused as refused:
            return UnloggedResponse(status=refused.status)
