"""Desk receipts: cash and bank transfers that staff record, each with a number.

Numbers run per Nairobi year without a gap: the counter's row is locked while a number is taken, and a receipt that is
rolled back returns its number with the transaction.
"""

from datetime import datetime

from django.db import transaction
from django.db.models import F

from api import idempotency
from api.business_days import business_day
from api.errors import Invalid
from api.idempotency import IdempotencyKey
from payments.desk import cash_sessions
from payments.models import Channel, Receipt, ReceiptCounter
from payments.services import creation, ledger, locks, ownership, settlement

DESK = (Channel.CASH, Channel.BANK)


class NotDeskMoney(Invalid):
    """Only cash and bank money is recorded by hand. M-Pesa money needs evidence from Safaricom."""

    code, message = "invalid_channel", "Only cash and bank money can be recorded here."


class BankReferenceNeeded(Invalid):
    """A bank transfer needs its reference, by which it is found on the statement."""

    code, message = "bank_reference_needed", "A bank transfer needs its bank reference. Enter it as the note."


@transaction.atomic
def record_receipt(
    *,
    channel: Channel,
    amount: int,
    by_id: int,
    now: datetime,
    member_id: int | None = None,
    payment_id: int | None = None,
    note: str = "",
    idempotency_key: IdempotencyKey | None = None,
) -> Receipt:
    """Record cash or a bank transfer (whole KES) for a payment, or for a member's open payments; the rest is credit.

    `note` is the bank's reference; it is stored in `account_typed`. A repeated call of the same person with the same
    `idempotency_key` returns the first receipt.

    :raises NotDeskMoney: another channel
    :raises BankReferenceNeeded: a bank transfer without its reference
    :raises ownership.OwnMoney: `by_id` is the member, or the payer of the payment
    :raises ownership.OwnerNeeded: neither a member nor a payment was named, or it does not exist
    :raises ownership.PaymentTakesNoMoney: the named payment is closed or fully paid
    :raises cash_sessions.NoOpenSession: cash without an open cash session
    :raises idempotency.IdempotencyKeyReused: the key was used with another body
    :raises creation.InvalidAmount: not a positive whole number
    """
    if channel not in DESK:
        raise NotDeskMoney
    if type(amount) is not int or amount <= 0:
        raise creation.InvalidAmount("The amount must be whole shillings, more than zero.")
    if channel == Channel.BANK and not note.strip():
        raise BankReferenceNeeded
    member_id = ownership.owner_of(member_id=member_id, payment_id=payment_id)
    ownership.require_not_own(member_id, by_id=by_id)
    # The cashier too: two requests with one key may name different members.
    locks.lock_members({member_id, by_id} if idempotency_key else {member_id})
    if earlier := idempotency.find_results(idempotency_key, caller_id=by_id):
        return Receipt.objects.get(pk=earlier[0])
    shares = ownership.divide_by_hand(amount, moved_at=now, member_id=member_id, payment_id=payment_id)
    receipt = Receipt.objects.create(
        channel=channel,
        amount=amount,
        paid_at=now,
        member_id=member_id,
        recorded_by_id=by_id,
        account_typed=note[:64],
        cash_session=cash_sessions.lock_session(by_id) if channel == Channel.CASH else None,
        number=_next_number(now),
        created_at=now,
    )
    settlement.apply_money(
        receipt=receipt,
        from_account=ledger.ACCOUNT_OF[channel],
        shares=shares,
        by_id=by_id,
        now=now,
        may_renew=payment_id is None,
    )
    idempotency.store_results(idempotency_key, [receipt], caller_id=by_id, now=now)
    return receipt


def _next_number(now: datetime) -> str:
    """Return the next receipt number of the Nairobi year, such as 2026-000042. Its counter stays locked."""
    year = business_day(now).year
    ReceiptCounter.objects.get_or_create(year=year)
    ReceiptCounter.objects.filter(year=year).update(last=F("last") + 1)
    return f"{year}-{ReceiptCounter.objects.get(year=year).last:06d}"
