"""Pairing of an STK push with the C2B confirmation of the same money.

A query that reports a success knows no M-Pesa code, and a confirmation knows no push. They are paired by amount, time
and account (at a till: by the sender's phone). Such a pair is a guess: the receipt is marked `push_guessed` until the
push's own callback reports the code. The functions that change a pair are steps of the table in stk_results.
"""

from datetime import datetime

from django.db import connection

from api import advisory_locks
from payments.daraja.messages import C2bMessage
from payments.evidence import receipts
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


def find_receipt_without_code(message: C2bMessage) -> Receipt | None:
    """Return the receipt, known by query and without a code, whose amount, account and time fit a confirmation."""
    moved_at = message.moved_at
    waiting = Receipt.objects.filter(code=None, push__isnull=False, amount=message.amount, reversed_at__isnull=True)
    if moved_at is not None:
        waiting = waiting.filter(push__created_at__lte=moved_at + CLOCK_SKEW, paid_at__gte=moved_at - CLOCK_SKEW)
    for receipt in waiting.select_related("push__payment").order_by("pk"):
        push = receipt.push
        if push is not None and names_push(account=message.account, sender=message.sender, push=push):
            return receipt
    return None


def find_confirmation(push: StkPush, *, now: datetime) -> Receipt | None:
    """Return the receipt of a confirmation, so far without a push, whose amount, account and time fit a push."""
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
        if is_free_confirmation(receipt, push) and receipt_names_push(receipt, push):
            return receipt
    return None


def names_push(*, account: str, sender: str, push: StkPush) -> bool:
    """Return whether a confirmation names a push: by its payment's reference, or at a till by its phone."""
    reference = references.repair(account)
    if reference is not None or account.strip():
        return reference == push.payment.reference
    return owners.fits_sender(phone=push.phone, sender=sender)


def receipt_names_push(receipt: Receipt, push: StkPush) -> bool:
    """Return whether a receipt's confirmation names a push; see names_push."""
    return names_push(account=receipt.account_typed, sender=receipt.sender, push=push)


def is_free_confirmation(receipt: Receipt, push: StkPush) -> bool:
    """Return whether a receipt is of a confirmation that has no push yet, and of the amount of this push."""
    is_free = receipt.channel == Channel.MPESA_C2B and receipt.push_id is None and receipt.reversed_at is None
    return is_free and receipt.amount == push.amount


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
    confirmation = find_confirmation(push, now=now)
    if confirmation is None or confirmation.member_id is not None:
        return
    found = {
        "code": confirmation.code,
        "paid_at": confirmation.paid_at,
        **receipts.confirmation_details(confirmation),
    }
    reverse_duplicate(confirmation, of=receipt, now=now)
    receipts.update(receipt, push_guessed=True, **found)


def reverse_duplicate(confirmation: Receipt, *, of: Receipt, now: datetime) -> None:
    """Reverse a confirmation's receipt that counts the money of another receipt again. A review item reports it."""
    reversals.reverse_locked_receipt(
        receipt=confirmation, reason=f"same money as receipt {of.pk}", by_id=None, now=now, returned_to_payer=False
    )
    receipts.update(confirmation, code=None)
    review_items.close_for_receipt(
        receipt_id=confirmation.pk,
        reason=ReviewReason.UNMATCHED,
        resolution="It was the money of an STK push.",
        now=now,
    )
    review_items.open_item(
        reason=ReviewReason.CONTRADICTION,
        detail=f"Receipt {confirmation.pk} counted the money of receipt {of.pk} again, so it was reversed.",
        receipt_id=confirmation.pk,
        now=now,
    )
