"""Signals about money, sent inside the transaction that writes it. They carry ids only."""

import logging
from datetime import datetime

from django.db import transaction
from django.dispatch import Signal

logger = logging.getLogger(__name__)


class SavepointSignal(Signal):
    """A signal whose listeners each run in a savepoint of their own."""

    def send_in_savepoints(self, *, now: datetime, **ids: int) -> bool:
        """Call every listener; return whether all of them succeeded.

        A listener that raises is logged, and only its own writes are rolled back: a bug in access control never loses
        money. If its savepoint cannot be rolled back (the connection is lost), the error is raised, and the whole
        transaction fails with it.
        """
        succeeded = True
        listeners, _ = self._live_receivers(None)  # send() cannot put a savepoint around each listener
        for listener in listeners:
            try:
                with transaction.atomic():
                    listener(signal=self, sender=None, now=now, **ids)
            except Exception:
                if transaction.get_connection().needs_rollback:
                    raise
                logger.exception("A listener failed for %s. Its writes were rolled back; the money stays.", ids)
                succeeded = False
        return succeeded


# (payment_id, now) The payment reached its minimum payment, or was paid in full.
payment_paid = SavepointSignal()
# (payment_id, now) Money left the payment: a reversal, a refund, a void or an undone assignment. The money that is
# left may still reach the minimum payment.
payment_unpaid = SavepointSignal()
# (payment_id, now) The payment was cancelled before it was paid.
payment_cancelled = SavepointSignal()
# (receipt_id, now) Money arrived whose payer named a member and no payment, and some of it is that member's credit.
credit_arrived = SavepointSignal()
# (payment_id, now) The payment got no money for so long that its order ended, and the money it had is credit.
order_expired = SavepointSignal()
# (payment_id, now) Money named a payment whose order had ended. The money is credit, with a review item.
order_paid_late = SavepointSignal()
