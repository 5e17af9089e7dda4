"""A payment ends without its money: cancelled, or waited for too long."""

import logging
from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import Q

from payments.models import OPEN_PUSH, Account, Payment, PaymentStatus, ReviewReason, StkPush
from payments.services import allocation, review_items
from payments.services.allocation import PAYABLE
from payments.services.listeners import schedule_retry
from payments.services.locks import lock_payment, members_to_lock
from payments.services.transitions import InvalidTransition, change_status
from payments.signals import payment_cancelled

logger = logging.getLogger(__name__)

S = PaymentStatus

# So many payments expire in one transaction: most of the cost of one is its commit.
EXPIRE_TOGETHER = 100


@transaction.atomic
def cancel_payment(*, payment_id: int, by_id: int, now: datetime) -> Payment:
    """Withdraw a payment that is not paid. Money already in it becomes credit; so does money that comes later.

    Cancelling again changes nothing.

    :raises InvalidTransition: it is paid or refunded, or what it buys was given for a deposit
    :raises PaymentNotFound: no such payment
    """
    payment = lock_payment(payment_id)
    if payment.status == S.CANCELLED:
        return payment
    if payment.status not in PAYABLE or payment.deposit_paid_at is not None:
        raise InvalidTransition
    _return_to_credit(payment, by_id=by_id, now=now)
    change_status(payment, to=S.CANCELLED, evidence="cancelled", by_id=by_id, now=now)
    if not payment_cancelled.announce(payment_id=payment.pk, now=now):
        schedule_retry(payment, now=now)
    return payment


@transaction.atomic
def reject_late_payment(*, payment_id: int, reason: str, now: datetime) -> None:
    """Cancel a paid payment whose money came too late to buy anything.

    The money becomes the payer's credit, and a review item states the `reason`. For the receiver that finds this out.

    :raises PaymentNotFound: no such payment
    """
    payment = lock_payment(payment_id)
    _return_to_credit(payment, by_id=None, now=now)
    payment.deposit_paid_at = None
    change_status(payment, to=S.EXPIRED, evidence=reason, by_id=None, now=now)
    change_status(payment, to=S.CANCELLED, evidence=reason, by_id=None, now=now)
    review_items.open_item(reason=ReviewReason.LATE_MONEY, detail=reason, payment_id=payment.pk, now=now)


def _return_to_credit(payment: Payment, *, by_id: int | None, now: datetime) -> None:
    """Undo a locked payment's live allocations; the money stands as its receipts' members' credit again."""
    for live in payment.allocations.filter(undone_at__isnull=True).select_related("receipt"):
        allocation.release(live, to_account=Account.MEMBER_CREDIT, by_id=by_id, now=now)
    payment.amount_paid = 0


def expire_due(*, now: datetime, limit: int = 500) -> int:
    """Show as expired what waited too long, a batch in each short transaction; return how many.

    A payment with an open prompt waits for the prompt's end, one that somebody holds for the next run. Late money still
    pays an expired payment.
    """
    due = Payment.objects.filter(_waited_too_long(now)).exclude(pushes__status__in=OPEN_PUSH).order_by("expires_at")
    ids = list(due.values_list("pk", flat=True)[:limit])
    return sum(_try_to_expire(ids[n : n + EXPIRE_TOGETHER], now=now) for n in range(0, len(ids), EXPIRE_TOGETHER))


def _waited_too_long(now: datetime) -> Q:
    return Q(status__in=(S.PENDING, S.PROCESSING, S.FAILED), expires_at__lte=now)


def _try_to_expire(payment_ids: Sequence[int], *, now: datetime) -> int:
    """Expire a batch; if that fails, each by itself, so that one bad row never stops the rest."""
    try:
        return _expire(payment_ids, now=now)
    except Exception:
        if len(payment_ids) > 1:
            return sum(_try_to_expire([each], now=now) for each in payment_ids)
        logger.exception("Payment %s could not be expired; the next run tries again.", payment_ids[0])
        return 0


@transaction.atomic
def _expire(payment_ids: Sequence[int], *, now: datetime) -> int:
    """Expire those of the payments that are still due and that nobody holds; return how many."""
    asked_for = Payment.objects.filter(pk__in=payment_ids)
    payers = members_to_lock(asked_for.values("payer_id")).select_for_update(no_key=True, skip_locked=True)
    due = asked_for.filter(_waited_too_long(now), payer__in=list(payers)).order_by("pk")
    payments = list(due.select_for_update(no_key=True, skip_locked=True))
    prompts = StkPush.objects.filter(payment__in=payments, status__in=OPEN_PUSH)
    prompted = set(prompts.values_list("payment_id", flat=True))
    expired = [payment for payment in payments if payment.pk not in prompted]
    for payment in expired:
        change_status(payment, to=S.EXPIRED, evidence="waited too long", by_id=None, now=now)
    return len(expired)
