"""Money that staff gave back: cash out of a drawer, a bank transfer, M-Pesa sent or reversed by hand.

Kilabu sends no money; it records that a person did, of a receipt or of a member's credit, and never more than that
holds. What the money had paid is unpaid by the same act.
"""

from datetime import datetime

from django.db import transaction

from api.errors import Conflict
from payments.desk import desk_receipts, review_decisions
from payments.models import Account, CashSession, Receipt, Refund, ReviewItem
from payments.services import allocation, creation, locks, reversals

# Accounts that money can leave by.
PAID_FROM = (Account.CASH, Account.BANK, Account.MPESA)


class MoreThanHeld(Conflict):
    """A refund is at most what is there."""

    code, message = "more_than_held", "That is more than this receipt, or the member's credit, holds."


class NotEnoughCash(Conflict):
    """Cash comes out of a drawer that holds it."""

    code, message = "not_enough_cash", "Your drawer does not hold that much."


@transaction.atomic
def record_refund(
    *,
    paid_from: Account,
    reason: str,
    by_id: int,
    now: datetime,
    receipt_id: int | None = None,
    member_id: int | None = None,
    amount: int | None = None,
    idempotency_key: str | None = None,
    body_fingerprint: str = "",
) -> list[Refund]:
    """Record that money (whole KES) of a receipt, or of a member's credit, was given back; all of it without `amount`.

    Of a receipt, what no payment uses goes first, then what it paid last: such a payment is told unpaid, and is
    refunded when nothing is left in it. Credit is taken from its oldest receipts, a refund for each. The same
    `idempotency_key` of the same person returns what it recorded the first time.

    :raises MoreThanHeld: it is not there, or there is nothing
    :raises NotEnoughCash: the drawer does not hold it
    :raises desk.NoOpenSession: cash without an open drawer
    :raises resolutions.OwnerNeeded: no such member
    :raises resolutions.OwnMoney: by the member whose money it is
    :raises resolutions.ReasonNeeded: the reason is empty
    :raises services.IdempotencyKeyReused: the key came before with another body
    :raises services.InvalidAmount: not a positive whole number
    :raises services.ReceiptNotFound: no such receipt
    """
    if not reason.strip():
        raise review_decisions.ReasonNeeded
    if amount is not None and (type(amount) is not int or amount <= 0):
        raise creation.InvalidAmount("The amount must be whole shillings, more than zero.")
    receipts = _lock_holders(receipt_id=receipt_id, member_id=member_id, by_id=by_id)
    for each in receipts:
        review_decisions.require_anothers(each.member_id, by_id=by_id)
    if idempotency_key is not None:
        earlier = list(Refund.objects.filter(made_by_id=by_id, idempotency_key=idempotency_key).order_by("pk"))
        if any(each.body_fingerprint != body_fingerprint for each in earlier):
            raise creation.IdempotencyKeyReused
        if earlier:
            return earlier
    held = sum(each.unspent for each in receipts)
    amount = held if amount is None else amount
    if not 0 < amount <= held:
        raise MoreThanHeld
    session = _lock_drawer(by_id, amount) if paid_from == Account.CASH else None
    refunds = []
    for receipt in receipts:
        part = min(amount, receipt.unspent)
        if not part:
            break
        reversals.refund_money(
            receipt=receipt, amount=part, paid_from=paid_from, reason=reason.strip(), by_id=by_id, now=now
        )
        refunds.append(
            Refund.objects.create(
                receipt=receipt,
                amount=part,
                paid_from=paid_from,
                reason=reason.strip()[:255],
                cash_session=session,
                made_by_id=by_id,
                made_at=now,
                idempotency_key=idempotency_key,
                body_fingerprint=body_fingerprint,
            )
        )
        amount -= part
    return refunds


@transaction.atomic
def send_back(*, item_id: int, paid_from: Account, reason: str, by_id: int, now: datetime) -> ReviewItem:
    """Record that the money of an item, which nobody owns, went back to its sender; the item ends with it.

    :raises resolutions.NotAssignable: its money has an owner, or went back
    :raises resolutions.ReviewItemNotFound: no such item
    :raises NotEnoughCash, desk.NoOpenSession, resolutions.ReasonNeeded: as a refund
    """
    item = review_decisions.lock_with_receipt(item_id, also_members={by_id})
    receipt = review_decisions.require_ownerless(item)
    record_refund(receipt_id=receipt.pk, paid_from=paid_from, reason=reason, by_id=by_id, now=now)
    item.refresh_from_db()
    item.resolved_by_id = by_id
    item.save(update_fields=["resolved_by"])
    return item


def _lock_holders(*, receipt_id: int | None, member_id: int | None, by_id: int) -> list[Receipt]:
    """Lock and return the receipts that money may come out of, with `unspent`: how much each may give.

    Whoever records it is locked too: two requests with one key may name different receipts.
    """
    if receipt_id is not None:
        receipt = locks.lock_receipt(receipt_id, also_members={by_id})
        receipt.unspent = receipt.amount_held
        return [receipt]
    member_id = review_decisions.owner_of(member_id=member_id, payment_id=None)
    locks.lock_members({member_id, by_id})
    # The member's row is what everyone who spends this credit waits for.
    return allocation.receipts_with_credit(member_id)


def _lock_drawer(by_id: int, amount: int) -> CashSession:
    session = desk_receipts.lock_session(by_id)
    if desk_receipts.expected_in(session) < amount:
        raise NotEnoughCash
    return session
