"""The calls to Safaricom's Daraja API. Each returns a typed message or raises an error of payments.daraja.errors.

Answers are untrusted. No call is made in a transaction or while holding a database connection. Fields and codes: Daraja
portal, "M-Pesa Express", "M-Pesa Express Query", "Customer To Business Register URL", "Transaction Status",
"Authorization".
"""

import base64
import re
import ssl
import time
from collections.abc import Iterator
from datetime import datetime

import requests
import urllib3.exceptions
from django.conf import settings
from django.db import connection, transaction

from api.business_days import NAIROBI
from payments.daraja import limits, tokens
from payments.daraja.errors import Busy, DarajaError, NotSent, Refused, TokenRefused, Unknown
from payments.daraja.messages import (
    MAX_ANSWER,
    Malformed,
    PushAccepted,
    StkResult,
    parse_push_answer,
    parse_query_answer,
    read_object,
)
from payments.daraja.tokens import Token

TIMEOUT = (3.05, 20)  # seconds to connect, and between two reads
DEADLINE = 25  # seconds for the whole answer
BUSY_WAIT = 5.0  # seconds, when Safaricom sends no Retry-After
LONGEST_WAIT = 120.0

# One code has several meanings. So an answer is read by its code, then by its text, then by its status.
TOKEN_CODES = {"404.001.03", "400.003.01", "401.002.01"}
BUSY_CODES = {"500.003.02", "500.003.03"}
# The meaning of 500.001.1001 and similar codes depends on the text alone. A text that is not listed is unknown.
REFUSALS = {
    "unable to lock subscriber": "locked",
    "no iccid": "bad_phone",
    "invalid phonenumber": "bad_phone",
    "merchant does not exist": "refused",
    "wrong credentials": "refused",
    "no apiproduct match": "refused",
    "urls are already registered": "already_registered",
}
BUSY_TEXTS = ("spike arrest", "quota violation", "system is busy")
# TLS errors that occur only before a request is sent.
HANDSHAKE = {
    "CERTIFICATE_VERIFY_FAILED",
    "WRONG_VERSION_NUMBER",
    "SSLV3_ALERT_HANDSHAKE_FAILURE",
    "TLSV1_ALERT_PROTOCOL_VERSION",
    "UNSUPPORTED_PROTOCOL",
}


def push_stk(
    *, phone: str, amount: int, reference: str, description: str, callback_url: str, now: datetime
) -> PushAccepted:
    """Send an STK push of `amount` whole KES to a phone.

    :raises Refused: not sent to the phone; the error's code has a message for the member
    :raises NotSent: Safaricom was not reached
    :raises Busy: not sent to the phone; try again later
    :raises Unknown: it may be on the phone; never send it again
    """
    till = settings.DARAJA_TILL
    answer = _post(
        "/mpesa/stkpush/v1/processrequest",
        {
            **_password_fields(now),
            "TransactionType": "CustomerBuyGoodsOnline" if till else "CustomerPayBillOnline",
            "Amount": amount,
            # Numbers, because pushes with phone numbers as text have timed out on live paybills.
            "PartyA": int(phone),
            "PartyB": int(till or settings.DARAJA_SHORTCODE),
            "PhoneNumber": int(phone),
            "CallBackURL": callback_url,
            "AccountReference": reference[:12],
            "TransactionDesc": _printable(description)[:13] or "Payment",
        },
    )
    try:
        return parse_push_answer(answer)
    except Malformed as error:
        code = answer.get("ResponseCode")
        if isinstance(code, str) and code not in ("", "0") and "CheckoutRequestID" not in answer:
            raise Refused(f"Safaricom did not accept the request ({_printable(code)[:32]}).") from None
        raise Unknown(f"Safaricom's answer cannot be read: {error}.") from None


def query_stk(*, checkout_request_id: str, now: datetime) -> StkResult:
    """Ask Safaricom for the result of an STK push, which may be that it is still processing.

    :raises DarajaError: there is no result; ask again later
    """
    body = {**_password_fields(now), "CheckoutRequestID": checkout_request_id}
    answer = _post("/mpesa/stkpushquery/v1/query", body)
    try:
        result = parse_query_answer(answer)
    except Malformed as error:
        raise Unknown(f"Safaricom's answer cannot be read: {error}.") from None
    if result.checkout_request_id != checkout_request_id:
        raise Unknown("Safaricom answered for another STK push.")
    return result


def register_c2b_urls(*, confirmation_url: str, validation_url: str, when_silent: str) -> None:
    """Register the URLs to which Safaricom reports paybill and till payments.

    `when_silent` is what M-Pesa does with a payment when our validation does not answer: Completed or Cancelled.

    :raises Refused: for example, URLs are registered in production already (code already_registered)
    :raises DarajaError: it is not known whether they are registered
    """
    answer = _post(
        "/mpesa/c2b/v2/registerurl",
        {
            "ShortCode": settings.DARAJA_SHORTCODE,
            "ResponseType": when_silent,
            "ConfirmationURL": confirmation_url,
            "ValidationURL": validation_url,
        },
    )
    # "OriginatorCoversationID" is Safaricom's own spelling. For new accounts ResponseCode may be absent.
    if "OriginatorCoversationID" not in answer or answer.get("ResponseCode", "0") not in ("0", "00000000", 0):
        raise Unknown("Safaricom did not confirm the registration.")


def request_transaction_status(*, receipt_code: str, result_url: str, timeout_url: str) -> str:
    """Ask for the status of an M-Pesa code and return the ConversationID. The answer is sent to `result_url`.

    :raises DarajaError: the question was not accepted
    """
    answer = _post(
        "/mpesa/transactionstatus/v1/query",
        {
            "Initiator": settings.DARAJA_INITIATOR,
            "SecurityCredential": settings.DARAJA_SECURITY_CREDENTIAL,
            "CommandID": "TransactionStatusQuery",
            "TransactionID": receipt_code,
            "PartyA": settings.DARAJA_SHORTCODE,
            "IdentifierType": "4",
            "ResultURL": result_url,
            "QueueTimeOutURL": timeout_url,
            "Remarks": "Reconciliation",
            "Occasion": "Reconciliation",
        },
    )
    conversation = answer.get("ConversationID")
    if answer.get("ResponseCode") != "0" or not isinstance(conversation, str):
        raise Unknown("Safaricom did not accept the status request.")
    return conversation


# --- One call -------------------------------------------------------------------------------------


def check_credentials() -> None:
    """Ask Safaricom for a token, so that a wrong consumer key is found before a member pays.

    Safaricom may end the shared token when it gives this one. Processes that use the shared token then renew it.

    :raises DarajaError: there was no token; `Refused` when Safaricom does not know our key and secret
    """
    _fetch_token()


def _password_fields(now: datetime) -> dict:
    """Return shortcode, password and timestamp. The password is base64(shortcode + passkey + timestamp in Nairobi)."""
    timestamp = now.astimezone(NAIROBI).strftime("%Y%m%d%H%M%S")
    password = f"{settings.DARAJA_SHORTCODE}{settings.DARAJA_PASSKEY}{timestamp}"
    return {
        "BusinessShortCode": int(settings.DARAJA_SHORTCODE),
        "Password": base64.b64encode(password.encode()).decode(),
        "Timestamp": timestamp,
    }


def _post(path: str, body: dict) -> dict:
    """Call with the shared token. When Safaricom refuses the token, it has done nothing: call again with a new one."""
    token = _token()
    try:
        return _call("POST", path, token=token, json=body)
    except TokenRefused:
        return _call("POST", path, token=_token(refused=token.version), json=body)


def _token(*, refused: int = 0) -> Token:
    """Return the shared token.

    :raises Refused: Safaricom does not know our key and secret, which it answers with an empty 400 or 401
    :raises NotSent: there is no token, so the call itself was not made
    """
    try:
        return tokens.get(_fetch_token, refused=refused)
    except Refused as error:
        raise Refused(f"Safaricom refuses DARAJA_CONSUMER_KEY and DARAJA_CONSUMER_SECRET: {error}") from None
    except Unknown as error:
        raise NotSent(f"No token: {error}") from None


def _fetch_token() -> tuple[str, int]:
    """Ask for a new token. Return it and its lifetime in seconds, which Safaricom sends as a number or as text."""
    answer = _call(
        "GET",
        "/oauth/v1/generate",
        params={"grant_type": "client_credentials"},
        auth=(settings.DARAJA_CONSUMER_KEY, settings.DARAJA_CONSUMER_SECRET),
    )
    value, seconds = answer.get("access_token"), str(answer.get("expires_in"))
    if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]{1,1024}", value):
        raise Unknown("Safaricom's answer has no token.")
    if not re.fullmatch(r"[0-9]{1,6}", seconds):
        raise Unknown("Safaricom's answer has no lifetime for the token.")
    return value, int(seconds)


def _call(method: str, path: str, *, token: Token | None = None, **parts) -> dict:
    """Make one HTTP call and return the JSON object of its 200 answer.

    Each call has a connection of its own. On a reused connection, one that Safaricom has closed cannot be told from a
    lost answer.
    """
    release_database()
    headers = {"Accept": "application/json", "Connection": "close"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token.value}"
    try:
        with requests.Session() as session:
            session.trust_env = False  # a .netrc would replace our Authorization
            with session.request(
                method,
                settings.DARAJA_BASE_URL + path,
                headers=headers,
                timeout=TIMEOUT,
                allow_redirects=False,
                stream=True,
                **parts,
            ) as response:
                content = _read(response)
    except requests.RequestException as error:
        limits.record_failure()
        # Its text and cause may contain the URL, the headers or the token, so only its type is reported.
        kind = NotSent if _was_not_sent(error) else Unknown
        raise kind(f"The call to Safaricom failed: {type(error).__name__}.") from None
    answer: dict | None
    try:
        answer = read_object(content, limit=MAX_ANSWER)
    except Malformed:
        answer = None
    daraja_error = _error_in(response, answer, token)
    _record_for_limits(daraja_error)
    if daraja_error is not None or answer is None:
        raise daraja_error or Unknown("Safaricom's answer was not JSON.")
    return answer


def release_database() -> None:
    """Close the database connection before a call that may take long.

    :raises RuntimeError: a transaction is open (other than the one that a test runs in)
    """
    with transaction.atomic(durable=True):
        pass
    if not connection.in_atomic_block:
        connection.close()


def _read(response: requests.Response) -> bytes:
    """Read an answer within the deadline, up to one byte more than it may have."""
    content, deadline = b"", time.monotonic() + DEADLINE
    for piece in response.iter_content(8192):
        content += piece
        if len(content) > MAX_ANSWER:
            break
        if time.monotonic() > deadline:
            raise requests.ReadTimeout("the answer took too long")
    return content[: MAX_ANSWER + 1]


# --- Errors ---------------------------------------------------------------------------------------


def _error_in(response: requests.Response, answer: dict | None, token: Token | None) -> DarajaError | None:
    """Return the error that an answer means, by its errorCode, then its text, then its status; None for a success."""
    code = text = ""
    if answer is not None:
        code = answer["errorCode"] if isinstance(answer.get("errorCode"), str) else ""
        text = answer["errorMessage"] if isinstance(answer.get("errorMessage"), str) else ""
    low, status = text.lower(), response.status_code
    message = f"Safaricom answered {status} {_for_log(code, token)} {_for_log(text, token)}".rstrip() + "."
    if code in TOKEN_CODES or "invalid access token" in low:
        return TokenRefused(f"Safaricom refused our token ({status} {code}).")
    if code in BUSY_CODES or any(busy in low for busy in BUSY_TEXTS):
        return Busy(message, retry_after=_retry_after(response))
    for phrase, refusal in REFUSALS.items():
        if phrase in low:
            return Refused(message, code=refusal)
    if re.match(r"40[0-9]\.", code):
        return Refused(message)
    if code:
        return Unknown(message)
    if status == 200:
        return None if answer is not None else Unknown("Safaricom's answer was not JSON.")
    if status == 429:
        return Busy(message, retry_after=_retry_after(response))
    if status == 401 and token is not None:
        return TokenRefused("Safaricom refused our token (401).")
    if 400 <= status < 500 and status != 408:
        return Refused(message)
    return Unknown(message)


def _record_for_limits(error: DarajaError | None) -> None:
    """Record the result of a call for all processes: busy delays calls, an unknown outcome counts as a failure."""
    if isinstance(error, Busy):
        limits.back_off(error.retry_after)
    elif isinstance(error, Unknown):
        limits.record_failure()
    else:
        limits.record_success()


def _retry_after(response: requests.Response) -> float:
    seconds = response.headers.get("Retry-After", "")
    return min(float(seconds), LONGEST_WAIT) if re.fullmatch(r"[0-9]{1,5}", seconds) else BUSY_WAIT


def _was_not_sent(error: requests.RequestException) -> bool:
    """Return whether the request provably never reached Safaricom."""
    if isinstance(error, requests.ConnectTimeout | requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return True
    for cause in _causes(error):
        if isinstance(cause, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError):
            return True
        if isinstance(cause, ssl.SSLError):
            return getattr(cause, "reason", None) in HANDSHAKE
    return False


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and the errors that requests and urllib3 wrap in it: arguments, `reason`, cause, context."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting and len(seen) < 20:
        each = waiting.pop(0)
        if isinstance(each, BaseException) and each not in seen:
            seen.append(each)
            yield each
            waiting += [*each.args, getattr(each, "reason", None), each.__cause__, each.__context__]


def _for_log(text: str, token: Token | None) -> str:
    """Return a text of Safaricom's for our logs: one short line, without the token and without phone numbers."""
    if token is not None:
        text = text.replace(token.value, "(token)")
    return re.sub(r"[0-9]{9,}", "(number)", _printable(text))[:160]


def _printable(text: str) -> str:
    """Return the printable ASCII of a text."""
    return re.sub(r"[^\x20-\x7e]+", " ", text).strip()
