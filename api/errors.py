"""Kinds of refusal. Each module defines its own errors by extending one; `code` is contract."""


class DomainError(Exception):
    """The product refuses a request for a reason it can name.

    `status` is the HTTP status it is answered with, `code` the stable contract of the answer, `message`
    the sentence for people. `details` are `{field, code, message}` rows of the envelope.
    """

    status = 400
    code = "refused"
    message = "This cannot be done."

    def __init__(self, message: str | None = None, *, code: str | None = None, details: list[dict] | None = None):
        self.message = message or self.message
        self.code = code or self.code
        self.details = details or []
        super().__init__(self.message)


class Invalid(DomainError):
    """What was sent cannot be right; answered 400."""

    status, code, message = 400, "invalid", "This is not valid."


class Unauthenticated(DomainError):
    """Who is asking is not known, or no longer; answered 401."""

    status, code, message = 401, "not_authenticated", "Please log in."


class Forbidden(DomainError):
    """The caller may not do this; answered 403."""

    status, code, message = 403, "permission_denied", "You may not do this."


class NotFound(DomainError):
    """There is nothing here, or nothing of the caller's; answered 404."""

    status, code, message = 404, "not_found", "Not found."


class Conflict(DomainError):
    """The request clashes with the present state; answered 409."""

    status, code, message = 409, "conflict", "This clashes with the present state."


class TooMany(DomainError):
    """Asked too often; answered 429 with Retry-After in seconds."""

    status, code, message = 429, "throttled", "Too many requests."

    def __init__(self, message: str | None = None, *, retry_after: int, is_first: bool = False, **kwargs):
        self.retry_after = retry_after
        self.is_first = is_first  # of its window: the one refusal that an audit needs
        super().__init__(message, **kwargs)


class Unavailable(DomainError):
    """Something we need does not answer now; answered 503."""

    status, code, message = 503, "unavailable", "This is not available right now. Please try again."
