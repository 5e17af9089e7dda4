"""The money of a confirmation: which payments it pays, and the review item for money without an owner."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from payments.evidence import holds, receipts
from payments.evidence.outcomes import APPLIED, EvidenceOutcome
from payments.matching import owners
from payments.models import (
    Account,
    AllocationRule,
    CallbackOutcome,
    CodeClaim,
    Payment,
    Receipt,
    ReviewItem,
    ReviewReason,
    ReviewStatus,
)
from payments.services import allocation, locks, review_items, settlement


@dataclass(frozen=True, slots=True)
class Candidates:
    """The locked payments that money may be allocated to: the named ones, and the owner's open ones."""

    named: list[Payment]
    open: list[Payment]


def lock_candidates(match: owners.Match) -> Candidates:
    """Lock and return the payments that money of this owner may be allocated to. The owner's row is locked."""
    named = []
    if match.payment_id is not None:
        of_match = Payment.objects.filter(Q(pk=match.payment_id) | Q(head_id=match.payment_id))
        named = list(of_match.order_by("pk").select_for_update(no_key=True))
    return Candidates(named, allocation.lock_open_payments(match.member_id) if match.member_id is not None else [])


def allocate_money(
    receipt: Receipt,
    match: owners.Match,
    candidates: Candidates,
    *,
    from_account: Account,
    callback_id: int | None,
    now: datetime,
) -> EvidenceOutcome:
    """Allocate a confirmation's money: to the named payments, the owner's open ones, credit, or to unmatched money."""
    rule = AllocationRule.REFERENCE
    if match.reported_code_id is not None:
        rule = AllocationRule.BY_HAND
        reported = CodeClaim.objects.filter(pk=match.reported_code_id)
        reported.update(receipt=receipt, ended_at=None, ended_why="")
    shares, rest = allocation.divide(receipt.amount_held, moved_at=receipt.paid_at, first=candidates.named, rule=rule)
    closed = receipts.find_closed(candidates.named) if rest else None
    if closed is None:
        others = receipts.without_share(candidates.open, shares)
        more, rest = allocation.divide(
            rest, moved_at=receipt.paid_at, first=(), rule=AllocationRule.OLDEST, others=others
        )
        shares += more
    settlement.apply_money(
        receipt=receipt,
        from_account=from_account,
        shares=shares,
        by_id=None,
        now=now,
        may_renew=match.payment_id is None,
    )
    if match.member_id is None:
        open_unmatched_item(receipt, match, callback_id=callback_id, now=now)
        return EvidenceOutcome(CallbackOutcome.UNMATCHED, "The owner of the money is not known.")
    if closed is not None:
        receipts.open_late_money_item(receipt, closed, rest, now=now)
    elif rest:
        receipts.open_closed_account_item(receipt, rest, now=now)
    return APPLIED


def open_unmatched_item(receipt: Receipt, match: owners.Match, *, callback_id: int | None, now: datetime) -> None:
    review_items.open_item(
        reason=ReviewReason.UNMATCHED,
        detail=f"KES {receipt.amount:,} was paid to an unknown account number. Match it to a member.",
        receipt_id=receipt.pk,
        callback_id=callback_id,
        suggested_members=match.suggestions,
        now=now,
    )


# --- Held money that is not the money of a push ----------------------------------------------------


def release(item: ReviewItem, receipt: Receipt, *, resolution: str, by_id: int | None, now: datetime) -> None:
    """Resolve the item of a locked receipt that is not the money of the item's push, or that has cents.

    Without another such item its money is held no more: it goes to the owner that the confirmation or a reported code
    names, else it is unmatched.

    :raises OperationalError: another transaction has locked the owner; the caller tries again
    """
    item.status, item.resolution = ReviewStatus.RESOLVED, resolution
    item.resolved_at, item.resolved_by_id = now, by_id
    item.save(update_fields=["status", "resolution", "resolved_at", "resolved_by"])
    if receipt.member_id is not None or not receipt.amount_held or holds.is_held(receipt):
        return
    owner = find_owner_of(receipt)
    if owner.member_id is None:
        open_unmatched_item(receipt, owner, callback_id=None, now=now)
        return
    locks.lock_members_of([receipt], also_members={owner.member_id})
    receipts.update(receipt, member_id=owner.member_id)
    allocate_money(receipt, owner, lock_candidates(owner), from_account=Account.UNMATCHED, callback_id=None, now=now)


def find_owner_of(receipt: Receipt) -> owners.Match:
    """Return the owner that a receipt's confirmation, or a reported code, names."""
    code = receipt.code or ""
    if receipt.code_checks.exists() and not receipt.account_typed:  # what the payer typed is not known
        return owners.find_owner_by_code(code=code, sender=receipt.sender)
    return owners.find_owner(account=receipt.account_typed, sender=receipt.sender, code=code)


def release_for_push(push_id: int, *, now: datetime) -> None:
    """Release the money that was held because of a push, now that the push has its own code."""
    items = ReviewItem.objects.filter(push=push_id, reason=ReviewReason.POSSIBLE_DOUBLE, status=ReviewStatus.OPEN)
    for item in items.order_by("pk"):
        receipt = Receipt.objects.select_for_update(no_key=True).get(review_items=item)
        release(item, receipt, resolution="The STK push has another M-Pesa code.", by_id=None, now=now)
