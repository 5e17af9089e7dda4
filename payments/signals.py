"""SavepointSignal that payments tells its listeners, inside the money's transaction. Signals carry ids only."""

import logging
from datetime import datetime

from django.db import transaction
from django.dispatch import Signal

logger = logging.getLogger(__name__)


class SavepointSignal(Signal):
    """A signal whose listeners run each in a savepoint of its own."""

    def announce(self, *, payment_id: int, now: datetime) -> bool:
        """Tell every listener; return whether all of them heard it.

        A listener that raises is rolled back alone and logged: a bug in access never loses money. When even its
        savepoint cannot be rolled back (the connection is gone), the error is raised: the money is not in either.
        """
        heard = True
        listeners, _ = self._live_receivers(None)  # send() cannot put a savepoint around each
        for listener in listeners:
            try:
                with transaction.atomic():
                    listener(signal=self, sender=None, payment_id=payment_id, now=now)
            except Exception:
                if transaction.get_connection().needs_rollback:
                    raise
                logger.exception("A listener failed for payment %s; it will be retried.", payment_id)
                heard = False
        return heard


# (payment_id, now) The payment is covered, or as much of it as was asked for first; what it buys may be given.
payment_paid = SavepointSignal()
# (payment_id, now) Money of the payment went back: a reversal, a refund, a void, an undone assignment. What is left may
# still be enough.
payment_unpaid = SavepointSignal()
# (payment_id, now) The payment was withdrawn before it was paid.
payment_cancelled = SavepointSignal()
