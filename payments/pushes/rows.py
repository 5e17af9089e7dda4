"""A push's row under lock, and what its payment owes."""

from datetime import datetime

from payments.models import Payment, PushStatus, StkPush
from payments.services import locks
from payments.services.allocation import PAYABLE

S = PushStatus


def lock(push_id: int) -> StkPush:
    """Lock a push after its payer and payment; `payment` on it is the locked row."""
    payment = locks.lock_payment(StkPush.objects.values_list("payment_id", flat=True).get(pk=push_id))
    push = StkPush.objects.select_for_update(no_key=True).get(pk=push_id)
    push.payment = payment
    return push


def owed_by_group(payment: Payment) -> int:
    """Return what a locked payment and its companions still owe, in whole KES."""
    companions = [each for each in locks.lock_grouped_payments(payment.pk) if each.status in PAYABLE]
    return sum(each.amount_owed for each in (payment, *companions))


def requested_at(push: StkPush) -> datetime:
    """Return when a phone was asked, or is to be."""
    return push.sent_at or push.created_at


def needs_review(push: StkPush) -> bool:
    """Say whether all questions about an open push were asked in vain."""
    return push.status in (S.SENT, S.UNKNOWN) and push.next_check_at is None
