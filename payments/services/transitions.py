"""What a payment may become, and the one writer of its status."""

from datetime import datetime

from django.db import connection

from api.errors import Conflict
from payments.models import Payment, PaymentEvent, PaymentStatus

S = PaymentStatus

# From what, to what. Paid money leaves only by a reversal or a refund; `pending` and `expired` are what a payment
# falls back to when the money that covered it is taken away as if it had never come.
TRANSITIONS = {
    S.PENDING: {S.PROCESSING, S.PARTIALLY_PAID, S.PAID, S.FAILED, S.EXPIRED, S.CANCELLED},
    S.PROCESSING: {S.PARTIALLY_PAID, S.PAID, S.FAILED, S.EXPIRED, S.CANCELLED},
    S.FAILED: {S.PROCESSING, S.PARTIALLY_PAID, S.PAID, S.EXPIRED, S.CANCELLED},
    S.EXPIRED: {S.PARTIALLY_PAID, S.PAID, S.CANCELLED},
    S.PARTIALLY_PAID: {S.PAID, S.CANCELLED, S.PENDING, S.EXPIRED, S.REFUNDED},
    S.PAID: {S.PARTIALLY_PAID, S.PENDING, S.EXPIRED, S.REFUNDED},
    S.CANCELLED: set(),
    S.REFUNDED: set(),
}
# Where a prompt may be shown for a payment: for a paid one, of what its companions still owe.
ACCEPTS_PUSH = (S.PENDING, S.PROCESSING, S.FAILED, S.PARTIALLY_PAID, S.PAID)
WRITE_PAYMENT = """
UPDATE payments_payment SET status = %s, paid_at = %s, amount_paid = %s, deposit_paid_at = %s WHERE id = %s
"""
WRITE_EVENT = """
INSERT INTO payments_paymentevent (payment_id, from_status, to_status, evidence, by_id, at)
SELECT id, %s, %s, %s, %s, %s FROM moved
"""


class InvalidTransition(Conflict):
    """The payment's state does not allow what was asked."""

    code, message = "invalid_transition", "This payment has already been decided."


def change_status(
    payment: Payment,
    *,
    to: PaymentStatus,
    evidence: str,
    by_id: int | None,
    now: datetime,
    paid_at: datetime | None = None,
) -> None:
    """Change a locked payment's status and amount paid, and write its history.

    :raises InvalidTransition: the table above does not allow it
    """
    came_from = PaymentStatus(payment.status)
    if to != came_from and to not in TRANSITIONS[came_from]:
        raise InvalidTransition
    payment.status, payment.paid_at = to, paid_at
    row = [to, paid_at, payment.amount_paid, payment.deposit_paid_at, payment.pk]
    with connection.cursor() as cursor:
        if to == came_from:
            cursor.execute(WRITE_PAYMENT, row)
        else:
            # One statement: a status never changes without its history.
            cursor.execute(
                f"WITH moved AS ({WRITE_PAYMENT} RETURNING id) {WRITE_EVENT}",
                [*row, came_from, to, evidence[:160], by_id, now],
            )


def record_creation(payment: Payment, *, evidence: str, by_id: int | None, now: datetime) -> None:
    PaymentEvent.objects.create(
        payment=payment, from_status="", to_status=payment.status, evidence=evidence, by_id=by_id, at=now
    )
