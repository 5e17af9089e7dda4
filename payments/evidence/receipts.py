"""A receipt's row, and money that came for a payment that takes none."""

from datetime import datetime

from django.db import connection

from payments.models import Payment, Receipt, ReviewReason
from payments.services import allocation, review_items


def insert(receipt: Receipt) -> bool:
    """Insert a receipt unless its code or its prompt already has one; return whether it was inserted.

    One statement decides: two transactions that bring the same code cannot both see that it is new.
    """
    fields = [field for field in Receipt._meta.concrete_fields if not field.primary_key]
    columns = ", ".join(connection.ops.quote_name(field.column) for field in fields)
    marks = ", ".join(["%s"] * len(fields))
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {Receipt._meta.db_table} ({columns}) VALUES ({marks})"  # noqa: S608 (our own column names)
            " ON CONFLICT DO NOTHING RETURNING id",
            [getattr(receipt, field.attname) for field in fields],
        )
        row = cursor.fetchone()
    if row is None:
        return False
    receipt.pk, receipt._state.adding = row[0], False
    return True


def update(receipt: Receipt, **changes) -> None:
    for name, value in changes.items():
        setattr(receipt, name, value)
    receipt.save(update_fields=[name.removesuffix("_id") for name in changes])


def told_by_confirmation(receipt: Receipt) -> dict[str, str]:
    """Return what only the paybill's confirmation tells."""
    return {name: getattr(receipt, name) for name in ("sender", "payer_name", "account_typed")}


def hold_late(receipt: Receipt, payment: Payment, amount: int, *, now: datetime) -> None:
    review_items.open_item(
        reason=ReviewReason.LATE_MONEY,
        detail=f"KES {amount:,} came for a payment that is {payment.status}; it is kept as the member's credit.",
        receipt_id=receipt.pk,
        payment_id=payment.pk,
        now=now,
    )


def besides(payments: list[Payment], shares: list[allocation.Share]) -> list[Payment]:
    """Return the payments that got nothing yet."""
    served = {share.payment.pk for share in shares}
    return [payment for payment in payments if payment.pk not in served]
