"""What Safaricom sends, from untrusted bytes to typed messages. Nothing here reads the database or the clock.

Shapes: Daraja portal, "M-Pesa Express" and "Customer To Business"; the oddities are from live bodies: a result code
may be an integer or a string, `Balance` may lack its value, an amount may be `1`, `1.00` or `"1.00"`, a sender may
be masked or hashed.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from api.business_days import NAIROBI

MAX_CALLBACK = 16 * 1024  # bytes; the largest documented body is under 2 KB
MAX_ANSWER = 64 * 1024  # bytes
MAX_DEPTH = 8
MAX_NAMES = 64
MAX_ITEMS = 32
MAX_TEXT = 1024
MAX_DIGITS = 18
MAX_AMOUNT = 100_000_000  # KES; far over Safaricom's own limit, and fits every column

CODE = re.compile(r"[0-9A-Z]{1,16}")
RESULT_CODE = re.compile(r"[0-9A-Za-z_.]{1,32}")
IDENTIFIER = re.compile(r"[\x21-\x7e]{1,64}")
AMOUNT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?")
MOMENT = re.compile(r"20[0-9]{12}")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# A string, closed or not (so that no start of one is tried twice), or a bracket.
BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"?|[][{}]', re.DOTALL)
SURROGATE = re.compile(r"[\ud800-\udfff]")


class Malformed(Exception):
    """These bytes are not what Safaricom sends; the text says why, and never repeats them."""


@dataclass(frozen=True, slots=True)
class StkResult:
    """The end of a prompt, or that it has not ended. Only a callback's success has amount, receipt and phone."""

    merchant_request_id: str
    checkout_request_id: str
    result_code: str
    result_desc: str
    amount: int | None = None  # whole KES
    receipt_code: str | None = None  # upper-cased
    moved_at: datetime | None = None  # None: not said, or unreadable
    phone: str = ""  # as it came; never an identity


@dataclass(frozen=True, slots=True)
class C2bMessage:
    """Money that somebody sent to the paybill or till, or (validation) is about to send."""

    code: str  # the receipt number, upper-cased
    moved_at: datetime | None  # None: not said, or unreadable
    amount: int  # whole KES
    shortcode: str
    account: str  # free text by the payer; empty for tills
    sender: str  # digits, masked or hashed; never an identity
    payer_name: str
    transaction_type: str
    third_party_id: str


@dataclass(frozen=True, slots=True)
class PushAccepted:
    """Safaricom took the push and named it."""

    merchant_request_id: str
    checkout_request_id: str


@dataclass(frozen=True, slots=True)
class StatusResult:
    """What became of a receipt number that Safaricom was asked about; from `state` on only when it knows it."""

    conversation_id: str  # names the question
    result_code: str
    result_desc: str
    state: str = ""  # "Completed" and others, as it came
    code: str = ""  # the receipt number, upper-cased
    amount: int = 0  # whole KES
    moved_at: datetime | None = None  # None: not said, or unreadable
    paid_to: str = ""  # the shortcode, or phone, that got the money
    sender: str = ""  # who paid, as it came; never an identity
    payer_name: str = ""
    kind: str = ""


# --- The four messages ----------------------------------------------------------------------------


def parse_stk_callback(body: bytes) -> StkResult:
    """Read the result of a prompt. A success carries its whole evidence: amount and receipt number.

    :raises Malformed: the bytes are no such message, or a success without its evidence
    """
    callback = _object(_object(read_object(body, limit=MAX_CALLBACK), "Body"), "stkCallback")
    code = _result_code(callback)
    evidence = _evidence(callback) if code == "0" else {}
    return StkResult(
        merchant_request_id=_identifier(callback, "MerchantRequestID"),
        checkout_request_id=_identifier(callback, "CheckoutRequestID"),
        result_code=code,
        result_desc=_text(callback.get("ResultDesc"), 255),
        **evidence,
    )


def parse_c2b(body: bytes) -> C2bMessage:
    """Read a C2B confirmation or validation request; both have the same body.

    :raises Malformed: the bytes are no such message, or name no receipt, amount or shortcode
    """
    message = read_object(body, limit=MAX_CALLBACK)
    shortcode = _text(message.get("BusinessShortCode"), 16)
    if not re.fullmatch(r"[0-9]{5,7}", shortcode):
        raise Malformed("BusinessShortCode is not 5 to 7 digits")
    names = (_text(message.get(name), 120) for name in ("FirstName", "MiddleName", "LastName"))
    return C2bMessage(
        code=_receipt_code(message.get("TransID")),
        moved_at=_moment(message.get("TransTime")),
        amount=_amount(message.get("TransAmount")),
        shortcode=shortcode,
        account=_text(message.get("BillRefNumber"), 64),
        sender=_text(message.get("MSISDN"), 80),
        payer_name=" ".join(name for name in names if name)[:120],
        transaction_type=_text(message.get("TransactionType"), 40),
        third_party_id=_text(message.get("ThirdPartyTransID"), 64),
    )


def parse_status_result(body: bytes) -> StatusResult:
    """Read the Result of a Transaction Status question. A transaction that is known carries its whole evidence.

    Parameters are looked up by key: their order and number vary, and the portal's own sample doubles one.

    :raises Malformed: the bytes are no such message, or a known transaction lacks code, state, amount or receiver
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
    """Read the 200 answer to a push.

    :raises Malformed: it does not accept the push, or does not name it
    """
    if _text(answer.get("ResponseCode"), 32) != "0" or "errorCode" in answer:
        raise Malformed("the answer does not accept the push")
    return PushAccepted(_identifier(answer, "MerchantRequestID"), _identifier(answer, "CheckoutRequestID"))


def parse_query_answer(answer: dict) -> StkResult:
    """Read the 200 answer to an STK query. Success is its ResultCode; its ResponseCode is "0" for a cancelled one too.

    :raises Malformed: it says nothing of a prompt
    """
    return StkResult(
        merchant_request_id=_identifier(answer, "MerchantRequestID"),
        checkout_request_id=_identifier(answer, "CheckoutRequestID"),
        result_code=_result_code(answer),
        result_desc=_text(answer.get("ResultDesc"), 255),
    )


# --- JSON that cannot hurt ------------------------------------------------------------------------


def read_object(body: bytes, *, limit: int) -> dict:
    """Read one JSON object: UTF-8, at most `limit` bytes, shallow, no doubled names, no NaN, no giant numbers.

    Decimals come as Decimal. No text holds a NUL or half a character, which PostgreSQL would refuse.

    :raises Malformed: it is anything else
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
    """Return how deep the brackets nest, those inside strings left out, before anything recurses."""
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
        raise Malformed("a doubled name")
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
    """Yield every text in a value read from JSON, names included."""
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
        raise Malformed(f"{name} is missing or no object")
    return found


def _identifier(value: dict, name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str) or not IDENTIFIER.fullmatch(found):
        raise Malformed(f"{name} is missing or no identifier")
    return found


def _result_code(value: dict) -> str:
    code = value.get("ResultCode")
    if type(code) is int:  # not bool
        code = str(code)
    if not isinstance(code, str) or not RESULT_CODE.fullmatch(code):
        raise Malformed("ResultCode is missing or no code")
    return code


def _evidence(callback: dict) -> dict:
    """Return what a success tells of its money. Items are looked up by name: their order and number vary."""
    items = _object(callback, "CallbackMetadata").get("Item")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Malformed("CallbackMetadata.Item is no list of objects")
    found: dict[str, object] = {}
    for item in items:
        name = item.get("Name")
        if not isinstance(name, str) or name in found:
            raise Malformed("an item of CallbackMetadata has no name, or a doubled one")
        found[name] = item.get("Value")
    return {
        "amount": _amount(found.get("Amount")),
        "receipt_code": _receipt_code(found.get("MpesaReceiptNumber")),
        "moved_at": _moment(found.get("TransactionDate")),
        "phone": _text(found.get("PhoneNumber"), 80),
    }


def _transaction(result: dict) -> dict:
    """Return what the Result tells of a transaction it knows. A doubled key counts as absent."""
    items = _object(result, "ResultParameters").get("ResultParameter")
    if isinstance(items, dict):
        items = [items]  # a list of one
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Malformed("ResultParameters.ResultParameter is no list of objects")
    told: dict[str, list] = {}
    for item in items:
        key = item.get("Key")
        if not isinstance(key, str):
            raise Malformed("a ResultParameter has no key")
        told.setdefault(key, []).append(item.get("Value"))
    found = {key: values[0] for key, values in told.items() if len(values) == 1}
    state, paid_to = _text(found.get("TransactionStatus"), 40), _party(found.get("CreditPartyName"))
    if not state or not paid_to[0]:
        raise Malformed("TransactionStatus or CreditPartyName is missing")
    sender, payer_name = _party(found.get("DebitPartyName"))
    return {
        "state": state,
        "code": _receipt_code(found.get("ReceiptNo")),
        "amount": _amount(found.get("Amount")),
        "moved_at": _moment(found.get("FinalisedTime")) or _moment(found.get("InitiatedTime")),
        "paid_to": paid_to[0],
        "sender": sender,
        "payer_name": payer_name,
        "kind": _text(found.get("ReasonType"), 40),
    }


def _party(value: object) -> tuple[str, str]:
    """Return number and name of a party written `254708374149 - JANE DOE`; empty when it cannot be read."""
    number, _, name = _text(value, 200).partition(" - ")
    number = number.strip()
    return (number, name.strip()[:120]) if re.fullmatch(r"[0-9a-fA-F* ]{1,80}", number) else ("", "")


def _amount(value: object) -> int:
    """Return whole KES. `1`, `1.00`, `"1"` and `"1.00"` are one shilling; half a shilling is no amount."""
    if type(value) is not int and not isinstance(value, Decimal | str):
        raise Malformed("the amount is missing or no number")
    if not AMOUNT.fullmatch(str(value)):
        raise Malformed("the amount is no plain number")
    amount = Decimal(str(value))
    if amount != amount.to_integral_value() or not 0 < amount <= MAX_AMOUNT:
        raise Malformed("the amount is not in whole shillings, or out of bounds")
    return int(amount)


def canonical_code(text: str) -> str | None:
    """Return an M-Pesa code as it is kept, in upper case; None when it is none.

    Only ASCII is put in upper case: that of a long s (U+017F) is S, and two codes would be one.
    """
    code = text.strip().upper() if text.isascii() else ""
    return code if CODE.fullmatch(code) else None


def _receipt_code(value: object) -> str:
    code = canonical_code(value) if isinstance(value, str) else None
    # Failures carry a receipt of zeros.
    if code is None or not code.strip("0"):
        raise Malformed("the receipt number is missing or no receipt number")
    return code


def _moment(value: object) -> datetime | None:
    """Return a `yyyyMMddHHmmss` of Nairobi, number or text; None when it cannot be read: no reason to lose money."""
    text = str(value) if type(value) is int else value
    if not isinstance(text, str) or not MOMENT.fullmatch(text):
        return None
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=NAIROBI)
    except ValueError:
        return None


def _text(value: object, longest: int) -> str:
    """Return a text or number as one line of at most `longest` characters; anything else is empty."""
    if type(value) is int:
        value = str(value)
    return CONTROL.sub(" ", value).strip()[:longest] if isinstance(value, str) else ""
