"""The money of an STK push: which payments it covers, and which receipt holds it.

Callers of these functions hold the locks of lock_push.
"""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery, Sum

from api.statements import WrittenOnce
from payments.evidence import holds, pairing, paybill_money, receipts
from payments.matching import owners
from payments.models import (
    Account,
    AllocationRule,
    Channel,
    Payment,
    Receipt,
    ReviewReason,
    ReviewStatus,
    StkPush,
)
from payments.services import allocation, locks, reversals, review_items, settlement


@dataclass(slots=True)
class LockedPush:
    """A push, its payment and the payments grouped with it, all locked."""

    push: StkPush
    payment: Payment
    grouped: list[Payment]

    @property
    def payments(self) -> list[Payment]:
        """The payments that the push asked money for, its own first."""
        return [self.payment, *self.grouped]

    def refresh_payments(self) -> None:
        """Read the payments again, after money has left them."""
        for payment in self.payments:
            payment.refresh_from_db()

    def new_receipt(self, *, code: str | None, moved_at: datetime, now: datetime) -> Receipt:
        """Return an unsaved receipt of this push's money."""
        return Receipt(
            channel=Channel.MPESA_STK,
            code=code,
            push_id=self.push.pk,
            amount=self.push.amount,
            paid_at=moved_at,
            member_id=self.payment.payer_id,
            created_at=now,
        )


def lock_push(push_id: int) -> LockedPush:
    """Lock the payers, then the push with its payment, then the payments grouped with it."""
    _lock_payers(push_id)
    [push] = _lock_push(push_id)
    has_group: bool = vars(push)["has_group"]  # an annotation of the query, which the type StkPush does not have
    return LockedPush(push, push.payment, locks.lock_grouped_payments(push.payment_id) if has_group else [])


def pay(locked: LockedPush, receipt: Receipt, *, from_account: Account, now: datetime) -> None:
    """Allocate a receipt's free money: to the push's payments, then the payer's other open ones; the rest is credit."""
    payment = locked.payment
    shares, rest = allocation.divide(
        receipt.amount_held, moved_at=receipt.paid_at, first=locked.payments, rule=AllocationRule.PUSH
    )
    closed = receipts.find_closed(locked.payments) if rest else None
    if rest and closed is None:
        others = receipts.without_share(allocation.lock_open_payments(payment.payer_id), shares)
        more, rest = allocation.divide(
            rest, moved_at=receipt.paid_at, first=(), rule=AllocationRule.OLDEST, others=others
        )
        shares += more
    settlement.apply_money(receipt=receipt, from_account=from_account, shares=shares, by_id=None, now=now)
    if closed is not None:
        receipts.open_late_money_item(receipt, closed, rest, now=now)
    elif rest:
        receipts.open_closed_account_item(receipt, rest, now=now)


def link_confirmation(locked: LockedPush, receipt: Receipt, *, guessed: bool, now: datetime) -> None:
    """Make a confirmation's receipt the receipt of this push, and allocate its money to what the push was for.

    The push's own result is better proof than what gave the money to its present owner: a phone number, or staff.
    When it was staff, a review item reports the change.
    """
    payer_id = locked.payment.payer_id
    receipts.update(receipt, push_id=locked.push.pk, push_guessed=guessed, channel=Channel.MPESA_STK)
    if receipt.member_id is None:
        receipts.update(receipt, member_id=payer_id)
        pay(locked, receipt, from_account=Account.UNMATCHED, now=now)
        holds.close_items(receipt, resolution="It was the money of an STK push.", now=now)
        return
    review_items.close_for_receipt(
        receipt_id=receipt.pk,
        reason=ReviewReason.POSSIBLE_DOUBLE,
        resolution="It was the money of an STK push.",
        now=now,
    )
    if receipt.member_id == payer_id and _is_allocated_to_push(locked, receipt):
        return
    assigned_by_staff = _was_assigned_by_staff(receipt)
    _change_owner(
        locked, receipt, member_id=payer_id, reason=f"receipt {receipt.pk} is of push {locked.push.pk}", now=now
    )
    pay(locked, receipt, from_account=Account.MEMBER_CREDIT, now=now)
    if assigned_by_staff:
        review_items.open_item(
            reason=ReviewReason.CONTRADICTION,
            detail=f"Staff assigned receipt {receipt.pk}, but it is the STK push for {locked.payment.reference}.",
            receipt_id=receipt.pk,
            now=now,
        )


def write_code(locked: LockedPush, of_push: Receipt, new: Receipt, of_code: Receipt | None, *, now: datetime) -> None:
    """Make one receipt of a push's receipt without a code and of `of_code`, the receipt of the same money, if any.

    The one that pays more of what the push was for stays, and the other is reversed: so no payment loses money that it
    gets back at once. `new` has the reported code; sender, payer and account are those of `of_code`.
    """
    if of_code is not None:
        if pairing.pays_for_push(of_code, locked.push) > pairing.pays_for_push(of_push, locked.push):
            pairing.reverse_duplicate(of_push, of=of_code, now=now)
            receipts.update(of_push, push_id=None)
            locked.refresh_payments()
            link_confirmation(locked, of_code, guessed=False, now=now)
            return
        pairing.reverse_duplicate(of_code, of=of_push, now=now)
        receipts.move_code(of_code, to=of_push)
        locked.refresh_payments()
    details = receipts.confirmation_details(of_code or new)
    receipts.update(of_push, code=new.code, paid_at=new.paid_at, **details)
    receipts.close_missing_code_item(of_push, now=now)
    if of_code is not None:
        _pay_with_rest(locked, of_push, now=now)


def _pay_with_rest(locked: LockedPush, receipt: Receipt, *, now: datetime) -> None:
    """Allocate what is left of a push's receipt to what the push was for: its duplicate had paid that."""
    used = receipt.allocations.filter(undone_at__isnull=True).aggregate(total=Sum("amount", default=0))["total"]
    shares, _ = allocation.divide(
        receipt.amount_held - used, moved_at=receipt.paid_at, first=locked.payments, rule=AllocationRule.PUSH
    )
    settlement.apply_credit(receipt=receipt, shares=shares, now=now)


def unlink_confirmation(locked: LockedPush, receipt: Receipt, owner: owners.Match, *, now: datetime) -> None:
    """Take a wrongly guessed confirmation's receipt off this push, and give its money to the owner that it names."""
    receipts.update(receipt, push_id=None, push_guessed=False, channel=Channel.MPESA_C2B)
    if receipt.member_id == owner.member_id:
        return
    reason = f"receipt {receipt.pk} is not of push {locked.push.pk}"
    _change_owner(locked, receipt, member_id=owner.member_id, reason=reason, now=now)
    paybill_money.allocate_money(
        receipt,
        owner,
        paybill_money.lock_candidates(owner),
        from_account=Account.UNMATCHED if owner.member_id is None else Account.MEMBER_CREDIT,
        callback_id=None,
        now=now,
    )


def _change_owner(locked: LockedPush, receipt: Receipt, *, member_id: int | None, reason: str, now: datetime) -> None:
    """Take a receipt's money out of all payments and give it to a member; read the push's payments again."""
    reversals.change_owner(receipt=receipt, member_id=member_id, by_id=None, now=now, reason=reason)
    locked.refresh_payments()


def _was_assigned_by_staff(receipt: Receipt) -> bool:
    """Return whether staff decided who owns a receipt."""
    allocated = receipt.allocations.filter(undone_at__isnull=True, rule=AllocationRule.BY_HAND)
    assigned = receipt.review_items.filter(reason=ReviewReason.UNMATCHED, status=ReviewStatus.RESOLVED)
    return allocated.exists() or assigned.exists()


def _is_allocated_to_push(locked: LockedPush, receipt: Receipt) -> bool:
    """Return whether a receipt need not move: the push's payments owe nothing more, or have all of its money."""
    if not any(payment.status in allocation.PAYABLE and payment.amount_owed for payment in locked.payments):
        return True
    allocated = receipt.allocations.filter(undone_at__isnull=True, payment__in=locked.payments)
    return allocated.aggregate(total=Sum("amount", default=0))["total"] == receipt.amount_held


def _payers_of(push_id: int) -> QuerySet:
    # Two lookups by key. As one condition over joins this would read every payment.
    payment_id = Subquery(StkPush.objects.filter(pk=push_id).values("payment_id")[:1])
    payments = Payment.objects.filter(Q(pk=payment_id) | Q(head=payment_id))
    return locks.members_to_lock(payments.values("payer_id"))


def _push_to_lock(push_id: int) -> QuerySet[StkPush]:
    grouped = Payment.objects.filter(head_id=OuterRef("payment_id"))
    rows = StkPush.objects.filter(pk=push_id).select_related("payment").annotate(has_group=Exists(grouped))
    return rows.select_for_update(no_key=True, of=("self", "payment"))


_lock_payers = WrittenOnce(_payers_of, stand_ins=[0])
_lock_push = WrittenOnce(_push_to_lock, stand_ins=[0])
