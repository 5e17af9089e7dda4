"""What staff decide about review items: give unmatched money to its owner, take that back, or dismiss."""

from datetime import datetime

from django.contrib.auth import get_user_model
from django.db import transaction

from api.errors import Conflict, Forbidden, Invalid, NotFound
from payments.models import (
    Account,
    AllocationRule,
    CodeClaim,
    Payment,
    Receipt,
    ReviewItem,
    ReviewReason,
    ReviewStatus,
)
from payments.pushes import closing
from payments.services import allocation, locks, reversals, settlement


class ReviewItemNotFound(NotFound):
    """No such review item."""


class NotAssignable(Conflict):
    """Only unmatched money can be assigned."""

    code, message = "not_assignable", "This item is not about money that still needs an owner."


class NotUndoable(Conflict):
    """Only an assignment can be undone, and only while it stands."""

    code, message = "not_undoable", "There is no assignment here to undo."


class AlreadyDecided(Conflict):
    """The item was decided before."""

    code, message = "already_decided", "This item has already been decided."


class OwnerNeeded(Invalid):
    """An assignment names one member or one payment that exist."""

    code, message = "owner_needed", "Name the member or the payment this money belongs to."


class OwnMoney(Forbidden):
    """Nobody writes money into their own account, says that a stranger's is theirs, or gives themselves anything."""

    code, message = "own_money", "Another person must record what is for yourself."


class PaymentTakesNoMoney(Conflict):
    """The payment that was named is closed or covered; money for it would silently go elsewhere."""

    code, message = "payment_takes_no_money", "This payment takes no money. Name another, or the member alone."


class ReasonNeeded(Invalid):
    """Dismissing needs a reason."""

    code, message = "reason_needed", "Say why."


@transaction.atomic
def assign_money(
    *, item_id: int, by_id: int, now: datetime, member_id: int | None = None, payment_id: int | None = None
) -> ReviewItem:
    """Give unmatched money to a payment, or to a member's open payments; pays, grants and records together.

    What is left over goes to the member's other open payments, then to credit.

    :raises OwnerNeeded: neither member nor payment was named, or they do not exist
    :raises PaymentTakesNoMoney: the payment named is closed or covered
    :raises OwnMoney: by the member or payer who would get it
    :raises NotAssignable: the item is not about unmatched money, or is so no longer
    :raises ReviewItemNotFound: no such item
    """
    member_id = owner_of(member_id=member_id, payment_id=payment_id)
    require_anothers(member_id, by_id=by_id)
    item = lock_with_receipt(item_id, also_members={member_id})
    receipt = require_ownerless(item)
    give_to_owner(receipt=receipt, member_id=member_id, payment_id=payment_id, by_id=by_id, now=now)
    item.status, item.resolved_at, item.resolved_by_id = ReviewStatus.RESOLVED, now, by_id
    item.resolution = f"Assigned to payment {payment_id}." if payment_id else f"Assigned to member {member_id}."
    item.save(update_fields=["status", "resolved_at", "resolved_by", "resolution"])
    return item


def require_ownerless(item: ReviewItem) -> Receipt:
    """Return the receipt of a locked item of unmatched money. Whoever dismissed it knew no owner, who may still come.

    :raises NotAssignable: it is another, or the money has an owner
    """
    receipt = item.receipt
    if item.reason != ReviewReason.UNMATCHED or item.status == ReviewStatus.RESOLVED:
        raise NotAssignable
    if receipt is None or receipt.member_id is not None or receipt.reversed_at:
        raise NotAssignable
    return receipt


def owner_of(*, member_id: int | None, payment_id: int | None) -> int:
    """Return the member that money belongs to: the payment's payer, or the member named.

    :raises OwnerNeeded: neither was named, or it does not exist
    """
    if payment_id is not None:
        member_id = Payment.objects.filter(pk=payment_id).values_list("payer_id", flat=True).first()
    if member_id is None or not get_user_model().objects.filter(pk=member_id).exists():
        raise OwnerNeeded
    return member_id


def require_anothers(member_id: int | None, *, by_id: int) -> None:
    """Let nobody decide of money that would be their own.

    :raises OwnMoney: they would
    """
    if member_id == by_id:
        raise OwnMoney


def give_to_owner(
    *, receipt: Receipt, member_id: int, payment_id: int | None, by_id: int | None, now: datetime
) -> None:
    """Move a locked receipt's money from unmatched to its owner. The member's row is locked by the caller.

    :raises PaymentTakesNoMoney: the payment named takes none
    """
    shares = share_out(receipt.amount_held, moved_at=receipt.paid_at, member_id=member_id, payment_id=payment_id)
    receipt.member_id = member_id
    receipt.save(update_fields=["member"])
    settlement.apply_money(receipt=receipt, from_account=Account.UNMATCHED, shares=shares, by_id=by_id, now=now)


def share_out(amount: int, *, moved_at: datetime, member_id: int, payment_id: int | None) -> list[allocation.Share]:
    """Return how money that staff hold is shared out: to the payment named, then to the member's other open ones.

    :raises PaymentTakesNoMoney: the payment named takes none
    """
    payments = allocation.lock_open_payments(member_id)
    named = [payment for payment in payments if payment.pk == payment_id]
    if payment_id is not None and not named:
        raise PaymentTakesNoMoney
    others = [payment for payment in payments if payment.pk != payment_id]
    shares, _ = allocation.divide(amount, moved_at=moved_at, first=named, rule=AllocationRule.BY_HAND, others=others)
    return shares


@transaction.atomic
def undo_assignment(*, item_id: int, by_id: int, now: datetime) -> ReviewItem:
    """Take an assignment back exactly: the money is unmatched again, what it paid is unpaid, the item is open.

    Credit of it that was spent meanwhile is taken out of what it was spent on, too.

    :raises NotUndoable: the item is not a standing assignment
    :raises ReviewItemNotFound: no such item
    """
    item = lock_with_receipt(item_id)
    if not is_undoable(item):
        raise NotUndoable
    receipt = item.receipt
    reversals.change_owner(receipt=receipt, member_id=None, by_id=by_id, now=now, reason=f"assignment {item.pk} undone")
    CodeClaim.objects.filter(receipt=receipt).delete()  # it named the wrong payment; the right one may be claimed for
    item.status, item.resolved_at, item.resolved_by_id, item.resolution = ReviewStatus.OPEN, None, None, ""
    item.save(update_fields=["status", "resolved_at", "resolved_by", "resolution"])
    return item


def is_undoable(item: ReviewItem) -> bool:
    """Say whether an item's money was assigned and is still here.

    A receipt that turned out to be a prompt's money has been proved by Safaricom, not by hand.
    """
    receipt = item.receipt
    if item.reason != ReviewReason.UNMATCHED or item.status != ReviewStatus.RESOLVED or receipt is None:
        return False
    return receipt.member_id is not None and receipt.push_id is None and receipt.amount_held > 0


@transaction.atomic
def dismiss_item(*, item_id: int, reason: str, by_id: int, now: datetime) -> ReviewItem:
    """End an open item without moving money, with the reason. A prompt nobody could tell the end of ends with it.

    :raises ReasonNeeded: the reason is empty
    :raises AlreadyDecided: the item is not open
    :raises ReviewItemNotFound: no such item
    """
    if not reason.strip():
        raise ReasonNeeded
    # Before the item is locked: a push is locked after its payer and payment.
    overdue = ReviewItem.objects.filter(pk=item_id, reason=ReviewReason.OVERDUE_UNKNOWN, status=ReviewStatus.OPEN)
    for push_id in overdue.values_list("push_id", flat=True):
        closing.close_unknown(push_id=push_id, now=now)
    item = ReviewItem.objects.select_for_update(no_key=True).filter(pk=item_id).first()
    if item is None:
        raise ReviewItemNotFound
    if item.status != ReviewStatus.OPEN:
        raise AlreadyDecided
    item.status, item.resolution = ReviewStatus.DISMISSED, reason.strip()[:255]
    item.resolved_at, item.resolved_by_id = now, by_id
    item.save(update_fields=["status", "resolution", "resolved_at", "resolved_by"])
    return item


def lock_with_receipt(item_id: int, *, also_members: set[int] = frozenset()) -> ReviewItem:
    """Lock everyone an item's money touches, its receipt, then the item."""
    receipt_id = ReviewItem.objects.filter(pk=item_id).values_list("receipt_id", flat=True).first()
    receipt = receipt_id and locks.lock_receipt(receipt_id, also_members=also_members)
    item = ReviewItem.objects.select_for_update(no_key=True).filter(pk=item_id).first()
    if item is None:
        raise ReviewItemNotFound
    item.receipt = receipt
    return item
