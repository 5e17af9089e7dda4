"""gunicorn as on a server: it moves its host's spool, and its restarts lose no callback."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from config.tests.web_server import WebServer
from payments.callbacks import inbox, spool
from payments.models import Callback, Receipt
from payments.tests.bodies import c2b_body
from payments.tests.invariants import broken_invariants

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True), pytest.mark.server]


@pytest.fixture
def web_server(tmp_path, settings):
    settings.STATE_DIR, settings.CLUB_CLOCK_FILE = tmp_path, None
    with WebServer(tmp_path) as server:
        yield server


def code(number):
    return f"TKN{number:07d}"


def confirmation(number):
    return c2b_body(amount=500, account="", code=code(number), moved_at=timezone.now(), sender="")


def spool_confirmations(numbers):
    for number in numbers:
        message = spool.Message("c2b_confirmation", confirmation(number), {}, None, timezone.now(), None)
        spool.append(message)


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def require_receipts(numbers):
    """Apply what the web processes stored, as a worker does, and check that each money is in the books once."""
    inbox.apply_waiting(now=timezone.now(), limit=10_000)
    assert sorted(Receipt.objects.values_list("code", flat=True)) == [code(number) for number in numbers]
    assert broken_invariants() == {}


def test_web_host_without_worker_moves_its_spool(web_server):
    spool_confirmations(range(20))
    web_server.start()
    web_server.wait_until_ready()

    wait_until(lambda: spool.status().waiting == 0)

    assert set(Callback.objects.values_list("outcome", flat=True)) == {"new"}  # moved, and left to the workers
    assert requests.get(f"{web_server.url}/readyz", timeout=10).json()["spool"] == {
        "waiting": 0,
        "oldest_seconds": None,
        "set_aside": 0,
    }
    web_server.stop()
    require_receipts(range(20))


def test_web_server_killed_while_it_moves_the_spool_loses_nothing(web_server):
    spool_confirmations(range(200))
    for moved in (20, 60):
        web_server.start()
        wait_until(lambda moved=moved: spool.status().waiting <= 200 - moved)
        web_server.kill()
    assert spool.status().waiting > 0, "the spool was moved too fast to be interrupted"

    web_server.start()
    wait_until(lambda: spool.status().waiting == 0)

    web_server.stop()
    require_receipts(range(200))


class Safaricom:
    """A stream of paybill confirmations, each sent once on a connection of its own, as Safaricom does."""

    def __init__(self, url):
        self.url = url + reverse("payments:c2b-confirmation", args=[settings.C2B_SECRET])
        self.statuses = {}  # by number; 0 when no answer came
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._send_all)

    def _send(self, number):
        try:
            answer = requests.post(
                self.url,
                confirmation(number),
                headers={"Content-Type": "application/json", "Connection": "close"},
                timeout=60,
            )
            self.statuses[number] = answer.status_code
        except requests.RequestException:
            self.statuses[number] = 0

    def _send_all(self):
        with ThreadPoolExecutor(50) as pool:
            number = 0
            while not self._stopping.wait(0.02):
                pool.submit(self._send, number)
                number += 1

    def wait_for_answers(self, more):
        answered = len(self.statuses)
        wait_until(lambda: len(self.statuses) > answered + more)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        self._thread.join()


def test_restarts_under_a_stream_of_callbacks_lose_none(web_server):
    web_server.start()
    web_server.wait_until_ready()

    with Safaricom(web_server.url) as safaricom:
        for _ in range(3):
            safaricom.wait_for_answers(40)
            web_server.stop()
            web_server.start()  # the callbacks meanwhile wait in the socket's queue
        web_server.wait_until_ready()

    assert set(safaricom.statuses.values()) == {200}
    require_receipts(range(len(safaricom.statuses)))


def test_reload_under_a_stream_of_callbacks_loses_none(web_server):
    web_server.start()
    web_server.wait_until_ready()

    with Safaricom(web_server.url) as safaricom:
        for _ in range(3):
            safaricom.wait_for_answers(40)
            web_server.signal(signal.SIGHUP)
        safaricom.wait_for_answers(100)

    assert set(safaricom.statuses.values()) == {200}
    require_receipts(range(len(safaricom.statuses)))
