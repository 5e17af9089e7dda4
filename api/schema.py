"""The OpenAPI document: cookies, CSRF header, envelope and errors as they really are."""

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import build_object_type
from drf_spectacular.utils import OpenApiParameter

from api.authentication import CsrfOnly

UNSAFE = {"POST", "PUT", "PATCH", "DELETE"}

REASONS = {
    "400": "Something sent cannot be right.",
    "401": "Not logged in, or no longer.",
    "403": "Not allowed, or the CSRF token is missing.",
    "404": "Nothing here, or nothing of yours.",
    "409": "Clashes with the present state.",
    "413": "The body is too large.",
    "429": "Asked too often; Retry-After says when again.",
}

CSRF_HEADER = OpenApiParameter(
    "X-CSRFToken",
    str,
    OpenApiParameter.HEADER,
    required=True,
    description="From GET auth/csrf/, or from the last answer that carried one.",
)

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="1 to 64 printable characters of yours. The same request under the same key is done once.",
)

META = build_object_type(
    properties={
        "request_id": {"type": "string"},
        "pagination": {"type": "object", "additionalProperties": True},
    },
    required=["request_id"],
)

ERROR = build_object_type(
    properties={
        "status": {"type": "string", "enum": ["error"]},
        "error": build_object_type(
            properties={
                "type": {
                    "type": "string",
                    "enum": [
                        "validation_error",
                        "authentication_error",
                        "permission_error",
                        "not_found",
                        "conflict",
                        "rate_limit_error",
                        "client_error",
                        "server_error",
                    ],
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
        "meta": META,
    },
    required=["status", "error", "meta"],
)


class CookieScheme(OpenApiAuthenticationExtension):
    """The Authentication cookie, which only login and refresh set."""

    target_class = "api.authentication.CookieJWTAuthentication"
    name = "cookie"

    def get_security_definition(self, auto_schema):
        return {"type": "apiKey", "in": "cookie", "name": "Authentication"}


class AdminSessionScheme(OpenApiAuthenticationExtension):
    """The admin's session, for staff who are logged in there."""

    target_class = "accounts.authentication.AdminSessionAuthentication"
    name = "cookieAuth"

    def get_security_definition(self, auto_schema):
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}


class EnrolmentScheme(CookieScheme):
    """The same cookie, also of who has yet to add the second factor that their role needs."""

    target_class = "api.authentication.EnrolmentAuthentication"
    name = "cookieBeforeSecondFactor"


class CsrfScheme(OpenApiAuthenticationExtension):
    """Calls before log-in carry the CSRF token and nobody's name."""

    target_class = "api.authentication.CsrfOnly"
    name = "csrf"

    def get_security_definition(self, auto_schema):
        return {"type": "apiKey", "in": "header", "name": "X-CSRFToken"}


class EnvelopeSchema(AutoSchema):
    """Describe each answer inside the envelope, with the errors that its view can give."""

    def get_override_parameters(self):
        if self.method not in UNSAFE:
            return []
        takes_key = getattr(self.view, "takes_idempotency_key", False)
        return [CSRF_HEADER, IDEMPOTENCY_KEY] if takes_key else [CSRF_HEADER]

    def get_request_serializer(self):
        """A view whose answer is shaped unlike what it is asked names the latter `request_serializer`."""
        if hasattr(self.view, "request_serializer") and self.method in UNSAFE:
            return self.view.request_serializer
        return super().get_request_serializer()

    def get_operation(self, path, path_regex, path_prefix, method, registry):
        operation = super().get_operation(path, path_regex, path_prefix, method, registry)
        if operation is None:
            return None
        operation["responses"] = {
            status: self.enveloped(status, answer) for status, answer in operation["responses"].items()
        }
        for status in self.refusals():
            operation["responses"].setdefault(
                status,
                {
                    "description": REASONS[status],
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
                },
            )
        return operation

    def enveloped(self, status: str, answer: dict) -> dict:
        """Wrap the schema of one answer; a 204 has no body to wrap."""
        if status == "204" or not status.startswith("2"):
            return answer
        contents = list(answer.get("content", {}).values())
        inner = contents[0]["schema"] if contents else {"nullable": True}
        wrapped = build_object_type(
            properties={"status": {"type": "string", "enum": ["success"]}, "data": inner, "meta": META},
            required=["status", "data", "meta"],
        )
        return {**answer, "content": {"application/json": {"schema": wrapped}}}

    def refusals(self) -> list[str]:
        """Return the statuses this view can refuse with."""
        statuses = ["400"]
        is_open = any(issubclass(cls, CsrfOnly) for cls in self.view.authentication_classes)
        if not is_open and self.view.authentication_classes:
            statuses.append("401")
        if self.method in UNSAFE:
            statuses += ["403", "409", "413", "429"]
        if "{" in self.path:
            statuses.append("404")
        return statuses


def add_error_component(result, generator, request, public):
    """A post-processing hook: name the error envelope once."""
    result.setdefault("components", {}).setdefault("schemas", {})["Error"] = ERROR
    return result
