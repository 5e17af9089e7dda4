"""SavepointSignal of a payment, for whoever sold what it pays."""

from datetime import datetime

from django.db import transaction
from procrastinate.contrib.django import app as jobs

from payments.models import Payment, PaymentStatus, ReviewReason
from payments.services import review_items
from payments.services.locks import lock_payment
from payments.signals import payment_cancelled, payment_paid, payment_unpaid

S = PaymentStatus


def announce_paid(*, payment: Payment, now: datetime) -> None:
    """Tell the listeners that what the payment buys may be given; what fails is retried by a job, committed with it."""
    if not payment_paid.announce(payment_id=payment.pk, now=now):
        schedule_retry(payment, now=now)


def announce_unpaid(*, payment: Payment, now: datetime) -> None:
    """Tell the listeners that money of the payment went back; what fails is retried by a job."""
    if not payment_unpaid.announce(payment_id=payment.pk, now=now):
        schedule_retry(payment, now=now)


def schedule_retry(payment: Payment, *, now: datetime) -> None:
    """Leave a durable job, and a review item in case the job never succeeds, in the money's own transaction."""
    review_items.open_item(
        reason=ReviewReason.LISTENER_FAILED,
        detail="The money is in the books; what it buys does not follow it yet. It is being retried.",
        payment_id=payment.pk,
        now=now,
    )
    jobs.configure_task("payments.retry_listeners").defer(payment_id=payment.pk)


@transaction.atomic
def retry_listeners(*, payment_id: int, now: datetime) -> bool:
    """Tell the listeners again what the payment is now; return whether all of them heard it. Twice is harmless."""
    payment = lock_payment(payment_id)
    if payment.status == S.CANCELLED:
        news = [payment_cancelled]
    elif payment.deposit_paid_at is None:
        news = [payment_unpaid]
    elif payment.amount_owed:
        news = [payment_paid, payment_unpaid]  # its deposit came, or some of the rest went back: either was not heard
    else:
        news = [payment_paid]
    told = [each.announce(payment_id=payment_id, now=now) for each in news]
    heard = all(told)
    if heard:
        review_items.close_for_payment(
            payment_id=payment_id, reason=ReviewReason.LISTENER_FAILED, resolution="Done by a later try.", now=now
        )
    return heard
