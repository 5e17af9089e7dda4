"""The Daraja client: requests, answers, the shared token, real sockets, and the rate limit."""

import base64
import json
import logging
import ssl
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
import urllib3
from django.conf import settings
from django.db import connection

from payments.daraja import client, limits
from payments.daraja.errors import Busy, DarajaError, NotSent, Refused, Unknown
from payments.daraja.messages import MAX_ANSWER, PushAccepted
from payments.daraja.models import DarajaGate, DarajaToken
from payments.tests.daraja_answers import ACCEPTED, OAUTH, PUSH, QUERY, TOKEN, Wire, refusal
from payments.tests.factories import NOON

pytestmark = [pytest.mark.django_db, pytest.mark.server]

NEXT_TOKEN = "9Z8y7X6w5V4u3T2s1R0q9P8o7N6m"
# The answers of the different URLs to a token that they refuse.
TOKEN_REFUSALS = [
    refusal("404.001.03", "Invalid Access Token", 404),
    refusal("400.003.01", "Invalid Access Token", 400),
    refusal("401.002.01", f"Error Occurred - Invalid Access Token - {TOKEN}", 401),
    refusal("401.002.01", f"Error Occurred - Invalid Access Token - {TOKEN}", 400),
]


@pytest.fixture
def wire():
    with Wire() as wire:
        wire.token()
        limits.acquire()
        yield wire


def push(**changes):
    asked = {
        "phone": "254712345678",
        "amount": 1500,
        "reference": "K012V2AX",
        "description": "Gym, one month",
        "callback_url": "https://club.example/api/v1/callbacks/stk/t/",
        "now": NOON,
    }
    return client.push_stk(**{**asked, **changes})


def query():
    return client.query_stk(checkout_request_id=ACCEPTED["CheckoutRequestID"], now=NOON)


# --- Requests ------------------------------------------------------------------------------------


def test_push_for_a_paybill_has_the_documented_fields(wire):
    wire.push()

    accepted = push()

    assert accepted == PushAccepted(ACCEPTED["MerchantRequestID"], ACCEPTED["CheckoutRequestID"])
    password = base64.b64encode(f"174379{settings.DARAJA_PASSKEY}20261102120000".encode()).decode()
    assert wire.bodies(PUSH) == [
        {
            "BusinessShortCode": 174379,
            "Password": password,
            "Timestamp": "20261102120000",
            "TransactionType": "CustomerPayBillOnline",
            "Amount": 1500,
            "PartyA": 254712345678,
            "PartyB": 174379,
            "PhoneNumber": 254712345678,
            "CallBackURL": "https://club.example/api/v1/callbacks/stk/t/",
            "AccountReference": "K012V2AX",
            "TransactionDesc": "Gym, one mont",
        }
    ]
    assert wire.sent(PUSH)[0].headers["Content-Type"] == "application/json"
    assert wire.sent(PUSH)[0].headers["Authorization"] == f"Bearer {TOKEN}"


def test_push_for_a_till_has_store_and_till_numbers(wire, settings):
    settings.DARAJA_SHORTCODE, settings.DARAJA_TILL = "7654321", "5123456"
    wire.push()

    push()

    body = wire.bodies(PUSH)[0]
    assert (body["BusinessShortCode"], body["PartyB"]) == (7654321, 5123456)
    assert body["TransactionType"] == "CustomerBuyGoodsOnline"
    assert base64.b64decode(body["Password"]).startswith(b"7654321")


def test_timestamp_is_nairobi_time_across_midnight(wire):
    wire.push()

    push(now=datetime(2026, 12, 31, 22, 30, 5, tzinfo=UTC))

    assert wire.bodies(PUSH)[0]["Timestamp"] == "20270101013005"


@pytest.mark.parametrize(
    ("description", "said"), [("", "Payment"), ("Çağ 你好", "a"), ("Annual membership", "Annual member")]
)
def test_description_is_short_ascii_text(wire, description, said):
    wire.push()

    push(description=description)

    assert wire.bodies(PUSH)[0]["TransactionDesc"] == said


def test_query_uses_the_shortcode_of_the_push(wire):
    wire.query(json={**ACCEPTED, "ResultCode": "1032", "ResultDesc": "Request cancelled by user"})

    result = query()

    assert (result.result_code, result.result_desc) == ("1032", "Request cancelled by user")
    body = wire.bodies(QUERY)[0]
    assert sorted(body) == ["BusinessShortCode", "CheckoutRequestID", "Password", "Timestamp"]
    assert body["BusinessShortCode"] == 174379


def test_answer_for_another_push_is_unknown(wire):
    wire.query(json={**ACCEPTED, "CheckoutRequestID": "ws_CO_other", "ResultCode": "0", "ResultDesc": ""})

    with pytest.raises(Unknown):
        query()


STATUS = "/mpesa/transactionstatus/v1/query"


def test_transaction_status_request_has_the_documented_fields(wire, settings):
    settings.DARAJA_INITIATOR, settings.DARAJA_SECURITY_CREDENTIAL = "testapi", "c2VjcmV0"
    answer = {"OriginatorConversationID": "1", "ConversationID": "AG_20261123_1", "ResponseCode": "0"}
    wire.add("POST", settings.DARAJA_BASE_URL + STATUS, json=answer)

    conversation = client.request_transaction_status(
        receipt_code="UKN7XK41ZQ", result_url="https://club.example/r/", timeout_url="https://club.example/t/"
    )

    assert conversation == "AG_20261123_1"
    assert wire.bodies(STATUS) == [
        {
            "Initiator": "testapi",
            "SecurityCredential": "c2VjcmV0",
            "CommandID": "TransactionStatusQuery",
            "TransactionID": "UKN7XK41ZQ",
            "PartyA": "174379",
            "IdentifierType": "4",
            "ResultURL": "https://club.example/r/",
            "QueueTimeOutURL": "https://club.example/t/",
            "Remarks": "Reconciliation",
            "Occasion": "Reconciliation",
        }
    ]


@pytest.mark.parametrize("answer", [{}, {"ResponseCode": "0"}, {"ResponseCode": "1", "ConversationID": "AG_1"}])
def test_transaction_status_request_not_accepted_raises(wire, answer):
    wire.add("POST", settings.DARAJA_BASE_URL + STATUS, json=answer)

    with pytest.raises(Unknown):
        client.request_transaction_status(receipt_code="UKN7XK41ZQ", result_url="https://c/", timeout_url="https://c/")


# --- Answers: every documented body ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "error", "code"),
    [
        # In the order of the portal's error table.
        *(
            (refusal("400.002.02", f"Bad Request - Invalid {field}", 400), Refused, "refused")
            for field in ("BusinessShortCode", "Timestamp", "Amount", "CallBackURL", "TransactionType", "TransactionID")
        ),
        (refusal("400.002.02", "Bad Request - Invalid PhoneNumber", 400), Refused, "bad_phone"),
        (refusal("400.002.05", "Invalid Request Payload", 400), Refused, "refused"),
        (refusal("400.003.02", "Bad Request", 400), Refused, "refused"),
        (refusal("404.001.01", "Resource not found", 404), Refused, "refused"),
        (refusal("404.002.01", "Resource not found", 404), Refused, "refused"),
        (refusal("404.003.01", "Resource not found", 404), Refused, "refused"),
        (refusal("404.001.04", "Invalid Authentication Header", 404), Refused, "refused"),
        (refusal("405.001", "GET Method Not Allowed", 405), Refused, "refused"),
        (refusal("500.001.1001", "Merchant does not exist", 500), Refused, "refused"),
        (refusal("500.001.1001", "Wrong credentials", 500), Refused, "refused"),
        (refusal("500.001.1001", "[MerchantValidate] - Wrong credentials", 500), Refused, "refused"),
        (refusal("500.001.1001", "[CBS - ] No ICCID found", 500), Refused, "bad_phone"),
        (
            refusal(
                "500.001.1001",
                "[STK] - Unable to lock subscriber, a transaction is already in process for the current subscriber",
                500,
            ),
            Refused,
            "locked",
        ),
        (refusal("500.001.1001", "The transaction is being processed", 500), Unknown, "unknown"),
        (refusal("500.001.1001", "The transaction does not Exist", 500), Unknown, "unknown"),
        (refusal("500.001.1001", "Internal Server Error", 500), Unknown, "unknown"),
        (refusal("500.001.001", "Internal Server Error", 500), Unknown, "unknown"),
        (refusal("500.002.1001", "Service is currently under maintenance", 500), Unknown, "unknown"),
        (refusal("500.003.1001", "Internal Server Error", 500), Unknown, "unknown"),
        (refusal("500.003.1001", "Urls are already registered.", 500), Refused, "already_registered"),
        (refusal("500.003.1001", "Duplicate notification info, SP ID is 1, correlator is 2", 500), Unknown, "unknown"),
        (refusal("500.003.02", "System is busy. Please try again in few minutes.", 500), Busy, "busy"),
        (refusal("500.003.02", "Error Occurred: Spike Arrest Violation", 429), Busy, "busy"),
        (refusal("500.003.03", "Quota Violation", 500), Busy, "busy"),
        (refusal("999.9", "Something new", 500), Unknown, "unknown"),
        (refusal("500.001.1001", "Internal Server Error", 200), Unknown, "unknown"),
        (refusal("401.003.01", "Invalid API call as no apiproduct match found", 401), Refused, "refused"),
        ({"json": {}, "status": 418}, Refused, "refused"),
        ({"body": "<html>Request Rejected</html>", "status": 403}, Refused, "refused"),
        ({"body": "", "status": 400}, Refused, "refused"),
        ({"body": "", "status": 408}, Unknown, "unknown"),
        ({"body": "<h1>429</h1>", "status": 429}, Busy, "busy"),
        ({"body": "<html>", "status": 502}, Unknown, "unknown"),
        ({"body": "", "status": 503}, Unknown, "unknown"),
        ({"body": "", "status": 200}, Unknown, "unknown"),
        ({"body": "<html>", "status": 200}, Unknown, "unknown"),
        ({"body": '{"MerchantRequestID": "26', "status": 200}, Unknown, "unknown"),
        ({"body": "[" * 5000, "status": 200}, Unknown, "unknown"),
        ({"body": "x" * (MAX_ANSWER + 10), "status": 200}, Unknown, "unknown"),
        ({"json": [], "status": 200}, Unknown, "unknown"),
        ({"json": {}, "status": 200}, Unknown, "unknown"),
        ({"json": {**ACCEPTED, "CheckoutRequestID": ""}}, Unknown, "unknown"),
        ({"json": {**ACCEPTED, "CheckoutRequestID": 7}}, Unknown, "unknown"),
        ({"json": {**ACCEPTED, "ResponseCode": "1"}}, Unknown, "unknown"),
        ({"json": {"ResponseCode": "1", "ResponseDescription": "Rejected"}}, Refused, "refused"),
        ({"status": 302, "headers": {"Location": "http://169.254.169.254/"}}, Unknown, "unknown"),
        ({"body": requests.ReadTimeout()}, Unknown, "unknown"),
        ({"body": requests.ConnectionError()}, Unknown, "unknown"),
        ({"body": requests.exceptions.ChunkedEncodingError()}, Unknown, "unknown"),
        ({"body": requests.ConnectTimeout()}, NotSent, "not_sent"),
        (
            {"body": requests.exceptions.SSLError(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version"))},
            Unknown,
            "unknown",
        ),
    ],
)
def test_answer_to_a_push_raises_the_matching_error(wire, answer, error, code):
    wire.push(**answer)

    with pytest.raises(DarajaError) as caught:
        push()

    assert (type(caught.value), caught.value.code) == (error, code)


@pytest.mark.parametrize("reason", ["CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER"])
def test_failed_tls_handshake_is_not_sent(wire, reason):
    error = ssl.SSLError(1, "text")
    error.reason = reason
    wrapped = urllib3.exceptions.MaxRetryError(None, "/", urllib3.exceptions.SSLError(error))
    wire.push(body=requests.exceptions.SSLError(wrapped))

    with pytest.raises(NotSent):
        push()


def test_tls_error_after_the_handshake_is_unknown(wire):
    error = ssl.SSLError(1, "text")
    error.reason = "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"
    wire.push(body=requests.exceptions.SSLError(urllib3.exceptions.SSLError(error)))

    with pytest.raises(Unknown):
        push()


@pytest.mark.parametrize("code", ["0", "1032", "4999", "17"])
def test_query_returns_any_result_code(wire, code):
    wire.query(json={**ACCEPTED, "ResultCode": code, "ResultDesc": "x"})

    assert query().result_code == code


@pytest.mark.parametrize(
    "answer",
    [
        refusal("500.001.1001", "The transaction is being processed", 500),
        refusal("500.001.1001", "The transaction does not Exist", 500),
        refusal("400.002.02", "Bad Request - Invalid CheckoutRequestID", 400),
        {"json": ACCEPTED},
        {"body": "", "status": 500},
    ],
)
def test_query_without_result_raises(wire, answer):
    wire.query(**answer)

    with pytest.raises(DarajaError):
        query()


# --- The token ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", ["3599", 3599])
def test_one_token_serves_many_calls(wire, seconds):
    wire.replace("GET", settings.DARAJA_BASE_URL + OAUTH, json={"access_token": TOKEN, "expires_in": seconds})
    wire.push()

    for _ in range(3):
        push()

    assert len(wire.sent(OAUTH)) == 1
    asked = wire.sent(OAUTH)[0]
    assert asked.headers["Authorization"] == requests.auth._basic_auth_str("simulator-key", "simulator-secret")
    assert asked.path_url == f"{OAUTH}?grant_type=client_credentials"


@pytest.mark.parametrize("refused", TOKEN_REFUSALS)
def test_refused_token_is_renewed_and_the_call_repeated_once(wire, refused):
    wire.push(**refused)
    wire.push()
    wire.replace("GET", settings.DARAJA_BASE_URL + OAUTH, json={"access_token": TOKEN, "expires_in": "3599"})
    wire.token(json={"access_token": NEXT_TOKEN, "expires_in": "3599"})

    push()

    assert [request.headers["Authorization"] for request in wire.sent(PUSH)] == [
        f"Bearer {TOKEN}",
        f"Bearer {NEXT_TOKEN}",
    ]


@pytest.mark.parametrize("refused", TOKEN_REFUSALS)
def test_token_refused_twice_raises_without_showing_the_token(wire, refused, caplog):
    wire.push(**refused)

    with caplog.at_level(logging.DEBUG), pytest.raises(Refused) as caught:
        push()

    assert (len(wire.sent(PUSH)), len(wire.sent(OAUTH))) == (2, 2)
    assert TOKEN not in f"{caught.value!r} {caught.value} {caplog.text}"
    assert caught.value.__cause__ is None or TOKEN not in str(caught.value.__cause__)


def test_expired_token_is_replaced(wire):
    wire.push()
    push()
    DarajaToken.objects.update(expires_at=NOON.replace(year=2020))

    push()

    assert len(wire.sent(OAUTH)) == 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"body": "", "status": 400}, Refused),  # a wrong key or secret
        ({"body": "", "status": 401}, Refused),
        (refusal("400.008.01", "Invalid Authentication passed", 400), Refused),
        (refusal("400.008.02", "Invalid grant type passed", 400), Refused),
        ({"body": "", "status": 503}, NotSent),
        ({"json": {"access_token": "", "expires_in": "3599"}}, NotSent),
        ({"json": {"access_token": "a\nb", "expires_in": "3599"}}, NotSent),
        ({"json": {"access_token": TOKEN, "expires_in": "soon"}}, NotSent),
        ({"json": {"access_token": TOKEN}}, NotSent),
        ({"body": requests.ReadTimeout()}, NotSent),
        (refusal("500.003.02", "Error Occurred: Spike Arrest Violation", 500), Busy),
    ],
)
def test_without_a_token_the_push_is_not_sent(wire, answer, error):
    wire.replace("GET", settings.DARAJA_BASE_URL + OAUTH, **answer)

    with pytest.raises(DarajaError) as caught:
        push()

    assert type(caught.value) is error
    assert wire.sent(PUSH) == []
    assert DarajaToken.objects.get().fetching_until is None


def test_wrong_consumer_key_error_names_the_settings(wire):
    wire.replace("GET", settings.DARAJA_BASE_URL + OAUTH, body="", status=400)

    with pytest.raises(Refused) as caught:
        push()

    assert str(caught.value) == (
        "Safaricom refuses DARAJA_CONSUMER_KEY and DARAJA_CONSUMER_SECRET: Safaricom answered 400."
    )


def test_token_of_another_consumer_key_is_never_used(wire, settings):
    wire.push()
    push()

    settings.DARAJA_CONSUMER_KEY = "another"
    push()

    assert len(wire.sent(OAUTH)) == 2


def test_repr_does_not_show_the_token():
    token = client.Token(TOKEN, 1)

    assert TOKEN not in repr(token)


@pytest.mark.django_db(transaction=True)
def test_fifty_concurrent_calls_fetch_one_token(wire):
    def slow_token(request):
        time.sleep(0.2)
        return 200, {}, json.dumps({"access_token": TOKEN, "expires_in": 3599})

    wire.remove("GET", settings.DARAJA_BASE_URL + OAUTH)
    wire.add_callback("GET", settings.DARAJA_BASE_URL + OAUTH, callback=slow_token)
    wire.push()
    together, failed = threading.Barrier(50), []

    def call():
        together.wait()
        try:
            push()
        except Exception as error:
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=call) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []
    assert (len(wire.sent(OAUTH)), len(wire.sent(PUSH))) == (1, 50)


@pytest.mark.parametrize("year", [2021, 2099])  # the second: written before the clock was set back
def test_lease_of_a_dead_process_expires(wire, year):
    wire.push()
    push()
    DarajaToken.objects.update(expires_at=NOON.replace(year=2020), fetching_until=NOON.replace(year=year))

    push()

    assert len(wire.sent(OAUTH)) == 2


# --- Real sockets -----------------------------------------------------------------------------------


@pytest.fixture
def server(settings):
    """A server that answers token requests at once and all others with `answer`."""

    class Handler(BaseHTTPRequestHandler):
        answer = staticmethod(lambda handler: None)

        def do_GET(self):
            self.reply(json.dumps({"access_token": TOKEN, "expires_in": "3599"}).encode())

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            type(self).answer(self)

        def reply(self, body, status=200, **headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    settings.DARAJA_BASE_URL = f"http://127.0.0.1:{server.server_port}"
    yield Handler
    server.shutdown()
    server.server_close()
    thread.join()


def test_redirect_is_not_followed(server):
    seen = []

    def redirect(handler):
        seen.append(handler.path)
        handler.reply(b"", 307, Location="/elsewhere")

    server.answer = staticmethod(redirect)

    with pytest.raises(Unknown):
        push()
    assert seen == [PUSH]


def test_endless_answer_is_read_up_to_its_limit(server):
    def flood(handler):
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x" * 65536)
        except OSError:
            handler.close_connection = True

    server.answer = staticmethod(flood)

    with pytest.raises(Unknown):
        push()


def test_connection_reset_during_the_answer_is_unknown(server):
    def cut(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "500")
        handler.end_headers()
        handler.wfile.write(b'{"MerchantRequestID": "26')
        handler.close_connection = True

    server.answer = staticmethod(cut)

    with pytest.raises(Unknown):
        push()


def test_slow_answer_ends_at_the_deadline(server, monkeypatch):
    monkeypatch.setattr(client, "DEADLINE", 0.3)

    def drip(handler):
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(100):
                handler.wfile.write(b"x" * 9000)
                time.sleep(0.2)
        except OSError:
            handler.close_connection = True

    server.answer = staticmethod(drip)

    with pytest.raises(Unknown):
        push()


def test_server_without_answer_is_unknown(server, monkeypatch):
    monkeypatch.setattr(client, "TIMEOUT", (1, 0.2))
    server.answer = staticmethod(lambda handler: time.sleep(0.5))

    with pytest.raises(Unknown):
        push()


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://no-such-host.invalid", "https://127.0.0.1:{port}"])
def test_unreachable_server_is_not_sent(server, settings, address):
    push_url = settings.DARAJA_BASE_URL
    settings.DARAJA_BASE_URL = address.format(port=push_url.rpartition(":")[2])

    with pytest.raises(NotSent):
        push()


# --- The rate and the breaker -------------------------------------------------------------------------


@pytest.fixture
def gate(settings, monkeypatch):
    """A rate of one call in ten seconds and four at once, so that a slow machine does not allow a fifth."""
    settings.DARAJA_CALLS_PER_SECOND = 0.1
    monkeypatch.setattr(limits, "BURST", 40)


def acquire_all(**how):
    """Return how many calls may be made at once."""
    for number in range(100):
        try:
            limits.acquire(**how)
        except Busy:
            return number
    return 100


def test_burst_is_limited(gate):
    assert acquire_all() == 4


def test_calls_that_are_not_urgent_leave_half_of_the_burst(gate):
    assert (acquire_all(urgent=False), acquire_all()) == (2, 2)


def test_refused_call_says_how_long_to_wait(gate):
    acquire_all()

    with pytest.raises(Busy) as busy:
        limits.acquire()

    assert 8 < busy.value.retry_after <= 10


def test_rate_recovers(gate):
    acquire_all()
    DarajaGate.objects.update(next_at=NOON.replace(year=2020))

    assert acquire_all() == 4


def test_back_off_stops_all_calls(gate):
    limits.acquire()

    limits.back_off(30)

    with pytest.raises(Busy) as busy:
        limits.acquire()
    assert 28 < busy.value.retry_after <= 30


def test_gate_opens_after_the_clock_was_set_back(gate):
    limits.acquire()
    for _ in range(limits.TRIP_AT):
        limits.record_failure()
    DarajaGate.objects.update(next_at=NOON.replace(year=2099), open_until=NOON.replace(year=2099))

    limits.acquire()
    limits.record_success()

    assert acquire_all() == 3


def test_breaker_opens_after_five_failures_then_allows_one_trial(gate):
    limits.acquire()
    for _ in range(limits.TRIP_AT):
        limits.record_failure()

    with pytest.raises(Busy) as busy:
        limits.acquire()
    assert 28 < busy.value.retry_after <= 30

    DarajaGate.objects.update(open_until=NOON.replace(year=2020))
    assert acquire_all() == 1


def test_success_closes_the_breaker(gate):
    limits.acquire()
    for _ in range(limits.TRIP_AT):
        limits.record_failure()

    limits.record_success()

    assert acquire_all() == 3


def test_success_resets_the_failure_count(gate):
    limits.acquire()
    for _ in range(limits.TRIP_AT - 1):
        limits.record_failure()
    limits.record_success()
    limits.record_failure()

    assert acquire_all() == 3


@pytest.mark.django_db(transaction=True)
def test_concurrent_processes_share_one_rate(gate):
    through, together = [], threading.Barrier(20)

    def call():
        together.wait()
        try:
            limits.acquire()
            through.append(1)
        except Busy:
            pass
        finally:
            connection.close()

    threads = [threading.Thread(target=call) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(through) == 4


@pytest.mark.parametrize(
    ("answer", "failures"),
    [
        ({"body": requests.ReadTimeout()}, 1),
        ({"body": requests.ConnectTimeout()}, 1),
        ({"body": "", "status": 503}, 1),
        (refusal("400.002.02", "Bad Request - Invalid Amount", 400), 0),
        (refusal("500.003.02", "System is busy. Please try again in few minutes.", 500), 0),
    ],
)
def test_only_unknown_outcomes_count_as_failures(wire, answer, failures):
    wire.push(**answer)

    with pytest.raises(DarajaError):
        push()

    assert DarajaGate.objects.get().failures == failures
