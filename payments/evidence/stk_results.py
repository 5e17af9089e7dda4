"""The result of an STK push, from its callback or from a query, and the decision tables for it.

All rows are locked before a decision: payers, push, payments, then receipts. In each table the first row that fits
applies. "Review" opens a review item with the reason named; it moves no money. Each row has a case in
tests/test_evidence_decisions or is shown by a test in test_stk_callback.

**Any result** (apply_stk_result)

| | Result | Action | Outcome |
|---|---|---|---|
| 1 | of a shortcode that is not ours | review: amount_differs | review |
| 2 | with the checkout request ID of another push | review: amount_differs | review |
| 3 | final failure, after this push succeeded | review: contradiction | review |
| 4 | final failure, after this push ended without money (but not when we closed it as overdue) | none | duplicate |
| 5 | final failure | end the push | applied |
| 6 | a code that is not final, from a query | none | duplicate |
| 7 | a code that is not final, from a callback | review: unreadable; the push stays open | review |
| 8 | success from a query; the push has a receipt | end the push | duplicate |
| 9 | success from a query; a confirmation fits (pairing) | end the push, `link_confirmation` as a guess | applied |
| 10 | success from a query | end the push, insert a receipt without a code, `pay`; `hold` those in doubt | applied |
| 11 | success from a callback, without amount or M-Pesa code | review: unreadable | review |
| 12 | success from a callback, of another amount than the push | review: amount_differs | review |
| 13 | success from a callback | see the next table | |

**A callback's success with amount and code** (_apply_success, _apply_known_success). "Guessed" is a receipt that was
paired by amount, account and time (`push_guessed`); "proved" is one whose code a callback reported. A "free
confirmation" is a paybill payment of the same amount, not reversed, that no push has yet.

| | Receipt of this push | Receipt with this code | Action | Outcome |
|---|---|---|---|---|
| A | none | none | end the push, insert a receipt, `pay` | applied |
| B | guessed | the same receipt | mark it as proved | applied |
| C | proved | the same receipt | none | duplicate |
| D | guessed, and it names the other push | guessed for another push, same amount | `swap_codes` | applied |
| E | not proved | guessed for another push, same amount | `clear_guessed_code`, `rematch_push`; go on with G, I, L | |
| F | any | not a free confirmation | review: code_used_twice | review |
| G | none | none | end the push, insert a receipt, `pay` | applied |
| H | none | free confirmation | end the push, `link_confirmation` as proved | applied |
| I | without a code | none | write the code on it, `release_for_push` | applied |
| J | without a code | free confirmation | as I; `reverse_duplicate` of the one that pays less for the push | applied |
| K | proved, with another code | none, or free confirmation | review: contradiction | review |
| L | guessed, with another code | none | `unlink_confirmation`, insert a receipt, `pay` | applied |
| M | guessed, with another code | free confirmation | `unlink_confirmation`, `link_confirmation` as proved | applied |
"""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Q

from payments.daraja.messages import CODE, StkResult
from payments.daraja.result_codes import Verdict, verdict
from payments.evidence import holds, pairing, paybill_money, push_money, receipts
from payments.evidence.outcomes import APPLIED, CLOCK_SKEW, DUPLICATE, EvidenceOutcome, our_shortcodes
from payments.evidence.push_money import LockedPush
from payments.matching import owners
from payments.models import Account, CallbackOutcome, PushStatus, Receipt, ReviewReason, StkPush
from payments.pushes import closing, queries
from payments.services import locks, push_progress, review_items

END_STATUS = {
    Verdict.FAILED: PushStatus.FAILED,
    Verdict.CANCELLED: PushStatus.CANCELLED,
    Verdict.TIMED_OUT: PushStatus.TIMED_OUT,
}


@transaction.atomic(savepoint=False)  # the callback inbox has opened this transaction
def apply_stk_result(
    *,
    push_id: int,
    result: StkResult,
    source: str,
    now: datetime,
    callback_id: int | None = None,
    shortcode: str = "",
) -> EvidenceOutcome:
    """Apply the result of a push; `source` is "callback" or "query". The same result again changes nothing.

    A success also pays a failed or expired payment; for a cancelled or refunded one its money is credit, with the
    review item late_money. A failure never replaces a success. A result code that is not listed as final ends nothing.
    `shortcode` is the one that the callback's header names, if any.
    """
    decided = verdict(result.result_code)
    if source == "query" and decided == Verdict.SUCCEEDED:
        pairing.lock_amount(StkPush.objects.values_list("amount", flat=True).get(pk=push_id))
    report = _Report(push_money.lock_push(push_id), result, now, callback_id)
    if problem := _mismatch(report, shortcode):
        return report.hold(ReviewReason.AMOUNT_DIFFERS, problem)
    if decided in END_STATUS:
        return _apply_failure(report, END_STATUS[decided])
    if decided != Verdict.SUCCEEDED:
        return _apply_code_that_is_not_final(report, source)
    return _apply_success_by_query(report) if source == "query" else _apply_success(report)


@dataclass(frozen=True, slots=True)
class _Report:
    """A result with the locked rows that it is about."""

    locked: LockedPush
    result: StkResult
    now: datetime
    callback_id: int | None

    @property
    def push(self) -> StkPush:
        return self.locked.push

    def hold(self, reason: ReviewReason, detail: str) -> EvidenceOutcome:
        """Open a review item and apply nothing."""
        review_items.open_item(
            reason=reason,
            detail=detail,
            push_id=self.push.pk,
            payment_id=self.push.payment_id,
            callback_id=self.callback_id,
            now=self.now,
        )
        return EvidenceOutcome(CallbackOutcome.REVIEW, detail)

    def end_push(self, status: PushStatus = PushStatus.SUCCEEDED) -> None:
        """Write how the push ended. Nothing is written over a success."""
        push, result = self.push, self.result
        if status == PushStatus.SUCCEEDED and not push.checkout_request_id:
            queries.store_request_ids(
                push, merchant_request_id=result.merchant_request_id, checkout_request_id=result.checkout_request_id
            )
        if push.status != PushStatus.SUCCEEDED:
            closing.end(
                push, status=status, result_code=result.result_code, result_desc=result.result_desc, now=self.now
            )

    def pay_with(self, receipt: Receipt) -> None:
        """Insert a receipt and allocate its money."""
        receipts.insert(receipt)
        push_money.pay(self.locked, receipt, from_account=Account.MPESA, now=self.now)


# --- Any result -----------------------------------------------------------------------------------


def _mismatch(report: _Report, shortcode: str) -> str:
    """Return why a result cannot be of this push (rows 1 and 2); empty when it can."""
    if shortcode and shortcode not in our_shortcodes():
        return f"The result is of shortcode {shortcode[:16]}, which is not ours."
    if _names_another_push(report.push, report.result):
        named = report.result.checkout_request_id[:64]
        return f"The result names another STK push ({named}) than the one whose callback URL it was sent to."
    return ""


def _names_another_push(push: StkPush, result: StkResult) -> bool:
    """Return whether a result has the ID of another push. A push without an ID yet may get any that is not taken."""
    named = result.checkout_request_id
    if push.checkout_request_id:
        return named != push.checkout_request_id
    return bool(named) and StkPush.objects.filter(checkout_request_id=named).exists()


def _apply_failure(report: _Report, status: PushStatus) -> EvidenceOutcome:
    """Apply a final failure (rows 3 to 5)."""
    push, code = report.push, report.result.result_code[:32]
    if push.status == PushStatus.SUCCEEDED:
        detail = f"Result code {code} was reported for an STK push that has succeeded. The success is kept."
        return report.hold(ReviewReason.CONTRADICTION, detail)
    if push.status in END_STATUS.values() and push.result_code != closing.CLOSED:
        return DUPLICATE
    report.end_push(status)
    push_progress.mark_push_ended(report.locked.payment, push, report.now)
    return APPLIED


def _apply_code_that_is_not_final(report: _Report, source: str) -> EvidenceOutcome:
    """Apply a result that does not end the push (rows 6 and 7)."""
    if source == "query":
        return DUPLICATE
    code = report.result.result_code[:32]
    return report.hold(ReviewReason.UNREADABLE, f"Result code {code} is not known. The STK push stays open.")


def _apply_success_by_query(report: _Report) -> EvidenceOutcome:
    """Apply a success without code and amount (rows 8 to 10). A query answers for the push that it asks about."""
    locked, now = report.locked, report.now
    if Receipt.objects.filter(push_id=locked.push.pk).exists():
        report.end_push()
        return DUPLICATE
    confirmation, in_doubt = pairing.find_confirmations(locked.push, now=now)
    report.end_push()
    if confirmation is None:
        report.pay_with(locked.new_receipt(code=None, moved_at=now, now=now))
        for each in in_doubt:
            holds.hold(each, locked.push, now=now)
    else:
        locks.lock_members_of([confirmation])
        push_money.link_confirmation(locked, confirmation, guessed=True, now=now)
    return APPLIED


# --- A callback's success with amount and code ------------------------------------------------------


def _apply_success(report: _Report) -> EvidenceOutcome:
    """Apply a success from a callback (rows 11 and 12, then A; the rest in _apply_known_success)."""
    push, result, now = report.push, report.result, report.now
    if result.amount is None or not CODE.fullmatch(result.receipt_code or ""):
        return report.hold(ReviewReason.UNREADABLE, "The success has no amount or no M-Pesa code.")
    if result.amount != push.amount:
        asked, paid = f"KES {push.amount:,}", f"KES {result.amount:,}"
        detail = f"The STK push asked for {asked}; {result.receipt_code} is reported with {paid}."
        return report.hold(ReviewReason.AMOUNT_DIFFERS, detail)
    moved_at = _plausible_time(result.moved_at, push, now)
    new = report.locked.new_receipt(code=result.receipt_code, moved_at=moved_at, now=now)
    if not receipts.insert(new):
        return _apply_known_success(report, new)
    report.end_push()
    push_money.pay(report.locked, new, from_account=Account.MPESA, now=now)
    return APPLIED


def _apply_known_success(report: _Report, new: Receipt) -> EvidenceOutcome:
    """Apply a success whose push or code has a receipt (rows B to M). `new` is the receipt that was not inserted."""
    push, now = report.push, report.now
    known = list(
        Receipt.objects.filter(Q(code=new.code) | Q(push_id=push.pk)).order_by("pk").select_for_update(no_key=True)
    )
    of_push = next((each for each in known if each.push_id == push.pk), None)
    of_code = next((each for each in known if each.code == new.code), None)
    if of_push is not None and of_push is of_code:
        return _prove_code(report, of_push)
    other_push = None if of_code is None or _is_proved(of_push) else _guessed_push(of_code, push)
    if of_code is not None and other_push is not None:
        if of_push is not None and of_push.push_guessed and pairing.receipt_names_push(of_push, other_push):
            report.end_push()
            pairing.swap_codes(proved=of_push, guessed=of_code)
            return APPLIED
        pairing.clear_guessed_code(of_code, new=new)
        pairing.rematch_push(of_code, other_push, now=now)
        of_code = None
    if of_code is not None and not pairing.is_free_confirmation(of_code, push):
        detail = f"M-Pesa code {new.code} is already on receipt {of_code.pk}, which is other money."
        return report.hold(ReviewReason.CODE_USED_TWICE, detail)
    owner = _owner_by_confirmation(of_push)
    locks.lock_members_of(known, also_members=() if owner.member_id is None else {owner.member_id})
    return _apply_free_code(report, new, of_push, of_code, owner)


def _apply_free_code(
    report: _Report, new: Receipt, of_push: Receipt | None, of_code: Receipt | None, owner: owners.Match
) -> EvidenceOutcome:
    """Apply a success whose code no other push has (rows G to M)."""
    if of_push is None:
        report.end_push()
    elif of_push.code is None:
        push_money.write_code(report.locked, of_push, new, of_code, now=report.now)
        paybill_money.release_for_push(report.push.pk, now=report.now)
        return APPLIED
    elif of_push.push_guessed:
        push_money.unlink_confirmation(report.locked, of_push, owner, now=report.now)
    else:
        detail = f"This STK push was already paid with M-Pesa code {of_push.code}; now {new.code} is reported for it."
        return report.hold(ReviewReason.CONTRADICTION, detail)
    if of_code is None:
        report.pay_with(new)
    else:
        push_money.link_confirmation(report.locked, of_code, guessed=False, now=report.now)
    return APPLIED


def _is_proved(receipt: Receipt | None) -> bool:
    """Return whether there is a receipt of the push and a callback has reported its code."""
    return receipt is not None and receipt.code is not None and not receipt.push_guessed


def _guessed_push(of_code: Receipt, push: StkPush) -> StkPush | None:
    """Return the other push that the code was guessed for, when its amount allows that it is of this push."""
    return of_code.push if of_code.push_guessed and of_code.amount == push.amount else None


def _prove_code(report: _Report, receipt: Receipt) -> EvidenceOutcome:
    """Note that the callback reports the code that the push's receipt has already (rows B and C)."""
    report.end_push()
    if not receipt.push_guessed:
        return DUPLICATE
    receipts.update(receipt, push_guessed=False)
    return APPLIED


def _owner_by_confirmation(of_push: Receipt | None) -> owners.Match:
    """Return the owner that a guessed confirmation names, should it turn out to be another payment."""
    if of_push is None or not of_push.push_guessed:
        return owners.Match()
    return owners.find_owner(account=of_push.account_typed, sender=of_push.sender, code=of_push.code or "")


def _plausible_time(moved_at: datetime | None, push: StkPush, now: datetime) -> datetime:
    """Return Safaricom's time of the payment when it is between the push and now, else `now`."""
    if moved_at is not None and push.created_at - CLOCK_SKEW <= moved_at <= now + CLOCK_SKEW:
        return min(moved_at, now)
    return now
