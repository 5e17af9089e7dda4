"""The spool mover: a thread of each web process that moves this host's spooled callbacks into the callback inbox.

The job worker drains the spool of its own host only, and a web host may have none. The thread moves bytes and applies
nothing. It starts after the web server's fork (gunicorn.conf.py), because threads do not survive one.
"""

import logging
import threading

from django.db import connection

from api.clock import now
from api.logs import CountedWarning
from payments.callbacks import inbox, spool

logger = logging.getLogger(__name__)

INTERVAL = 10.0  # seconds between two looks at the spool; the first is at once
STOP_TIMEOUT = 5.0  # seconds that a stopping process waits for the callback under way


class SpoolMover(threading.Thread):
    """A thread that looks at the spool every ten seconds. One of a host's processes moves at a time."""

    def __init__(self) -> None:
        super().__init__(name="spool mover", daemon=True)
        self._stopping = threading.Event()

    def run(self) -> None:
        """Move spooled callbacks until `stop` is called. An error is logged, and the next look tries again."""
        while not self._stopping.is_set():
            try:
                if spool.status().waiting:
                    inbox.drain_spool(now=now(), is_stopping=self._stopping.is_set)
            except Exception:
                logger.exception("The spool could not be moved. It is tried again in %.0f seconds.", INTERVAL)
            finally:
                connection.close()
            for warning in CountedWarning.all:
                warning.log_due()  # the end of a flood, after which nothing comes
            self._stopping.wait(INTERVAL)

    def stop(self) -> None:
        """Stop after the callback that is under way. A second call changes nothing."""
        self._stopping.set()
        self.join(STOP_TIMEOUT)
