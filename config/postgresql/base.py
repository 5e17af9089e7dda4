"""Django's PostgreSQL engine, with a health check of reused connections that usually needs no statement."""

import select

from django.db.backends.postgresql import base, features
from psycopg.pq import TransactionStatus


class DatabaseFeatures(features.DatabaseFeatures):
    """What PostgreSQL can do, as far as we use it."""

    # Django 6.1 would ask the server for its version to answer this, and so need a database for `manage.py check`.
    supports_virtual_generated_columns = False


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection to PostgreSQL. The engine of the embedded server extends this class."""

    features_class = DatabaseFeatures

    def is_usable(self):
        """Return whether a request may use the connection.

        When a connection ends, its socket has something to read: a message of the server, or the end of the stream. A
        notice also makes the socket readable. So the server is asked (by Django's own check) only when there is
        something to read, or after an error.
        """
        return (not self.errors_occurred and self._is_idle_and_silent()) or super().is_usable()

    def _is_idle_and_silent(self) -> bool:
        """Return whether no transaction runs on the connection and its socket has nothing to read."""
        if self.connection is None or self.connection.pgconn.transaction_status != TransactionStatus.IDLE:
            return False
        poll = select.poll()
        poll.register(self.connection.pgconn.socket, select.POLLIN)
        return not poll.poll(0)
