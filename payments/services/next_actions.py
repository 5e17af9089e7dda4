"""The next action of a client for a payment: wait for the phone, pay, pay the rest, buy again, or nothing."""

from django.db import models
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from payments.models import OPEN_PUSH, Payment, PaymentStatus, StkPush

S = PaymentStatus


class NextAction(models.TextChoices):
    """What a client does next for a payment."""

    WAIT_FOR_PHONE = "wait_for_phone"  # a push is on a phone: request the payment again until it has ended
    PAY = "pay"  # request a push, or show how to pay by hand
    PAY_REST = "pay_rest"  # a part is paid: request a push for the amount that is still owed
    BUY_AGAIN = "buy_again"  # the payment has expired; late money still pays it
    DONE = "done"  # nothing: it is paid, cancelled or refunded


ACTIONS = {
    S.PENDING: NextAction.PAY,
    S.FAILED: NextAction.PAY,
    S.PROCESSING: NextAction.WAIT_FOR_PHONE,
    S.PARTIALLY_PAID: NextAction.PAY_REST,
    S.EXPIRED: NextAction.BUY_AGAIN,
}


def next_action(status: str, *, awaits_push: bool) -> NextAction:
    """Return the next action for a payment with this status. `awaits_push` as `with_awaits_push` annotates it."""
    if awaits_push:
        return NextAction.WAIT_FOR_PHONE
    return ACTIONS.get(S(status), NextAction.DONE)


def with_awaits_push(payments: QuerySet) -> QuerySet:
    """Annotate `awaits_push`: an open push asks for money that the payment, or another one of its group, still owes.

    The status alone does not say it: a partially paid payment keeps its status while a push asks for the rest.
    """
    asking = Q(payment=OuterRef("pk")) | Q(payment=OuterRef("head"))
    is_asked = Exists(StkPush.objects.filter(asking, status__in=OPEN_PUSH))
    closed = (S.EXPIRED, S.CANCELLED, S.REFUNDED)
    owing = Payment.objects.exclude(status__in=closed).filter(head=OuterRef("pk"), amount_paid__lt=F("amount_due"))
    is_owed = Q(amount_paid__lt=F("amount_due")) | Exists(owing)
    return payments.annotate(
        awaits_push=models.Case(
            models.When(~Q(status__in=closed) & is_owed & is_asked, then=True),
            default=False,
            output_field=models.BooleanField(),
        )
    )
