"""The simulator as one object: `Simulator(options, book=path)`, `start()`, `stop()`."""

import threading
from pathlib import Path
from typing import Any

from payments.simulator.book import Book
from payments.simulator.c2b import CustomerPayments
from payments.simulator.control import Control
from payments.simulator.courier import Courier, Scheduler
from payments.simulator.daraja import Daraja
from payments.simulator.faults import Faults
from payments.simulator.money import Money
from payments.simulator.options import Options
from payments.simulator.prompts import Prompts
from payments.simulator.results import Results
from payments.simulator.web import Request, Response, Server


class Simulator:
    """A simulated Safaricom on one port. With port 0 it uses a free port, which `url` shows.

    `poll`: seconds until stop() takes effect.
    """

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
        # The port comes first: if it is in use, no file was changed yet.
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
        self._scheduler = Scheduler(self.book, [prompts.run_due, self.courier.send_due])
        self._thread = threading.Thread(target=self._server.serve_forever, args=[poll], name="simulator", daemon=True)

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def start(self) -> None:
        self._scheduler.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop. Callbacks that are not sent yet stay in the book for the next start."""
        self._server.shutdown()
        self._server.server_close()
        self.book.end_waits()
        self._scheduler.stop()
        self._scheduler.join(2)
        self.courier.stop()
        self.book.close()

    def _handle(self, request: Request) -> Response:
        if request.path == "/":
            return Response(302, headers={"Location": "/phone/"})
        if request.path.startswith(("/control/", "/phone/")) or request.path == "/phone":
            return self._control.handle(request)
        return self._daraja.handle(request)
