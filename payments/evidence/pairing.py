"""The same money told twice: by a prompt's result and by the paybill's own confirmation."""

from datetime import datetime

from django.db import connection

from payments.daraja.messages import C2bMessage
from payments.evidence.outcomes import CLOCK_SKEW
from payments.matching import owners
from payments.models import Channel, Receipt, StkPush

TWINS = 254_001  # names the advisory lock among any others of this database


def wait(amount: int) -> None:
    """Let a query's success and a till's confirmation of one amount see each other, one after the other.

    To a paybill the payer's lock does this; a till's confirmation names no payer to lock. Taken before all other
    locks, until the end of the transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [TWINS, amount])


def prompt_awaiting_code(message: C2bMessage) -> Receipt | None:
    """Return the receipt learnt by query that this confirmation is the twin of: amount, account and time agree."""
    moved_at = message.moved_at
    waiting = Receipt.objects.filter(code=None, push__isnull=False, amount=message.amount, reversed_at__isnull=True)
    if moved_at is not None:
        waiting = waiting.filter(push__created_at__lte=moved_at + CLOCK_SKEW, paid_at__gte=moved_at - CLOCK_SKEW)
    for receipt in waiting.select_related("push__payment").order_by("pk"):
        if names_prompt(account=message.account, sender=message.sender, push=receipt.push):
            return receipt
    return None


def confirmation_of(push: StkPush, *, now: datetime) -> Receipt | None:
    """Return the confirmation's receipt that is the twin of a prompt learnt to have succeeded by query."""
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
        if may_be_this_push(receipt, push) and names_prompt(
            account=receipt.account_typed, sender=receipt.sender, push=push
        ):
            return receipt
    return None


def names_prompt(*, account: str, sender: str, push: StkPush) -> bool:
    """Say whether a confirmation's account is the prompt's reference, or, to a till, its sender the prompt's phone."""
    reference = owners.references.repair(account)
    if reference is not None or account.strip():
        return reference == push.payment.reference
    return owners.fits_sender(phone=push.phone, sender=sender)


def may_be_this_push(receipt: Receipt, push: StkPush) -> bool:
    """Say whether a receipt without a prompt can be this prompt's money."""
    is_free = receipt.channel == Channel.MPESA_C2B and receipt.push_id is None and receipt.reversed_at is None
    return is_free and receipt.amount == push.amount
