"""An HTTP server with the standard library: one thread for each connection, and answers with faults."""

import contextlib
import json
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from payments.simulator.book import Closed

log = logging.getLogger("daraja_simulator")
MAX_BODY_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Request:
    """A request that was read completely."""

    verb: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case
    body: bytes = b""


@dataclass(frozen=True)
class Response:
    """An answer. `wait` delays it, `cut` closes the connection without it, `short` closes it before its end."""

    status: int = 200
    body: bytes = b""
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0
    cut: bool = False
    short: bool = False


def json_response(body: object, status: int = 200) -> Response:
    return Response(status, json.dumps(body, separators=(",", ":")).encode())


class Server(ThreadingHTTPServer):
    """A server that calls one function from Request to Response."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], handle: Callable[[Request], Response]):
        self.handle_simulated = handle
        super().__init__(address, Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        log.debug("a client closed its connection", exc_info=True)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "Daraja"
    sys_version = ""
    timeout = 300
    wbufsize = -1  # an answer is sent in one piece
    disable_nagle_algorithm = True
    server: Server

    def _answer(self) -> None:
        length = self.headers.get("Content-Length") or "0"
        if not length.isdigit() or int(length) > MAX_BODY_BYTES or self.headers.get("Transfer-Encoding"):
            self.close_connection = True
            self._write(Response(413))
            return
        parts = urlsplit(self.path)
        request = Request(
            verb=self.command,
            path=unquote(parts.path),
            query={key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()},
            headers={key.lower(): value for key, value in self.headers.items()},
            body=self.rfile.read(int(length)),
        )
        try:
            response = self.server.handle_simulated(request)
        except Closed:
            response = Response(503)
        except Exception:
            log.exception("%s %s failed", request.verb, request.path)
            response = json_response({"error": "The simulator has a bug. Its log has the traceback."}, 500)
        if response.wait:
            time.sleep(response.wait)
        if response.cut:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._write(response)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_HEAD = _answer

    def _write(self, response: Response) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", response.kind)
        self.send_header("Content-Length", str(len(response.body) + (64 if response.short else 0)))
        for name, value in response.headers.items():
            self.send_header(name, value)
        if response.short:
            self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the book has the calls that matter."""
