"""Pairing of an STK push with the C2B confirmation of the same money.

A query that reports a success knows no M-Pesa code, and a confirmation knows no push. They are paired by amount, time
and account (without an account, as at a till: by the sender's phone). Such a pair is a guess: the receipt is marked
`push_guessed` until the push's own callback reports the code. The functions that change a pair are steps of the table
in stk_results. When neither account nor sender decides, the confirmation's money is held (holds.py).
"""

from datetime import datetime
from enum import Enum

from django.db import connection
from django.db.models import Q, Sum

from api import advisory_locks
from payments.daraja.messages import C2bMessage
from payments.evidence import holds, receipts
from payments.evidence.outcomes import CLOCK_SKEW
from payments.matching import owners, references
from payments.models import Channel, Receipt, ReviewReason, StkPush
from payments.services import reversals, review_items


def lock_amount(amount: int) -> None:
    """Make a query's success and a till's confirmation of the same amount (in KES) wait for each other.

    A till's confirmation names no payer, so the lock on the payer's row does not help there. Call this before any row
    is locked. The lock ends with the transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [advisory_locks.AMOUNT, amount])


# --- Finding the other half -----------------------------------------------------------------------


class Fit(Enum):
    """Whether a confirmation is of the same money as a push of its amount and time."""

    SAME = "same"  # it names the push: by the payment's reference or, without an account, by the sender's phone
    DOUBT = "doubt"  # it has no account, and its sender cannot be read
    OTHER = "other"  # it names another payment or another phone


def fit(*, account: str, sender: str, push: StkPush) -> Fit:
    """Return whether a confirmation names a push. Safaricom sends the payment's reference as account, if it has one."""
    if account.strip():
        return Fit.SAME if references.repair(account) == push.payment.reference else Fit.OTHER
    is_sender = owners.fits_sender(phone=push.phone, sender=sender)
    if is_sender is None:
        return Fit.DOUBT
    return Fit.SAME if is_sender else Fit.OTHER


def receipt_names_push(receipt: Receipt, push: StkPush) -> bool:
    """Return whether a receipt's confirmation names a push; see fit."""
    return fit(account=receipt.account_typed, sender=receipt.sender, push=push) == Fit.SAME


def find_receipts_without_code(
    message: C2bMessage, *, reported_for: int | None = None
) -> tuple[Receipt | None, list[Receipt]]:
    """Return the receipt, known by query and without a code, of the same money as a confirmation, and those in doubt.

    `reported_for` is the payment that a payer reported the code for: in doubt, its push is the same money.
    """
    moved_at = message.moved_at
    waiting = Receipt.objects.filter(code=None, push__isnull=False, amount=message.amount, reversed_at__isnull=True)
    if moved_at is not None:
        waiting = waiting.filter(push__created_at__lte=moved_at + CLOCK_SKEW, paid_at__gte=moved_at - CLOCK_SKEW)
    in_doubt = []
    for receipt in waiting.select_related("push__payment").order_by("pk"):
        push = receipt.push
        if push is None:
            continue
        fits = fit(account=message.account, sender=message.sender, push=push)
        if fits == Fit.SAME or (fits == Fit.DOUBT and push.payment_id == reported_for):
            return receipt, []
        if fits == Fit.DOUBT:
            in_doubt.append(receipt)
    return None, in_doubt


def find_confirmations(push: StkPush, *, now: datetime) -> tuple[Receipt | None, list[Receipt]]:
    """Return the confirmation's receipt that is the money of a push, if any, and those of which it is in doubt.

    A confirmation in doubt whose money already pays what the push was for is the money of the push.
    """
    since = (push.sent_at or push.created_at) - CLOCK_SKEW
    candidates = Receipt.objects.filter(
        channel=Channel.MPESA_C2B,
        push=None,
        amount=push.amount,
        cents=0,
        paid_at__gte=since,
        paid_at__lte=now + CLOCK_SKEW,
        reversed_at__isnull=True,
    )
    in_doubt = []
    for receipt in candidates.order_by("paid_at", "pk").select_for_update(no_key=True, of=("self",)):
        fits = fit(account=receipt.account_typed, sender=receipt.sender, push=push)
        if fits == Fit.SAME or (fits == Fit.DOUBT and pays_for_push(receipt, push)):
            return receipt, []
        if fits == Fit.DOUBT:
            in_doubt.append(receipt)
    return None, in_doubt


def pays_for_push(receipt: Receipt, push: StkPush) -> int:
    """Return how much of a receipt's money (whole KES) pays the payment of a push, or the ones grouped with it."""
    paid = receipt.allocations.filter(
        Q(payment=push.payment_id) | Q(payment__head=push.payment_id), undone_at__isnull=True
    )
    return paid.aggregate(total=Sum("amount", default=0))["total"]


def is_free_confirmation(receipt: Receipt, push: StkPush) -> bool:
    """Return whether a receipt is of a confirmation that has no push yet, and of the amount of this push."""
    is_free = receipt.channel == Channel.MPESA_C2B and receipt.push_id is None and receipt.reversed_at is None
    return is_free and receipt.amount == push.amount and not receipt.cents


# --- Changing a pair ------------------------------------------------------------------------------


def swap_codes(*, proved: Receipt, guessed: Receipt) -> None:
    """Exchange the codes of two pushes that were guessed the wrong way round. No money moves.

    `proved` gets the code that its callback reported; the other code of `guessed` is still a guess.
    """
    names = ("code", "paid_at", *receipts.confirmation_details(proved))
    proved_values, guessed_values = ({name: getattr(each, name) for name in names} for each in (guessed, proved))
    receipts.update(guessed, code=None)  # the column is unique
    receipts.update(proved, push_guessed=False, **proved_values)
    receipts.update(guessed, **guessed_values)


def clear_guessed_code(guessed: Receipt, *, new: Receipt) -> None:
    """Take a guessed code off the receipt of one push; `new`, of the push that proved it, gets its confirmation.

    The money of the first push stays where it is. Its receipt is without a code again.
    """
    details = receipts.confirmation_details(guessed)
    for name, value in details.items():
        setattr(new, name, value)
    receipts.update(guessed, code=None, push_guessed=False, **dict.fromkeys(details, ""))


def rematch_push(receipt: Receipt, push: StkPush, *, now: datetime) -> None:
    """Pair a push and its receipt, whose guessed code was cleared, with another confirmation that has no owner.

    That confirmation arrived while the wrong pair existed, so its money was counted beside the push's.
    """
    confirmation, in_doubt = find_confirmations(push, now=now)
    if confirmation is not None and confirmation.member_id is None:
        merge_duplicate(confirmation, into=receipt, guessed=True, now=now)
    for each in in_doubt:
        holds.hold(each, push, now=now)


def merge_duplicate(confirmation: Receipt, *, into: Receipt, guessed: bool, now: datetime) -> None:
    """Write a confirmation's code on the receipt without a code of the same money, and reverse the confirmation's."""
    found = {
        "code": confirmation.code,
        "paid_at": confirmation.paid_at,
        **receipts.confirmation_details(confirmation),
    }
    reverse_duplicate(confirmation, of=into, now=now)
    receipts.update(into, push_guessed=guessed, **found)
    receipts.close_missing_code_item(into, now=now)
    receipts.move_code(confirmation, to=into)


def reverse_duplicate(duplicate: Receipt, *, of: Receipt, now: datetime) -> None:
    """Reverse a receipt that counts the money of another receipt again.

    A review item reports it, unless the money was held: then nobody could use it.
    """
    was_held = holds.is_held(duplicate)
    reversals.reverse_locked_receipt(
        receipt=duplicate, reason=f"same money as receipt {of.pk}", by_id=None, now=now, returned_to_payer=False
    )
    receipts.update(duplicate, code=None)
    receipts.close_missing_code_item(duplicate, now=now)
    holds.close_items(duplicate, resolution="It was the money of an STK push.", now=now)
    if not was_held:
        review_items.open_item(
            reason=ReviewReason.CONTRADICTION,
            detail=f"Receipt {duplicate.pk} counted the money of receipt {of.pk} again, so it was reversed.",
            receipt_id=duplicate.pk,
            now=now,
        )
