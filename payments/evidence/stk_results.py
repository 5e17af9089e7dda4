"""A prompt's result, told by its callback or by a query."""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery, Sum

from api.statements import WrittenOnce
from payments.daraja.messages import CODE, StkResult
from payments.daraja.result_codes import Verdict, verdict
from payments.evidence import c2b_confirmations, pairing, receipts
from payments.evidence.outcomes import APPLIED, CLOCK_SKEW, CLOSED, DUPLICATE, Applied, our_shortcodes
from payments.matching import owners
from payments.models import (
    Account,
    AllocationRule,
    CallbackOutcome,
    Channel,
    Payment,
    PushStatus,
    Receipt,
    ReviewReason,
    ReviewStatus,
    StkPush,
)
from payments.pushes import closing, queries
from payments.services import allocation, locks, push_progress, reversals, review_items, settlement

END_OF = {
    Verdict.FAILED: PushStatus.FAILED,
    Verdict.CANCELLED: PushStatus.CANCELLED,
    Verdict.TIMED_OUT: PushStatus.TIMED_OUT,
}


@dataclass(slots=True)
class Locked:
    """A push with its payment and companions, all locked."""

    push: StkPush
    payment: Payment
    companions: list[Payment]


@transaction.atomic(savepoint=False)  # the inbox's transaction is this one
def apply_stk_result(
    *,
    push_id: int,
    result: StkResult,
    source: str,
    now: datetime,
    callback_id: int | None = None,
    shortcode: str = "",
) -> Applied:
    """Apply the result of a prompt, told by `source` ("callback" or "query"). Twice changes nothing.

    A success pays whatever state the payment is in; a failure never demotes a success; a code that is not listed
    as final ends nothing. Evidence that disagrees with the push becomes a review item and moves no money.
    """
    decided = verdict(result.result_code)
    if source == "query" and decided == Verdict.SUCCEEDED:
        pairing.wait(StkPush.objects.values_list("amount", flat=True).get(pk=push_id))
    locked = _lock(push_id)
    push = locked.push

    def hold(reason: ReviewReason, why: str) -> Applied:
        review_items.open_item(
            reason=reason, detail=why, push_id=push.pk, payment_id=push.payment_id, callback_id=callback_id, now=now
        )
        return Applied(CallbackOutcome.REVIEW, why)

    if shortcode and shortcode not in our_shortcodes():
        return hold(ReviewReason.AMOUNT_DIFFERS, f"The result is of shortcode {shortcode[:16]}, which is not ours.")
    if _is_of_another_push(push, result):
        told = result.checkout_request_id[:64]
        return hold(ReviewReason.AMOUNT_DIFFERS, f"The result names another prompt ({told}) than the one it came to.")
    if decided in END_OF:
        return _apply_failure(locked, result, decided, now=now, hold=hold)
    if decided != Verdict.SUCCEEDED:
        if source == "query":
            return DUPLICATE
        return hold(ReviewReason.UNREADABLE, f"Result code {result.result_code[:32]} is not known; the prompt is open.")
    if source == "query":
        return _apply_success_by_query(locked, result, now=now)
    if result.amount is None or not CODE.fullmatch(result.receipt_code or ""):
        return hold(ReviewReason.UNREADABLE, "A success without its amount or its M-Pesa code.")
    if result.amount != push.amount:
        asked, paid = f"KES {push.amount:,}", f"KES {result.amount:,}"
        why = f"The prompt asked for {asked}; {result.receipt_code} is reported with {paid}."
        return hold(ReviewReason.AMOUNT_DIFFERS, why)
    return _apply_success(locked, result, now=now, hold=hold)


def _apply_success(locked: Locked, result: StkResult, *, now: datetime, hold) -> Applied:
    """Apply a success with amount and code."""
    push = locked.push
    receipt = _stk_receipt(locked, code=result.receipt_code, moved_at=_believed(result.moved_at, push, now), now=now)
    if receipts.insert(receipt):
        _end(push, result, now=now)
        _pay(locked, receipt, from_account=Account.MPESA, now=now)
        return APPLIED

    known = list(
        Receipt.objects.filter(Q(code=receipt.code) | Q(push_id=push.pk)).order_by("pk").select_for_update(no_key=True)
    )
    of_push = next((each for each in known if each.push_id == push.pk), None)
    of_code = next((each for each in known if each.code == receipt.code), None)
    if of_push is not None and of_push is of_code:
        _end(push, result, now=now)
        if of_push.push_guessed:
            receipts.update(of_push, push_guessed=False)
            return APPLIED
        return DUPLICATE
    if of_code is not None and of_code.push_guessed and of_code.amount == push.amount:
        # Another prompt's by a guess, and a guess yields to proof.
        if of_push is not None and of_push.push_guessed and _may_be_of(of_push, of_code.push):
            _end(push, result, now=now)
            _uncross(of_push, of_code)
            return APPLIED
        _disprove(of_code, receipt)
        _guess_anew(of_code, now=now)
        of_code = None
    if of_code is not None and not pairing.may_be_this_push(of_code, push):
        why = f"M-Pesa code {receipt.code} already stands on receipt {of_code.pk}, which is other money."
        return hold(ReviewReason.CODE_USED_TWICE, why)
    named = owners.Match()
    if of_push is not None and of_push.push_guessed:
        named = owners.find_owner(account=of_push.account_typed, sender=of_push.sender, code=of_push.code)
    locks.lock_members_of(known, also_members={named.member_id})
    if of_push is None:
        _end(push, result, now=now)
        _take(locked, receipt, of_code, now=now)
        return APPLIED
    if of_push.code is None:
        if of_code is not None:
            _take_back(of_code, of_push, now=now)
        receipts.update(of_push, code=receipt.code, paid_at=receipt.paid_at, **receipts.told_by_confirmation(receipt))
        return APPLIED
    if not of_push.push_guessed:
        why = f"This prompt was already paid with M-Pesa code {of_push.code}; now it is said to be {receipt.code}."
        return hold(ReviewReason.CONTRADICTION, why)
    # The receipt that we took for this prompt's was money of its own; now the prompt's money stands beside it.
    _release(locked, of_push, named, now=now)
    _take(locked, receipt, of_code, now=now)
    return APPLIED


def _disprove(guessed: Receipt, receipt: Receipt) -> None:
    """Take the code from the prompt that it was guessed for, and what its confirmation told, to `receipt`.

    The money of that prompt stays where it is, and waits for its own code again.
    """
    told = receipts.told_by_confirmation(guessed)
    for name, value in told.items():
        setattr(receipt, name, value)
    receipts.update(guessed, code=None, push_guessed=False, **dict.fromkeys(told, ""))


def _guess_anew(freed: Receipt, *, now: datetime) -> None:
    """Give a prompt's money the code of a confirmation that fits and is nobody's: it came while a wrong one stood."""
    twin = pairing.confirmation_of(freed.push, now=now)
    if twin is None or twin.member_id is not None:
        return
    told = {"code": twin.code, "paid_at": twin.paid_at, **receipts.told_by_confirmation(twin)}
    _take_back(twin, freed, now=now)
    receipts.update(freed, push_guessed=True, **told)


def _take_back(twin: Receipt, receipt: Receipt, *, now: datetime) -> None:
    """Undo a receipt that counts a prompt's money again: a confirmation that was not recognised as its twin."""
    reversals.reverse_receipt_locked(
        receipt=twin, reason=f"same money as receipt {receipt.pk}", by_id=None, now=now, returned_to_payer=False
    )
    receipts.update(twin, code=None)
    review_items.close_for_receipt(
        receipt_id=twin.pk, reason=ReviewReason.UNMATCHED, resolution="It was the money of a prompt.", now=now
    )
    review_items.open_item(
        reason=ReviewReason.CONTRADICTION,
        detail=f"Receipt {twin.pk} was the same money as receipt {receipt.pk} and was taken back.",
        receipt_id=twin.pk,
        now=now,
    )


def _may_be_of(receipt: Receipt, push: StkPush) -> bool:
    return pairing.names_prompt(account=receipt.account_typed, sender=receipt.sender, push=push)


def _uncross(proved: Receipt, guessed: Receipt) -> None:
    """Exchange the codes of two prompts that were guessed the wrong way round; no money moves."""
    names = ("code", "paid_at", *receipts.told_by_confirmation(proved))
    right, left = ({name: getattr(each, name) for name in names} for each in (guessed, proved))
    receipts.update(guessed, code=None)  # a code stands once
    receipts.update(proved, push_guessed=False, **right)
    receipts.update(guessed, **left)


def _take(locked: Locked, receipt: Receipt, of_code: Receipt | None, *, now: datetime) -> None:
    """Pay the prompt's payment: with the paybill's own confirmation, when that came first, else with a new receipt."""
    if of_code is not None:
        _adopt(locked, of_code, guessed=False, now=now)
        return
    receipts.insert(receipt)
    _pay(locked, receipt, from_account=Account.MPESA, now=now)


def _apply_success_by_query(locked: Locked, result: StkResult, *, now: datetime) -> Applied:
    """Apply a success that names neither code nor amount: Safaricom answers for the prompt it was asked about."""
    push = locked.push
    if Receipt.objects.filter(push_id=push.pk).exists():
        _end(push, result, now=now)
        return DUPLICATE
    twin = pairing.confirmation_of(push, now=now)
    _end(push, result, now=now)
    if twin is not None:
        locks.lock_members_of([twin])
        _adopt(locked, twin, guessed=True, now=now)
        return APPLIED
    receipt = _stk_receipt(locked, code=None, moved_at=now, now=now)
    receipts.insert(receipt)
    _pay(locked, receipt, from_account=Account.MPESA, now=now)
    return APPLIED


def _apply_failure(locked: Locked, result: StkResult, decided: Verdict, *, now: datetime, hold) -> Applied:
    push = locked.push
    if push.status == PushStatus.SUCCEEDED:
        why = f"Result code {result.result_code[:32]} came for a prompt that has succeeded. The success stands."
        return hold(ReviewReason.CONTRADICTION, why)
    if push.status in END_OF.values():
        return DUPLICATE
    _end(push, result, now=now, status=END_OF[decided])
    push_progress.mark_push_ended(locked.payment, push, now)
    return APPLIED


def _pay(locked: Locked, receipt: Receipt, *, from_account: Account, now: datetime) -> None:
    """Give a receipt's unplaced money to the prompt's payment, its companions, the payer's others, then credit."""
    payment = locked.payment
    shares, rest = allocation.divide(
        receipt.amount_held,
        moved_at=receipt.paid_at,
        first=[payment, *locked.companions],
        rule=AllocationRule.PROMPT,
    )
    if rest and payment.status not in CLOSED:
        others = receipts.besides(allocation.lock_open_payments(payment.payer_id), shares)
        more, rest = allocation.divide(
            rest, moved_at=receipt.paid_at, first=(), rule=AllocationRule.OLDEST, others=others
        )
        shares += more
    closed = payment.status in CLOSED
    settlement.apply_money(receipt=receipt, from_account=from_account, shares=shares, by_id=None, now=now)
    if closed and rest:
        receipts.hold_late(receipt, payment, rest, now=now)


def _adopt(locked: Locked, receipt: Receipt, *, guessed: bool, now: datetime) -> None:
    """Take a confirmation's receipt as this prompt's own, and its money to what the prompt was for.

    Whoever the money was given to before was a guess by phone or by hand; the prompt's own result proves more.
    """
    payer_id = locked.payment.payer_id
    receipts.update(receipt, push_id=locked.push.pk, push_guessed=guessed, channel=Channel.MPESA_STK)
    if receipt.member_id is None:
        receipts.update(receipt, member_id=payer_id)
        _pay(locked, receipt, from_account=Account.UNMATCHED, now=now)
        review_items.close_for_receipt(
            receipt_id=receipt.pk, reason=ReviewReason.UNMATCHED, resolution="It was the money of a prompt.", now=now
        )
        return
    if receipt.member_id == payer_id and _serves(locked, receipt):
        return
    by_hand = _was_given_by_hand(receipt)
    _move(locked, receipt, member_id=payer_id, why=f"receipt {receipt.pk} is of push {locked.push.pk}", now=now)
    _pay(locked, receipt, from_account=Account.MEMBER_CREDIT, now=now)
    if by_hand:
        detail = f"Receipt {receipt.pk} was given away by hand; it is of the prompt for {locked.payment.reference}."
        review_items.open_item(reason=ReviewReason.CONTRADICTION, detail=detail, receipt_id=receipt.pk, now=now)


def _release(locked: Locked, receipt: Receipt, named: owners.Match, *, now: datetime) -> None:
    """Let a receipt go that was taken for this prompt's, to whom its confirmation names."""
    receipts.update(receipt, push_id=None, push_guessed=False, channel=Channel.MPESA_C2B)
    if receipt.member_id == named.member_id:
        return
    why = f"receipt {receipt.pk} is not of push {locked.push.pk}"
    _move(locked, receipt, member_id=named.member_id, why=why, now=now)
    c2b_confirmations.give(
        receipt,
        named,
        c2b_confirmations.lock_candidates(named),
        from_account=Account.UNMATCHED if named.member_id is None else Account.MEMBER_CREDIT,
        callback_id=None,
        now=now,
    )


def _move(locked: Locked, receipt: Receipt, *, member_id: int | None, why: str, now: datetime) -> None:
    """Take a receipt's money out of what it pays, the prompt's payments among it, and make it somebody's."""
    reversals.change_owner(receipt=receipt, member_id=member_id, by_id=None, now=now, reason=why)
    for payment in (locked.payment, *locked.companions):
        payment.refresh_from_db()


def _was_given_by_hand(receipt: Receipt) -> bool:
    """Say whether staff decided whose money a receipt is."""
    given = receipt.allocations.filter(undone_at__isnull=True, rule=AllocationRule.BY_HAND)
    assigned = receipt.review_items.filter(reason=ReviewReason.UNMATCHED, status=ReviewStatus.RESOLVED)
    return given.exists() or assigned.exists()


def _serves(locked: Locked, receipt: Receipt) -> bool:
    """Say whether a receipt's money is where its prompt wants it: nothing more is owed there, or all of it is there."""
    payments = [locked.payment, *locked.companions]
    if not any(payment.status in allocation.PAYABLE and payment.amount_owed for payment in payments):
        return True
    there = receipt.allocations.filter(undone_at__isnull=True, payment__in=payments)
    return there.aggregate(total=Sum("amount", default=0))["total"] == receipt.amount_held


def _payers_of(push_id: int) -> QuerySet:
    # Two lookups by key; asked as one condition over joins, this would read every payment there is.
    payment_id = Subquery(StkPush.objects.filter(pk=push_id).values("payment_id"))
    of_push = Payment.objects.filter(Q(pk=payment_id) | Q(head=payment_id))
    return locks.members_to_lock(of_push.values("payer_id"))


def _push_to_lock(push_id: int) -> QuerySet:
    companions = Payment.objects.filter(head_id=OuterRef("payment_id"))
    rows = StkPush.objects.filter(pk=push_id).select_related("payment").annotate(has_companions=Exists(companions))
    return rows.select_for_update(no_key=True, of=("self", "payment"))


_lock_payers = WrittenOnce(_payers_of, stand_ins=[0])
_lock_push = WrittenOnce(_push_to_lock, stand_ins=[0])


def _lock(push_id: int) -> Locked:
    """Lock the payers, then the prompt with its payment, then its companions."""
    _lock_payers(push_id)
    [push] = _lock_push(push_id)
    return Locked(push, push.payment, locks.lock_grouped_payments(push.payment_id) if push.has_companions else [])


def _is_of_another_push(push: StkPush, result: StkResult) -> bool:
    """Say whether the result's ids are another prompt's. Ids we do not know yet may be any that no other push has."""
    told = result.checkout_request_id
    if push.checkout_request_id:
        return told != push.checkout_request_id
    return bool(told) and StkPush.objects.filter(checkout_request_id=told).exists()


def _believed(moved_at: datetime | None, push: StkPush, now: datetime) -> datetime:
    """Return Safaricom's moment when it can be true, else ours."""
    if moved_at is not None and push.created_at - CLOCK_SKEW <= moved_at <= now + CLOCK_SKEW:
        return min(moved_at, now)
    return now


def _end(push: StkPush, result: StkResult, *, now: datetime, status: PushStatus = PushStatus.SUCCEEDED) -> None:
    if status == PushStatus.SUCCEEDED and not push.checkout_request_id:
        queries.store_request_ids(
            push, merchant_request_id=result.merchant_request_id, checkout_request_id=result.checkout_request_id
        )
    if push.status != PushStatus.SUCCEEDED:
        closing.end(push, status=status, result_code=result.result_code, result_desc=result.result_desc, now=now)


def _stk_receipt(locked: Locked, *, code: str | None, moved_at: datetime, now: datetime) -> Receipt:
    return Receipt(
        channel=Channel.MPESA_STK,
        code=code,
        push_id=locked.push.pk,
        amount=locked.push.amount,
        paid_at=moved_at,
        member_id=locked.payment.payer_id,
        created_at=now,
    )
