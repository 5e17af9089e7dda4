"""Decisions about review items: assign unmatched money, decide about held money, undo an assignment, dismiss."""

from collections.abc import Set
from datetime import datetime

from django.db import transaction

from api.errors import Conflict, NotFound
from payments.evidence import holds, pairing, paybill_money
from payments.models import CodeCheckStatus, CodeClaim, Receipt, ReviewItem, ReviewReason, ReviewStatus
from payments.services import locks, ownership, reversals


class ReviewItemNotFound(NotFound):
    """There is no such review item."""


class NotAssignable(Conflict):
    """Only unmatched money can be assigned."""

    code, message = "not_assignable", "This item has no money that needs an owner."


class NotUndoable(Conflict):
    """Only an assignment can be undone, and only while its money is here."""

    code, message = "not_undoable", "This item has no assignment to undo."


class MoneyIsHeld(Conflict):
    """The money may be that of an STK push, so nobody may use it."""

    code, message = (
        "money_is_held",
        "This may be the money of an STK push. First decide whether it is the same money or other money.",
    )


class NotHeld(Conflict):
    """Only an open item about a possible double can be decided."""

    code, message = "not_held", "This item does not ask whether two receipts are the same money, or it was decided."


class NotTakeable(Conflict):
    """Only held money with cents can be taken, once."""

    code, message = "not_takeable", "This item has no money with cents to take, or it was taken."


class CodeNotChecked(Conflict):
    """Safaricom has not confirmed the code of money with cents."""

    code, message = (
        "code_not_checked",
        "Safaricom has not confirmed this code and amount yet. Check the code, wait for the answer, then try again.",
    )


class AlreadyDecided(Conflict):
    """The item was decided before."""

    code, message = "already_decided", "This item has already been decided."


@transaction.atomic
def assign_money(
    *, item_id: int, by_id: int, now: datetime, member_id: int | None = None, payment_id: int | None = None
) -> ReviewItem:
    """Assign unmatched money to a payment, or to a member's open payments, and resolve the item.

    Payments and periods that the money covers are paid and granted in the same transaction. The rest pays the
    member's other open payments, then becomes credit.

    :raises ownership.OwnerNeeded: neither a member nor a payment was named, or it does not exist
    :raises ownership.PaymentTakesNoMoney: the named payment is closed or fully paid
    :raises ownership.OwnMoney: `by_id` is the member, or the payer of the payment
    :raises NotAssignable: the item is not about unmatched money, or its money has an owner
    :raises ReviewItemNotFound: no such item
    """
    member_id = ownership.owner_of(member_id=member_id, payment_id=payment_id)
    ownership.require_not_own(member_id, by_id=by_id)
    item = lock_with_receipt(item_id, also_members={member_id})
    receipt = require_ownerless(item)
    ownership.assign_to_owner(receipt=receipt, member_id=member_id, payment_id=payment_id, by_id=by_id, now=now)
    item.status, item.resolved_at, item.resolved_by_id = ReviewStatus.RESOLVED, now, by_id
    item.resolution = f"Assigned to payment {payment_id}." if payment_id else f"Assigned to member {member_id}."
    item.save(update_fields=["status", "resolved_at", "resolved_by", "resolution"])
    return item


def require_ownerless(item: ReviewItem) -> Receipt:
    """Return the receipt of a locked item, after a check that its money has no owner yet.

    A dismissed item is accepted too: the owner may ask after the dismissal.

    :raises NotAssignable: the item is about something else, or its money has an owner or was reversed
    """
    receipt = item.receipt
    if item.reason != ReviewReason.UNMATCHED or item.status == ReviewStatus.RESOLVED:
        raise NotAssignable
    if receipt is None or receipt.member_id is not None or receipt.reversed_at:
        raise NotAssignable
    return receipt


@transaction.atomic
def undo_assignment(*, item_id: int, by_id: int, now: datetime) -> ReviewItem:
    """Undo an assignment exactly: the money is unmatched, what it paid is unpaid, and the item is open again.

    Credit from it that was spent since is also taken out of the payments that it paid.

    :raises NotUndoable: the item's money was not assigned, or is gone
    :raises ReviewItemNotFound: no such item
    """
    item = lock_with_receipt(item_id)
    receipt = item.receipt
    if receipt is None or not is_undoable(item):
        raise NotUndoable
    reversals.change_owner(receipt=receipt, member_id=None, by_id=by_id, now=now, reason=f"assignment {item.pk} undone")
    CodeClaim.objects.filter(receipt=receipt).delete()  # it named the wrong payment; the right one may be reported
    item.status, item.resolved_at, item.resolved_by_id, item.resolution = ReviewStatus.OPEN, None, None, ""
    item.save(update_fields=["status", "resolved_at", "resolved_by", "resolution"])
    return item


def is_undoable(item: ReviewItem) -> bool:
    """Return whether the item's money was assigned by hand and is still here.

    A receipt that was later matched to an STK push is proved by Safaricom, so its assignment stays.
    """
    receipt = item.receipt
    if item.reason != ReviewReason.UNMATCHED or item.status != ReviewStatus.RESOLVED or receipt is None:
        return False
    return receipt.member_id is not None and receipt.push_id is None and receipt.amount_held > 0


@transaction.atomic
def dismiss_item(*, item_id: int, reason: str, by_id: int, now: datetime) -> ReviewItem:
    """Close an open item with a reason, without moving money.

    :raises ownership.ReasonNeeded: the reason is empty
    :raises AlreadyDecided: the item is not open
    :raises MoneyIsHeld: the item asks whether its money is an STK push's
    :raises ReviewItemNotFound: no such item
    """
    reason = ownership.require_reason(reason)
    item = ReviewItem.objects.select_for_update(no_key=True).filter(pk=item_id).first()
    if item is None:
        raise ReviewItemNotFound
    if item.status != ReviewStatus.OPEN:
        raise AlreadyDecided
    if item.reason == ReviewReason.POSSIBLE_DOUBLE:
        raise MoneyIsHeld
    item.status, item.resolution = ReviewStatus.DISMISSED, reason[:255]
    item.resolved_at, item.resolved_by_id = now, by_id
    item.save(update_fields=["status", "resolution", "resolved_at", "resolved_by"])
    return item


@transaction.atomic
def decide_same_money(*, item_id: int, by_id: int, now: datetime) -> ReviewItem:
    """Decide that an item's receipt is the money of its push. This resolves the item.

    The code is written on the push's receipt, as a guess that the push's own callback may still correct. The item's
    receipt is reversed as a duplicate.

    :raises NotHeld: the item does not ask this, or was decided
    :raises ownership.OwnMoney: `by_id` is the payer of the push's payment
    :raises ReviewItemNotFound: no such item
    """
    item, of_push = _lock_possible_double(item_id, by_id=by_id)
    receipt = item.receipt
    if receipt is None or of_push is None or of_push.push_id is None:
        raise NotHeld
    pairing.merge_duplicate(receipt, into=of_push, guessed=True, now=now)
    paybill_money.release_for_push(of_push.push_id, now=now)
    item.refresh_from_db()
    item.resolution, item.resolved_by_id = "It is the money of the STK push.", by_id
    item.save(update_fields=["resolution", "resolved_by"])
    return item


@transaction.atomic
def decide_other_money(*, item_id: int, by_id: int, now: datetime) -> ReviewItem:
    """Decide that an item's receipt is not the money of its push. This resolves the item.

    The money goes to the owner whom a reported code names, else it is unmatched money, with a review item of its own.

    :raises NotHeld: the item does not ask this, or was decided
    :raises ownership.OwnMoney: `by_id` is the payer of the push's payment
    :raises ReviewItemNotFound: no such item
    """
    item, _ = _lock_possible_double(item_id, by_id=by_id)
    if item.receipt is None:
        raise NotHeld
    paybill_money.release(item, item.receipt, resolution="It is not the money of the STK push.", by_id=by_id, now=now)
    return item


@transaction.atomic
def take_whole_shillings(*, item_id: int, by_id: int, now: datetime) -> ReviewItem:
    """Take the whole shillings of money with cents, after its code was checked. This resolves the item.

    The money goes to the owner that the confirmation or a reported code names, else it is unmatched money, with a
    review item of its own. A dismissed item is accepted too.

    :raises NotTakeable: the item is not about cents, or its money was taken or reversed
    :raises CodeNotChecked: no code check has found this code and amount
    :raises ownership.OwnMoney: `by_id` is the owner
    :raises ReviewItemNotFound: no such item
    """
    found = Receipt.objects.filter(review_items=item_id, reversed_at=None).first()
    owner_id = None if found is None else paybill_money.find_owner_of(found).member_id
    item = lock_with_receipt(item_id, also_members=set() if owner_id is None else {owner_id})
    receipt = item.receipt
    if receipt is None or receipt.reversed_at or not holds.cents_items(receipt).filter(pk=item_id).exists():
        raise NotTakeable
    if not receipt.code_checks.filter(status=CodeCheckStatus.FOUND).exists():
        raise CodeNotChecked
    if owner_id is not None:
        ownership.require_not_own(owner_id, by_id=by_id)
    resolution = f"KES {receipt.amount:,} was taken. {receipt.cents} cents are in no book."
    paybill_money.release(item, receipt, resolution=resolution, by_id=by_id, now=now)
    return item


def _lock_possible_double(item_id: int, *, by_id: int) -> tuple[ReviewItem, Receipt | None]:
    """Lock an open item about a possible double, with its receipt and the receipt of its push; return item and that.

    :raises NotHeld: the item does not ask this, or was decided
    :raises ownership.OwnMoney: `by_id` is the payer of the push's payment
    :raises ReviewItemNotFound: no such item
    """
    found = ReviewItem.objects.filter(pk=item_id).select_related("push__payment").first()
    if found is None:
        raise ReviewItemNotFound
    if found.reason != ReviewReason.POSSIBLE_DOUBLE or found.push is None or found.receipt_id is None:
        raise NotHeld
    ownership.require_not_own(found.push.payment.payer_id, by_id=by_id)
    owner_of_code = CodeClaim.objects.filter(code__in=Receipt.objects.filter(pk=found.receipt_id).values("code"))
    reported_by = set(owner_of_code.values_list("payment__payer_id", flat=True))
    of_push_id = Receipt.objects.filter(push=found.push, reversed_at=None).values_list("pk", flat=True).first()
    of_push = None
    members = {found.push.payment.payer_id, *reported_by}
    if of_push_id is not None:
        of_push = locks.lock_receipt(of_push_id, also_members=members)
    item = lock_with_receipt(item_id, also_members=members)
    if item.status != ReviewStatus.OPEN or (of_push is not None and of_push.code is not None):
        raise NotHeld
    return item, of_push


def lock_with_receipt(item_id: int, *, also_members: Set[int] = frozenset()) -> ReviewItem:
    """Lock the members and the receipt of an item's money, then the item, and return it.

    :raises ReviewItemNotFound: no such item
    """
    receipt_id = ReviewItem.objects.filter(pk=item_id).values_list("receipt_id", flat=True).first()
    receipt = locks.lock_receipt(receipt_id, also_members=also_members) if receipt_id else None
    item = ReviewItem.objects.select_for_update(no_key=True).filter(pk=item_id).first()
    if item is None:
        raise ReviewItemNotFound
    item.receipt = receipt
    return item
