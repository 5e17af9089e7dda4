"""Evidence to money: what Safaricom says becomes receipt, allocation, books, status and access in one transaction.

One M-Pesa code is one receipt, whichever channel tells of it first: the STK callback, an STK query (which knows
no code) or the C2B confirmation of the same money. Everything may come twice and in any order.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q

from payments import allocation, matching, pushes, review, services
from payments.daraja.messages import C2bMessage, StkResult
from payments.daraja.result_codes import Verdict, verdict
from payments.models import (
    Account,
    AllocationRule,
    CallbackOutcome,
    Channel,
    CodeClaim,
    Payment,
    PaymentStatus,
    PushStatus,
    Receipt,
    ReviewReason,
    StkPush,
)

CODE = re.compile(r"[0-9A-Z]{1,16}")
END_OF = {
    Verdict.FAILED: PushStatus.FAILED,
    Verdict.CANCELLED: PushStatus.CANCELLED,
    Verdict.TIMED_OUT: PushStatus.TIMED_OUT,
}
# How far Safaricom's clock and ours may differ before its moment is not believed.
CLOCK_SKEW = timedelta(minutes=10)
TWINS = 254_001  # names the advisory lock among any others of this database
CLOSED = (PaymentStatus.CANCELLED, PaymentStatus.REFUNDED)


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one piece of evidence; `why` is for the inbox and for staff."""

    outcome: CallbackOutcome
    why: str = ""


APPLIED = Applied(CallbackOutcome.APPLIED)
DUPLICATE = Applied(CallbackOutcome.DUPLICATE)


@dataclass(slots=True)
class Locked:
    """A push with its payment and companions, all locked."""

    push: StkPush
    payment: Payment
    companions: list[Payment]


def our_shortcodes() -> set[str]:
    """Return the numbers people pay to: the paybill, or the store number and its till."""
    return {settings.DARAJA_SHORTCODE, settings.DARAJA_TILL} - {""}


# --- STK: a prompt's result -----------------------------------------------------------------------


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
        _wait_for_twins(StkPush.objects.values_list("amount", flat=True).get(pk=push_id))
    locked = _lock(push_id)
    push = locked.push

    def hold(reason: ReviewReason, why: str) -> Applied:
        review.open_item(
            reason=reason, detail=why, push_id=push.pk, payment_id=push.payment_id, callback_id=callback_id, now=now
        )
        return Applied(CallbackOutcome.REVIEW, why)

    if shortcode and shortcode not in our_shortcodes():
        return hold(ReviewReason.AMOUNT_DIFFERS, f"The result is of shortcode {shortcode[:16]}, which is not ours.")
    if _is_of_another_push(push, result):
        return hold(ReviewReason.AMOUNT_DIFFERS, "The result names another prompt than the one it was sent to.")
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
        why = f"The prompt asked for KES {push.amount}; Safaricom reports KES {result.amount}."
        return hold(ReviewReason.AMOUNT_DIFFERS, why)
    return _apply_success(locked, result, now=now, hold=hold)


def _apply_success(locked: Locked, result: StkResult, *, now: datetime, hold) -> Applied:
    """Apply a success with amount and code."""
    push = locked.push
    receipt = _stk_receipt(locked, code=result.receipt_code, moved_at=_believed(result.moved_at, push, now), now=now)
    if _insert(receipt):
        _end(push, result, now=now)
        _pay(locked, receipt, taken_from=Account.MPESA, now=now)
        return APPLIED

    known = list(
        Receipt.objects.filter(Q(code=receipt.code) | Q(push_id=push.pk)).order_by("pk").select_for_update(no_key=True)
    )
    of_push = next((each for each in known if each.push_id == push.pk), None)
    of_code = next((each for each in known if each.code == receipt.code), None)
    if of_push is not None and of_push is of_code:
        _end(push, result, now=now)
        if of_push.push_guessed:
            _update(of_push, push_guessed=False)
            return APPLIED
        return DUPLICATE
    if of_code is not None and not _may_be_this_push(of_code, push):
        why = f"M-Pesa code {receipt.code} already stands on receipt {of_code.pk}, which is other money."
        return hold(ReviewReason.CODE_USED_TWICE, why)
    if of_push is None:
        # The paybill's own confirmation of this prompt came first.
        _end(push, result, now=now)
        _adopt(locked, of_code, guessed=False, now=now)
        return APPLIED
    if of_push.code is None:
        if of_code is not None:
            # Counted twice: once by query, once by a confirmation that was not recognised as its twin.
            services.reverse_receipt_locked(
                receipt=of_code, why=f"same money as receipt {of_push.pk}", by_id=None, now=now
            )
            _update(of_code, code=None)
            review.open_item(
                reason=ReviewReason.CONTRADICTION,
                detail=f"Receipt {of_code.pk} was the same money as receipt {of_push.pk} and was taken back.",
                receipt_id=of_code.pk,
                now=now,
            )
        _update(of_push, code=receipt.code, paid_at=receipt.paid_at)
        return APPLIED
    if not of_push.push_guessed:
        why = f"This prompt was already paid with M-Pesa code {of_push.code}; now it is said to be {receipt.code}."
        return hold(ReviewReason.CONTRADICTION, why)
    # The receipt that we took for this prompt's was money of its own; now the prompt's money stands beside it.
    _update(of_push, push_id=None, push_guessed=False, channel=Channel.MPESA_C2B)
    if of_code is not None:
        _adopt(locked, of_code, guessed=False, now=now)
    else:
        _insert(receipt)
        _pay(locked, receipt, taken_from=Account.MPESA, now=now)
    return APPLIED


def _apply_success_by_query(locked: Locked, result: StkResult, *, now: datetime) -> Applied:
    """Apply a success that names neither code nor amount: Safaricom answers for the prompt it was asked about."""
    push = locked.push
    if Receipt.objects.filter(push_id=push.pk).exists():
        _end(push, result, now=now)
        return DUPLICATE
    twin = _confirmation_of(locked, now=now)
    _end(push, result, now=now)
    if twin is not None:
        _adopt(locked, twin, guessed=True, now=now)
        return APPLIED
    receipt = _stk_receipt(locked, code=None, moved_at=now, now=now)
    _insert(receipt)
    _pay(locked, receipt, taken_from=Account.MPESA, now=now)
    return APPLIED


def _apply_failure(locked: Locked, result: StkResult, decided: Verdict, *, now: datetime, hold) -> Applied:
    push = locked.push
    if push.status == PushStatus.SUCCEEDED:
        why = f"Result code {result.result_code[:32]} came for a prompt that has succeeded. The success stands."
        return hold(ReviewReason.CONTRADICTION, why)
    if push.status in END_OF.values():
        return DUPLICATE
    _end(push, result, now=now, status=END_OF[decided])
    services.note_prompt_ended(locked.payment, push, now)
    return APPLIED


# --- C2B: money paid to the paybill or till -------------------------------------------------------


@transaction.atomic(savepoint=False)  # the inbox's transaction is this one
def apply_c2b(*, message: C2bMessage, now: datetime, callback_id: int | None = None) -> Applied:
    """Apply the confirmation of money that has already moved. Twice, or as the twin of a prompt, counts it once."""
    if message.shortcode not in our_shortcodes():
        why = f"Money to shortcode {message.shortcode[:16]}, which is not ours."
        review.open_item(reason=ReviewReason.AMOUNT_DIFFERS, detail=why, callback_id=callback_id, now=now)
        return Applied(CallbackOutcome.REVIEW, why)

    if not message.account.strip():
        _wait_for_twins(message.amount)
    awaiting = _prompt_awaiting_code(message)
    match = matching.find_owner(account=message.account, sender=message.sender, code=message.code)
    services.lock_members({member for member in (match.member_id, awaiting and awaiting.member_id) if member})
    payments = []
    if match.payment_id is not None:
        payments = list(
            Payment.objects.filter(Q(pk=match.payment_id) | Q(head_id=match.payment_id))
            .order_by("pk")
            .select_for_update(no_key=True)
        )
    others = allocation.lock_open_payments(match.member_id) if match.member_id is not None else []

    known = Receipt.objects.filter(code=message.code).select_for_update(no_key=True).first()
    if known is None:
        # Asked again under the locks: a query may have told of it, or its code may have come, meanwhile.
        awaiting = _prompt_awaiting_code(message)
        still = awaiting and Receipt.objects.filter(pk=awaiting.pk, code=None).select_for_update(no_key=True).first()
        if still:
            _update(still, code=message.code, push_guessed=True, paid_at=message.moved_at or still.paid_at)
            _fill_in(still, message)
            return APPLIED
    receipt = _c2b_receipt(message, match, now=now)
    if known is None and not _insert(receipt):
        known = Receipt.objects.select_for_update(no_key=True).get(code=message.code)
    if known is not None:
        return _repeat_of(known, message, callback_id=callback_id, now=now)

    rule = AllocationRule.REFERENCE
    if match.claim_id is not None:
        rule = AllocationRule.BY_HAND
        CodeClaim.objects.filter(pk=match.claim_id).update(receipt=receipt)
    payment = next((each for each in payments if each.pk == match.payment_id), None)
    shares, rest = allocation.divide(receipt.amount, first=payments, rule=rule)
    if payment is None or payment.status not in CLOSED:
        more, rest = allocation.divide(rest, first=(), rule=AllocationRule.OLDEST, others=_besides(others, shares))
        shares += more
    services.take_money(receipt=receipt, taken_from=Account.MPESA, shares=shares, by_id=None, now=now)
    if match.member_id is None:
        _hold_unmatched(receipt, match, callback_id=callback_id, now=now)
        return Applied(CallbackOutcome.UNMATCHED, "The money has no known owner.")
    if payment is not None and payment.status in CLOSED and rest:
        _hold_late(receipt, payment, rest, now=now)
    return APPLIED


def _repeat_of(known: Receipt, message: C2bMessage, *, callback_id: int | None, now: datetime) -> Applied:
    """Treat a confirmation whose code is known: the same again, a prompt's twin, or a contradiction."""
    if known.amount != message.amount:
        why = f"M-Pesa code {known.code} is KES {known.amount} in the books; now KES {message.amount} is reported."
        review.open_item(
            reason=ReviewReason.CODE_USED_TWICE, detail=why, receipt_id=known.pk, callback_id=callback_id, now=now
        )
        return Applied(CallbackOutcome.REVIEW, why)
    _fill_in(known, message)
    return DUPLICATE


def _hold_unmatched(receipt: Receipt, match: matching.Match, *, callback_id: int | None, now: datetime) -> None:
    review.open_item(
        reason=ReviewReason.UNMATCHED,
        detail=f"KES {receipt.amount} came with an account nobody has; find its owner.",
        receipt_id=receipt.pk,
        callback_id=callback_id,
        suggested_members=match.suggestions,
        now=now,
    )


# --- Money of a prompt, to its payments -----------------------------------------------------------


def _pay(locked: Locked, receipt: Receipt, *, taken_from: Account, now: datetime) -> None:
    """Give a receipt's unplaced money to the prompt's payment, its companions, the payer's others, then credit."""
    payment = locked.payment
    shares, rest = allocation.divide(receipt.amount, first=[payment, *locked.companions], rule=AllocationRule.PROMPT)
    if rest and payment.status not in CLOSED:
        others = _besides(allocation.lock_open_payments(payment.payer_id), shares)
        more, rest = allocation.divide(rest, first=(), rule=AllocationRule.OLDEST, others=others)
        shares += more
    closed = payment.status in CLOSED
    services.take_money(receipt=receipt, taken_from=taken_from, shares=shares, by_id=None, now=now)
    if closed and rest:
        _hold_late(receipt, payment, rest, now=now)


def _adopt(locked: Locked, receipt: Receipt, *, guessed: bool, now: datetime) -> None:
    """Take a confirmation's receipt as this prompt's own; money that had no owner goes to the prompt's payment."""
    payment = locked.payment
    had_owner = receipt.member_id is not None
    changes = {"push_id": locked.push.pk, "push_guessed": guessed}
    if had_owner:
        _update(receipt, **changes)
        return
    _update(receipt, **changes, member_id=payment.payer_id)
    _pay(locked, receipt, taken_from=Account.UNMATCHED, now=now)
    review.close_for_receipt(
        receipt_id=receipt.pk, reason=ReviewReason.UNMATCHED, resolution="It was the money of a prompt.", now=now
    )


def _hold_late(receipt: Receipt, payment: Payment, amount: int, *, now: datetime) -> None:
    review.open_item(
        reason=ReviewReason.LATE_MONEY,
        detail=f"KES {amount} came for a payment that is {payment.status}; it is kept as the member's credit.",
        receipt_id=receipt.pk,
        payment_id=payment.pk,
        now=now,
    )


def _besides(payments: list[Payment], shares: list[allocation.Share]) -> list[Payment]:
    """Return the payments that got nothing yet."""
    served = {share.payment.pk for share in shares}
    return [payment for payment in payments if payment.pk not in served]


# --- Twins ----------------------------------------------------------------------------------------


def _wait_for_twins(amount: int) -> None:
    """Let a query's success and a till's confirmation of one amount see each other, one after the other.

    To a paybill the payer's lock does this; a till's confirmation names no payer to lock. Taken before all other
    locks, until the end of the transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [TWINS, amount])


def _prompt_awaiting_code(message: C2bMessage) -> Receipt | None:
    """Return the receipt learnt by query that this confirmation is the twin of: amount, account and time agree."""
    moved_at = message.moved_at
    waiting = Receipt.objects.filter(code=None, push__isnull=False, amount=message.amount, reversed_at__isnull=True)
    if moved_at is not None:
        waiting = waiting.filter(push__created_at__lte=moved_at + CLOCK_SKEW, paid_at__gte=moved_at - CLOCK_SKEW)
    for receipt in waiting.select_related("push__payment").order_by("pk"):
        if _names_prompt(account=message.account, sender=message.sender, push=receipt.push):
            return receipt
    return None


def _confirmation_of(locked: Locked, *, now: datetime) -> Receipt | None:
    """Return the confirmation's receipt that is the twin of a prompt learnt to have succeeded by query."""
    push = locked.push
    since = (push.sent_at or push.created_at) - CLOCK_SKEW
    candidates = Receipt.objects.filter(
        channel=Channel.MPESA_C2B,
        push=None,
        amount=push.amount,
        paid_at__gte=since,
        paid_at__lte=now + CLOCK_SKEW,
        reversed_at__isnull=True,
    )
    for receipt in candidates.order_by("paid_at", "pk").select_for_update(no_key=True, of=("self",)):
        if _may_be_this_push(receipt, push) and _names_prompt(
            account=receipt.account_typed, sender=receipt.sender, push=push
        ):
            return receipt
    return None


def _names_prompt(*, account: str, sender: str, push: StkPush) -> bool:
    """Say whether a confirmation's account is the prompt's reference, or, to a till, its sender the prompt's phone."""
    reference = matching.references.repair(account)
    if reference is not None or account.strip():
        return reference == push.payment.reference
    return matching.fits_sender(phone=push.phone, sender=sender)


def _may_be_this_push(receipt: Receipt, push: StkPush) -> bool:
    """Say whether a receipt without a prompt can be this prompt's money."""
    is_free = receipt.channel == Channel.MPESA_C2B and receipt.push_id is None and receipt.reversed_at is None
    return is_free and receipt.amount == push.amount


# --- Rows -----------------------------------------------------------------------------------------


def _lock(push_id: int) -> Locked:
    """Lock the payers, then the prompt with its payment, then its companions."""
    of_push = Payment.objects.filter(Q(pushes=push_id) | Q(head__pushes=push_id))
    services.lock_members(of_push.values("payer_id"))
    companions = Payment.objects.filter(head_id=OuterRef("payment_id"))
    push = (
        StkPush.objects.select_related("payment")
        .annotate(has_companions=Exists(companions))
        .select_for_update(no_key=True, of=("self", "payment"))
        .get(pk=push_id)
    )
    return Locked(push, push.payment, services.lock_companions(push.payment_id) if push.has_companions else [])


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
    if push.status != PushStatus.SUCCEEDED:
        pushes.end(push, status=status, result_code=result.result_code, result_desc=result.result_desc, now=now)


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


def _c2b_receipt(message: C2bMessage, match: matching.Match, *, now: datetime) -> Receipt:
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
    """Add what only the confirmation knows to a receipt that came another way first."""
    if not receipt.sender and not receipt.payer_name:
        _update(
            receipt,
            sender=message.sender[:80],
            payer_name=message.payer_name[:120],
            account_typed=message.account[:64],
        )


def _update(receipt: Receipt, **changes) -> None:
    for name, value in changes.items():
        setattr(receipt, name, value)
    receipt.save(update_fields=[name.removesuffix("_id") for name in changes])


def _insert(receipt: Receipt) -> bool:
    """Insert a receipt unless its code or its prompt already has one; return whether it was inserted.

    One statement decides: two transactions that bring the same code cannot both see that it is new.
    """
    fields = [field for field in Receipt._meta.concrete_fields if not field.primary_key]
    columns = ", ".join(connection.ops.quote_name(field.column) for field in fields)
    marks = ", ".join(["%s"] * len(fields))
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {Receipt._meta.db_table} ({columns}) VALUES ({marks})"  # noqa: S608 (our own column names)
            " ON CONFLICT DO NOTHING RETURNING id",
            [getattr(receipt, field.attname) for field in fields],
        )
        row = cursor.fetchone()
    if row is None:
        return False
    receipt.pk, receipt._state.adding = row[0], False
    return True
