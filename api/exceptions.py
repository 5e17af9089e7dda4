"""The exception handler: it turns every exception into an answer in the error envelope."""

import logging

from django.core.exceptions import ObjectDoesNotExist, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.exceptions import ValidationError as DjangoValidationError
from django.core.signals import got_request_exception
from django.db import IntegrityError, InterfaceError, OperationalError
from django.db.models import ProtectedError, RestrictedError
from django.http import Http404, JsonResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from rest_framework import exceptions as drf
from rest_framework.response import Response
from rest_framework.views import set_rollback

from api import errors
from api.renderers import EnvelopeRenderer, meta

logger = logging.getLogger(__name__)

# The envelope's `type` by HTTP status. `code` identifies the error within its type.
TYPES = {
    400: "validation_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found",
    409: "conflict",
    429: "rate_limit_error",
}
WWW_AUTHENTICATE = 'Cookie realm="api"'


def error_type(status: int) -> str:
    """Return the envelope's `type` for an HTTP status."""
    return TYPES.get(status, "server_error" if status >= 500 else "client_error")


class ErrorResponse(Response):
    """A response whose data is an envelope already. It is JSON, also from a view that answers YAML or HTML."""

    is_enveloped = True

    @property
    def rendered_content(self):
        self.accepted_renderer = EnvelopeRenderer()
        self.accepted_media_type = EnvelopeRenderer.media_type
        return super().rendered_content


def envelope(status: int, code: str, message: str, details: list | None = None, retry_after: int | None = None) -> dict:
    """Return the error envelope."""
    error: dict = {"type": error_type(status), "code": code, "message": str(message), "details": details or []}
    if retry_after is not None:
        error["retry_after"] = retry_after
    return {"status": "error", "error": error, "meta": meta()}


def handle(exception: Exception, context: dict) -> Response:
    """Answer any exception of a view in the error envelope. REST framework calls this as its exception handler."""
    set_rollback()
    error = translate(exception)
    if error.status >= 500:
        report(exception, context)
    retry_after = getattr(error, "retry_after", None)
    response = ErrorResponse(
        envelope(error.status, error.code, error.message, error.details, retry_after), status=error.status
    )
    if error.status == 401:
        response["WWW-Authenticate"] = WWW_AUTHENTICATE
    if retry_after is not None:
        response["Retry-After"] = str(retry_after)
    elif error.status == 503:
        response["Retry-After"] = "2"
    return response


def translate(exception: Exception) -> errors.DomainError:
    """Return the DomainError that describes `exception` to the caller."""
    match exception:
        case errors.DomainError():
            return exception
        case drf.ValidationError():
            return refusal(400, "validation_error", "Some fields are not valid.", details_of(exception.detail))
        case DjangoValidationError():
            return refusal(400, "validation_error", "Some fields are not valid.", details_of(as_detail(exception)))
        case drf.ParseError() | RecursionError() | MultiPartParserError() | UnreadablePostError():
            return refusal(400, "parse_error", "The body could not be read as JSON.")
        case drf.AuthenticationFailed() | drf.NotAuthenticated():
            return refusal(401, str(exception.get_codes()), exception.detail)
        case drf.PermissionDenied():
            return refusal(403, str(exception.get_codes()), exception.detail)
        case PermissionDenied():
            return errors.Forbidden()
        case Http404() | drf.NotFound() | ObjectDoesNotExist():
            return errors.NotFound()
        case drf.Throttled():
            return errors.TooMany(retry_after=int(exception.wait or 1))  # type: ignore[attr-defined]  # missing in its stub
        case RequestDataTooBig():
            return refusal(413, "too_large", "The request is too large.")
        case SuspiciousOperation():
            return refusal(400, "bad_request", "The request is not valid.")
        case drf.APIException():
            return refusal(exception.status_code, str(exception.default_code), exception.detail)
        case IntegrityError() | ProtectedError() | RestrictedError():
            return errors.Conflict()
        case OperationalError() | InterfaceError():
            return errors.Unavailable()
    return refusal(500, "server_error", "Something went wrong on our side. Please try again later.")


def refusal(status: int, code: str, message, details: list | None = None) -> errors.DomainError:
    """Return an error with a status that has no class in api/errors.py."""
    error = errors.DomainError(str(message), code=code, details=details)
    error.status = status
    return error


def as_detail(error: DjangoValidationError):
    """Return the details of Django's validation error in the form of REST framework."""
    if hasattr(error, "error_dict"):
        return {field: [drf.ErrorDetail(m, "invalid") for m in found] for field, found in error.message_dict.items()}
    return [drf.ErrorDetail(message, "invalid") for message in error.messages]


def details_of(detail, path: str = "") -> list[dict]:
    """Flatten nested validation errors into a list of `field` (such as `items.1.email`), `code` and `message`."""
    if isinstance(detail, dict):
        return [
            row
            for key, below in detail.items()
            for row in details_of(below, path if key == "non_field_errors" else f"{path}.{key}".lstrip("."))
        ]
    if isinstance(detail, list):
        nested = any(isinstance(below, dict | list) for below in detail)
        return [
            row
            for index, below in enumerate(detail)
            for row in details_of(below, f"{path}.{index}".lstrip(".") if nested else path)
        ]
    return [{"field": path or None, "code": getattr(detail, "code", "invalid"), "message": str(detail)}]


def report(exception: Exception, context: dict) -> None:
    """Log an unexpected exception with its traceback, and send Django's `got_request_exception`."""
    logger.error("A request failed.", exc_info=exception)
    request = context.get("request")
    got_request_exception.send(sender=handle, request=getattr(request, "_request", request))


def plain_answer(status: int, code: str, message: str) -> JsonResponse:
    """Return an error envelope outside of REST framework's views, for example in middleware."""
    return JsonResponse(envelope(status, code, message), status=status)
