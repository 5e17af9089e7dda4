"""Refunds: money that staff returned, in cash, by bank transfer, or by an M-Pesa payment or reversal made by hand.

Kilabu sends no money. It records that staff did, from a receipt or from a member's credit, and never more than that
holds. What the money had paid is unpaid in the same transaction.
"""

from datetime import datetime

from django.db import transaction

from api import idempotency
from api.errors import Conflict
from api.idempotency import IdempotencyKey
from payments.desk import cash_sessions, review_decisions
from payments.evidence import holds
from payments.models import Account, CashSession, Receipt, Refund, ReviewItem
from payments.services import allocation, creation, locks, ownership, reversals

# The accounts that a refund can be paid from.
PAID_FROM = (Account.CASH, Account.BANK, Account.MPESA)


class MoreThanHeld(Conflict):
    """The receipt, or the member's credit, holds less than the refund."""

    code, message = (
        "more_than_held",
        "The refund is more than this receipt, or the member's credit, holds. Enter a smaller amount.",
    )


class NotEnoughCash(Conflict):
    """The cashier's drawer holds less than the refund."""

    code, message = (
        "not_enough_cash",
        "Your cash drawer does not hold that much. Enter a smaller amount, or refund another way.",
    )


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
    idempotency_key: IdempotencyKey | None = None,
) -> list[Refund]:
    """Record that money (whole KES) of a receipt, or of a member's credit, was returned; all of it without `amount`.

    Of a receipt, unallocated money goes first, then the newest allocations: such a payment becomes unpaid, and
    refunded when nothing is left in it. Credit is taken from its oldest receipts, with one refund for each. A repeated
    call of the same person with the same `idempotency_key` returns the first refunds.

    :raises MoreThanHeld: there is less than `amount`, or nothing
    :raises review_decisions.MoneyIsHeld: it may be the money of an STK push
    :raises NotEnoughCash: the drawer holds less
    :raises cash_sessions.NoOpenSession: cash without an open cash session
    :raises ownership.OwnerNeeded: no such member
    :raises ownership.OwnMoney: `by_id` is the member whose money it is
    :raises ownership.ReasonNeeded: the reason is empty
    :raises idempotency.IdempotencyKeyReused: the key was used with another body
    :raises creation.InvalidAmount: not a positive whole number
    :raises locks.ReceiptNotFound: no such receipt
    """
    reason = ownership.require_reason(reason)
    if amount is not None and (type(amount) is not int or amount <= 0):
        raise creation.InvalidAmount("The amount must be whole shillings, more than zero.")
    receipts = _lock_holders(receipt_id=receipt_id, member_id=member_id, by_id=by_id)
    for each in receipts:
        ownership.require_not_own(each.member_id, by_id=by_id)
        if holds.is_held(each):
            raise review_decisions.MoneyIsHeld
    if earlier := idempotency.find_results(idempotency_key, caller_id=by_id):
        return list(Refund.objects.filter(pk__in=earlier).order_by("pk"))
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
        reversals.refund_money(receipt=receipt, amount=part, paid_from=paid_from, reason=reason, by_id=by_id, now=now)
        refunds.append(
            Refund.objects.create(
                receipt=receipt,
                amount=part,
                paid_from=paid_from,
                reason=reason[:255],
                cash_session=session,
                made_by_id=by_id,
                made_at=now,
            )
        )
        amount -= part
    idempotency.store_results(idempotency_key, refunds, caller_id=by_id, now=now)
    return refunds


@transaction.atomic
def send_back(*, item_id: int, paid_from: Account, reason: str, by_id: int, now: datetime) -> ReviewItem:
    """Record that an item's unmatched money was returned to its sender. This resolves the item.

    :raises review_decisions.NotAssignable: its money has an owner, or was returned
    :raises review_decisions.ReviewItemNotFound: no such item
    :raises NotEnoughCash, cash_sessions.NoOpenSession, ownership.ReasonNeeded: as `record_refund`
    """
    item = review_decisions.lock_with_receipt(item_id, also_members={by_id})
    receipt = review_decisions.require_ownerless(item)
    record_refund(receipt_id=receipt.pk, paid_from=paid_from, reason=reason, by_id=by_id, now=now)
    item.refresh_from_db()
    item.resolved_by_id = by_id
    item.save(update_fields=["resolved_by"])
    return item


def _lock_holders(*, receipt_id: int | None, member_id: int | None, by_id: int) -> list[Receipt]:
    """Lock and return the receipts that the money may come from, each with `unspent`: the KES that it may return.

    The person who records the refund is locked too: two requests with one key may name different receipts.
    """
    if receipt_id is not None:
        receipt = locks.lock_receipt(receipt_id, also_members={by_id})
        receipt.unspent = receipt.amount_held
        return [receipt]
    member_id = ownership.owner_of(member_id=member_id, payment_id=None)
    locks.lock_members({member_id, by_id})
    # Whoever spends this credit waits for the lock on the member's row.
    return allocation.receipts_with_credit(member_id)


def _lock_drawer(by_id: int, amount: int) -> CashSession:
    """Lock and return the cashier's open session, after a check that it holds `amount`."""
    session = cash_sessions.lock_session(by_id)
    if cash_sessions.expected_cash(session) < amount:
        raise NotEnoughCash
    return session
