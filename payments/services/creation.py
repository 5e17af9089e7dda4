"""A payment opens, and the payer's credit is spent on it."""

from datetime import datetime

from django.conf import settings
from django.db import transaction

from api.errors import Invalid
from api.idempotency import IdempotencyKeyReused
from payments.matching import references
from payments.models import Account, AllocationRule, Payment, PaymentStatus
from payments.services import allocation
from payments.services.allocation import PAYABLE, Share
from payments.services.locks import lock_members, lock_payment
from payments.services.settlement import add_money
from payments.services.transitions import InvalidTransition, change_status, record_creation

S = PaymentStatus


class InvalidAmount(Invalid):
    """Payments are whole shillings, zero or more."""

    code, message = "invalid_amount", "The amount must be whole shillings, zero or more."


@transaction.atomic
def create_payment(
    *,
    payer_id: int,
    amount: int,
    description: str,
    created_by_id: int,
    now: datetime,
    group_payment_id: int | None = None,
    idempotency_key: str | None = None,
    body_fingerprint: str = "",
    use_credit: bool = True,
    deposit: int | None = None,
) -> Payment:
    """Open a payment of `amount` whole KES and spend the payer's credit on it; it may come back paid.

    What it buys is given once `deposit` KES of it have come: all of it, unless said otherwise. A payment that comes
    back with its deposit paid is not announced: the thing it buys does not point at it yet, so the caller grants it.
    The same `idempotency_key` of the same creator returns the payment it opened the first time. Who opens several for
    one prompt opens all of them without spending (`spend`), and calls `spend_credit` after.

    :raises InvalidAmount: the amount is negative or no whole number
    :raises IdempotencyKeyReused: the key came before with another body
    :raises InvalidTransition: the head payment takes no more money
    """
    if type(amount) is not int or amount < 0:
        raise InvalidAmount
    # The creator too: two requests with one key may name different payers.
    lock_members({payer_id, created_by_id} if idempotency_key else {payer_id})
    earlier = find_payment_by_key(idempotency_key, body_fingerprint, created_by_id=created_by_id)
    if earlier is not None:
        return earlier
    if group_payment_id is not None:
        group = Payment.objects.select_for_update(no_key=True).filter(pk=group_payment_id).first()
        if group is None or group.head_id is not None or group.status not in PAYABLE:
            raise InvalidTransition("The payment this belongs to takes no more.")
    payment = Payment.objects.create(
        reference=_free_reference(),
        payer_id=payer_id,
        head_id=group_payment_id,
        description=description,
        amount_due=amount,
        deposit=amount if deposit is None else deposit,
        created_by_id=created_by_id,
        created_at=now,
        expires_at=now + settings.PAYMENT_LIFETIME,
        deposit_paid_at=None if amount else now,
        idempotency_key=idempotency_key,
        body_fingerprint=body_fingerprint,
    )
    record_creation(payment, evidence="opened", by_id=created_by_id, now=now)
    if amount == 0:
        change_status(payment, to=S.PAID, evidence="nothing to pay", by_id=created_by_id, now=now, paid_at=now)
    elif use_credit:
        spend_credit(payment=payment, by_id=created_by_id, now=now)
    return payment


def find_payment_by_key(key: str | None, fingerprint: str, *, created_by_id: int) -> Payment | None:
    """Return the payment that the same request of the same creator opened the first time.

    :raises IdempotencyKeyReused: the key came before with another body
    """
    earlier = Payment.objects.filter(created_by=created_by_id, idempotency_key=key).first() if key else None
    if earlier is not None and earlier.body_fingerprint != fingerprint:
        raise IdempotencyKeyReused
    return earlier


@transaction.atomic
def require_full_payment(*, payment_id: int) -> None:
    """From now on nothing is given for less than the whole payment, unless its deposit has come already."""
    payment = lock_payment(payment_id)
    if payment.deposit_paid_at is None:
        payment.deposit = payment.amount_due
        payment.save(update_fields=["deposit"])


@transaction.atomic
def record_free_payment(
    *,
    payer_id: int,
    description: str,
    reason: str,
    by_id: int,
    now: datetime,
    group_payment_id: int | None = None,
    idempotency_key: str | None = None,
    body_fingerprint: str = "",
) -> Payment:
    """Record something given for nothing as a paid payment of 0, with the reason and who gave it in its history."""
    payment = Payment.objects.create(
        reference=_free_reference(),
        payer_id=payer_id,
        description=description,
        amount_due=0,
        deposit=0,
        deposit_paid_at=now,
        created_by_id=by_id,
        created_at=now,
        expires_at=now,
        head_id=group_payment_id,
        idempotency_key=idempotency_key,
        body_fingerprint=body_fingerprint,
    )
    record_creation(payment, evidence="opened", by_id=by_id, now=now)
    change_status(payment, to=S.PAID, evidence=f"comp: {reason}", by_id=by_id, now=now, paid_at=now)
    return payment


def spend_credit(*, payment: Payment, by_id: int | None, now: datetime) -> None:
    """Put the payer's credit to work on a payment just opened, oldest money first. The payer is locked.

    The payment is covered now, not when the credit was paid in: a period that starts with its money starts today.
    """
    for receipt in allocation.receipts_with_credit(payment.payer_id):
        if not payment.amount_owed:
            break
        share = Share(payment, min(receipt.unspent, payment.amount_owed), AllocationRule.CREDIT)
        allocation.allocate(
            receipt=receipt,
            from_account=Account.MEMBER_CREDIT,
            amount=share.amount,
            shares=[share],
            by_id=by_id,
            now=now,
        )
        add_money(payment, share.amount, evidence=f"credit of receipt {receipt.pk}", by_id=by_id, now=now, moved_at=now)


def _free_reference() -> str:
    while True:
        reference = references.generate()
        if not Payment.objects.filter(reference=reference).exists():
            return reference
