"""Sending of callbacks over real HTTP: each once, whatever the answer, as Safaricom does."""

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
    """Send one callback with the headers of Safaricom. Redirects, proxies and saved logins are not used."""
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
    """Sends callbacks when they are due.

    A callback is marked as sent before the attempt. If the process is killed between, it is lost, but not sent twice.
    """

    def __init__(self, book: Book, options: Options):
        self._book, self._options = book, options
        self._pool = ThreadPoolExecutor(max_workers=32, thread_name_prefix="courier")

    def stop(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def run_in_background(self, work: Callable[..., object], *args: object, **kwargs: object) -> None:
        """Run something slow in another thread. Exceptions are logged."""

        def run() -> None:
            try:
                work(*args, **kwargs)
            except Closed:
                log.debug("the simulator stopped before %s", work.__name__)
            except Exception:
                log.exception("%s failed", work.__name__)

        self._pool.submit(run)

    def send_due(self, now: float) -> float | None:
        """Send the callbacks that are due, and return the time of the next one."""
        while claimed := self._claim(now):
            for delivery in claimed:
                self.run_in_background(self.send, delivery)
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
        """Make the only attempt, and save its result."""
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
        self._save_result(delivery, status, error)

    def _save_result(self, delivery: dict, status: int | None, error: str | None) -> None:
        log.info("callback %s (%s): %s", delivery["id"], delivery["kind"], status or error)
        with self._book.change() as db:
            db.execute("UPDATE deliveries SET http_status = ?, error = ? WHERE id = ?", (status, error, delivery["id"]))
            if delivery["kind"] != "held":
                # Callbacks that wait for another one may be sent now.
                db.execute(
                    "UPDATE deliveries SET due_at = ? WHERE state = 'waiting' AND kind = 'held' AND about <> ?",
                    (time.time(), delivery["about"]),
                )


class Scheduler(threading.Thread):
    """The thread that runs everything that is due: payers act, prompts expire, callbacks are sent."""

    def __init__(self, book: Book, steps: list):
        super().__init__(name="scheduler", daemon=True)
        self._book, self._steps = book, steps
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()
        self._book.notify()

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
                    log.exception("the scheduler failed in %s", step.__name__)
            times = [at for at in due if at is not None]
            wait = max(0.0, min([1.0, *(at - time.time() for at in times)]))
            self._book.wait_for_change(version, wait)
