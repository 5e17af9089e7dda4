"""Money leaves payments: taken back, given back, reversed, or another member's."""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from payments.models import Account, Allocation, AllocationRule, Payment, PaymentStatus, Receipt, ReviewReason
from payments.services import allocation, ledger, review_items
from payments.services.allocation import Share
from payments.services.listeners import tell_unpaid
from payments.services.locks import lock_receipt
from payments.services.transitions import move

S = PaymentStatus


def withdraw_money(
    *,
    receipt: Receipt,
    put_on: Account,
    by_id: int | None,
    now: datetime,
    why: str,
    went_back: bool = False,
) -> None:
    """Take a locked receipt's money out of every payment it covers and put it on `put_on`.

    A payment left with nothing becomes payable again, or refunded when the money `went_back` to the payer. Locks the
    payments; the caller holds their payers' rows.
    """
    allocations = _lock_live(receipt)
    for live in allocations:
        _take_out(live, live.amount, put_on=put_on, by_id=by_id, now=now, why=why, went_back=went_back)
    _tell_of_losses(allocations, now=now)


def give_back(*, receipt: Receipt, amount: int, paid_from: Account, by_id: int, now: datetime, why: str) -> None:
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
            _take_out(live, part, put_on=stands_on, by_id=by_id, now=now, why=f"refund: {why}", went_back=True)
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


def change_owner(*, receipt: Receipt, member_id: int | None, by_id: int | None, now: datetime, why: str) -> None:
    """Take a locked receipt's money out of every payment it covers and make it another member's credit.

    Without a member it is unmatched money. The caller holds the rows of everyone concerned, and places the money.
    """
    withdraw_money(receipt=receipt, put_on=Account.MEMBER_CREDIT, by_id=by_id, now=now, why=why)
    if receipt.member_id == member_id:
        return
    put_on = Account.UNMATCHED if member_id is None else Account.MEMBER_CREDIT
    ledger.post(
        receipt_id=receipt.pk,
        legs=[
            ledger.Leg(Account.MEMBER_CREDIT, receipt.amount_held, member_id=receipt.member_id),
            ledger.Leg(put_on, -receipt.amount_held, member_id=member_id),
        ],
        by_id=by_id,
        at=now,
    )
    receipt.member_id = member_id
    receipt.save(update_fields=["member"])


@transaction.atomic
def reverse_receipt(*, receipt_id: int, why: str, by_id: int | None, now: datetime, went_back: bool = True) -> Receipt:
    """Record that a receipt's money went back to where it came from. Again changes nothing.

    Payments it covered are told unpaid: refunded (payable again when the money had never come, `went_back` false), or
    partially paid when other money is left in them.
    """
    receipt = lock_receipt(receipt_id)
    if receipt.reversed_at is None:
        reverse_receipt_locked(receipt=receipt, why=why, by_id=by_id, now=now, went_back=went_back)
    return receipt


def reverse_receipt_locked(
    *, receipt: Receipt, why: str, by_id: int | None, now: datetime, went_back: bool = True
) -> None:
    """Reverse a locked receipt: out of its payments, then out of the books the way it came in."""
    stands_on = Account.UNMATCHED if receipt.member_id is None else Account.MEMBER_CREDIT
    withdraw_money(receipt=receipt, put_on=stands_on, by_id=by_id, now=now, why=why, went_back=went_back)
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
    receipt.reversed_at, receipt.reversed_by_id, receipt.reversal_reason = now, by_id, why[:255]
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
    live: Allocation, part: int, *, put_on: Account, by_id: int | None, now: datetime, why: str, went_back: bool
) -> None:
    """Take a part of a locked allocation out of its locked payment and put it on `put_on`."""
    payment = live.payment
    allocation.take_back(live, put_on=put_on, by_id=by_id, now=now)
    if part < live.amount:
        rest = Share(payment, live.amount - part, AllocationRule(live.rule))
        allocation.place(
            receipt=live.receipt, taken_from=put_on, amount=rest.amount, shares=[rest], by_id=by_id, now=now
        )
    payment.amount_paid -= part
    if payment.amount_paid < payment.deposit:
        payment.deposit_paid_at = None
    move(payment, to=_after_loss(payment, went_back=went_back, now=now), evidence=why, by_id=by_id, now=now)


def _after_loss(payment: Payment, *, went_back: bool, now: datetime) -> PaymentStatus:
    """Return what a payment is after it lost money: still partly paid, refunded, or payable again."""
    if payment.amount_paid:
        return S.PARTIALLY_PAID
    if went_back:
        return S.REFUNDED
    return S.EXPIRED if payment.expires_at <= now else S.PENDING


def _tell_of_losses(allocations: Sequence[Allocation], *, now: datetime) -> None:
    """Tell of each payment that lost money, after all of them have: a listener may cancel another of them."""
    for payment in {live.payment_id: live.payment for live in allocations}.values():
        tell_unpaid(payment=payment, now=now)
