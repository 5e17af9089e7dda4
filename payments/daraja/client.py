"""The calls to Safaricom. What comes back is untrusted: typed messages or one of the errors of payments.daraja.errors.

No call is made inside a transaction, and none holds a database connection. Fields and codes: Daraja portal,
"M-Pesa Express", "M-Pesa Express Query", "Customer To Business Register URL", "Transaction Status", "Authorization".
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
DEADLINE = 25  # seconds for the whole answer, however slowly it drips
BUSY_WAIT = 5.0  # seconds, when Safaricom does not say
LONGEST_WAIT = 120.0

# The same codes mean different things with different texts, so: code, then text, then status.
TOKEN_CODES = {"404.001.03", "400.003.01", "401.002.01"}
BUSY_CODES = {"500.003.02", "500.003.03"}
# What 500.001.1001 and its neighbours mean is told by their text alone; a text that is not here is unknown.
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
# TLS reasons that can only come before a request is sent.
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
    """Ask Safaricom to prompt a phone for `amount` whole KES.

    :raises Refused: no prompt; the code says what to tell the member
    :raises NotSent: no prompt; Safaricom was not reached
    :raises Busy: no prompt; ask again later
    :raises Unknown: the prompt may be on the phone; never ask again
    """
    till = settings.DARAJA_TILL
    answer = _post(
        "/mpesa/stkpush/v1/processrequest",
        {
            **_signature(now),
            "TransactionType": "CustomerBuyGoodsOnline" if till else "CustomerPayBillOnline",
            "Amount": amount,
            # Numbers: live paybills have seen text phones end in silent timeouts.
            "PartyA": int(phone),
            "PartyB": int(till or settings.DARAJA_SHORTCODE),
            "PhoneNumber": int(phone),
            "CallBackURL": callback_url,
            "AccountReference": reference[:12],
            "TransactionDesc": _plain(description)[:13] or "Payment",
        },
    )
    try:
        return parse_push_answer(answer)
    except Malformed as error:
        code = answer.get("ResponseCode")
        if isinstance(code, str) and code not in ("", "0") and "CheckoutRequestID" not in answer:
            raise Refused(f"Safaricom did not accept the request ({_plain(code)[:32]}).") from None
        raise Unknown(f"Safaricom's answer made no sense: {error}.") from None


def query_stk(*, checkout_request_id: str, now: datetime) -> StkResult:
    """Ask Safaricom how a prompt ended. A result code of still processing is a result like any other.

    :raises DarajaError: nothing was learnt; ask again later
    """
    body = {**_signature(now), "CheckoutRequestID": checkout_request_id}
    answer = _post("/mpesa/stkpushquery/v1/query", body)
    try:
        result = parse_query_answer(answer)
    except Malformed as error:
        raise Unknown(f"Safaricom's answer made no sense: {error}.") from None
    if result.checkout_request_id != checkout_request_id:
        raise Unknown("Safaricom answered about another prompt.")
    return result


def register_c2b_urls(*, confirmation_url: str, validation_url: str, when_silent: str) -> None:
    """Tell Safaricom where to report paybill and till payments. `when_silent`: Completed or Cancelled.

    :raises Refused: among others once they are registered in production (code already_registered)
    :raises DarajaError: it is not known to be registered
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
    # "OriginatorCoversationID" is Safaricom's own spelling; new accounts may leave ResponseCode out.
    if "OriginatorCoversationID" not in answer or answer.get("ResponseCode", "0") not in ("0", "00000000", 0):
        raise Unknown("Safaricom did not confirm the registration.")


def request_transaction_status(*, receipt_code: str, result_url: str, timeout_url: str) -> str:
    """Ask what became of a receipt number; the answer comes to `result_url`. Returns the ConversationID.

    :raises DarajaError: it was not accepted
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
        raise Unknown("Safaricom did not accept the question.")
    return conversation


# --- One call -------------------------------------------------------------------------------------


def try_credentials() -> None:
    """Ask Safaricom for a token, as the first call of all does, so that a wrong key shows before anybody buys.

    It may end the token that is shared; whoever holds that renews it.

    :raises DarajaError: there was no token; `Refused` when Safaricom does not know our key and secret
    """
    _fetch_token()


def _signature(now: datetime) -> dict:
    """Return shortcode, password and timestamp, which must agree: base64(shortcode + passkey + timestamp), Nairobi."""
    timestamp = now.astimezone(NAIROBI).strftime("%Y%m%d%H%M%S")
    password = f"{settings.DARAJA_SHORTCODE}{settings.DARAJA_PASSKEY}{timestamp}"
    return {
        "BusinessShortCode": int(settings.DARAJA_SHORTCODE),
        "Password": base64.b64encode(password.encode()).decode(),
        "Timestamp": timestamp,
    }


def _post(path: str, body: dict) -> dict:
    """Call with the shared token; when Safaricom refuses the token, once more with a new one: it acted on nothing."""
    token = _token()
    try:
        return _call("POST", path, token=token, json=body)
    except TokenRefused:
        return _call("POST", path, token=_token(refused=token.version), json=body)


def _token(*, refused: int = 0) -> Token:
    """Return the shared token.

    :raises Refused: Safaricom does not know our key and secret; it says so by an empty 400 or 401
    :raises NotSent: it cannot be had; nothing else was asked, whatever became of this question
    """
    try:
        return tokens.get(_fetch_token, refused=refused)
    except Refused as error:
        raise Refused(f"Safaricom refuses DARAJA_CONSUMER_KEY and DARAJA_CONSUMER_SECRET: {error}") from None
    except Unknown as error:
        raise NotSent(f"No token: {error}") from None


def _fetch_token() -> tuple[str, int]:
    """Ask for a new token; return it and its seconds, which come as a number or as text."""
    answer = _call(
        "GET",
        "/oauth/v1/generate",
        params={"grant_type": "client_credentials"},
        auth=(settings.DARAJA_CONSUMER_KEY, settings.DARAJA_CONSUMER_SECRET),
    )
    value, seconds = answer.get("access_token"), str(answer.get("expires_in"))
    if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]{1,1024}", value):
        raise Unknown("Safaricom's answer holds no token.")
    if not re.fullmatch(r"[0-9]{1,6}", seconds):
        raise Unknown("Safaricom's token does not say how long it lasts.")
    return value, int(seconds)


def _call(method: str, path: str, *, token: Token | None = None, **parts) -> dict:
    """Make one HTTP call and return the JSON object it was answered with 200.

    A connection of its own for each: a kept one that Safaricom has closed meanwhile cannot be told from a lost answer.
    """
    leave_database()
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
        limits.note_failure()
        # Its text and cause may hold the address, the headers or the token: only its name goes on.
        kind = NotSent if _never_left(error) else Unknown
        raise kind(f"The call to Safaricom failed: {type(error).__name__}.") from None
    answer: dict | None
    try:
        answer = read_object(content, limit=MAX_ANSWER)
    except Malformed:
        answer = None
    wrong = _error(response, answer, token)
    _tell_limits(wrong)
    if wrong is not None or answer is None:
        raise wrong or Unknown("Safaricom's answer was not JSON.")
    return answer


def leave_database() -> None:
    """Give the database connection back before a call that may take long.

    :raises RuntimeError: a transaction is open (one that a test wraps around itself does not count)
    """
    with transaction.atomic(durable=True):
        pass
    if not connection.in_atomic_block:
        connection.close()


def _read(response: requests.Response) -> bytes:
    """Read at most one byte more than an answer may have, within the deadline."""
    content, deadline = b"", time.monotonic() + DEADLINE
    for piece in response.iter_content(8192):
        content += piece
        if len(content) > MAX_ANSWER:
            break
        if time.monotonic() > deadline:
            raise requests.ReadTimeout("the answer drips")
    return content[: MAX_ANSWER + 1]


# --- What went wrong ------------------------------------------------------------------------------


def _error(response: requests.Response, answer: dict | None, token: Token | None) -> DarajaError | None:
    """Tell what an answer means: by its errorCode, then by its text, then by its status."""
    code = text = ""
    if answer is not None:
        code = answer["errorCode"] if isinstance(answer.get("errorCode"), str) else ""
        text = answer["errorMessage"] if isinstance(answer.get("errorMessage"), str) else ""
    low, status = text.lower(), response.status_code
    said = f"Safaricom answered {status} {_clean(code, token)} {_clean(text, token)}".rstrip() + "."
    if code in TOKEN_CODES or "invalid access token" in low:
        return TokenRefused(f"Safaricom refused our token ({status} {code}).")
    if code in BUSY_CODES or any(busy in low for busy in BUSY_TEXTS):
        return Busy(said, retry_after=_retry_after(response))
    for meaning, kind in REFUSALS.items():
        if meaning in low:
            return Refused(said, code=kind)
    if re.match(r"40[0-9]\.", code):
        return Refused(said)
    if code:
        return Unknown(said)
    if status == 200:
        return None if answer is not None else Unknown("Safaricom's answer was not JSON.")
    if status == 429:
        return Busy(said, retry_after=_retry_after(response))
    if status == 401 and token is not None:
        return TokenRefused("Safaricom refused our token (401).")
    if 400 <= status < 500 and status != 408:
        return Refused(said)
    return Unknown(said)


def _tell_limits(error: DarajaError | None) -> None:
    """Let all processes share what one learnt: an answer closes the breaker, nonsense counts, busy holds back."""
    if isinstance(error, Busy):
        limits.back_off(error.retry_after)
    elif isinstance(error, Unknown):
        limits.note_failure()
    else:
        limits.note_success()


def _retry_after(response: requests.Response) -> float:
    told = response.headers.get("Retry-After", "")
    return min(float(told), LONGEST_WAIT) if re.fullmatch(r"[0-9]{1,5}", told) else BUSY_WAIT


def _never_left(error: requests.RequestException) -> bool:
    """Say whether the request provably never reached Safaricom."""
    if isinstance(error, requests.ConnectTimeout | requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return True
    for cause in _causes(error):
        if isinstance(cause, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError):
            return True
        if isinstance(cause, ssl.SSLError):
            return getattr(cause, "reason", None) in HANDSHAKE
    return False


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it wraps, as requests and urllib3 wrap: arguments, `reason`, context."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting and len(seen) < 20:
        each = waiting.pop(0)
        if isinstance(each, BaseException) and each not in seen:
            seen.append(each)
            yield each
            waiting += [*each.args, getattr(each, "reason", None), each.__cause__, each.__context__]


def _clean(text: str, token: Token | None) -> str:
    """Return a text of Safaricom's for our logs: one short line, without the token and without long numbers."""
    if token is not None:
        text = text.replace(token.value, "(token)")
    return re.sub(r"[0-9]{9,}", "(number)", _plain(text))[:160]


def _plain(text: str) -> str:
    """Return the printable ASCII of a text."""
    return re.sub(r"[^\x20-\x7e]+", " ", text).strip()
