"""Money leaves payments: taken back, given back, reversed, or another member's."""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from payments.models import Account, Allocation, AllocationRule, Payment, PaymentStatus, Receipt, ReviewReason
from payments.services import allocation, ledger, review_items
from payments.services.allocation import Share
from payments.services.listeners import announce_unpaid
from payments.services.locks import lock_receipt
from payments.services.transitions import change_status

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
    """Take a locked receipt's money out of every payment it covers and put it on `to_account`.

    A payment left with nothing becomes refunded when the money was `returned_to_payer`, else payable again.
    Locks the payments; the caller holds their payers' rows.
    """
    allocations = _lock_live(receipt)
    for live in allocations:
        _take_out(
            live,
            live.amount,
            to_account=to_account,
            by_id=by_id,
            now=now,
            reason=reason,
            returned_to_payer=returned_to_payer,
        )
    _tell_of_losses(allocations, now=now)


def refund_money(*, receipt: Receipt, amount: int, paid_from: Account, by_id: int, now: datetime, reason: str) -> None:
    """Take whole KES of a locked receipt out of the books by `paid_from`, the account that paid them back.

    What no payment uses goes first, then what it paid last. At most what the receipt holds; payments.refunds checks.
    """
    stands_on = Account.UNMATCHED if receipt.member_id is None else Account.MEMBER_CREDIT
    allocations = _lock_live(receipt)
    missing = amount - (receipt.amount_held - sum(live.amount for live in allocations))
    touched = []
    for live in reversed(allocations):
        part = min(live.amount, missing)
        if part > 0:
            _take_out(
                live,
                part,
                to_account=stands_on,
                by_id=by_id,
                now=now,
                reason=f"refund: {reason}",
                returned_to_payer=True,
            )
            missing -= part
            touched.append(live)
    ledger.post(
        receipt_id=receipt.pk,
        legs=[ledger.Leg(stands_on, amount, member_id=receipt.member_id), ledger.Leg(paid_from, -amount)],
        by_id=by_id,
        at=now,
    )
    receipt.amount_refunded += amount
    receipt.save(update_fields=["amount_refunded"])
    if stands_on == Account.UNMATCHED and not receipt.amount_held:
        review_items.close_for_receipt(
            receipt_id=receipt.pk, reason=ReviewReason.UNMATCHED, resolution="It was given back.", now=now
        )
    _tell_of_losses(touched, now=now)


def change_owner(*, receipt: Receipt, member_id: int | None, by_id: int | None, now: datetime, reason: str) -> None:
    """Take a locked receipt's money out of every payment it covers and make it another member's credit.

    Without a member it is unmatched money. The caller holds the rows of everyone concerned, and places the money.
    """
    release_money(receipt=receipt, to_account=Account.MEMBER_CREDIT, by_id=by_id, now=now, reason=reason)
    if receipt.member_id == member_id:
        return
    to_account = Account.UNMATCHED if member_id is None else Account.MEMBER_CREDIT
    ledger.post(
        receipt_id=receipt.pk,
        legs=[
            ledger.Leg(Account.MEMBER_CREDIT, receipt.amount_held, member_id=receipt.member_id),
            ledger.Leg(to_account, -receipt.amount_held, member_id=member_id),
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
    """Record that a receipt's money went back to where it came from. Again changes nothing.

    Payments that still have other money become partially paid. Others become refunded, or payable again when the
    money never came (`returned_to_payer` is false).
    """
    receipt = lock_receipt(receipt_id)
    if receipt.reversed_at is None:
        reverse_receipt_locked(
            receipt=receipt, reason=reason, by_id=by_id, now=now, returned_to_payer=returned_to_payer
        )
    return receipt


def reverse_receipt_locked(
    *, receipt: Receipt, reason: str, by_id: int | None, now: datetime, returned_to_payer: bool = True
) -> None:
    """Reverse a locked receipt: out of its payments, then out of the books the way it came in."""
    stands_on = Account.UNMATCHED if receipt.member_id is None else Account.MEMBER_CREDIT
    release_money(
        receipt=receipt, to_account=stands_on, by_id=by_id, now=now, reason=reason, returned_to_payer=returned_to_payer
    )
    owner = receipt.member_id if stands_on == Account.MEMBER_CREDIT else None
    ledger.post(
        receipt_id=receipt.pk,
        legs=[
            ledger.Leg(stands_on, receipt.amount_held, member_id=owner),
            ledger.Leg(Account.REFUNDS, receipt.amount_refunded),  # given back of money that is not there
            ledger.Leg(ledger.ACCOUNT_OF[receipt.channel], -receipt.amount),
        ],
        by_id=by_id,
        at=now,
    )
    receipt.reversed_at, receipt.reversed_by_id, receipt.reversal_reason = now, by_id, reason[:255]
    receipt.save(update_fields=["reversed_at", "reversed_by", "reversal_reason"])


def _lock_live(receipt: Receipt) -> list[Allocation]:
    """Lock and return a locked receipt's live allocations, oldest first, with their payments, each only once."""
    live = receipt.allocations.filter(undone_at__isnull=True).select_related("payment").order_by("pk")
    allocations = list(live.select_for_update(no_key=True, of=("self", "payment")))
    payments: dict[int, Payment] = {}
    for each in allocations:
        each.receipt, each.payment = receipt, payments.setdefault(each.payment_id, each.payment)
    return allocations


def _take_out(
    live: Allocation,
    part: int,
    *,
    to_account: Account,
    by_id: int | None,
    now: datetime,
    reason: str,
    returned_to_payer: bool,
) -> None:
    """Take a part of a locked allocation out of its locked payment and put it on `to_account`."""
    payment = live.payment
    allocation.release(live, to_account=to_account, by_id=by_id, now=now)
    if part < live.amount:
        rest = Share(payment, live.amount - part, AllocationRule(live.rule))
        allocation.allocate(
            receipt=live.receipt, from_account=to_account, amount=rest.amount, shares=[rest], by_id=by_id, now=now
        )
    payment.amount_paid -= part
    if payment.amount_paid < payment.deposit:
        payment.deposit_paid_at = None
    change_status(
        payment,
        to=_after_loss(payment, returned_to_payer=returned_to_payer, now=now),
        evidence=reason,
        by_id=by_id,
        now=now,
    )


def _after_loss(payment: Payment, *, returned_to_payer: bool, now: datetime) -> PaymentStatus:
    """Return what a payment is after it lost money: still partly paid, refunded, or payable again."""
    if payment.amount_paid:
        return S.PARTIALLY_PAID
    if returned_to_payer:
        return S.REFUNDED
    return S.EXPIRED if payment.expires_at <= now else S.PENDING


def _tell_of_losses(allocations: Sequence[Allocation], *, now: datetime) -> None:
    """Tell of each payment that lost money, after all of them have: a listener may cancel another of them."""
    for payment in {live.payment_id: live.payment for live in allocations}.values():
        announce_unpaid(payment=payment, now=now)
