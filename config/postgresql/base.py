"""Django's PostgreSQL engine, which looks at a kept connection before its next request without asking the server."""

import select

from django.db.backends.postgresql import base
from psycopg.pq import TransactionStatus


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection to PostgreSQL, our own or the embedded one."""

    def is_usable(self):
        """Say whether a request may use the connection; asks the server only when there is something to ask about.

        A server that ends a connection says so, or its system does: either way a silent line has something to read. A
        notice or a changed setting is something to read as well, so then, and after an error, the server decides.
        """
        return (not self.errors_occurred and self._is_at_rest()) or super().is_usable()

    def _is_at_rest(self) -> bool:
        """Say whether nothing runs on the connection and nothing has come on it."""
        if self.connection is None or self.connection.pgconn.transaction_status != TransactionStatus.IDLE:
            return False
        line = select.poll()
        line.register(self.connection.pgconn.socket, select.POLLIN)
        return not line.poll(0)
