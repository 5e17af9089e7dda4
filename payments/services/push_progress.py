"""What a prompt changes in its payment. payments.pushes calls these, under its own locks."""

from datetime import datetime

from payments.models import OPEN_PUSH, Payment, PaymentStatus, StkPush
from payments.services.locks import lock_grouped_payments
from payments.services.transitions import ACCEPTS_PUSH, InvalidTransition, change_status

S = PaymentStatus


def mark_push_requested(payment: Payment, now: datetime) -> None:
    """Note that a phone is being asked for this payment and its companions. The payment is locked.

    A partially paid payment stays so: that money came says more than that a prompt is out.

    :raises InvalidTransition: the payment takes no prompt any more
    """
    if payment.status not in ACCEPTS_PUSH:
        raise InvalidTransition
    for each in [payment, *lock_grouped_payments(payment.pk)]:
        if each.status in (S.PENDING, S.FAILED):
            change_status(each, to=S.PROCESSING, evidence="prompt asked for", by_id=None, now=now)


def mark_push_ended(payment: Payment, push: StkPush, now: datetime) -> None:
    """Note that a prompt ended without money, for the payment and its companions. Twice changes nothing.

    The payment is locked. It stays `processing` while another prompt of it is open.
    """
    if StkPush.objects.filter(payment_id=payment.pk, status__in=OPEN_PUSH).exclude(pk=push.pk).exists():
        return
    for each in [payment, *lock_grouped_payments(payment.pk)]:
        if each.status == S.PROCESSING:
            evidence = f"push {push.pk} ended {push.result_code or push.status}"
            change_status(each, to=S.FAILED, evidence=evidence, by_id=None, now=now)
