"""Messages from Safaricom, parsed from untrusted bytes into typed objects. No database and no clock is read.

Shapes: Daraja portal, "M-Pesa Express" and "Customer To Business". Live bodies vary: a result code may be an integer or
a string, `Balance` may have no value, an amount may be `1`, `1.00` or `"1.00"`, a sender may be masked or hashed.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from api.business_days import NAIROBI
from api.money import MAX_REPORTED_KES

MAX_CALLBACK = 16 * 1024  # bytes; the largest documented body is under 2 KB
MAX_ANSWER = 64 * 1024  # bytes
MAX_DEPTH = 8
MAX_NAMES = 64
MAX_ITEMS = 32
MAX_TEXT = 1024
MAX_DIGITS = 18

CODE = re.compile(r"[0-9A-Z]{1,16}")
RESULT_CODE = re.compile(r"[0-9A-Za-z_.]{1,32}")
IDENTIFIER = re.compile(r"[\x21-\x7e]{1,64}")
AMOUNT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?")
TIMESTAMP = re.compile(r"20[0-9]{12}")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# A string, closed or not (so that its start is matched only once), or a bracket.
BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"?|[][{}]', re.DOTALL)
SURROGATE = re.compile(r"[\ud800-\udfff]")


class Malformed(Exception):
    """The bytes are not a message that Safaricom sends. The text says why, and never contains them."""


@dataclass(frozen=True, slots=True)
class StkResult:
    """The result of an STK push, final or not. Only the callback of a success has amount, receipt code and phone."""

    merchant_request_id: str
    checkout_request_id: str
    result_code: str
    result_desc: str
    amount: int | None = None  # whole KES
    receipt_code: str | None = None  # upper-cased
    moved_at: datetime | None = None  # None: missing or unreadable
    phone: str = ""  # as received; it identifies no member


@dataclass(frozen=True, slots=True)
class C2bMessage:
    """A payment to the paybill or till: made (confirmation) or about to be made (validation)."""

    code: str  # the receipt number, upper-cased
    moved_at: datetime | None  # None: missing or unreadable
    amount: int  # whole KES; bank wallets may send `cents` beside them
    shortcode: str
    account: str  # as the payer typed it; empty for tills
    sender: str  # a phone number in full, masked or hashed
    payer_name: str
    transaction_type: str
    third_party_id: str
    invoice: str = ""  # bank wallets write the payer's name here
    cents: int = 0


@dataclass(frozen=True, slots=True)
class PushAccepted:
    """Safaricom accepted a push and gave it IDs."""

    merchant_request_id: str
    checkout_request_id: str


@dataclass(frozen=True, slots=True)
class StatusResult:
    """The answer about an M-Pesa code. The fields from `state` on are empty when Safaricom does not know the code."""

    conversation_id: str  # identifies the question
    result_code: str
    result_desc: str
    state: str = ""  # "Completed" and others, as received
    code: str = ""  # the receipt number, upper-cased
    amount: int = 0  # whole KES
    cents: int = 0
    moved_at: datetime | None = None  # None: missing or unreadable
    paid_to: str = ""  # the shortcode or phone number that received the money
    sender: str = ""  # the payer's phone number in full, masked or hashed
    payer_name: str = ""
    kind: str = ""


# --- The messages ---------------------------------------------------------------------------------


def parse_stk_callback(body: bytes) -> StkResult:
    """Parse the result of an STK push. A success has its amount and receipt code.

    :raises Malformed: the bytes are not such a message, or a success without amount or receipt code
    """
    callback = _object(_object(read_object(body, limit=MAX_CALLBACK), "Body"), "stkCallback")
    code = _result_code(callback)
    paid = _payment_items(callback) if code == "0" else {}
    return StkResult(
        merchant_request_id=_identifier(callback, "MerchantRequestID"),
        checkout_request_id=_identifier(callback, "CheckoutRequestID"),
        result_code=code,
        result_desc=_text(callback.get("ResultDesc"), 255),
        **paid,
    )


def parse_c2b(body: bytes) -> C2bMessage:
    """Parse a C2B confirmation or validation request. Both have the same body.

    :raises Malformed: the bytes are not such a message, or have no receipt code, amount or shortcode
    """
    message = read_object(body, limit=MAX_CALLBACK)
    shortcode = _text(message.get("BusinessShortCode"), 16)
    if not re.fullmatch(r"[0-9]{5,7}", shortcode):
        raise Malformed("BusinessShortCode is not 5 to 7 digits")
    names = (_text(message.get(name), 120) for name in ("FirstName", "MiddleName", "LastName"))
    invoice = _text(message.get("InvoiceNumber"), 64)
    amount, cents = _amount_with_cents(message.get("TransAmount"))
    return C2bMessage(
        code=_receipt_code(message.get("TransID")),
        moved_at=_time(message.get("TransTime")),
        amount=amount,
        shortcode=shortcode,
        account=_text(message.get("BillRefNumber"), 64),
        sender=_text(message.get("MSISDN"), 80),
        payer_name=" ".join(name for name in names if name)[:120],
        transaction_type=_text(message.get("TransactionType"), 40),
        third_party_id=_text(message.get("ThirdPartyTransID"), 64),
        invoice="" if invoice == "0" else invoice,
        cents=cents,
    )


def parse_status_result(body: bytes) -> StatusResult:
    """Parse the result of a Transaction Status request.

    Parameters are looked up by key: their order and number vary, and the portal's own sample has one twice.

    :raises Malformed: the bytes are not such a message, or a known transaction has no code, state, amount or receiver
    """
    result = _object(read_object(body, limit=MAX_CALLBACK), "Result")
    code = _result_code(result)
    return StatusResult(
        conversation_id=_identifier(result, "ConversationID"),
        result_code=code,
        result_desc=_text(result.get("ResultDesc"), 255),
        **(_transaction(result) if code == "0" else {}),
    )


def parse_push_answer(answer: dict) -> PushAccepted:
    """Parse the 200 answer to a push.

    :raises Malformed: it does not accept the push, or has no IDs for it
    """
    if _text(answer.get("ResponseCode"), 32) != "0" or "errorCode" in answer:
        raise Malformed("the answer does not accept the push")
    return PushAccepted(_identifier(answer, "MerchantRequestID"), _identifier(answer, "CheckoutRequestID"))


def parse_query_answer(answer: dict) -> StkResult:
    """Parse the 200 answer to an STK query. ResultCode says how the push ended; ResponseCode is "0" in every case.

    :raises Malformed: it is not the result of a push
    """
    return StkResult(
        merchant_request_id=_identifier(answer, "MerchantRequestID"),
        checkout_request_id=_identifier(answer, "CheckoutRequestID"),
        result_code=_result_code(answer),
        result_desc=_text(answer.get("ResultDesc"), 255),
    )


# --- Untrusted JSON -------------------------------------------------------------------------------


def read_object(body: bytes, *, limit: int) -> dict:
    """Parse one JSON object: UTF-8, at most `limit` bytes, few levels, no repeated names, no NaN, no very long numbers.

    Numbers with a point become Decimal. Texts contain no NUL and no half of a surrogate pair, which PostgreSQL refuses.

    :raises Malformed: the bytes are anything else
    """
    if len(body) > limit:
        raise Malformed(f"more than {limit} bytes")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("not UTF-8") from None
    if _depth(text) > MAX_DEPTH:
        raise Malformed(f"nested deeper than {MAX_DEPTH}")
    try:
        value = json.loads(
            text, object_pairs_hook=_pairs, parse_int=_integer, parse_float=_decimal, parse_constant=_constant
        )
    except ValueError:  # JSONDecodeError quotes the body
        raise Malformed("not JSON") from None
    if not isinstance(value, dict):
        raise Malformed("not a JSON object")
    for each in _texts(value):
        if len(each) > MAX_TEXT or "\x00" in each or SURROGATE.search(each):
            raise Malformed("text that is too long, or holds a NUL or half a character")
    return value


def _depth(text: str) -> int:
    """Return how many levels the brackets have, without those in strings. It is checked before any recursion."""
    depth = deepest = 0
    for token in BRACKETS.finditer(text):
        if token[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif token[0] in "]}":
            depth -= 1
    return deepest


def _pairs(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("a name is repeated")
    if len(found) > MAX_NAMES:
        raise Malformed(f"more than {MAX_NAMES} names in one object")
    return found


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise Malformed("a number of too many digits")
    return int(digits)


def _decimal(digits: str) -> Decimal:
    if len(digits) > MAX_DIGITS + 8 or "e" in digits.lower():
        raise Malformed("a number of too many digits")
    return Decimal(digits)


def _constant(name: str) -> None:
    raise Malformed("NaN or Infinity")


def _texts(value: object) -> Iterator[str]:
    """Yield every text in a JSON value, names included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from _texts(each)
    elif isinstance(value, list):
        if len(value) > MAX_ITEMS:
            raise Malformed(f"more than {MAX_ITEMS} items in one list")
        for each in value:
            yield from _texts(each)


# --- Single values --------------------------------------------------------------------------------


def _object(value: dict, name: str) -> dict:
    found = value.get(name)
    if not isinstance(found, dict):
        raise Malformed(f"{name} is missing or not an object")
    return found


def _identifier(value: dict, name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str) or not IDENTIFIER.fullmatch(found):
        raise Malformed(f"{name} is missing or not an identifier")
    return found


def _result_code(value: dict) -> str:
    code = value.get("ResultCode")
    if type(code) is int:  # not bool
        code = str(code)
    if not isinstance(code, str) or not RESULT_CODE.fullmatch(code):
        raise Malformed("ResultCode is missing or not a code")
    return code


def _payment_items(callback: dict) -> dict:
    """Return the payment fields of a success. Items are looked up by name: their order and number vary."""
    items = _object(callback, "CallbackMetadata").get("Item")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Malformed("CallbackMetadata.Item is not a list of objects")
    found: dict[str, object] = {}
    for item in items:
        name = item.get("Name")
        if not isinstance(name, str) or name in found:
            raise Malformed("an item of CallbackMetadata has no name or a repeated one")
        found[name] = item.get("Value")
    return {
        "amount": _amount(found.get("Amount")),
        "receipt_code": _receipt_code(found.get("MpesaReceiptNumber")),
        "moved_at": _time(found.get("TransactionDate")),
        "phone": _text(found.get("PhoneNumber"), 80),
    }


def _transaction(result: dict) -> dict:
    """Return the fields of a transaction that Safaricom knows. A repeated key counts as missing."""
    items = _object(result, "ResultParameters").get("ResultParameter")
    if isinstance(items, dict):
        items = [items]  # a list of one
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Malformed("ResultParameters.ResultParameter is not a list of objects")
    values_of: dict[str, list] = {}
    for item in items:
        key = item.get("Key")
        if not isinstance(key, str):
            raise Malformed("a ResultParameter has no key")
        values_of.setdefault(key, []).append(item.get("Value"))
    found = {key: values[0] for key, values in values_of.items() if len(values) == 1}
    state, paid_to = _text(found.get("TransactionStatus"), 40), _party(found.get("CreditPartyName"))
    if not state or not paid_to[0]:
        raise Malformed("TransactionStatus or CreditPartyName is missing")
    sender, payer_name = _party(found.get("DebitPartyName"))
    amount, cents = _amount_with_cents(found.get("Amount"))
    return {
        "state": state,
        "code": _receipt_code(found.get("ReceiptNo")),
        "amount": amount,
        "cents": cents,
        "moved_at": _time(found.get("FinalisedTime")) or _time(found.get("InitiatedTime")),
        "paid_to": paid_to[0],
        "sender": sender,
        "payer_name": payer_name,
        "kind": _text(found.get("ReasonType"), 40),
    }


def _party(value: object) -> tuple[str, str]:
    """Return number and name of a party written `254708374149 - JANE DOE`. Both are empty when it cannot be read."""
    number, _, name = _text(value, 200).partition(" - ")
    number = number.strip()
    return (number, name.strip()[:120]) if re.fullmatch(r"[0-9a-fA-F* ]{1,80}", number) else ("", "")


def _amount(value: object) -> int:
    """Return whole KES. `1`, `1.00`, `"1"` and `"1.00"` are one shilling; half a shilling is refused."""
    amount, cents = _amount_with_cents(value)
    if cents:
        raise Malformed("the amount is not in whole shillings")
    return amount


def _amount_with_cents(value: object) -> tuple[int, int]:
    """Return whole KES and the cents beside them: `1079.65` is (1079, 65). At least one shilling."""
    if type(value) is not int and not isinstance(value, Decimal | str):
        raise Malformed("the amount is missing or not a number")
    if not AMOUNT.fullmatch(str(value)):
        raise Malformed("the amount is not a plain number")
    total = Decimal(str(value)) * 100
    if total != total.to_integral_value() or not 100 <= total <= MAX_REPORTED_KES * 100:
        raise Malformed("the amount is not in whole cents, less than a shilling, or out of bounds")
    amount, cents = divmod(int(total), 100)
    return amount, cents


def canonical_code(text: str) -> str | None:
    """Return an M-Pesa code in its stored form, in upper case, or None when the text is not a code.

    Only ASCII is converted: the upper case of a long s (U+017F) is S, and two codes would become one.
    """
    code = text.strip().upper() if text.isascii() else ""
    return code if CODE.fullmatch(code) else None


def _receipt_code(value: object) -> str:
    code = canonical_code(value) if isinstance(value, str) else None
    # Safaricom sends a code of zeros with failures.
    if code is None or not code.strip("0"):
        raise Malformed("the receipt code is missing or not a code")
    return code


def _time(value: object) -> datetime | None:
    """Return the time of a `yyyyMMddHHmmss` in Nairobi, number or text. An unreadable time is None, not an error."""
    text = str(value) if type(value) is int else value
    if not isinstance(text, str) or not TIMESTAMP.fullmatch(text):
        return None
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=NAIROBI)
    except ValueError:
        return None


def _text(value: object, longest: int) -> str:
    """Return a text or number as one line of at most `longest` characters, and an empty text for anything else."""
    if type(value) is int:
        value = str(value)
    return CONTROL.sub(" ", value).strip()[:longest] if isinstance(value, str) else ""
