"""Base classes of the product's errors, one for each HTTP status. Modules extend them. `code` is part of the API."""


class DomainError(Exception):
    """A request is refused for a known reason.

    `status` is the HTTP status of the answer. `code` identifies the error for clients and does not change. `message`
    is a sentence for people. `details` is a list of `{field, code, message}` for the error envelope. `field` is the
    field of the request that the whole error is about.
    """

    status = 400
    code = "refused"
    message = "This cannot be done."
    field: str | None = None

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        details: list[dict] | None = None,
        field: str | None = None,
    ):
        self.message = message or self.message
        self.code = code or self.code
        named = field or self.field
        about = [{"field": named, "code": self.code, "message": self.message}] if named else []
        self.details = details or about
        super().__init__(self.message)


class Invalid(DomainError):
    """The request has invalid data. Answered 400."""

    status, code, message = 400, "invalid", "This is not valid."


class Unauthenticated(DomainError):
    """The caller is not logged in, or no longer. Answered 401."""

    status, code, message = 401, "not_authenticated", "Please log in."


class Forbidden(DomainError):
    """The caller may not do this. Answered 403."""

    status, code, message = 403, "permission_denied", "You may not do this."


class NotFound(DomainError):
    """The object does not exist, or the caller may not see it. Answered 404."""

    status, code, message = 404, "not_found", "Not found."


class Conflict(DomainError):
    """The request conflicts with the current state. Answered 409."""

    status, code, message = 409, "conflict", "This conflicts with the current state. Reload and try again."


class TooMany(DomainError):
    """Too many requests within a time. Answered 429, with Retry-After in seconds."""

    status, code, message = 429, "throttled", "Too many requests. Please wait and try again."

    def __init__(self, message: str | None = None, *, retry_after: int, is_first: bool = False, **kwargs):
        self.retry_after = retry_after
        self.is_first = is_first  # the first refusal in its window, the only one that is audited
        super().__init__(message, **kwargs)


class Unavailable(DomainError):
    """A service that we need does not answer. Answered 503."""

    status, code, message = 503, "unavailable", "This is not available right now. Please try again."
