"""News that payments tells its listeners, inside the money's transaction. Signals carry ids only."""

from django.dispatch import Signal

# (payment_id, now) The payment is covered; what it buys may be given.
payment_paid = Signal()
# (payment_id, now) Money that had covered the payment went back: a reversal, a void, an undone assignment.
payment_unpaid = Signal()
# (payment_id, now) The payment was withdrawn before it was paid.
payment_cancelled = Signal()
