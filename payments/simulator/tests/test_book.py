"""The book after a restart or a kill of the simulator."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time

import pytest
import requests
from django.conf import settings

from payments.simulator.options import Options
from payments.simulator.server import Simulator


def test_debits_are_unchanged_after_a_restart(start, listener, tmp_path):
    first = start(book=tmp_path / "book.sqlite3")
    first.answer(first.push().json()["CheckoutRequestID"], "pay")
    listener.next()
    before = first.control("book/").json()
    first.simulator.stop()

    second = start(book=tmp_path / "book.sqlite3")

    assert second.control("book/").json() == before
    assert listener.silent()


def test_interrupted_prompt_is_open_after_a_restart(start, listener, tmp_path):
    book = tmp_path / "book.sqlite3"
    first = start(book=book, speed=1)
    checkout = first.push().json()["CheckoutRequestID"]
    first.simulator.stop()
    with sqlite3.connect(book) as db:
        db.execute("UPDATE prompts SET status = 'answering'")
    db.close()

    second = start(book=book, speed=1)

    assert second.answer(checkout, "pay").json()["status"] == "paid"


def test_restart_sends_only_callbacks_that_were_not_started(start, listener, tmp_path):
    book = tmp_path / "book.sqlite3"
    first = start(book=book, speed=0.001)  # callbacks take minutes
    for phone in (254700000001, 254700000002):
        first.answer(first.push(PhoneNumber=phone).json()["CheckoutRequestID"], "pay")
    first.simulator.stop()
    with sqlite3.connect(book) as db:
        db.execute("UPDATE deliveries SET due_at = 0")
        db.execute("UPDATE deliveries SET state = 'sent' WHERE id = 1")
    db.close()

    start(book=book)

    _, body = listener.next()
    assert body["Body"]["stkCallback"]["CallbackMetadata"]["Item"][-1]["Value"] == 254700000002
    assert listener.silent()


def test_port_in_use_is_reported_before_a_file_is_written(tmp_path, client):
    port = int(client.url.rsplit(":", 1)[1])

    with pytest.raises(OSError, match="in use"):
        Simulator(Options(), book=tmp_path / "book.sqlite3", port=port)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_command_keeps_its_book_after_a_kill_and_stops_on_sigterm(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
        "ENVIRONMENT": "development",
    }
    command = [
        sys.executable,
        "manage.py",
        "daraja_simulator",
        "--port",
        str(port),
        "--book",
        str(tmp_path / "b.sqlite3"),
    ]

    def begin():
        process = subprocess.Popen(  # noqa: S603 - our own command
            command, cwd=settings.BASE_DIR, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(100):
            try:
                return process, requests.get(f"http://127.0.0.1:{port}/control/health/", timeout=1).json()
            except requests.RequestException:
                time.sleep(0.1)
        process.kill()
        raise AssertionError(process.communicate())

    process, _ = begin()
    pay = {"phone": "254700000001", "account": "A", "amount": 10}
    code = requests.post(f"http://127.0.0.1:{port}/control/paybill/", json=pay, timeout=5).json()["code"]
    second = subprocess.run(  # noqa: S603 - our own command
        command, cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    process.kill()
    process.communicate()
    process, _ = begin()
    (debit,) = requests.get(f"http://127.0.0.1:{port}/control/book/", timeout=5).json()["debits"]
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=10)

    assert debit["code"] == code
    assert second.returncode == 1
    assert second.stderr.strip() == f"CommandError: Port {port} of 127.0.0.1 cannot be used: Address already in use."
    assert process.returncode == 0
    assert f"http://127.0.0.1:{port}/phone/" in output


def test_book_without_senders_of_messages_is_opened(start, tmp_path):
    old = sqlite3.connect(tmp_path / "book.sqlite3")
    old.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY, phone TEXT NOT NULL, text TEXT NOT NULL, at REAL)")
    old.execute("INSERT INTO messages VALUES (1, '254700000001', 'Confirmed.', 1)")
    old.commit()
    old.close()

    client = start(book=tmp_path / "book.sqlite3")

    (phone,) = client.control("phones/?phones=254700000001").json()["phones"]
    assert [(message["sender"], message["text"]) for message in phone["messages"]] == [("MPESA", "Confirmed.")]


def test_book_has_the_fields_of_the_comparison(client, listener):
    client.control("paybill/", {"phone": "254700000001", "account": "A", "amount": 10})

    (debit,) = client.control("book/").json()["debits"]

    assert set(debit) == {
        *("code", "amount", "phone", "shortcode", "account", "channel", "at", "checkout_request_id", "reversed_at")
    }
    assert json.dumps(debit)
