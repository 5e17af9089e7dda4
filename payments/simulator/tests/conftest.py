"""A simulator, and the server of a business that receives its callbacks, both on real sockets."""

import base64
import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from payments.simulator.options import SANDBOX_PASSKEY, Options
from payments.simulator.server import Simulator

STAMP = "20210628092408"
PASSWORD = base64.b64encode(f"174379{SANDBOX_PASSKEY}{STAMP}".encode()).decode()


class Listener:
    """The server of a business: it stores callbacks in their order, and answers them."""

    def __init__(self):
        self.heard = queue.Queue()
        self.replies = {}
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                listener.heard.put((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                status, reply = listener.replies.get(self.path, (200, b'{"ResultCode": 0, "ResultDesc": "Accepted"}'))
                self.send_response(status)
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *args):
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128  # many callbacks at once must not be refused

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True)
        self._thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def next(self, seconds=5):
        """Return the path and JSON body of the next callback."""
        path, _, body = self.heard.get(timeout=seconds)
        return path, json.loads(body)

    def next_raw(self, seconds=5):
        return self.heard.get(timeout=seconds)

    def silent(self, seconds=0.25):
        """Return whether no callback arrives within this time."""
        try:
            self.heard.get(timeout=seconds)
        except queue.Empty:
            return True
        return False

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


class Client:
    """A client of Daraja and of the control URLs."""

    def __init__(self, simulator, listener):
        self.simulator, self.listener, self.url = simulator, listener, simulator.url
        self._token = None

    def token(self):
        answer = requests.get(
            f"{self.url}/oauth/v1/generate?grant_type=client_credentials",
            auth=("simulator-key", "simulator-secret"),
            timeout=5,
        )
        return answer.json()["access_token"]

    def post(self, path, body, **kwargs):
        self._token = self._token or self.token()
        headers = {"Authorization": f"Bearer {self._token}", **kwargs.pop("headers", {})}
        return requests.post(f"{self.url}{path}", json=body, headers=headers, timeout=10, **kwargs)

    def push(self, **fields):
        return self.post("/mpesa/stkpush/v1/processrequest", self.push_body(**fields))

    def push_with(self, token):
        headers = {"Authorization": f"Bearer {token}"}
        return requests.post(
            f"{self.url}/mpesa/stkpush/v1/processrequest", json=self.push_body(), headers=headers, timeout=5
        )

    def push_body(self, **fields):
        return {
            "BusinessShortCode": 174379,
            "Password": PASSWORD,
            "Timestamp": STAMP,
            "TransactionType": "CustomerPayBillOnline",
            "Amount": 1500,
            "PartyA": 254700000001,
            "PartyB": 174379,
            "PhoneNumber": 254700000001,
            "CallBackURL": f"{self.listener.url}/stk/token",
            "AccountReference": "KX12",
            "TransactionDesc": "Gym",
            **fields,
        }

    def query(self, checkout):
        body = {
            "BusinessShortCode": "174379",
            "Password": PASSWORD,
            "Timestamp": STAMP,
            "CheckoutRequestID": checkout,
        }
        return self.post("/mpesa/stkpushquery/v1/query", body)

    def answer(self, checkout, action):
        return requests.post(f"{self.url}/control/prompts/{checkout}/answer/", json={"action": action}, timeout=10)

    def control(self, path, body=None):
        if body is None:
            return requests.get(f"{self.url}/control/{path}", timeout=30)
        return requests.post(f"{self.url}/control/{path}", json=body, timeout=30)


@pytest.fixture
def listener():
    listener = Listener()
    yield listener
    listener.stop()


@pytest.fixture
def start(listener):
    """Start simulators: start(speed=..., book=...) -> Client."""
    running = []

    def begin(book=":memory:", **options):
        options = {"speed": 50, "seed": 1, "rule_17": "off", **options}
        simulator = Simulator(Options(**options), book=book, poll=0.01)
        simulator.start()
        running.append(simulator)
        return Client(simulator, listener)

    yield begin
    for simulator in running:
        simulator.stop()


@pytest.fixture
def client(start):
    return start()
