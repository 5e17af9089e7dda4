"""Puts the simulator together and serves it: `Simulator(options, book_path, ...)`, `start()`, `stop()`."""

import threading
from pathlib import Path
from typing import Any

from payments.simulator.book import Book
from payments.simulator.c2b import CustomerPayments
from payments.simulator.control import Control
from payments.simulator.courier import Clockwork, Courier
from payments.simulator.daraja import Daraja
from payments.simulator.faults import Faults
from payments.simulator.money import Money
from payments.simulator.options import Options
from payments.simulator.prompts import Prompts
from payments.simulator.results import Results
from payments.simulator.web import Request, Response, Server


class Simulator:
    """A whole simulated Safaricom behind one port. Port 0 takes a free one; `url` says which. `poll` is how many
    seconds stop() may take to be noticed."""

    def __init__(
        self,
        options: Options | None = None,
        *,
        book: Path | str = ":memory:",
        host: str = "127.0.0.1",
        port: int = 0,
        poll: float = 0.1,
    ):
        self.options = options or Options()
        # The port first: when it is taken, nothing has been touched yet.
        self._server = Server((host, port), self._handle)
        self.book = Book(book)
        self.faults = Faults(self.options.seed)
        self.courier = Courier(self.book, self.options)
        common: dict[str, Any] = {"options": self.options, "book": self.book, "faults": self.faults}
        money = Money(**common)
        prompts = Prompts(**common, courier=self.courier, money=money)
        self._daraja = Daraja(
            **common,
            prompts=prompts,
            customer_payments=CustomerPayments(**common, courier=self.courier, money=money),
            results=Results(**common, money=money),
        )
        self._control = Control(**common, money=money, prompts=prompts)
        self._clockwork = Clockwork(self.book, [prompts.pass_time, self.courier.send_due])
        self._thread = threading.Thread(target=self._server.serve_forever, args=[poll], name="simulator", daemon=True)

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def start(self) -> None:
        self._clockwork.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop serving; what is still owed stays in the book for the next start."""
        self._server.shutdown()
        self._server.server_close()
        self.book.let_go()
        self._clockwork.stop()
        self._clockwork.join(2)
        self.courier.stop()
        self.book.close()

    def _handle(self, request: Request) -> Response:
        if request.path == "/":
            return Response(302, headers={"Location": "/phone/"})
        if request.path.startswith(("/control/", "/phone/")) or request.path == "/phone":
            return self._control.handle(request)
        return self._daraja.handle(request)
