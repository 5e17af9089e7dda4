"""Delivers callbacks over real HTTP: each once, whatever is answered, as Safaricom does."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import requests

from payments.simulator.book import Book, Closed
from payments.simulator.options import Options

log = logging.getLogger("daraja_simulator")
REPLY_SECONDS = 10


def post(url: str, body: bytes, *, shortcode: str, ca_file: str, timeout: float) -> requests.Response:
    """Send one callback with the headers Safaricom's have. No redirect, proxy or saved login is followed."""
    with requests.Session() as session:
        session.trust_env = False
        return session.post(
            url,
            data=body,
            headers={"Content-Type": "application/json;charset=UTF-8", "Businessshortcode": shortcode},
            timeout=timeout,
            allow_redirects=False,
            verify=ca_file or True,
        )


class Courier:
    """Sends what the book owes when it is due. A delivery is marked as sent before the attempt, never after:
    killed in between, it is lost, and never sent twice."""

    def __init__(self, book: Book, options: Options):
        self._book, self._options = book, options
        self._pool = ThreadPoolExecutor(max_workers=32, thread_name_prefix="courier")

    def stop(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def elsewhere(self, work: Callable[..., object], *args: object, **kwargs: object) -> None:
        """Do something that may take long on another thread; what breaks there is logged."""

        def run() -> None:
            try:
                work(*args, **kwargs)
            except Closed:
                log.debug("the simulator stopped before %s", work.__name__)
            except Exception:
                log.exception("%s failed", work.__name__)

        self._pool.submit(run)

    def send_due(self, now: float) -> float | None:
        """Start what is due, and return when the next one will be."""
        while claimed := self._claim(now):
            for delivery in claimed:
                self.elsewhere(self.send, delivery)
        found = self._book.row("SELECT min(due_at) AS due_at FROM deliveries WHERE state = 'waiting'")
        return found["due_at"] if found else None

    def _claim(self, now: float) -> list[dict]:
        due = self._book.rows(
            "SELECT * FROM deliveries WHERE state = 'waiting' AND due_at <= ? ORDER BY due_at, id LIMIT 100", now
        )
        if due:
            with self._book.change() as db:
                db.executemany(
                    "UPDATE deliveries SET state = 'sent', sent_at = ? WHERE id = ?", [(now, row["id"]) for row in due]
                )
        return due

    def send(self, delivery: dict) -> None:
        """Make the one attempt and note how it went."""
        status, error = None, None
        try:
            answer = post(
                delivery["url"],
                delivery["body"],
                shortcode=delivery["shortcode"],
                ca_file=self._options.ca_file,
                timeout=REPLY_SECONDS,
            )
            status = answer.status_code
        except requests.RequestException as exception:
            error = type(exception).__name__
        self._note(delivery, status, error)

    def _note(self, delivery: dict, status: int | None, error: str | None) -> None:
        log.info("callback %s (%s): %s", delivery["id"], delivery["kind"], status or error)
        with self._book.change() as db:
            db.execute("UPDATE deliveries SET http_status = ?, error = ? WHERE id = ?", (status, error, delivery["id"]))
            if delivery["kind"] != "held":
                # Whatever was told to arrive after another callback may now go.
                db.execute(
                    "UPDATE deliveries SET due_at = ? WHERE state = 'waiting' AND kind = 'held' AND about <> ?",
                    (time.time(), delivery["about"]),
                )


class Clockwork(threading.Thread):
    """The one thread that makes time pass: expires prompts, lets people answer, sends what is due."""

    def __init__(self, book: Book, steps: list):
        super().__init__(name="clockwork", daemon=True)
        self._book, self._steps = book, steps
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()
        self._book.wake()

    def run(self) -> None:
        while not self._stopped.is_set():
            version = self._book.version
            now = time.time()
            due = []
            for step in self._steps:
                try:
                    due.append(step(now))
                except Closed:
                    return
                except Exception:
                    log.exception("the clockwork stumbled over %s", step.__name__)
            moments = [moment for moment in due if moment is not None]
            wait = max(0.0, min([1.0, *(moment - time.time() for moment in moments)]))
            self._book.wait_for_news(version, wait)
