"""New payments."""

from datetime import datetime

from django.conf import settings
from django.db import transaction

from api.errors import Invalid
from payments.matching import references
from payments.models import Payment, PaymentStatus
from payments.services import credit
from payments.services.allocation import PAYABLE
from payments.services.locks import lock_members, lock_payment
from payments.services.transitions import InvalidTransition, change_status, record_creation

S = PaymentStatus


class InvalidAmount(Invalid):
    """An amount that is negative or not a whole number."""

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
    use_credit: bool = True,
    deposit: int | None = None,
) -> Payment:
    """Create a payment of `amount` whole KES, and spend the payer's credit on it. The returned payment may be paid.

    `deposit` is the minimum payment in whole KES: `payment_paid` is sent when it is reached. By default it is the whole
    amount. 0 makes the payment a debt: there is nothing to grant, and it does not expire. No signal is sent for a
    payment that is returned with its minimum payment reached, because the row that buys it does not exist yet: the
    caller grants it. With `group_payment_id` the payment becomes a member of that
    group, and one push asks for all of the group. Whoever creates a group passes `use_credit=False` for each payment,
    and calls `credit.spend` afterwards.

    :raises InvalidAmount: the amount is negative or not a whole number
    :raises InvalidTransition: the group payment accepts no money
    """
    if type(amount) is not int or amount < 0:
        raise InvalidAmount
    lock_members({payer_id})
    if group_payment_id is not None:
        group_payment = Payment.objects.select_for_update(no_key=True).filter(pk=group_payment_id).first()
        if group_payment is None or group_payment.head_id is not None or group_payment.status not in PAYABLE:
            raise InvalidTransition("This group payment accepts no more payments. Create a new one.")
    payment = Payment.objects.create(
        reference=_unused_reference(),
        payer_id=payer_id,
        head_id=group_payment_id,
        description=description,
        amount_due=amount,
        deposit=amount if deposit is None else deposit,
        created_by_id=created_by_id,
        created_at=now,
        expires_at=now + settings.PAYMENT_LIFETIME,
        deposit_paid_at=None if amount and deposit != 0 else now,
    )
    record_creation(payment, evidence="created", by_id=created_by_id, now=now)
    if amount == 0:
        change_status(payment, to=S.PAID, evidence="nothing to pay", by_id=created_by_id, now=now, paid_at=now)
    elif use_credit:
        credit.spend(payment, by_id=created_by_id, now=now)
    return payment


@transaction.atomic
def require_full_payment(*, payment_id: int) -> None:
    """Raise the minimum payment to the whole amount due. If it was already reached, change nothing.

    :raises PaymentNotFound: no such payment
    """
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
) -> Payment:
    """Create a paid payment of KES 0 for a free sale. Its history names the reason and the person who gave it."""
    payment = Payment.objects.create(
        reference=_unused_reference(),
        payer_id=payer_id,
        description=description,
        amount_due=0,
        deposit=0,
        deposit_paid_at=now,
        created_by_id=by_id,
        created_at=now,
        expires_at=now,
        head_id=group_payment_id,
    )
    record_creation(payment, evidence="created", by_id=by_id, now=now)
    change_status(payment, to=S.PAID, evidence=f"free: {reason}", by_id=by_id, now=now, paid_at=now)
    return payment


def _unused_reference() -> str:
    while True:
        reference = references.generate()
        if not Payment.objects.filter(reference=reference).exists():
            return reference
