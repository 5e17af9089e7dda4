"""From what was raised to the error envelope: one shape, one place."""

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
from api.renderers import meta

logger = logging.getLogger(__name__)

# The family of an error, by its HTTP status; `code` says which error it is.
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
    """Return the envelope's `type` for a status."""
    return TYPES.get(status, "server_error" if status >= 500 else "client_error")


class ErrorResponse(Response):
    """An answer that is in its envelope already."""

    is_enveloped = True


def envelope(status: int, code: str, message: str, details: list | None = None, retry_after: int | None = None) -> dict:
    """Return the error envelope."""
    error: dict = {"type": error_type(status), "code": code, "message": str(message), "details": details or []}
    if retry_after is not None:
        error["retry_after"] = retry_after
    return {"status": "error", "error": error, "meta": meta()}


def handle(exception: Exception, context: dict) -> Response:
    """REST framework's exception handler: answer anything that was raised, and never with an HTML page."""
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
    """Return the refusal that says what `exception` means to the caller."""
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
            return errors.TooMany(retry_after=int(exception.wait or 1))  # type: ignore[attr-defined]  # its stub forgets it
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
    return refusal(500, "server_error", "Something went wrong on our side.")


def refusal(status: int, code: str, message, details: list | None = None) -> errors.DomainError:
    """Return a refusal of a status that has no kind of its own."""
    error = errors.DomainError(str(message), code=code, details=details)
    error.status = status
    return error


def as_detail(error: DjangoValidationError):
    """Return Django's validation error in REST framework's shape."""
    if hasattr(error, "error_dict"):
        return {field: [drf.ErrorDetail(m, "invalid") for m in found] for field, found in error.message_dict.items()}
    return [drf.ErrorDetail(message, "invalid") for message in error.messages]


def details_of(detail, path: str = "") -> list[dict]:
    """Flatten nested validation errors into rows of `field` (`items.1.email`), `code` and `message`."""
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
    """Log a fault of ours with its traceback, and tell Django's own listeners of it."""
    logger.error("A request failed.", exc_info=exception)
    request = context.get("request")
    got_request_exception.send(sender=handle, request=getattr(request, "_request", request))


def plain_answer(status: int, code: str, message: str) -> JsonResponse:
    """Return the same envelope for failures before or outside any REST framework view."""
    return JsonResponse(envelope(status, code, message), status=status)
