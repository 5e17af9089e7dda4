"""Who and what is locked, always in the order member, payment, receipt."""

from collections.abc import Iterable, Sequence

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import QuerySet

from api.errors import NotFound
from payments.models import Allocation, Payment, Receipt


class PaymentNotFound(NotFound):
    """No such payment, or not the caller's."""

    code, message = "not_found", "Not found."


class ReceiptNotFound(NotFound):
    """No such receipt, or not the caller's."""

    code, message = "not_found", "Not found."


def lock_members(member_ids: Iterable[int]) -> None:
    """Lock the members' rows in the order of their ids; inserts that point at them need not wait."""
    list(members_to_lock(member_ids))


def members_to_lock(member_ids: Iterable[int] | QuerySet) -> QuerySet:
    """Return the query that locks members when it is run."""
    members = get_user_model().objects.filter(pk__in=member_ids).order_by("pk").only("pk")
    return members.select_for_update(no_key=True)


def lock_payment(payment_id: int) -> Payment:
    """Lock a payment's payer, then the payment, and return it.

    :raises PaymentNotFound: no such payment
    """
    payer_id = Payment.objects.filter(pk=payment_id).values_list("payer_id", flat=True).first()
    if payer_id is None:
        raise PaymentNotFound
    lock_members({payer_id})
    return Payment.objects.select_for_update(no_key=True).get(pk=payment_id)


def lock_receipt(receipt_id: int, *, also_members: Iterable[int] = ()) -> Receipt:
    """Lock everyone a receipt's money touches (its member, the payers of its payments), its payments, then it.

    Whose money it is may change before all are locked; then they are let go, and locked anew in the right order.
    Called before other rows are locked.

    :raises ReceiptNotFound: no such receipt
    """
    if not Receipt.objects.filter(pk=receipt_id).exists():
        raise ReceiptNotFound
    members = set(also_members)
    people, payments = _touched_by(receipt_id)
    while True:
        members |= people
        before = transaction.savepoint()
        lock_members(members)
        list(Payment.objects.filter(pk__in=payments).order_by("pk").select_for_update(no_key=True))
        receipt = Receipt.objects.select_for_update(no_key=True).get(pk=receipt_id)
        people, payments = _touched_by(receipt_id)
        if people <= members:
            transaction.savepoint_commit(before)
            return receipt
        transaction.savepoint_rollback(before)


def _touched_by(receipt_id: int) -> tuple[set[int], set[int]]:
    """Return the members and the payments that a receipt's money touches."""
    owner = set(Receipt.objects.filter(pk=receipt_id, member__isnull=False).values_list("member_id", flat=True))
    live = Allocation.objects.filter(receipt_id=receipt_id, undone_at__isnull=True)
    payers = dict(live.values_list("payment_id", "payment__payer_id"))
    return owner | set(payers.values()), set(payers)


def lock_members_of(receipts: Sequence[Receipt], *, also_members: Iterable[int] = ()) -> None:
    """Lock everyone whose money locked receipts are, when other members are locked already.

    Late and out of order, so it never waits: who finds one of them busy starts again.

    :raises OperationalError: another transaction has one of them
    """
    live = Allocation.objects.filter(receipt__in=receipts, undone_at__isnull=True)
    payers = live.values_list("payment__payer_id", flat=True)
    people = {*payers, *also_members, *(receipt.member_id for receipt in receipts)} - {None}
    list(members_to_lock(people).select_for_update(no_key=True, nowait=True))


def lock_grouped_payments(payment_id: int) -> list[Payment]:
    """Lock and return the payments that this one's prompt pays too, oldest first."""
    return list(Payment.objects.filter(head_id=payment_id).order_by("pk").select_for_update(no_key=True))
