"""C2B: money that was paid to the paybill or till."""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Q

from payments.daraja.messages import C2bMessage
from payments.evidence import pairing, receipts
from payments.evidence.outcomes import APPLIED, CLOSED, DUPLICATE, Applied, our_shortcodes
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


@transaction.atomic(savepoint=False)  # the inbox's transaction is this one
def apply_c2b(
    *, message: C2bMessage, now: datetime, callback_id: int | None = None, asked_for: bool = False
) -> Applied:
    """Apply the confirmation of money that has already moved. Twice, or as the twin of a prompt, counts it once.

    `asked_for`: Safaricom told of it because it was asked about the code, and knows not what the payer typed. Then only
    a prompt or a claim tells whose it is, and the confirmation itself may still come.
    """
    if message.shortcode not in our_shortcodes():
        why = f"Money to shortcode {message.shortcode[:16]}, which is not ours."
        review_items.open_item(reason=ReviewReason.AMOUNT_DIFFERS, detail=why, callback_id=callback_id, now=now)
        return Applied(CallbackOutcome.REVIEW, why)

    if not message.account.strip():
        pairing.wait(message.amount)
    awaiting = pairing.prompt_awaiting_code(message)
    match = _match(message, asked_for=asked_for)
    if match.member_id is None:
        # Its code may be claimed at the desk right now.
        owners.wait_for_code(message.code)
        match = _match(message, asked_for=asked_for)
    locks.lock_members({member for member in (match.member_id, awaiting and awaiting.member_id) if member})
    candidates = lock_candidates(match)

    known = Receipt.objects.filter(code=message.code).select_for_update(no_key=True).first()
    if known is None:
        # Asked again under the locks: a query may have told of it, or its code may have come, meanwhile.
        awaiting = pairing.prompt_awaiting_code(message)
        still = awaiting and Receipt.objects.filter(pk=awaiting.pk, code=None).select_for_update(no_key=True).first()
        if still:
            receipts.update(still, code=message.code, push_guessed=True, paid_at=message.moved_at or still.paid_at)
            _fill_in(still, message)
            return APPLIED
    receipt = _c2b_receipt(message, match, now=now)
    if known is None and not receipts.insert(receipt):
        known = Receipt.objects.select_for_update(no_key=True).get(code=message.code)
    if known is not None:
        repeated = _repeat_of(known, message, callback_id=callback_id, now=now)
        if repeated is DUPLICATE and not asked_for:
            return _owner_told_late(known, match, candidates, callback_id=callback_id, now=now)
        return repeated

    return give(receipt, match, candidates, from_account=Account.MPESA, callback_id=callback_id, now=now)


def _match(message: C2bMessage, *, asked_for: bool) -> owners.Match:
    if asked_for:
        return owners.find_claimant(code=message.code, sender=message.sender)
    return owners.find_owner(account=message.account, sender=message.sender, code=message.code)


@dataclass(frozen=True, slots=True)
class Candidates:
    """The locked payments that money may go to: those that were named, then the owner's other open ones."""

    named: list[Payment]
    others: list[Payment]


def lock_candidates(match: owners.Match) -> Candidates:
    """Lock the payments that money with this match may go to. The owner's row is locked."""
    named = []
    if match.payment_id is not None:
        of_match = Payment.objects.filter(Q(pk=match.payment_id) | Q(head_id=match.payment_id))
        named = list(of_match.order_by("pk").select_for_update(no_key=True))
    return Candidates(named, allocation.lock_open_payments(match.member_id) if match.member_id is not None else [])


def give(
    receipt: Receipt,
    match: owners.Match,
    candidates: Candidates,
    *,
    from_account: Account,
    callback_id: int | None,
    now: datetime,
) -> Applied:
    """Give a confirmation's money to whom it matched: the payment named, the owner's open ones, credit, or nobody."""
    rule = AllocationRule.REFERENCE
    if match.claim_id is not None:
        rule = AllocationRule.BY_HAND
        CodeClaim.objects.filter(pk=match.claim_id).update(receipt=receipt, ended_at=None, ended_why="")
    payment = next((each for each in candidates.named if each.pk == match.payment_id), None)
    shares, rest = allocation.divide(receipt.amount_held, moved_at=receipt.paid_at, first=candidates.named, rule=rule)
    if payment is None or payment.status not in CLOSED:
        others = receipts.besides(candidates.others, shares)
        more, rest = allocation.divide(
            rest, moved_at=receipt.paid_at, first=(), rule=AllocationRule.OLDEST, others=others
        )
        shares += more
    settlement.apply_money(receipt=receipt, from_account=from_account, shares=shares, by_id=None, now=now)
    if match.member_id is None:
        _hold_unmatched(receipt, match, callback_id=callback_id, now=now)
        return Applied(CallbackOutcome.UNMATCHED, "The money has no known owner.")
    if payment is not None and payment.status in CLOSED and rest:
        receipts.hold_late(receipt, payment, rest, now=now)
    return APPLIED


def _repeat_of(known: Receipt, message: C2bMessage, *, callback_id: int | None, now: datetime) -> Applied:
    """Treat a confirmation whose code is known: the same again, a prompt's twin, or a contradiction."""
    if known.amount != message.amount:
        why = f"M-Pesa code {known.code} is KES {known.amount:,} in the books; now KES {message.amount:,} is reported."
        review_items.open_item(
            reason=ReviewReason.CODE_USED_TWICE, detail=why, receipt_id=known.pk, callback_id=callback_id, now=now
        )
        return Applied(CallbackOutcome.REVIEW, why)
    _fill_in(known, message)
    return DUPLICATE


def _owner_told_late(
    known: Receipt, match: owners.Match, candidates: Candidates, *, callback_id: int | None, now: datetime
) -> Applied:
    """Let the confirmation say whose money it is that we learnt of by asking for its code; else it says nothing new."""
    if match.member_id in (None, known.member_id) or known.reversed_at or not known.code_checks.exists():
        return DUPLICATE
    if known.member_id is not None:
        why = f"The money of M-Pesa code {known.code} was given to another than its confirmation names."
        review_items.open_item(
            reason=ReviewReason.CONTRADICTION, detail=why, receipt_id=known.pk, callback_id=callback_id, now=now
        )
        return Applied(CallbackOutcome.REVIEW, why)
    receipts.update(known, member_id=match.member_id)
    given = give(known, match, candidates, from_account=Account.UNMATCHED, callback_id=callback_id, now=now)
    review_items.close_for_receipt(
        receipt_id=known.pk, reason=ReviewReason.UNMATCHED, resolution="Its confirmation named its owner.", now=now
    )
    return given


def _hold_unmatched(receipt: Receipt, match: owners.Match, *, callback_id: int | None, now: datetime) -> None:
    review_items.open_item(
        reason=ReviewReason.UNMATCHED,
        detail=f"KES {receipt.amount:,} came with an account nobody has; find its owner.",
        receipt_id=receipt.pk,
        callback_id=callback_id,
        suggested_members=match.suggestions,
        now=now,
    )


def _c2b_receipt(message: C2bMessage, match: owners.Match, *, now: datetime) -> Receipt:
    moved_at = message.moved_at
    return Receipt(
        channel=Channel.MPESA_C2B,
        code=message.code,
        amount=message.amount,
        paid_at=now if moved_at is None else min(moved_at, now),
        payer_name=message.payer_name[:120],
        sender=message.sender[:80],
        account_typed=message.account[:64],
        member_id=match.member_id,
        created_at=now,
    )


def _fill_in(receipt: Receipt, message: C2bMessage) -> None:
    """Add what only this report knows to a receipt that came another way first."""
    told = {
        "sender": message.sender[:80],
        "payer_name": message.payer_name[:120],
        "account_typed": message.account[:64],
    }
    missing = {name: value for name, value in told.items() if value and not getattr(receipt, name)}
    if missing:
        receipts.update(receipt, **missing)
