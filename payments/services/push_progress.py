"""The effect of an STK push on the status of its payment. payments.pushes calls this under its own locks."""

from datetime import datetime

from payments.models import OPEN_PUSH, Payment, PaymentStatus, StkPush
from payments.services.locks import lock_grouped_payments
from payments.services.transitions import ACCEPTS_PUSH, InvalidTransition, change_status

S = PaymentStatus


def mark_push_requested(payment: Payment, now: datetime) -> None:
    """Set a locked payment, and the other payments of its group, to `processing` because of a new push.

    A partially paid payment keeps its status: that money has come matters more than that a push is open.

    :raises InvalidTransition: no push may be sent for the payment
    """
    if payment.status not in ACCEPTS_PUSH:
        raise InvalidTransition
    for each in [payment, *lock_grouped_payments(payment.pk)]:
        if each.status in (S.PENDING, S.FAILED):
            change_status(each, to=S.PROCESSING, evidence="push requested", by_id=None, now=now)


def mark_push_ended(payment: Payment, push: StkPush, now: datetime) -> None:
    """Set a locked payment, and the other payments of its group, to `failed`: the push ended without money.

    While another push of the payment is open, it stays `processing`. A repeated call has no effect.
    """
    if StkPush.objects.filter(payment_id=payment.pk, status__in=OPEN_PUSH).exclude(pk=push.pk).exists():
        return
    for each in [payment, *lock_grouped_payments(payment.pk)]:
        if each.status == S.PROCESSING:
            evidence = f"push {push.pk} ended {push.result_code or push.status}"
            change_status(each, to=S.FAILED, evidence=evidence, by_id=None, now=now)
