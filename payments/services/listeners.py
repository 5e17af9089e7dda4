"""Payment signals and their listeners: the code that sells things, and must follow what happens to the payment."""

from datetime import datetime

from django.db import transaction
from procrastinate.contrib.django import app as jobs

from payments.models import Payment, PaymentStatus, Receipt, ReviewReason
from payments.services import review_items
from payments.services.locks import lock_payment
from payments.signals import SavepointSignal, credit_arrived, payment_cancelled, payment_paid, payment_unpaid

S = PaymentStatus


def announce(signal: SavepointSignal, payment: Payment, *, now: datetime) -> None:
    """Send a signal about a payment. If a listener fails, queue a job that retries it, and open a review item.

    Both commit together with the money. The job closes the review item when all listeners succeed.
    """
    if signal.send_in_savepoints(payment_id=payment.pk, now=now):
        return
    review_items.open_item(
        reason=ReviewReason.LISTENER_FAILED,
        detail="The money is recorded, but the purchase was not updated. The system retries this by itself.",
        payment_id=payment.pk,
        now=now,
    )
    jobs.configure_task("payments.retry_listeners").defer(payment_id=payment.pk)


def announce_credit(receipt: Receipt, *, now: datetime) -> None:
    """Send `credit_arrived` about a receipt. When a listener fails, the money stays credit until the next tap."""
    credit_arrived.send_in_savepoints(receipt_id=receipt.pk, now=now)


@transaction.atomic
def retry_listeners(*, payment_id: int, now: datetime) -> bool:
    """Send the signals that fit the payment's state now; return whether all listeners succeeded.

    Success closes the review item. Listeners accept repeated signals.

    :raises PaymentNotFound: no such payment
    """
    payment = lock_payment(payment_id)
    if payment.status == S.CANCELLED:
        signals = [payment_cancelled]
    elif payment.deposit_paid_at is None:
        signals = [payment_unpaid]
    elif payment.amount_owed:
        # Either the minimum payment was reached or a part of the money left: the failed signal may be either.
        signals = [payment_paid, payment_unpaid]
    else:
        signals = [payment_paid]
    results = [signal.send_in_savepoints(payment_id=payment_id, now=now) for signal in signals]
    succeeded = all(results)
    if succeeded:
        review_items.close_for_payment(
            payment_id=payment_id, reason=ReviewReason.LISTENER_FAILED, resolution="A retry succeeded.", now=now
        )
    return succeeded
