"""Errors of calls to Safaricom. They differ in their meaning for the money: did it happen, and may it be repeated?"""


class DarajaError(Exception):
    """A call without a usable answer. The text is for staff and contains no token and no phone number.

    `code` is a code of payments.daraja.result_codes, which has the message for the member.
    """

    code = "unknown"

    def __init__(self, message: str, *, code: str | None = None):
        self.code = code or self.code
        super().__init__(message)


class Refused(DarajaError):
    """Safaricom refused the request: nothing happened, and there will be no callback."""

    code = "refused"


class NotSent(DarajaError):
    """The request provably never reached Safaricom: the name look-up, connection or certificate failed."""

    code = "not_sent"


class Busy(DarajaError):
    """Too many calls, by Safaricom's limit or ours: nothing happened. Try again after `retry_after` seconds."""

    code = "busy"

    def __init__(self, message: str, *, retry_after: float):
        self.retry_after = retry_after
        super().__init__(message)


class Unknown(DarajaError):
    """It is not known whether it happened: a timeout, a lost connection, or an answer that cannot be read."""


class TokenRefused(Refused):
    """Safaricom refused our token, so nothing happened."""
