"""The simulator's own book: prompts, money that moved, messages, and every callback sent or owed.

SQLite on disk, so that it outlives a kill -9. One connection and one lock serve all threads: every change is one
short transaction, and none is open while something is waited for. It is the outside truth that the product's
books are compared with.
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
    """The book was shut while somebody still read in it."""


class Book:
    """One file of SQLite, with a version that grows at each change so that pages can wait for news."""

    def __init__(self, path: Path | str = ":memory:"):
        if str(path) != ":memory:":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(str(path), check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(SCHEMA)
        if "sender" not in {row["name"] for row in self._db.execute("PRAGMA table_info(messages)")}:
            # A book from before messages had one.
            self._db.execute("ALTER TABLE messages ADD COLUMN sender TEXT NOT NULL DEFAULT 'MPESA'")
        self._lock = threading.RLock()
        self._news = threading.Condition(self._lock)
        self._closing = self._closed = False
        self.version = 1

    def close(self) -> None:
        with self._lock:
            self._closing = self._closed = True
            self._db.close()

    def _still_open(self) -> None:
        if self._closed:
            raise Closed

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Give the database for one transaction: all of it is kept, or none when an exception leaves the block.

        :raises Closed: the simulator is stopping
        """
        with self._lock:
            self._still_open()
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
            self.version += 1
            self._news.notify_all()

    def rows(self, sql: str, *values: object) -> list[dict]:
        """Read rows as dictionaries.

        :raises Closed: the simulator is stopping
        """
        with self._lock:
            self._still_open()
            return [dict(row) for row in self._db.execute(sql, values)]

    def row(self, sql: str, *values: object) -> dict | None:
        """Read the first row, or None."""
        found = self.rows(sql, *values)
        return found[0] if found else None

    def wait_for_news(self, after: int, seconds: float) -> int:
        """Return the version once it differs from `after`, or when the seconds are over."""
        until = time.monotonic() + seconds
        with self._news:
            while self.version == after and not self._closing and (left := until - time.monotonic()) > 0:
                self._news.wait(left)
            return self.version

    def wake(self) -> None:
        """Let everybody who waits for news look around."""
        with self._news:
            self.version += 1
            self._news.notify_all()

    def let_go(self) -> None:
        """Send everybody who waits for news home, because the end is near."""
        with self._news:
            self._closing = True
            self._news.notify_all()

    def count(self, name: str) -> int:
        """Return 1, 2, 3 and so on, for as long as this book lives: seeded identifiers are made of it."""
        with self.change() as db:
            sql = "INSERT INTO counters VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET n = n + 1 RETURNING n"
            return db.execute(sql, (name,)).fetchone()["n"]

    def debits(self) -> list[dict]:
        """List the money that really left phones, oldest first; `at` in seconds since 1970 becomes ISO 8601 outside."""
        return self.rows("SELECT * FROM debits ORDER BY at, code")
