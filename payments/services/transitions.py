"""The transitions of a payment's status, and the only code that writes it."""

from datetime import datetime

from django.db import connection
from django.db.models import Max

from api.errors import Conflict
from payments.models import AllocationRule, Payment, PaymentEvent, PaymentStatus

S = PaymentStatus

# From each status to the statuses it may change to. A payment leaves `paid` only by a reversal or a refund. It goes
# back to `pending` or `expired` when its money turns out never to have come.
TRANSITIONS: dict[PaymentStatus, set[PaymentStatus]] = {
    S.PENDING: {S.PROCESSING, S.PARTIALLY_PAID, S.PAID, S.FAILED, S.EXPIRED, S.CANCELLED},
    S.PROCESSING: {S.PARTIALLY_PAID, S.PAID, S.FAILED, S.EXPIRED, S.CANCELLED},
    S.FAILED: {S.PROCESSING, S.PARTIALLY_PAID, S.PAID, S.EXPIRED, S.CANCELLED},
    S.EXPIRED: {S.PARTIALLY_PAID, S.PAID, S.CANCELLED},
    S.PARTIALLY_PAID: {S.PAID, S.CANCELLED, S.PENDING, S.EXPIRED, S.REFUNDED},
    S.PAID: {S.PARTIALLY_PAID, S.PENDING, S.EXPIRED, S.REFUNDED},
    S.CANCELLED: set(),
    S.REFUNDED: set(),
}
# A push may be sent for a payment with one of these statuses. `paid` is one of them, because the push of a group
# payment also asks for what the other payments of the group owe.
ACCEPTS_PUSH = (S.PENDING, S.PROCESSING, S.FAILED, S.PARTIALLY_PAID, S.PAID)
UPDATE_PAYMENT = """
UPDATE payments_payment SET status = %s, paid_at = %s, amount_paid = %s, deposit_paid_at = %s WHERE id = %s
"""
INSERT_EVENT = """
INSERT INTO payments_paymentevent (payment_id, from_status, to_status, evidence, by_id, at)
SELECT id, %s, %s, %s, %s, %s FROM updated
"""


class InvalidTransition(Conflict):
    """The payment's status does not allow the action."""

    code, message = "invalid_transition", "The payment's status no longer allows this. Load the payment again."


def change_status(
    payment: Payment,
    *,
    to: PaymentStatus,
    evidence: str,
    by_id: int | None,
    now: datetime,
    paid_at: datetime | None = None,
) -> None:
    """Write a locked payment's status, amount paid and moments, and a history row if the status changed.

    :raises InvalidTransition: `TRANSITIONS` does not allow the change
    """
    old = PaymentStatus(payment.status)
    if to != old and to not in TRANSITIONS[old]:
        raise InvalidTransition
    payment.status, payment.paid_at = to, paid_at
    row = [to, paid_at, payment.amount_paid, payment.deposit_paid_at, payment.pk]
    with connection.cursor() as cursor:
        if to == old:
            cursor.execute(UPDATE_PAYMENT, row)
        else:
            # One statement, so that no status changes without its history row.
            cursor.execute(
                f"WITH updated AS ({UPDATE_PAYMENT} RETURNING id) {INSERT_EVENT}",
                # The clock may have been set back since the payment was created or its last money moved.
                [*row, old, to, evidence[:160], by_id, max(now, payment.created_at, paid_at or now)],
            )


def add_money(
    payment: Payment, amount: int, *, evidence: str, by_id: int | None, now: datetime, moved_at: datetime
) -> bool:
    """Add `amount` (whole KES) to a locked payment; return whether it reached the minimum payment or the amount due."""
    had_money = payment.amount_paid > 0
    payment.amount_paid += amount
    if had_money and payment.amount_paid >= payment.deposit:
        # The date of completion is the date of the money that moved last, in whatever order the reports came.
        earlier = payment.allocations.filter(undone_at__isnull=True).exclude(rule=AllocationRule.CREDIT)
        moved_at = max(moved_at, earlier.aggregate(last=Max("receipt__paid_at"))["last"] or moved_at)
    # Money may be older than the payment (credit, a paybill payment that was matched later): it counts from then on.
    moved_at = max(moved_at, payment.created_at)
    reached_minimum = payment.deposit_paid_at is None and payment.amount_paid >= payment.deposit
    if reached_minimum:
        payment.deposit_paid_at = moved_at
    if payment.amount_owed:
        change_status(payment, to=S.PARTIALLY_PAID, evidence=evidence, by_id=by_id, now=now)
    else:
        change_status(payment, to=S.PAID, evidence=evidence, by_id=by_id, now=now, paid_at=moved_at)
    return reached_minimum or not payment.amount_owed


def record_creation(payment: Payment, *, evidence: str, by_id: int | None, now: datetime) -> None:
    """Write the first history row of a new payment."""
    PaymentEvent.objects.create(
        payment=payment, from_status="", to_status=payment.status, evidence=evidence, by_id=by_id, at=now
    )
