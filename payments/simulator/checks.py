"""Checks of requests: the errors that Daraja answers at once, in its own words."""

import base64
import binascii
import re
from datetime import datetime
from urllib.parse import urlsplit

from payments.simulator.options import MAX_PER_TRANSACTION, Options

PHONE = re.compile(r"254[17]\d{8}")
# Portal, C2B register URL: words that URLs must not contain. Safaricom's own samples use some in the sandbox.
BANNED_WORDS = ("m-pesa", "mpesa", "safaricom", "exe", "exec", "cmd", "sql", "query")
MAX_DESCRIPTION = 1000  # characters that are accepted; a prompt that is too long to show ends as 1025
TUNNELS = ("ngrok", "mockbin", "requestbin", "requestb.in")


class Refusal(Exception):
    """An answer with an errorCode: nothing was done, and no callback follows. An empty request_id is left out."""

    def __init__(self, status: int, code: str, message: str, *, request_id: str | None = None):
        self.status, self.code, self.message, self.request_id = status, code, message, request_id
        super().__init__(message)


class EmptyRefusal(Exception):
    """An HTTP error without a body, as OAuth answers a wrong key or secret."""

    status = 400


def invalid(field: str) -> Refusal:
    return Refusal(400, "400.002.02", f"Bad Request - Invalid {field}")


def text_of(body: dict, field: str) -> str:
    """Return a number or a string as text, because the portal's own samples have both.

    :raises Refusal: the field is missing, or neither a string nor a whole number
    """
    value = body.get(field)
    if isinstance(value, bool) or not isinstance(value, str | int) or str(value) == "":
        raise invalid(field)
    return str(value)


def digits(body: dict, field: str, pattern: str) -> str:
    value = text_of(body, field)
    if not re.fullmatch(pattern, value, re.ASCII):
        raise invalid(field)
    return value


def phone_number(body: dict, field: str) -> str:
    value = text_of(body, field)
    if not PHONE.fullmatch(value):
        raise invalid(field)
    return value


def amount(body: dict, field: str = "Amount") -> int:
    """Return an amount in whole shillings, from 1 to the limit of one transaction.

    :raises Refusal: it is anything else
    """
    value = int(digits(body, field, r"\d{1,9}"))
    if not 1 <= value <= MAX_PER_TRANSACTION:
        raise invalid(field)
    return value


def url(body: dict, field: str, options: Options, *, registering: bool = False) -> str:
    """Return a callback URL.

    :raises Refusal: it is not an http(s) URL, has spaces, or breaks the rules of production or of registration
    """
    value = body.get(field)
    if not isinstance(value, str) or re.search(r"\s", value):
        raise invalid(field)
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - raises ValueError for an invalid port
    except ValueError:
        raise invalid(field) from None
    production = options.mode == "production"
    if parts.scheme not in (("https",) if production else ("http", "https")) or not parts.hostname:
        raise invalid(field)
    if production and any(word in parts.hostname for word in TUNNELS):
        raise invalid(field)
    if production and registering and any(word in value.lower() for word in BANNED_WORDS):
        raise invalid(field)
    return value


def short_text(body: dict, field: str, most: int, *, least: int = 1) -> str:
    value = body.get(field, "" if least == 0 else None)
    if value is None and least == 0:
        value = ""
    if isinstance(value, bool) or not isinstance(value, str | int) or not least <= len(str(value)) <= most:
        raise invalid(field)
    return str(value)


def timestamp(body: dict) -> str:
    """Return a timestamp in the form yyyyMMddHHmmss. Its age does not matter: the portal's samples are years old.

    :raises Refusal: it is not a valid timestamp
    """
    value = digits(body, "Timestamp", r"\d{14}")
    try:
        datetime.strptime(value, "%Y%m%d%H%M%S")  # noqa: DTZ007 - only its form matters
    except ValueError:
        raise invalid("Timestamp") from None
    return value


def merchant(body: dict, options: Options) -> str:
    """Check the shortcode and its password, and return the shortcode.

    :raises Refusal: a field is wrong, or 500.001.1001 with one of its texts
    """
    shortcode = digits(body, "BusinessShortCode", r"\d{5,7}")
    stamp = timestamp(body)
    if shortcode != options.shortcode:
        raise Refusal(500, "500.001.1001", "Merchant does not exist")
    try:
        given = base64.b64decode(str(body.get("Password", "")), validate=True)
    except (binascii.Error, ValueError):
        given = b""
    if given != f"{shortcode}{options.passkey}{stamp}".encode():
        raise Refusal(500, "500.001.1001", "Wrong credentials")
    return shortcode


def push(body: dict, options: Options) -> dict:
    """Check the fields of an STK push, in the order of the portal's table, and return their values.

    :raises Refusal: a field is wrong
    """
    shortcode = merchant(body, options)
    kind = body.get("TransactionType")
    if kind not in ("CustomerPayBillOnline", "CustomerBuyGoodsOnline"):
        raise invalid("TransactionType")
    # Seen with the sandbox's paybill in October 2026. For a store, a wrong type ends as result 2028.
    if kind == "CustomerBuyGoodsOnline" and not options.till:
        raise invalid("TransactionType")
    whole_amount = amount(body)
    phone_number(body, "PartyA")
    return {
        "shortcode": shortcode,
        "kind": kind,
        "amount": whole_amount,
        "party_b": digits(body, "PartyB", r"\d{5,12}"),
        "phone": phone_number(body, "PhoneNumber"),
        "callback_url": url(body, "CallBackURL", options),
        "reference": short_text(body, "AccountReference", 12),
        # The portal says 13 characters, but Safaricom's own libraries send 20 and 21.
        "description": short_text(body, "TransactionDesc", MAX_DESCRIPTION, least=0),
    }
