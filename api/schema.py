"""The OpenAPI document: cookies, CSRF header, envelope and errors as they really are."""

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
    400: "Something sent cannot be right.",
    401: "Not logged in, or no longer.",
    403: "Not allowed, or the CSRF token is missing.",
    404: "Nothing here, or nothing of yours.",
    409: "Clashes with the present state.",
    413: "The body is too large.",
    415: "A body of a type that is not read here.",
    429: "Asked too often; Retry-After says when again.",
}
# What Django and REST framework refuse by themselves; api.exceptions gives it these codes.
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
    description="1 to 64 printable characters of yours. The same request under the same key is done once.",
)

REQUEST_ID = {"request_id": {"type": "string"}}
LINKS = {
    name: {"type": "string", "nullable": True, "description": "Relative, or null."} for name in ("next", "previous")
}
COUNTS = {name: {"type": "integer"} for name in ("page", "page_size", "total", "total_pages")}


def meta_with(*properties: dict) -> dict:
    """Return the schema of a list's `meta`, its pagination made of these."""
    together = {name: schema for each in properties for name, schema in each.items()}
    pagination = build_object_type(properties=together, required=[*together])
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
                "code": {"type": "string", "description": "The stable contract; the message is for people."},
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
NOTHING = {"nullable": True, "enum": [None]}
SCHEMAS = {
    "Error": ERROR,
    "Meta": build_object_type(properties=REQUEST_ID, required=["request_id"]),
    "PageMeta": meta_with(COUNTS, LINKS),
    "CursorMeta": meta_with(LINKS),
}


class CookieScheme(OpenApiAuthenticationExtension):
    """The Authentication cookie, which only login and refresh set."""

    target_class = "api.authentication.CookieJWTAuthentication"
    name = "cookie"

    def get_security_definition(self, auto_schema):
        return {"type": "apiKey", "in": "cookie", "name": settings.AUTH_COOKIE}


class EnrolmentScheme(CookieScheme):
    """The same cookie, also of who has yet to add the second factor that their role needs."""

    target_class = "api.authentication.EnrolmentAuthentication"
    name = "cookieBeforeSecondFactor"


class CsrfScheme(OpenApiAuthenticationExtension):
    """Every call that changes something carries the CSRF token; before log-in, only that."""

    target_class = "api.authentication.CsrfOnly"
    name = "csrf"

    def get_security_definition(self, auto_schema):
        return {
            "type": "apiKey",
            "in": "header",
            "name": "X-CSRFToken",
            "description": "From GET auth/csrf/, or from the last answer that carried one.",
        }


class EnvelopeSchema(AutoSchema):
    """Describe each answer inside the envelope, with the errors that its view can give.

    A view that refuses in a way that its kind does not, says so: `refuses = {"post": [401]}`.
    """

    def get_override_parameters(self):
        takes_key = self.method in UNSAFE and getattr(self.view, "takes_idempotency_key", False)
        return [IDEMPOTENCY_KEY] if takes_key else []

    def get_auth(self):
        """Return the ways to be let in; what changes something needs the CSRF token beside the cookie."""
        ways = super().get_auth()
        if self.method in UNSAFE:
            return [{**way, "csrf": []} for way in ways if way]
        is_open = any(getattr(each, "anyone_reads", False) for each in self.view.get_permissions())
        return [*ways, {}] if is_open else ways

    def get_request_serializer(self):
        """A view whose answer is shaped unlike what it is asked names the latter `request_serializer`."""
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
        """Wrap the schema of one answer; a 204 has no body to wrap, and a file is none of ours."""
        content = answer.get("content", {"application/json": {"schema": NOTHING}})
        if status == "204" or "application/json" not in content:
            return answer
        if "content" not in answer:
            answer = {**answer, "description": "Done; there is nothing to tell."}
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
        """Return the schema of this answer's `meta`."""
        paginator = self._get_paginator() if status == "200" and self._is_list_view() else None
        return getattr(paginator, "meta_name", "Meta")

    def refusals(self) -> set[int]:
        """Return the statuses this view can refuse with."""
        named = {400, *getattr(self.view, "refuses", {}).get(self.method.lower(), ())}
        authenticators = self.view.authentication_classes
        if any(not issubclass(each, CsrfOnly) for each in authenticators):
            named |= {401, 403}
        if self.method in UNSAFE:
            named |= {403, 409, 413, 415, 429}
        if "{" in self.path or self.meta_name("200") != "Meta":  # a page that is not there
            named.add(404)
        return named


def codes() -> dict[int, set[str]]:
    """Return the codes that refusals of each status can have, as far as their modules are loaded."""
    found = defaultdict(set, {status: set(general) for status, general in GENERAL_CODES.items()})
    kinds = DomainError.__subclasses__()
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        found[kind.status].add(kind.code)
    return found


def add_components(result, generator, request, public):
    """A post-processing hook: name the error envelope, its kinds and the lists' `meta` once."""
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
        "default": {"description": "Any other refusal, and a fault of ours.", "content": error},
    }
    return result
