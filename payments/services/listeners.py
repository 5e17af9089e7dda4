"""Payment signals and their listeners: the code that sells things, and must follow what happens to the payment."""

from datetime import datetime

from django.db import transaction
from procrastinate.contrib.django import app as jobs

from payments.models import Payment, PaymentStatus, ReviewReason
from payments.services import review_items
from payments.services.locks import lock_payment
from payments.signals import payment_cancelled, payment_paid, payment_unpaid

S = PaymentStatus


def announce_paid(*, payment: Payment, now: datetime) -> None:
    """Send `payment_paid`. If a listener fails, schedule a retry in the same transaction."""
    if not payment_paid.announce(payment_id=payment.pk, now=now):
        schedule_retry(payment, now=now)


def announce_unpaid(*, payment: Payment, now: datetime) -> None:
    """Send `payment_unpaid`. If a listener fails, schedule a retry in the same transaction."""
    if not payment_unpaid.announce(payment_id=payment.pk, now=now):
        schedule_retry(payment, now=now)


def schedule_retry(payment: Payment, *, now: datetime) -> None:
    """Queue a job that sends the payment's signal again, and open a review item that the job closes on success.

    Both commit together with the money.
    """
    review_items.open_item(
        reason=ReviewReason.LISTENER_FAILED,
        detail="The money is recorded, but the purchase was not updated. The system retries this by itself.",
        payment_id=payment.pk,
        now=now,
    )
    jobs.configure_task("payments.retry_listeners").defer(payment_id=payment.pk)


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
    results = [signal.announce(payment_id=payment_id, now=now) for signal in signals]
    succeeded = all(results)
    if succeeded:
        review_items.close_for_payment(
            payment_id=payment_id, reason=ReviewReason.LISTENER_FAILED, resolution="A retry succeeded.", now=now
        )
    return succeeded
