"""The row of an STK push: its lock, and facts that are read from it."""

from datetime import datetime

from payments.models import Payment, PushStatus, StkPush
from payments.services import locks
from payments.services.allocation import PAYABLE

S = PushStatus


def lock(push_id: int) -> StkPush:
    """Lock a push's payer, its payment, then the push, and return the push; its `payment` is the locked row."""
    payment = locks.lock_payment(StkPush.objects.values_list("payment_id", flat=True).get(pk=push_id))
    push = StkPush.objects.select_for_update(no_key=True).get(pk=push_id)
    push.payment = payment
    return push


def owed_by_group(payment: Payment) -> int:
    """Return how much a locked payment and the other payments of its group still owe, in whole KES."""
    others = [each for each in locks.lock_grouped_payments(payment.pk) if each.status in PAYABLE]
    return sum(each.amount_owed for each in (payment, *others))


def sent_or_created_at(push: StkPush) -> datetime:
    """Return when the push was sent to the phone, or when it was requested if it has not been sent."""
    return push.sent_at or push.created_at
