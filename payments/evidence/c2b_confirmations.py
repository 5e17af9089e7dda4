"""C2B confirmations: money that was paid to the paybill or till, and the decision table for them.

A Transaction Status result that reports completed money is applied in the same way (`from_code_check`). It does not say
what the payer typed as account, so only an STK push or a reported code can name its owner.

The first row that fits applies. "Review" opens a review item with the reason named; in rows 1, 7 and 10 no money
moves. The tests of the rows are in test_c2b and test_code_checks.

| | Shortcode and M-Pesa code | Owner of the money (payments.matching) | Action | Outcome |
|---|---|---|---|---|
| 1 | shortcode is not ours | | review: amount_differs | review |
| 2 | code is new; a receipt without a code fits (pairing) | | write the code on it, as a guess | applied |
| 3 | code is new | a payment that is open | `allocate_money`: to it, to other open payments, to credit | applied |
| 4 | code is new | a payment that is cancelled or refunded | credit, and review: late_money for it | applied |
| 5 | code is new | a member | `allocate_money`: to their open payments, to credit | applied |
| 6 | code is new | unknown | unmatched money, and review: unmatched | unmatched |
| 7 | code has a receipt of another amount | | review: code_used_twice | review |
| 8 | code has a receipt | the same, or unknown | complete the receipt's empty fields | duplicate |
| 9 | code has an unmatched receipt, from a code check | a member | as 3 to 5; close the unmatched item | applied |
| 10 | code has an owned receipt, from a code check | another member | review: contradiction | review |
| 11 | code has a receipt | any | as 8 | duplicate |

In rows 9 to 11, too, the receipt's empty fields are completed. Rows 9 and 10 are for a confirmation and a receipt that
was not reversed. A payment that is named by a reported code gets its money by the rule BY_HAND, one that is named by
its reference by REFERENCE.
"""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Q

from payments.daraja.messages import C2bMessage
from payments.evidence import pairing, receipts
from payments.evidence.outcomes import APPLIED, CLOSED, DUPLICATE, EvidenceOutcome, our_shortcodes
from payments.matching import owners
from payments.models import (
    Account,
    AllocationRule,
    CallbackOutcome,
    Channel,
    CodeClaim,
    Payment,
    Receipt,
    ReviewReason,
)
from payments.services import allocation, locks, review_items, settlement


@transaction.atomic(savepoint=False)  # the callback inbox has opened this transaction
def apply_c2b(
    *, message: C2bMessage, now: datetime, callback_id: int | None = None, from_code_check: bool = False
) -> EvidenceOutcome:
    """Apply the confirmation of money that has already moved. The same money again is counted once.

    `from_code_check`: the message was made from a Transaction Status result. The confirmation itself may still arrive.
    """
    if message.shortcode not in our_shortcodes():
        detail = f"Money was paid to shortcode {message.shortcode[:16]}, which is not ours."
        review_items.open_item(reason=ReviewReason.AMOUNT_DIFFERS, detail=detail, callback_id=callback_id, now=now)
        return EvidenceOutcome(CallbackOutcome.REVIEW, detail)

    if not message.account.strip():
        pairing.lock_amount(message.amount)
    waiting = pairing.find_receipt_without_code(message)
    match = _find_owner(message, from_code_check=from_code_check)
    if match.member_id is None:
        # Staff may be reporting the code at this moment.
        owners.lock_code(message.code)
        match = _find_owner(message, from_code_check=from_code_check)
    locks.lock_members({member for member in (match.member_id, waiting and waiting.member_id) if member})
    candidates = lock_candidates(match)

    known = Receipt.objects.filter(code=message.code).select_for_update(no_key=True).first()
    if known is None and _write_code_on_waiting_receipt(message):
        return APPLIED
    receipt = _new_receipt(message, match, now=now)
    if known is None and receipts.insert(receipt):
        return allocate_money(receipt, match, candidates, from_account=Account.MPESA, callback_id=callback_id, now=now)
    if known is None:  # another transaction has inserted it since
        known = Receipt.objects.select_for_update(no_key=True).get(code=message.code)
    if known.amount != message.amount:
        return _hold_other_amount(known, message, callback_id=callback_id, now=now)
    _complete(known, message)
    if from_code_check:
        return DUPLICATE
    return _apply_owner(known, match, candidates, callback_id=callback_id, now=now)


def _find_owner(message: C2bMessage, *, from_code_check: bool) -> owners.Match:
    if from_code_check:
        return owners.find_owner_by_code(code=message.code, sender=message.sender)
    return owners.find_owner(account=message.account, sender=message.sender, code=message.code)


def _write_code_on_waiting_receipt(message: C2bMessage) -> bool:
    """Write a new code on the receipt without a code that it fits (row 2); return whether there was one.

    It is looked for again under the locks: a query, or the push's own callback, may have been applied in between.
    """
    found = pairing.find_receipt_without_code(message)
    waiting = found and Receipt.objects.filter(pk=found.pk, code=None).select_for_update(no_key=True).first()
    if not waiting:
        return False
    receipts.update(waiting, code=message.code, push_guessed=True, paid_at=message.moved_at or waiting.paid_at)
    _complete(waiting, message)
    return True


# --- Whose payments it pays -----------------------------------------------------------------------


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
    payment = next((each for each in candidates.named if each.pk == match.payment_id), None)
    closed = payment if payment is not None and payment.status in CLOSED else None
    shares, rest = allocation.divide(receipt.amount_held, moved_at=receipt.paid_at, first=candidates.named, rule=rule)
    if closed is None:
        others = receipts.without_share(candidates.open, shares)
        more, rest = allocation.divide(
            rest, moved_at=receipt.paid_at, first=(), rule=AllocationRule.OLDEST, others=others
        )
        shares += more
    settlement.apply_money(receipt=receipt, from_account=from_account, shares=shares, by_id=None, now=now)
    if match.member_id is None:
        _open_unmatched_item(receipt, match, callback_id=callback_id, now=now)
        return EvidenceOutcome(CallbackOutcome.UNMATCHED, "The owner of the money is not known.")
    if closed is not None and rest:
        receipts.open_late_money_item(receipt, closed, rest, now=now)
    return APPLIED


def _open_unmatched_item(receipt: Receipt, match: owners.Match, *, callback_id: int | None, now: datetime) -> None:
    review_items.open_item(
        reason=ReviewReason.UNMATCHED,
        detail=f"KES {receipt.amount:,} was paid to an unknown account number. Match it to a member.",
        receipt_id=receipt.pk,
        callback_id=callback_id,
        suggested_members=match.suggestions,
        now=now,
    )


# --- A code that has a receipt --------------------------------------------------------------------


def _hold_other_amount(
    known: Receipt, message: C2bMessage, *, callback_id: int | None, now: datetime
) -> EvidenceOutcome:
    """Open the review item for a code that is now reported with another amount (row 7)."""
    detail = f"M-Pesa code {known.code} is KES {known.amount:,} in the books; now KES {message.amount:,} is reported."
    review_items.open_item(
        reason=ReviewReason.CODE_USED_TWICE, detail=detail, receipt_id=known.pk, callback_id=callback_id, now=now
    )
    return EvidenceOutcome(CallbackOutcome.REVIEW, detail)


def _apply_owner(
    known: Receipt, match: owners.Match, candidates: Candidates, *, callback_id: int | None, now: datetime
) -> EvidenceOutcome:
    """Apply the owner that a confirmation names, when a code check made its receipt first (rows 8 to 11)."""
    if match.member_id in (None, known.member_id) or known.reversed_at or not known.code_checks.exists():
        return DUPLICATE
    if known.member_id is not None:
        detail = f"M-Pesa code {known.code} was allocated to one member, but its confirmation names another."
        review_items.open_item(
            reason=ReviewReason.CONTRADICTION, detail=detail, receipt_id=known.pk, callback_id=callback_id, now=now
        )
        return EvidenceOutcome(CallbackOutcome.REVIEW, detail)
    receipts.update(known, member_id=match.member_id)
    allocated = allocate_money(
        known, match, candidates, from_account=Account.UNMATCHED, callback_id=callback_id, now=now
    )
    review_items.close_for_receipt(
        receipt_id=known.pk, reason=ReviewReason.UNMATCHED, resolution="Its confirmation named the owner.", now=now
    )
    return allocated


# --- The receipt's row ----------------------------------------------------------------------------


def _new_receipt(message: C2bMessage, match: owners.Match, *, now: datetime) -> Receipt:
    moved_at = message.moved_at
    return Receipt(
        channel=Channel.MPESA_C2B,
        code=message.code,
        amount=message.amount,
        paid_at=now if moved_at is None else min(moved_at, now),
        member_id=match.member_id,
        created_at=now,
        **_details(message),
    )


def _complete(receipt: Receipt, message: C2bMessage) -> None:
    """Fill the empty fields of a receipt that only a confirmation reports."""
    missing = {name: value for name, value in _details(message).items() if value and not getattr(receipt, name)}
    if missing:
        receipts.update(receipt, **missing)


def _details(message: C2bMessage) -> dict[str, str]:
    """Return the fields of receipts.confirmation_details, cut to their columns."""
    return {
        "sender": message.sender[:80],
        "payer_name": message.payer_name[:120],
        "account_typed": message.account[:64],
    }
