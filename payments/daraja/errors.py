"""The four ways a call to Safaricom goes wrong, told apart by what they mean for the money."""


class DarajaError(Exception):
    """A call that brought no answer we can use. The text is for staff; it holds no token and no phone number.

    `code` is a code of payments.daraja.result_codes, for what the member is told.
    """

    code = "unknown"

    def __init__(self, message: str, *, code: str | None = None):
        self.code = code or self.code
        super().__init__(message)


class Refused(DarajaError):
    """Safaricom understood and said no: nothing happened, and no callback will come."""

    code = "refused"


class NotSent(DarajaError):
    """The request provably never reached Safaricom: name, connection or certificate failed."""

    code = "not_sent"


class Busy(DarajaError):
    """Safaricom, or our own limit, was too busy to take it: nothing happened; ask again after `retry_after` seconds."""

    code = "busy"

    def __init__(self, message: str, *, retry_after: float):
        self.retry_after = retry_after
        super().__init__(message)


class Unknown(DarajaError):
    """Nobody can tell whether it happened: a timeout, a cut connection, an answer without sense."""


class TokenRefused(Refused):
    """Safaricom refused our token, before it did anything."""
