"""Receipt rows as evidence writes them, and the review item for money that a closed payment cannot take."""

from datetime import datetime

from django.contrib.auth import get_user_model
from django.db import connection

from payments.evidence.outcomes import CLOSED
from payments.models import CodeCheck, CodeClaim, Payment, Receipt, ReviewReason
from payments.services import allocation, cancellation, review_items
from payments.signals import order_paid_late


def insert(receipt: Receipt) -> bool:
    """Insert a receipt unless its code or its push already has one. Return whether it was inserted.

    This is one statement, so that of two transactions with the same code only one inserts.
    """
    fields = [field for field in Receipt._meta.concrete_fields if not field.primary_key]
    columns = ", ".join(connection.ops.quote_name(str(field.column)) for field in fields)
    marks = ", ".join(["%s"] * len(fields))
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {Receipt._meta.db_table} ({columns}) VALUES ({marks})"  # noqa: S608 (our own column names)
            " ON CONFLICT DO NOTHING RETURNING id",
            [field.pre_save(receipt, add=True) for field in fields],
        )
        row = cursor.fetchone()
    if row is None:
        return False
    receipt.pk, receipt._state.adding = row[0], False
    return True


def update(receipt: Receipt, **changes) -> None:
    """Set fields of a receipt and save only these."""
    for name, value in changes.items():
        setattr(receipt, name, value)
    receipt.save(update_fields=[name.removesuffix("_id") for name in changes])


def confirmation_details(receipt: Receipt) -> dict[str, str]:
    """Return the fields of a receipt that only a C2B confirmation reports."""
    return {name: getattr(receipt, name) for name in ("sender", "payer_name", "account_typed", "invoice_typed")}


def move_code(source: Receipt, *, to: Receipt) -> None:
    """Link the reported code and the code checks of one receipt to another, which has its M-Pesa code now."""
    CodeClaim.objects.filter(receipt=source).update(receipt=to)
    CodeCheck.objects.filter(receipt=source).update(receipt=to)


def find_closed(named: list[Payment]) -> Payment | None:
    """Return the named payment, the first, if it is closed; else a payment of its group whose order has expired."""
    if named and named[0].status in CLOSED:
        return named[0]
    return next((each for each in named if cancellation.has_order_expired(each)), None)


def open_late_money_item(receipt: Receipt, payment: Payment, amount: int, *, now: datetime) -> None:
    """Open the review item for money (whole KES) that was paid to a closed payment, and announce an expired order."""
    has_expired = cancellation.has_order_expired(payment)
    paid_to = (
        f"for the order {payment.reference}, which has expired"
        if has_expired
        else f"to a payment that is {payment.status}"
    )
    review_items.open_item(
        reason=ReviewReason.LATE_MONEY,
        detail=f"KES {amount:,} was paid {paid_to}. It is now the member's credit.",
        receipt_id=receipt.pk,
        payment_id=payment.pk,
        now=now,
    )
    if has_expired:
        order_paid_late.send_in_savepoints(payment_id=payment.pk, now=now)


def open_closed_account_item(receipt: Receipt, amount: int, *, now: datetime) -> None:
    """Open the review item for credit (whole KES) of a member whose account is closed, if it is closed."""
    if get_user_model().objects.filter(receipts=receipt, is_active=False).exists():
        review_items.open_item(
            reason=ReviewReason.LATE_MONEY,
            detail=f"KES {amount:,} was paid by or for a member whose account is closed. It is now their credit.",
            receipt_id=receipt.pk,
            now=now,
        )


def close_missing_code_item(receipt: Receipt, *, now: datetime) -> None:
    """Resolve the item that a receipt has no M-Pesa code, now that it has one or is reversed."""
    review_items.close_for_receipt(
        receipt_id=receipt.pk, reason=ReviewReason.CODE_MISSING, resolution="Its M-Pesa code is known.", now=now
    )


def without_share(payments: list[Payment], shares: list[allocation.Share]) -> list[Payment]:
    """Return the payments that none of the shares is for."""
    served = {share.payment.pk for share in shares}
    return [payment for payment in payments if payment.pk not in served]
