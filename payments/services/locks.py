"""Row locks, always taken in the order member, payment, receipt."""

from collections.abc import Iterable, Sequence

from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import QuerySet

from api.errors import NotFound
from payments.models import Allocation, Payment, Receipt


class PaymentNotFound(NotFound):
    """The payment does not exist, or the caller may not see it."""

    code, message = "not_found", "Not found."


class ReceiptNotFound(NotFound):
    """The receipt does not exist, or the caller may not see it."""

    code, message = "not_found", "Not found."


def lock_members(member_ids: Iterable[int]) -> None:
    """Lock the members' rows in the order of their ids. Inserts that reference a member do not wait for this lock."""
    list(members_to_lock(member_ids))


def members_to_lock(member_ids: Iterable[int] | QuerySet) -> QuerySet:
    """Return the query that locks the members when it is evaluated."""
    members = get_user_model().objects.filter(pk__in=member_ids).order_by("pk").only("pk")
    return members.select_for_update(no_key=True)


def lock_payment(payment_id: int) -> Payment:
    """Lock a payment's payer, then the payment, and return the payment.

    :raises PaymentNotFound: no such payment
    """
    payer_id = Payment.objects.filter(pk=payment_id).values_list("payer_id", flat=True).first()
    if payer_id is None:
        raise PaymentNotFound
    lock_members({payer_id})
    return Payment.objects.select_for_update(no_key=True).get(pk=payment_id)


def lock_receipt(receipt_id: int, *, also_members: Iterable[int] = ()) -> Receipt:
    """Lock a receipt's member and the payers of its payments, then its payments, then the receipt; return it.

    Call it before any other row is locked. The owner of the money may change before all rows are locked. Then the
    locks are released, and taken again in the right order.

    :raises ReceiptNotFound: no such receipt
    """
    if not Receipt.objects.filter(pk=receipt_id).exists():
        raise ReceiptNotFound
    members = set(also_members)
    affected, payments = _affected_rows(receipt_id)
    while True:
        members |= affected
        savepoint = connection.savepoint()
        assert savepoint is not None  # noqa: S101  it is None only outside a transaction
        lock_members(members)
        list(Payment.objects.filter(pk__in=payments).order_by("pk").select_for_update(no_key=True))
        receipt = Receipt.objects.select_for_update(no_key=True).get(pk=receipt_id)
        affected, payments = _affected_rows(receipt_id)
        if affected <= members:
            connection.savepoint_commit(savepoint)
            return receipt
        connection.savepoint_rollback(savepoint)


def _affected_rows(receipt_id: int) -> tuple[set[int], set[int]]:
    """Return the ids of the members, and of the payments, that a receipt's money belongs to."""
    owner = set(Receipt.objects.filter(pk=receipt_id, member__isnull=False).values_list("member_id", flat=True))
    live = Allocation.objects.filter(receipt_id=receipt_id, undone_at__isnull=True)
    payers = dict(live.values_list("payment_id", "payment__payer_id"))
    return owner | set(payers.values()), set(payers)


def lock_members_of(receipts: Sequence[Receipt], *, also_members: Iterable[int | None] = ()) -> None:
    """Lock the members of locked receipts, and the payers of their payments, when other members are locked already.

    This breaks the lock order, so it never waits: a deadlock is impossible, and the caller's transaction is retried.

    :raises OperationalError: another transaction has locked one of the members
    """
    live = Allocation.objects.filter(receipt__in=receipts, undone_at__isnull=True)
    payers = live.values_list("payment__payer_id", flat=True)
    candidates = (*payers, *also_members, *(receipt.member_id for receipt in receipts))
    members = {member_id for member_id in candidates if member_id is not None}
    list(members_to_lock(members).select_for_update(no_key=True, nowait=True))


def lock_grouped_payments(payment_id: int) -> list[Payment]:
    """Lock and return the other payments of a group payment, which its push asks for too, oldest first."""
    return list(Payment.objects.filter(head_id=payment_id).order_by("pk").select_for_update(no_key=True))
