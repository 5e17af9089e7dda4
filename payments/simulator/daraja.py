"""The endpoints of Daraja: access tokens, errors, STK push and query."""

import base64
import binascii
import json
import secrets
import time
from collections.abc import Callable

from payments.simulator import checks, wire
from payments.simulator.book import Book
from payments.simulator.c2b import CustomerPayments
from payments.simulator.checks import EmptyRefusal, Refusal
from payments.simulator.faults import ACTS_FIRST, Behaviour, Faults
from payments.simulator.money import NotFound
from payments.simulator.options import TOKEN_SECONDS, Options
from payments.simulator.prompts import Prompts
from payments.simulator.results import Results
from payments.simulator.web import Request, Response

SLOW_SECONDS = 20
HTML = "text/html; charset=utf-8"
FIREWALL_PAGE = (
    b"<html><head><title>Request Rejected</title></head><body>The requested URL was rejected. "
    b"Please consult with your administrator.<br><br>Your support ID is: 4417736402283301872</body></html>"
)
PROXY_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
# The error for a wrong access token, by API (portal pages). {token} is the token of the caller.
BAD_TOKEN = {
    "push": (404, "404.001.03", "Invalid Access Token"),
    "query": (400, "400.003.01", "Invalid Access Token"),
    "reversal": (404, "404.001.03", "Invalid Access Token"),
    "c2b": (400, "400.003.01", "Invalid Access Token"),
    "status": (400, "400.003.01", "Invalid Access Token"),
    "b2c": (401, "401.002.01", "Error Occurred - Invalid Access Token - {token}"),
    "balance": (401, "401.002.01", "Error Occurred - Invalid Access Token - {token}"),
    "pull": (401, "401.001", "Invalid Access Token"),
}


class Daraja:
    """Safaricom's API."""

    def __init__(
        self,
        *,
        options: Options,
        book: Book,
        faults: Faults,
        prompts: Prompts,
        customer_payments: CustomerPayments,
        results: Results,
    ):
        self.options, self.book, self.faults, self.prompts = options, book, faults, prompts
        self.routes: dict[str, tuple[str, Callable[[dict, Behaviour], object]]] = {
            "/mpesa/stkpush/v1/processrequest": ("push", self.push),
            "/mpesa/stkpushquery/v1/query": ("query", self.query),
            **customer_payments.routes(),
            **results.routes(),
        }

    def handle(self, request: Request) -> Response:
        """Answer one request to Daraja."""
        if request.path == "/oauth/v1/generate":
            return self._guarded("oauth", lambda: self.token(request), self.faults.of_call("oauth").answer)
        if request.path not in self.routes:
            return self._refused(Refusal(404, "404.001.01", "Resource not found"))
        endpoint, call = self.routes[request.path]
        try:
            # For Pull Transactions the portal says GET, but its sample is a POST.
            if request.verb != "POST" and (request.verb, endpoint) != ("GET", "pull"):
                raise Refusal(405, "405.001", f"{request.verb} Method Not Allowed")
            self._authorise(request, endpoint)
            body = self._body(request)
            behaviour = self._behaviour(endpoint, body)
        except Refusal as refusal:
            return self._refused(refusal)
        fault = behaviour.answer
        if fault == "token_invalid":
            self._forget_tokens()
            return self._refused(self._bad_token(endpoint, request))
        return self._guarded(endpoint, lambda: call(body, behaviour), fault)

    # --- Steps of every request ------------------------------------------------------------------

    def _behaviour(self, endpoint: str, body: dict) -> Behaviour:
        if endpoint != "push":
            return self.faults.of_call(endpoint)
        checks.push(body, self.options)
        phone = str(body["PhoneNumber"])
        return self.faults.of_push(phone, self.faults.next_push(phone))

    def _guarded(self, endpoint: str, act: Callable[[], object], fault: str) -> Response:
        """Run the endpoint and answer, with the fault."""
        if fault and fault not in ACTS_FIRST:
            return self._faulty(fault)
        try:
            answer = act()
        except Refusal as refusal:
            return self._refused(refusal)
        except EmptyRefusal as refusal:
            return Response(refusal.status)
        if isinstance(answer, Response):
            return answer
        return self._faulty(fault, wire.encode(answer)) if fault else Response(200, wire.encode(answer))

    def _faulty(self, fault: str, body: bytes = b"") -> Response:
        refusals = {
            "error_500": Refusal(500, "500.001.1001", "Internal Server Error"),
            "error_after": Refusal(500, "500.001.1001", "Internal Server Error"),
            "busy_500": Refusal(500, "500.003.02", "System is busy. Please try again in few minutes."),
            "spike_500": Refusal(500, "500.003.02", "Error Occurred: Spike Arrest Violation"),
            "quota_500": Refusal(500, "500.003.03", "Quota Violation"),
            "no_iccid": Refusal(500, "500.001.1001", "[CBS - ] No ICCID found"),
            "maintenance_500": Refusal(500, "500.002.1001", "Service is currently under maintenance"),
            "token_invalid": Refusal(404, "404.001.03", "Invalid Access Token"),
            "locked": Refusal(
                500,
                "500.001.1001",
                "[STK] - Unable to lock subscriber, a transaction is already in process for the current subscriber",
            ),
        }
        if fault in refusals:
            return self._refused(refusals[fault])
        if fault in ("lost_answer", "cut_before"):
            return Response(cut=True)
        return {
            "slow": Response(200, body, wait=self.options.real(SLOW_SECONDS)),
            "too_many_429": Response(429, b"<h1>429 Too Many Requests</h1>", kind=HTML),
            "html_403": Response(403, FIREWALL_PAGE, kind=HTML),
            "html_502": Response(502, PROXY_PAGE, kind=HTML),
            "garbage": Response(200, b"\x00\xff{]not json"),
            "empty": Response(200),
            "half_json": Response(200, body[: len(body) // 2], short=True),
        }[fault]

    def _refused(self, refusal: Refusal) -> Response:
        # The id of an error need not be the same in each seeded run.
        request_id = refusal.request_id
        if request_id is None:
            request_id = wire.request_id(self.faults.rng("refusal", time.time_ns()))
        body = {"requestId": request_id, "errorCode": refusal.code, "errorMessage": refusal.message}
        if not request_id:
            del body["requestId"]
        return Response(refusal.status, wire.encode(body))

    def _body(self, request: Request) -> dict:
        if "json" not in request.headers.get("content-type", ""):
            # Portal, STK FAQ: this is the error for a missing JSON content type.
            raise checks.invalid("BusinessShortCode")
        try:
            body = json.loads(request.body)
        except (ValueError, RecursionError):
            raise Refusal(400, "400.002.05", "Invalid Request Payload") from None
        if not isinstance(body, dict):
            raise Refusal(400, "400.002.05", "Invalid Request Payload")
        return body

    # --- Tokens ----------------------------------------------------------------------------------

    def _authorise(self, request: Request, endpoint: str) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise Refusal(404, "404.001.04", "Invalid Authentication Header")
        found = self.book.row("SELECT expires_at FROM tokens WHERE token = ?", token.strip())
        if found is None or found["expires_at"] < time.time():
            raise self._bad_token(endpoint, request)

    def _bad_token(self, endpoint: str, request: Request) -> Refusal:
        status, code, text = BAD_TOKEN[endpoint]
        token = request.headers.get("authorization", "").partition(" ")[2]
        return Refusal(status, code, text.format(token=token))

    def _forget_tokens(self) -> None:
        with self.book.change() as db:
            db.execute("DELETE FROM tokens")

    def token(self, request: Request) -> dict:
        """Answer with a new token, which ends the old one.

        :raises Refusal: the scheme is not Basic, or the grant type is not client_credentials
        :raises EmptyRefusal: a wrong key or secret, which Safaricom answers with 400 and no body
        """
        if request.verb != "GET":
            raise Refusal(404, "404.001.04", "Invalid Authentication Header")
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            raise Refusal(400, "400.008.01", "Invalid Authentication passed")
        if request.query.get("grant_type") != "client_credentials":
            raise Refusal(400, "400.008.02", "Invalid grant type passed")
        try:
            given = base64.b64decode(credentials.strip(), validate=True)
        except (binascii.Error, ValueError):
            raise EmptyRefusal from None
        expected = f"{self.options.consumer_key}:{self.options.consumer_secret}".encode()
        if not secrets.compare_digest(given, expected):
            raise EmptyRefusal
        token = secrets.token_urlsafe(21)  # 28 characters, as seen
        with self.book.change() as db:
            if self.options.tokens == "newest":
                db.execute("DELETE FROM tokens")
            db.execute("INSERT INTO tokens VALUES (?, 'app', ?)", (token, time.time() + TOKEN_SECONDS))
            number = db.execute("SELECT count(*) FROM tokens").fetchone()[0] + self.book.version
        as_text = self.options.expires_in == "string" or (self.options.expires_in == "mixed" and number % 2)
        return {"access_token": token, "expires_in": str(TOKEN_SECONDS) if as_text else TOKEN_SECONDS}

    # --- M-Pesa Express --------------------------------------------------------------------------

    def push(self, body: dict, behaviour: Behaviour) -> dict:
        fields = checks.push(body, self.options)
        prompt = self.prompts.push(fields, behaviour, ordinal=self.faults.pushes(fields["phone"]))
        if behaviour.callback == "early":
            self.prompts.pay_early(prompt)
        return wire.push_accepted(prompt)

    def query(self, body: dict, behaviour: Behaviour) -> object:
        """Answer with the state of a prompt, in one of the forms seen live."""
        checks.merchant(body, self.options)
        checkout = checks.text_of(body, "CheckoutRequestID")
        try:
            prompt = self.prompts.prompt(checkout)
        except NotFound:
            raise Refusal(500, "500.001.1001", "The transaction does not Exist") from None
        with self.book.change() as db:
            db.execute("UPDATE prompts SET queries = queries + 1 WHERE checkout_request_id = ?", (checkout,))
        fault = Behaviour(**json.loads(prompt["behaviour"])).query
        processing = Refusal(500, "500.001.1001", "The transaction is being processed", request_id=checkout)
        still_processing = wire.query_answer(prompt, code="4999", desc="The transaction is still under processing")
        if fault == "query_500":
            raise Refusal(500, "500.001.1001", "Internal Server Error")
        if fault == "unknown_id":
            raise Refusal(500, "500.001.1001", "The transaction does not Exist")
        if fault == "query_garbage":
            return Response(200, b"\x00\xff{]not json")
        if fault == "processing_4999":
            return still_processing
        if fault == "unlisted_code":
            return wire.query_answer(prompt, code="7777", desc=wire.RESULTS["7777"])
        if fault in ("says_cancelled", "says_paid") and not prompt["queries"]:
            code = "1032" if fault == "says_cancelled" else "0"
            return wire.query_answer(prompt, code=code, desc=wire.QUERY_RESULTS[code])
        if fault == "processing_500" or prompt["status"] in ("open", "answering"):
            if fault != "processing_500" and self.options.processing == "4999":
                return still_processing
            raise processing
        code = prompt["result_code"]
        answer = wire.query_answer(prompt, code=code, desc=wire.QUERY_RESULTS.get(code, prompt["result_desc"]))
        if fault == "query_slow":
            return Response(200, wire.encode(answer), wait=self.options.real(SLOW_SECONDS))
        return answer
