"""Safaricom's callbacks over HTTP: bytes in, 200 out, nothing in between."""

import logging
import secrets

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from api.clock import now
from api.ip_addresses import client_address
from payments.callbacks import c2b_validation, inbox, spool
from payments.daraja.messages import MAX_CALLBACK
from payments.models import CallbackSource

logger = logging.getLogger(__name__)

# Safaricom reads a bare body, and anything with 200 as accepted.
ACCEPTED = {"ResultCode": 0, "ResultDesc": "Accepted"}


class BodyRefused(Exception):
    """A body that is not taken, with the HTTP status that says why."""

    def __init__(self, status: int):
        super().__init__(status)
        self.status = status


def body_of(request: HttpRequest) -> bytes:
    """Return the bytes of a callback, whether they came with their length or in chunks.

    :raises BodyRefused: 400 not whole, 411 chunks that the web server cannot read, 413 too long
    """
    try:
        return _body_in_chunks(request) if "Transfer-Encoding" in request.headers else _body_with_length(request)
    except UnreadablePostError:
        raise BodyRefused(400) from None  # the sender hung up; there is nothing whole to keep


def _body_with_length(request: HttpRequest) -> bytes:
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not (length.isascii() and length.isdigit()):
        raise BodyRefused(400)
    if int(length[:12]) > MAX_CALLBACK:
        raise BodyRefused(413)
    return request.body


def _body_in_chunks(request: HttpRequest) -> bytes:
    """Read what Django takes for an empty body, because it goes by Content-Length alone."""
    if not request.META.get("wsgi.input_terminated"):  # the server cannot tell where the body ends
        raise BodyRefused(411)
    try:
        body = request.META["wsgi.input"].read(MAX_CALLBACK + 1)
    except Exception as error:  # each web server has its own for chunks that are none
        raise UnreadablePostError from error
    if len(body) > MAX_CALLBACK:
        raise BodyRefused(413)
    return body


def quietly(status: int) -> HttpResponse:
    """Return an empty answer that Django does not log: the path holds the token."""
    response = HttpResponse(status=status)
    response._has_been_logged = True  # as django.utils.log.log_response marks it
    return response


def unknown_address() -> HttpResponse:
    """Answer a callback whose secret is nobody's; counted by its log line, not kept."""
    logger.warning("A callback came to an unknown address.")
    return quietly(404)


@method_decorator(csrf_exempt, name="dispatch")
class CallbackView(View):
    """What Safaricom's callbacks share: no log-in, no cookies, no envelope; the secret stands in the path.

    A plain Django view, because nothing of REST framework (parsing, negotiation, log-in) may stand between the bytes
    and the inbox. The address is never logged.
    """

    http_method_names = ["post"]
    source: CallbackSource

    def http_method_not_allowed(self, request: HttpRequest, *args, **kwargs) -> HttpResponse:
        return quietly(405)

    def keep(self, request: HttpRequest, **where) -> HttpResponse:
        """Hand the bytes to the inbox and answer; 404 for an address that is nobody's, with nothing kept."""
        try:
            kept = inbox.receive(
                source=self.source,
                body=body_of(request),
                headers=request.headers,
                peer=client_address(request),
                now=now(),
                **where,
            )
        except BodyRefused as refused:
            return quietly(refused.status)
        except spool.SpoolFull:
            return quietly(503)
        return JsonResponse(ACCEPTED) if kept else unknown_address()


class StkCallbackView(CallbackView):
    """Where Safaricom reports the result of an STK push; the token in the path finds the push."""

    source = CallbackSource.STK

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        return self.keep(request, token=token)


class CodeCheckResultView(CallbackView):
    """Where Safaricom tells what became of a code it was asked about; the token in the path finds the question."""

    source = CallbackSource.CODE_CHECK

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        return self.keep(request, token=token)


class CodeCheckTimeoutView(CodeCheckResultView):
    """Where Safaricom tells that such a question expired in its queue."""

    source = CallbackSource.CODE_CHECK_TIMEOUT


class C2bView(CallbackView):
    """What the paybill's two addresses share: a secret of the installation in the path."""

    def knows(self, secret: str) -> bool:
        """Say whether the path's secret is ours, in a time that does not tell how much of it is right."""
        return secrets.compare_digest(secret.encode(), settings.C2B_SECRET.encode())


class C2bConfirmationView(C2bView):
    """Where Safaricom reports money that somebody paid to the paybill or till."""

    source = CallbackSource.C2B_CONFIRMATION

    def post(self, request: HttpRequest, secret: str) -> HttpResponse:
        return self.keep(request) if self.knows(secret) else unknown_address()


class C2bValidationView(C2bView):
    """Where Safaricom asks whether a payment to the paybill may proceed; any doubt is a yes."""

    def post(self, request: HttpRequest, secret: str) -> HttpResponse:
        if not self.knows(secret):
            return unknown_address()
        try:
            return JsonResponse(c2b_validation.answer(body=body_of(request)))
        except BodyRefused as refused:
            return quietly(refused.status)
