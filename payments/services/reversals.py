"""Reversals: money leaves payments, because it is released, refunded, reversed or given to another owner."""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from payments.models import Account, Allocation, AllocationRule, Payment, PaymentStatus, Receipt, ReviewReason
from payments.services import allocation, credit, ledger, listeners, review_items
from payments.services.allocation import Share
from payments.services.locks import lock_receipt
from payments.services.transitions import change_status
from payments.signals import payment_unpaid

S = PaymentStatus


def release_money(
    *,
    receipt: Receipt,
    to_account: Account,
    by_id: int | None,
    now: datetime,
    reason: str,
    returned_to_payer: bool = False,
) -> None:
    """Release a locked receipt's money from all its payments to `to_account`, and send `payment_unpaid` for each.

    A payment that is left without money becomes refunded if the money was `returned_to_payer`, else payable again.
    Locks the payments; the caller has locked their payers.
    """
    allocations = _lock_live_allocations(receipt)
    for live in allocations:
        _release_part(live, live.amount, to_account=to_account, by_id=by_id, now=now)
    _record_losses(
        allocations, receipt=receipt, by_id=by_id, now=now, reason=reason, returned_to_payer=returned_to_payer
    )


def refund_money(*, receipt: Receipt, amount: int, paid_from: Account, by_id: int, now: datetime, reason: str) -> None:
    """Post a refund of `amount` whole KES of a locked receipt, paid from the account `paid_from`.

    Unspent money is refunded first, then the money of the newest allocations. `amount` is at most what the receipt
    holds: payments.desk.refunds checks it.
    """
    unspent_account = ledger.unspent_account(receipt.member_id)
    allocations = _lock_live_allocations(receipt)
    missing = amount - (receipt.amount_held - sum(live.amount for live in allocations))
    released = []
    for live in reversed(allocations):
        part = min(live.amount, missing)
        if part > 0:
            _release_part(live, part, to_account=unspent_account, by_id=by_id, now=now)
            missing -= part
            released.append(live)
    ledger.post(
        receipt_id=receipt.pk,
        legs=[ledger.Leg(unspent_account, amount, member_id=receipt.member_id), ledger.Leg(paid_from, -amount)],
        by_id=by_id,
        at=now,
    )
    receipt.amount_refunded += amount
    receipt.save(update_fields=["amount_refunded"])
    if receipt.member_id is None and not receipt.amount_held:
        review_items.close_for_receipt(
            receipt_id=receipt.pk, reason=ReviewReason.UNMATCHED, resolution="It was refunded.", now=now
        )
    _record_losses(released, receipt=receipt, by_id=by_id, now=now, reason=f"refund: {reason}", returned_to_payer=True)


def change_owner(*, receipt: Receipt, member_id: int | None, by_id: int | None, now: datetime, reason: str) -> None:
    """Release a locked receipt's money from all its payments and make it another member's credit.

    Without a `member_id` it becomes unmatched money. The caller has locked both members and the payers of the
    payments, and then allocates the money again.
    """
    release_money(receipt=receipt, to_account=Account.MEMBER_CREDIT, by_id=by_id, now=now, reason=reason)
    if receipt.member_id == member_id:
        return
    ledger.post(
        receipt_id=receipt.pk,
        legs=[
            ledger.Leg(Account.MEMBER_CREDIT, receipt.amount_held, member_id=receipt.member_id),
            ledger.Leg(ledger.unspent_account(member_id), -receipt.amount_held, member_id=member_id),
        ],
        by_id=by_id,
        at=now,
    )
    receipt.member_id = member_id
    receipt.save(update_fields=["member"])


@transaction.atomic
def reverse_receipt(
    *, receipt_id: int, reason: str, by_id: int | None, now: datetime, returned_to_payer: bool = True
) -> Receipt:
    """Reverse a receipt: its money went back to its source, or never came. A repeated call has no effect.

    Its payments become partially paid if other money is left in them. Else they become refunded, or payable again if
    the money never came (`returned_to_payer` is false).

    :raises ReceiptNotFound: no such receipt
    """
    receipt = lock_receipt(receipt_id)
    if receipt.reversed_at is None:
        reverse_locked_receipt(
            receipt=receipt, reason=reason, by_id=by_id, now=now, returned_to_payer=returned_to_payer
        )
    return receipt


def reverse_locked_receipt(
    *, receipt: Receipt, reason: str, by_id: int | None, now: datetime, returned_to_payer: bool = True
) -> None:
    """Reverse a receipt that the caller has locked: release it from its payments, then post it out of the books."""
    unspent_account = ledger.unspent_account(receipt.member_id)
    release_money(
        receipt=receipt,
        to_account=unspent_account,
        by_id=by_id,
        now=now,
        reason=reason,
        returned_to_payer=returned_to_payer,
    )
    ledger.post(
        receipt_id=receipt.pk,
        legs=[
            ledger.Leg(unspent_account, receipt.amount_held, member_id=receipt.member_id),
            ledger.Leg(Account.REFUNDS, receipt.amount_refunded),  # refunded before, of money that is not there
            ledger.Leg(ledger.ACCOUNT_OF[receipt.channel], -receipt.amount),
        ],
        by_id=by_id,
        at=now,
    )
    receipt.reversed_at, receipt.reversed_by_id, receipt.reversal_reason = now, by_id, reason[:255]
    receipt.save(update_fields=["reversed_at", "reversed_by", "reversal_reason"])


def _lock_live_allocations(receipt: Receipt) -> list[Allocation]:
    """Lock and return a locked receipt's live allocations with their payments, oldest first.

    Allocations of one payment share one `payment` object, so that its changes add up.
    """
    live = receipt.allocations.filter(undone_at__isnull=True).select_related("payment").order_by("pk")
    allocations = list(live.select_for_update(no_key=True, of=("self", "payment")))
    payments: dict[int, Payment] = {}
    for each in allocations:
        each.receipt, each.payment = receipt, payments.setdefault(each.payment_id, each.payment)
    return allocations


def _release_part(live: Allocation, part: int, *, to_account: Account, by_id: int | None, now: datetime) -> None:
    """Release `part` (whole KES) of a locked allocation from its payment to `to_account`; see `_record_losses`."""
    allocation.release(live, to_account=to_account, by_id=by_id, now=now)
    if part < live.amount:
        rest = Share(live.payment, live.amount - part, AllocationRule(live.rule))
        allocation.allocate(
            receipt=live.receipt, from_account=to_account, amount=rest.amount, shares=[rest], by_id=by_id, now=now
        )
    live.payment.amount_paid -= part


def _record_losses(
    released: Sequence[Allocation],
    *,
    receipt: Receipt,
    by_id: int | None,
    now: datetime,
    reason: str,
    returned_to_payer: bool,
) -> None:
    """Write the new status of each locked payment that has lost money of the receipt.

    Other credit of the payer replaces the lost money; it is used for one payment after the other. Where some is still
    missing, `payment_unpaid` is sent once per payment, after all payments have changed: a listener may cancel one.
    """
    payments = {live.payment_id: live.payment for live in released}
    for payment in payments.values():
        was_reached_at = payment.deposit_paid_at
        if payment.amount_paid < payment.deposit:
            payment.deposit_paid_at = None
        is_replaced = was_reached_at is not None and credit.covers(payment, without=receipt)
        status = _status_after_loss(payment, returned_to_payer=returned_to_payer and not is_replaced, now=now)
        change_status(payment, to=status, evidence=reason, by_id=by_id, now=now)
        credit.replace_lost(payment, without=receipt, was_reached_at=was_reached_at, now=now)
    for payment in payments.values():
        if payment.amount_owed or payment.deposit_paid_at is None:
            listeners.announce(payment_unpaid, payment, now=now)


def _status_after_loss(payment: Payment, *, returned_to_payer: bool, now: datetime) -> PaymentStatus:
    """Return the status of a payment that has lost money: partially paid, refunded, or payable again."""
    if payment.amount_paid:
        return S.PARTIALLY_PAID
    if payment.is_debt:
        return S.PENDING
    if returned_to_payer:
        return S.REFUNDED
    return S.EXPIRED if payment.expires_at <= now else S.PENDING
