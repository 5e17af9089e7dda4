"""Cancellation and expiry: how a payment ends without money."""

import logging
from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import Q

from payments.models import OPEN_PUSH, Account, Payment, PaymentStatus, ReviewReason, StkPush
from payments.services import allocation, credit, listeners, ownership, review_items
from payments.services.allocation import PAYABLE
from payments.services.locks import lock_payment, members_to_lock
from payments.services.transitions import InvalidTransition, change_status
from payments.signals import payment_cancelled

logger = logging.getLogger(__name__)

S = PaymentStatus

# The number of payments that expire in one transaction: most of the cost of a small transaction is its commit.
EXPIRY_BATCH = 100


@transaction.atomic
def cancel_payment(*, payment_id: int, by_id: int, now: datetime) -> Payment:
    """Cancel a payment that is not paid. Money that it has, and money that comes later, becomes member credit.

    A repeated call has no effect.

    :raises InvalidTransition: it is paid or refunded, or its minimum payment was reached
    :raises ownership.OwnMoney: it is a debt of the user `by_id`
    :raises PaymentNotFound: no such payment
    """
    payment = lock_payment(payment_id)
    if payment.status == S.CANCELLED:
        return payment
    if payment.status not in PAYABLE or (payment.deposit_paid_at is not None and not payment.is_debt):
        raise InvalidTransition
    if payment.is_debt and by_id is not None:
        ownership.require_not_own(payment.payer_id, by_id=by_id)
    _release_to_credit(payment, by_id=by_id, now=now)
    change_status(payment, to=S.CANCELLED, evidence="cancelled", by_id=by_id, now=now)
    credit.complete_open(payment.payer_id, now=now)  # before listeners lock their rows
    listeners.announce(payment_cancelled, payment, now=now)
    return payment


@transaction.atomic
def reject_late_payment(*, payment_id: int, reason: str, now: datetime) -> None:
    """Cancel a paid payment whose money came too late to buy anything. For the listener that finds this out.

    The money becomes member credit, and a review item for staff states the `reason`.

    :raises PaymentNotFound: no such payment
    """
    payment = lock_payment(payment_id)
    _release_to_credit(payment, by_id=None, now=now)
    payment.deposit_paid_at = None
    change_status(payment, to=S.EXPIRED, evidence=reason, by_id=None, now=now)
    change_status(payment, to=S.CANCELLED, evidence=reason, by_id=None, now=now)
    review_items.open_item(reason=ReviewReason.LATE_MONEY, detail=reason, payment_id=payment.pk, now=now)
    credit.complete_open(payment.payer_id, now=now)


def _release_to_credit(payment: Payment, *, by_id: int | None, now: datetime) -> None:
    """Release a locked payment's live allocations to the credit of their receipts' members."""
    for live in payment.allocations.filter(undone_at__isnull=True).select_related("receipt"):
        allocation.release(live, to_account=Account.MEMBER_CREDIT, by_id=by_id, now=now)
    payment.amount_paid = 0


def expire_due(*, now: datetime, limit: int = 500) -> int:
    """Expire up to `limit` payments whose `expires_at` has passed, in short transactions; return how many expired.

    A payment with an open push, or one that another transaction has locked, is left for a later run. Late money still
    pays an expired payment.
    """
    due = Payment.objects.filter(_is_due(now)).exclude(pushes__status__in=OPEN_PUSH).order_by("expires_at")
    ids = list(due.values_list("pk", flat=True)[:limit])
    return sum(_expire_batch(ids[n : n + EXPIRY_BATCH], now=now) for n in range(0, len(ids), EXPIRY_BATCH))


def _is_due(now: datetime) -> Q:
    return Q(status__in=(S.PENDING, S.PROCESSING, S.FAILED), expires_at__lte=now, deposit_paid_at=None)


def _expire_batch(payment_ids: Sequence[int], *, now: datetime) -> int:
    """Expire a batch. If that fails, expire each payment alone, so that one bad row never stops the rest."""
    try:
        return _expire(payment_ids, now=now)
    except Exception:
        if len(payment_ids) > 1:
            return sum(_expire_batch([each], now=now) for each in payment_ids)
        logger.exception("Payment %s could not be expired; the next run tries again.", payment_ids[0])
        return 0


@transaction.atomic
def _expire(payment_ids: Sequence[int], *, now: datetime) -> int:
    """Expire the payments that are still due and not locked by another transaction; return how many."""
    batch = Payment.objects.filter(pk__in=payment_ids)
    payers = members_to_lock(batch.values("payer_id")).select_for_update(no_key=True, skip_locked=True)
    due = batch.filter(_is_due(now), payer__in=list(payers)).order_by("pk")
    payments = list(due.select_for_update(no_key=True, skip_locked=True))
    open_pushes = StkPush.objects.filter(payment__in=payments, status__in=OPEN_PUSH)
    pushed = set(open_pushes.values_list("payment_id", flat=True))
    expired = [payment for payment in payments if payment.pk not in pushed]
    for payment in expired:
        change_status(payment, to=S.EXPIRED, evidence="not paid in time", by_id=None, now=now)
    return len(expired)
