"""The simulator's book: prompts, money that moved, messages, and all callbacks. Receipts are compared with it.

It is a SQLite file, so that it survives kill -9. All threads share one connection and one lock. Each change is one
short transaction, and no transaction is open while a thread waits.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCHEMA = """
CREATE TABLE IF NOT EXISTS tokens (token TEXT PRIMARY KEY, app TEXT NOT NULL, expires_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS wallets (phone TEXT PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance >= 0),
    name TEXT NOT NULL, locked INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS organisations (shortcode TEXT PRIMARY KEY, name TEXT NOT NULL, utility INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS prompts (checkout_request_id TEXT PRIMARY KEY, merchant_request_id TEXT NOT NULL,
    shortcode TEXT NOT NULL, party_b TEXT NOT NULL, amount INTEGER NOT NULL, phone TEXT NOT NULL,
    reference TEXT NOT NULL, description TEXT NOT NULL, callback_url TEXT NOT NULL, ordinal INTEGER NOT NULL,
    behaviour TEXT NOT NULL, status TEXT NOT NULL, opened_at REAL NOT NULL, expires_at REAL NOT NULL,
    acts_at REAL, pays_late_at REAL,
    result_code TEXT, result_desc TEXT, code TEXT, ended_at REAL, queries INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS prompts_of_a_phone ON prompts (phone, opened_at);
CREATE INDEX IF NOT EXISTS prompts_open ON prompts (status, expires_at);
CREATE TABLE IF NOT EXISTS debits (code TEXT PRIMARY KEY, amount INTEGER NOT NULL CHECK (amount > 0),
    phone TEXT NOT NULL, shortcode TEXT NOT NULL, account TEXT NOT NULL, channel TEXT NOT NULL, at REAL NOT NULL,
    checkout_request_id TEXT UNIQUE, reversed_at REAL);
CREATE INDEX IF NOT EXISTS debits_of_a_phone ON debits (phone, at);
CREATE TABLE IF NOT EXISTS credits (id INTEGER PRIMARY KEY, phone TEXT NOT NULL, amount INTEGER NOT NULL,
    what TEXT NOT NULL, code TEXT NOT NULL, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS credits_of_a_phone ON credits (phone, at);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, phone TEXT NOT NULL, text TEXT NOT NULL, at REAL NOT NULL,
    sender TEXT NOT NULL DEFAULT 'MPESA');
CREATE INDEX IF NOT EXISTS messages_of_a_phone ON messages (phone, id);
CREATE TABLE IF NOT EXISTS registrations (shortcode TEXT PRIMARY KEY, version TEXT NOT NULL,
    response_type TEXT NOT NULL, confirmation_url TEXT NOT NULL, validation_url TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS pull_registrations (shortcode TEXT PRIMARY KEY, callback_url TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS payouts (originator_conversation_id TEXT PRIMARY KEY, conversation_id TEXT NOT NULL,
    shortcode TEXT NOT NULL, phone TEXT NOT NULL, amount INTEGER NOT NULL, code TEXT, result_code TEXT NOT NULL,
    at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS deliveries (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, url TEXT NOT NULL,
    shortcode TEXT NOT NULL, body BLOB NOT NULL, about TEXT NOT NULL, due_at REAL NOT NULL,
    state TEXT NOT NULL, sent_at REAL, http_status INTEGER, error TEXT);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (state, due_at);
"""


class Closed(Exception):
    """The book was closed while a thread was still using it."""


class Book:
    """The SQLite file. Its version increases with each change, so that pages can wait for changes."""

    def __init__(self, path: Path | str = ":memory:"):
        if str(path) != ":memory:":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(str(path), check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(SCHEMA)
        if "sender" not in {row["name"] for row in self._db.execute("PRAGMA table_info(messages)")}:
            # A file from before messages had a sender.
            self._db.execute("ALTER TABLE messages ADD COLUMN sender TEXT NOT NULL DEFAULT 'MPESA'")
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._closing = self._closed = False
        self.version = 1

    def close(self) -> None:
        with self._lock:
            self._closing = self._closed = True
            self._db.close()

    def _require_open(self) -> None:
        if self._closed:
            raise Closed

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction. It is committed at the end of the block, or rolled back after an exception.

        :raises Closed: the simulator is stopping
        """
        with self._lock:
            self._require_open()
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
            self.version += 1
            self._changed.notify_all()

    def rows(self, sql: str, *values: object) -> list[dict]:
        """Return rows as dictionaries.

        :raises Closed: the simulator is stopping
        """
        with self._lock:
            self._require_open()
            return [dict(row) for row in self._db.execute(sql, values)]

    def row(self, sql: str, *values: object) -> dict | None:
        """Return the first row, or None."""
        found = self.rows(sql, *values)
        return found[0] if found else None

    def wait_for_change(self, after: int, seconds: float) -> int:
        """Wait until the version differs from `after`, at most this many seconds. Return the version."""
        until = time.monotonic() + seconds
        with self._changed:
            while self.version == after and not self._closing and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            return self.version

    def notify(self) -> None:
        """Wake all threads that wait for a change."""
        with self._changed:
            self.version += 1
            self._changed.notify_all()

    def end_waits(self) -> None:
        """End all waits for a change, because the simulator is stopping."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def count(self, name: str) -> int:
        """Return 1, 2, 3 and so on for each name in this book. Seeded identifiers are made from it."""
        with self.change() as db:
            sql = "INSERT INTO counters VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET n = n + 1 RETURNING n"
            return db.execute(sql, (name,)).fetchone()["n"]

    def debits(self) -> list[dict]:
        """Return the money that left phones, oldest first. `at` is in seconds since 1970."""
        return self.rows("SELECT * FROM debits ORDER BY at, code")
