"""Safaricom's formats: identifiers, texts and JSON bodies, as in the portal's samples and in measured answers."""

import hashlib
import json
import random
import re
import string
from datetime import UTC, datetime, timedelta, timezone

NAIROBI = timezone(timedelta(hours=3))  # without daylight saving
_LETTERS = string.ascii_uppercase
_MARK = "\x01"

# Result codes and their texts (portal, M-Pesa Express, result codes; the others as seen live).
RESULTS = {
    "0": "The service request is processed successfully.",
    "1": "The balance is insufficient for the transaction.",
    "2": "Declined due to limit rule.",
    "3": "Declined due to limit rule: greater than the maximum transaction amount.",
    "4": "Declined due to limit rule: would exceed daily transfer limit.",
    "8": "Declined due to limit rule: would exceed the maximum balance.",
    "17": "Rule limited.",
    "26": "System busy. Please try again in few minutes.",
    "1001": "Unable to lock subscriber, a transaction is already in process for the current subscriber",
    "1019": "Transaction has expired.",
    "1025": "An error occurred while sending a push request.",
    "1031": "Request cancelled by user",
    "1032": "Request cancelled by user",
    "1036": "SMSC ACK timeout.",
    "1037": "No response from user.",
    "2001": "The initiator information is invalid.",
    "2006": "The account is not active.",
    "2026": "The channel session has expired.",
    "2028": "The request is not permitted according to product assignment.",
    "2040": "The customer is not registered.",
    "7777": "Something new happened.",
    "8006": "The security credential is locked.",
    "9999": "An error occurred while sending a push request.",
    "SFC_IC0003": "The operator does not exist.",
}
# A query has another text for 1037 than the callback (measured in the sandbox, September 2026).
QUERY_RESULTS = {**RESULTS, "1037": "DS timeout user cannot be reached."}


def exactly(text: str) -> str:
    """Mark a number that must be written exactly like this, such as 1500.00."""
    return f"{_MARK}{text}{_MARK}"


def encode(body: object) -> bytes:
    """Return the body as compact JSON bytes."""
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    return re.sub(r'"\\u0001([^"\\]*)\\u0001"', r"\1", text).encode()


def stamp(at: float) -> str:
    """Return a time as yyyyMMddHHmmss in Nairobi."""
    return datetime.fromtimestamp(at, NAIROBI).strftime("%Y%m%d%H%M%S")


def iso(at: float | None) -> str | None:
    """Return a time as ISO 8601 in UTC."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()


def zulu(at: float) -> str:
    """Return a time as 2026-11-23T11:05:00Z."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- Identifiers ---------------------------------------------------------------------------------


def receipt_code(at: float, rng: random.Random) -> str:
    """Return ten characters: the year (N is 2019), the month A-L, the day 1-9 then A-V, and seven at random."""
    day = datetime.fromtimestamp(at, NAIROBI)
    year = _LETTERS[(_LETTERS.index("N") + day.year - 2019) % 26]
    head = year + _LETTERS[day.month - 1] + ("123456789" + _LETTERS)[day.day - 1]
    return head + "".join(rng.choices(_LETTERS + string.digits, k=7))


def request_id(rng: random.Random) -> str:
    """Return an id in the format of a MerchantRequestID, and of an error's requestId, since about 2024."""
    raw = f"{rng.getrandbits(96):024x}"
    return f"{raw[:4]}-{raw[4:8]}-{raw[8:12]}-{raw[12:]}{rng.randrange(10**6, 10**7)}"


def checkout_request_id(at: float, phone: str) -> str:
    """Return ws_CO_, date and time in Nairobi, three digits of milliseconds, and nine digits of the phone."""
    day = datetime.fromtimestamp(at, NAIROBI)
    return f"ws_CO_{day:%d%m%Y%H%M%S}{day.microsecond // 1000:03d}{phone[-9:]}"


def conversation_id(at: float, rng: random.Random) -> str:
    return f"AG_{datetime.fromtimestamp(at, NAIROBI):%Y%m%d}_{rng.getrandbits(80):020x}"


# --- Answers -------------------------------------------------------------------------------------


def push_accepted(prompt: dict) -> dict:
    return {
        "MerchantRequestID": prompt["merchant_request_id"],
        "CheckoutRequestID": prompt["checkout_request_id"],
        "ResponseCode": "0",
        "ResponseDescription": "Success. Request accepted for processing",
        "CustomerMessage": "Success. Request accepted for processing",
    }


def query_answer(prompt: dict, *, code: str, desc: str) -> dict:
    return {
        "ResponseCode": "0",
        "ResponseDescription": "The service request has been accepted successsfully",  # three s, as live
        "MerchantRequestID": prompt["merchant_request_id"],
        "CheckoutRequestID": prompt["checkout_request_id"],
        "ResultCode": code,
        "ResultDesc": desc,
    }


def stk_callback(prompt: dict, *, code: str, desc: str, at: float, variants: tuple[str, ...] = ()) -> bytes:
    """Return the body of a callback. `variants` are deviations that were seen live (faults.py)."""
    result: int | str = int(code) if code.isdigit() else code
    if "string_values" in variants:
        result = code
    if "prefixed_desc" in variants:
        desc = f"[STK_CB - ]{desc}"
    callback: dict = {
        "MerchantRequestID": prompt["merchant_request_id"],
        "CheckoutRequestID": prompt["checkout_request_id"],
        "ResultCode": result,
        "ResultDesc": desc,
    }
    if code == "0":
        callback["CallbackMetadata"] = {"Item": _metadata(prompt, at=at, variants=variants)}
    if "unknown_field" in variants:
        callback["NewField"] = {"Nested": [1, 2, 3]}
    return encode({"Body": {"stkCallback": callback}})


def _metadata(prompt: dict, *, at: float, variants: tuple[str, ...]) -> list[dict]:
    amount = prompt["amount"] + ("wrong_amount" in variants)
    shown: object = exactly(f"{amount}.00")
    phone: object = int(prompt["phone"])
    date: object = int(stamp(at))
    if "integer_amount" in variants:
        shown = amount
    if "string_values" in variants:
        shown, phone, date = f"{amount}.00", str(phone), str(date)
    items: list[dict] = [
        {"Name": "Amount", "Value": shown},
        {"Name": "MpesaReceiptNumber", "Value": prompt["code"]},
        {"Name": "Balance"},  # without a Value, as live
        {"Name": "TransactionDate", "Value": date},
        {"Name": "PhoneNumber", "Value": phone},
    ]
    if "no_balance" in variants:
        items.pop(2)
    if "string_balance" in variants:
        items[2]["Value"] = "200"
    if "structured_balance" in variants:
        items[2]["Value"] = "{Amount={CurrencyCode=KES, MinimumAmount=20000, BasicAmount=200.00}}"
    if "shuffled_items" in variants:
        items.reverse()
    if "no_phone" in variants:
        items = [item for item in items if item["Name"] != "PhoneNumber"]
    if "masked_phone" in variants:
        items[-1]["Value"] = f"{prompt['phone'][:4]}****{prompt['phone'][-3:]}"
    if "no_date" in variants:
        items = [item for item in items if item["Name"] != "TransactionDate"]
    return items


def c2b(
    debit: dict, *, name: str, version: str, balance: str, kind: str, third_party: str = "", variant: str = ""
) -> dict:
    """Return the body of a validation or confirmation. Each value is a string or null.

    `variant` is a deviation that was seen live (faults.CONFIRMATION_FAULTS).
    """
    first, _, rest = name.partition(" ")
    middle, _, last = rest.rpartition(" ")
    if version == "v1":  # live v1 since 2024: a hashed number, and only the first name
        msisdn = hashlib.sha256(debit["phone"].encode()).hexdigest()
        names = {"FirstName": first.upper()}
    else:
        msisdn = f"{debit['phone'][:4]} ***** {debit['phone'][-3:]}"
        names = {"FirstName": first.upper(), "MiddleName": middle.upper(), "LastName": last.upper()}
    if variant == "confirmation_full_phone":
        msisdn = debit["phone"]
    elif variant == "confirmation_masked_hash":
        digest = hashlib.sha256(debit["phone"].encode()).hexdigest()
        msisdn = f"{digest[:8]}****{digest[-8:]}"
    body = {
        "TransactionType": kind,
        "TransID": debit["code"],
        "TransTime": stamp(debit["at"]),
        "TransAmount": f"{debit['amount']}.00",
        "BusinessShortCode": debit["shortcode"],
        "BillRefNumber": debit["account"],
        "InvoiceNumber": "",
        "OrgAccountBalance": balance,
        "ThirdPartyTransID": third_party,
        "MSISDN": msisdn,
        **names,
    }
    if variant == "confirmation_whole_amount":
        body["TransAmount"] = str(debit["amount"])
    if variant == "confirmation_nulls":
        return {key: value or None for key, value in body.items() if not key.endswith("Name")}
    return body


def question(prompt: dict, business: str) -> str:
    """Return the question of a prompt."""
    return f"Do you want to pay {shillings(prompt['amount'])} to {business.upper()} Account no. {prompt['reference']}?"


def shillings(amount: int) -> str:
    """Return Ksh1,500.00, as in messages of M-Pesa."""
    return f"Ksh{amount:,}.00"


def clock_words(at: float) -> str:
    """Return 'on 23/11/26 at 2:05 PM', as in messages of M-Pesa."""
    day = datetime.fromtimestamp(at, NAIROBI)
    return f"on {day.day}/{day.month}/{day:%y} at {day.hour % 12 or 12}:{day:%M} {'AM' if day.hour < 12 else 'PM'}"
