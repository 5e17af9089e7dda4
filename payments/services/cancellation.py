"""Cancellation and expiry: how a payment ends without money.

A payment expires when it was not paid in time; late money still pays it. An order expires later: a payment that has
given nothing and got no money for ORDER_LIFETIME_DAYS ends, so that nobody buys at an old price (decision 0034).
"""

import logging
from collections.abc import Sequence
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce

from payments.models import (
    OPEN_PUSH,
    Account,
    Allocation,
    Payment,
    PaymentEvent,
    PaymentStatus,
    ReviewReason,
    StkPush,
)
from payments.services import allocation, credit, listeners, ownership, review_items
from payments.services.allocation import PAYABLE
from payments.services.locks import lock_members, lock_payment, members_to_lock
from payments.services.transitions import InvalidTransition, change_status
from payments.signals import order_expired, payment_cancelled

logger = logging.getLogger(__name__)

S = PaymentStatus

# The number of payments that expire in one transaction: most of the cost of a small transaction is its commit.
EXPIRY_BATCH = 100
# The cause of an order's end in the history of its payment.
ORDER_EXPIRED = "order expired"


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


# --- Orders that got no money for a long time ------------------------------------------------------


def expire_orders(*, now: datetime, limit: int = 500) -> int:
    """End the orders of up to `limit` payers that have given nothing and got no money for ORDER_LIFETIME_DAYS.

    Their money becomes the payer's credit. Return how many ended. A payment whose minimum payment was reached never
    ends here. The payments of a group payment wait for each other's money, because its reference is one for all.
    """
    payers = list(_abandoned(now).order_by("payer").values_list("payer", flat=True).distinct()[:limit])
    ended = 0
    for payer_id in payers:
        try:
            ended += _expire_orders_of(payer_id, now=now)
        except Exception:
            logger.exception("The orders of member %s could not expire; the next run tries again.", payer_id)
    return ended


def has_order_expired(payment: Payment) -> bool:
    """Return whether the payment was ended by expire_orders, and not by a person."""
    if payment.status != S.CANCELLED:
        return False
    return PaymentEvent.objects.filter(payment=payment, to_status=S.CANCELLED, evidence=ORDER_EXPIRED).exists()


def _abandoned(now: datetime) -> QuerySet[Payment]:
    """Return the payments that have given nothing, and whose group got no money, lost none and has no open push."""
    before = now - settings.ORDER_LIFETIME
    group = Coalesce(OuterRef("head"), OuterRef("pk"))
    moved = Allocation.objects.filter(Q(created_at__gt=before) | Q(undone_at__gt=before))
    pushes = StkPush.objects.filter(status__in=OPEN_PUSH)
    return Payment.objects.filter(
        status__in=PAYABLE,
        deposit_paid_at__isnull=True,
        created_at__lte=before,
        expires_at__lte=now,
    ).exclude(
        Exists(moved.alias(group=Coalesce("payment__head", "payment")).filter(group=group))
        | Exists(pushes.alias(group=Coalesce("payment__head", "payment")).filter(group=group))
    )


@transaction.atomic
def _expire_orders_of(payer_id: int, *, now: datetime) -> int:
    """End all abandoned orders of a payer at once, so that the credit of one does not buy another at its old price."""
    lock_members({payer_id})
    found = _abandoned(now).filter(payer=payer_id).order_by("pk")
    orders = list(found.select_for_update(no_key=True, of=("self",)))
    had_money = {order.pk for order in orders if order.amount_paid}
    for order in orders:
        _release_to_credit(order, by_id=None, now=now)
        change_status(order, to=S.CANCELLED, evidence=ORDER_EXPIRED, by_id=None, now=now)
    credit.complete_open(payer_id, now=now)  # before listeners lock their rows
    for order in orders:
        listeners.announce(payment_cancelled, order, now=now)
        if order.pk in had_money:
            order_expired.send_in_savepoints(payment_id=order.pk, now=now)
    return len(orders)
