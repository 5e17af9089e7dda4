"""Extensions of drf-spectacular, so that the OpenAPI document has our cookies, CSRF header, envelope and errors."""

from collections import defaultdict

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import build_object_type
from drf_spectacular.utils import OpenApiParameter

from api.authentication import CsrfOnly
from api.errors import DomainError
from api.exceptions import TYPES

UNSAFE = {"POST", "PUT", "PATCH", "DELETE"}

REASONS = {
    400: "Invalid data.",
    401: "Not logged in, or the login session has ended.",
    403: "Not allowed, or the CSRF token is missing or wrong.",
    404: "It does not exist, or it is not yours.",
    409: "It conflicts with the current state.",
    413: "The body is too large.",
    415: "The Content-Type is not supported here.",
    429: "Too many requests. Wait for the seconds in Retry-After.",
}
# Codes that api/exceptions.py uses for errors of Django and REST framework, which have no class of ours.
GENERAL_CODES = {
    400: {"validation_error", "parse_error", "bad_request"},
    403: {"permission_denied"},
    413: {"too_large"},
    415: {"unsupported_media_type"},
}
HEADERS = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}, "description": 'Always `Cookie realm="api"`.'}},
    429: {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}},
}

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="1 to 64 printable characters that you choose. A repeated request with the same key takes effect once.",
)

REQUEST_ID = {"request_id": {"type": "string"}}
LINKS = {
    name: {"type": "string", "nullable": True, "description": "Relative URL, or null."} for name in ("next", "previous")
}
COUNTS = {name: {"type": "integer"} for name in ("page", "page_size", "total", "total_pages")}


def meta_with(*properties: dict) -> dict:
    """Return the schema of a list's `meta`, with these properties of its pagination."""
    merged = {name: schema for each in properties for name, schema in each.items()}
    pagination = build_object_type(properties=merged, required=[*merged])
    return build_object_type(properties={**REQUEST_ID, "pagination": pagination}, required=["request_id", "pagination"])


ERROR = build_object_type(
    properties={
        "status": {"type": "string", "enum": ["error"]},
        "error": build_object_type(
            properties={
                "type": {
                    "type": "string",
                    "enum": [*TYPES.values(), "client_error", "server_error"],
                },
                "code": {
                    "type": "string",
                    "description": "Identifies the error and does not change. The message is for people.",
                },
                "message": {"type": "string"},
                "details": {
                    "type": "array",
                    "items": build_object_type(
                        properties={
                            "field": {"type": "string", "nullable": True},
                            "code": {"type": "string"},
                            "message": {"type": "string"},
                        },
                        required=["field", "code", "message"],
                    ),
                },
                "retry_after": {"type": "integer", "description": "Seconds."},
            },
            required=["type", "code", "message", "details"],
        ),
        "meta": {"$ref": "#/components/schemas/Meta"},
    },
    required=["status", "error", "meta"],
)
NULL = {"nullable": True, "enum": [None]}
SCHEMAS = {
    "Error": ERROR,
    "Meta": build_object_type(properties=REQUEST_ID, required=["request_id"]),
    "PageMeta": meta_with(COUNTS, LINKS),
    "CursorMeta": meta_with(LINKS),
}


class CookieScheme(OpenApiAuthenticationExtension):
    """The cookie with the access token, which login and refresh set."""

    target_class = "api.authentication.CookieJWTAuthentication"
    name = "cookie"

    def get_security_definition(self, auto_schema):
        return {"type": "apiKey", "in": "cookie", "name": settings.AUTH_COOKIE}


class EnrolmentScheme(CookieScheme):
    """The same cookie, also for a login session without the second factor that the user's role needs."""

    target_class = "api.authentication.EnrolmentAuthentication"
    name = "cookieBeforeSecondFactor"


class CsrfScheme(OpenApiAuthenticationExtension):
    """The CSRF token, which every unsafe call needs. Calls before login need nothing else."""

    target_class = "api.authentication.CsrfOnly"
    name = "csrf"

    def get_security_definition(self, auto_schema):
        return {
            "type": "apiKey",
            "in": "header",
            "name": "X-CSRFToken",
            "description": "From GET auth/csrf/, or from the last answer with an X-CSRFToken header.",
        }


class CsrfIfCookiesScheme(CsrfScheme):
    """The same token, for a call that needs it only with a cookie of a login."""

    target_class = "api.authentication.CsrfIfCookies"
    name = "csrfWithCookies"


class EnvelopeSchema(AutoSchema):
    """Describe each answer in its envelope, and the errors that the view can answer.

    A view lists statuses that do not follow from its classes: `refuses = {"post": [401]}`.
    """

    def get_override_parameters(self):
        takes_key = self.method in UNSAFE and getattr(self.view, "takes_idempotency_key", False)
        return [IDEMPOTENCY_KEY] if takes_key else []

    def get_auth(self):
        """Return the security schemes. An unsafe call needs the CSRF token in addition to the cookie."""
        ways = super().get_auth()
        if self.method in UNSAFE:
            return [way if CsrfIfCookiesScheme.name in way else {**way, "csrf": []} for way in ways if way]
        return [*ways, {}] if getattr(self.view, "anyone_reads", False) else ways

    def get_request_serializer(self):
        """Return the view's `request_serializer` if it has one: its request and its answer then differ."""
        if hasattr(self.view, "request_serializer") and self.method in UNSAFE:
            return self.view.request_serializer
        return super().get_request_serializer()

    def get_operation(self, path, path_regex, path_prefix, method, registry):
        operation = super().get_operation(path, path_regex, path_prefix, method, registry)
        if operation is None:
            return None
        answers = {status: self.enveloped(status, answer) for status, answer in operation["responses"].items()}
        refusals = {str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(self.refusals())}
        operation["responses"] = {**answers, **refusals, "default": {"$ref": "#/components/responses/default"}}
        return operation

    def enveloped(self, status: str, answer: dict) -> dict:
        """Put the schema of one answer into the envelope. A 204 has no body, and a file has no envelope."""
        content = answer.get("content", {"application/json": {"schema": NULL}})
        if status == "204" or "application/json" not in content:
            return answer
        if "content" not in answer:
            answer = {**answer, "description": "Done. There is no data."}
        wrapped = build_object_type(
            properties={
                "status": {"type": "string", "enum": ["success"]},
                "data": content["application/json"]["schema"],
                "meta": {"$ref": f"#/components/schemas/{self.meta_name(status)}"},
            },
            required=["status", "data", "meta"],
        )
        return {**answer, "content": {"application/json": {"schema": wrapped}}}

    def meta_name(self, status: str) -> str:
        """Return the name of the schema of this answer's `meta`."""
        paginator = self._get_paginator() if status == "200" and self._is_list_view() else None
        return getattr(paginator, "meta_name", "Meta")

    def refusals(self) -> set[int]:
        """Return the error statuses of this operation."""
        statuses = {400, *getattr(self.view, "refuses", {}).get(self.method.lower(), ())}
        authenticators = self.view.authentication_classes
        if any(not issubclass(each, CsrfOnly) for each in authenticators):
            ignores_cookie = self.method not in UNSAFE and getattr(self.view, "anyone_reads", False)
            statuses |= {403} if ignores_cookie else {401, 403}
        if self.method in UNSAFE:
            statuses |= {403, 409, 413, 415, 429}
        if "{" in self.path or self.meta_name("200") != "Meta":  # a page that does not exist
            statuses.add(404)
        return statuses


def codes() -> dict[int, set[str]]:
    """Return the error codes of each status, from the DomainError classes in the modules loaded so far."""
    found = defaultdict(set, {status: set(general) for status, general in GENERAL_CODES.items()})
    classes = DomainError.__subclasses__()
    while classes:
        error = classes.pop()
        classes += error.__subclasses__()
        found[error.status].add(error.code)
    return found


def add_components(result, generator, request, public):
    """Add the schemas and responses that all operations share. drf-spectacular calls this at the end."""
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    known = codes()
    components = result.setdefault("components", {})
    components.setdefault("schemas", {}).update(SCHEMAS)
    components["responses"] = {
        **{
            str(status): {
                "description": f"{reason} Codes: {', '.join(sorted(known[status]))}.",
                "headers": HEADERS.get(status, {}),
                "content": error,
            }
            for status, reason in REASONS.items()
        },
        "default": {"description": "Any other error, also an unexpected one.", "content": error},
    }
    return result
