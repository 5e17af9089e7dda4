"""Opening balances: what a member owed the club, or had as credit, before the club used this system.

A debt is a payment that buys nothing. Credit is a receipt on the ledger's account `opening`, because the club's
earlier books received the money: it counts as income of no day. A member has at most one live balance of each kind.
"""

from datetime import datetime

from django.db import transaction

from api.errors import Conflict
from payments.models import Channel, Payment, PaymentStatus, Receipt
from payments.services import creation, credit, ledger, locks, ownership, settlement

DEBT = "Owed from before"


class OtherBalance(Conflict):
    """The member has an opening balance of this kind with another amount."""

    code = "other_balance"


@transaction.atomic
def record_debt(*, member_id: int, amount: int, by_id: int, now: datetime) -> Payment | None:
    """Record that the member owes `amount` (whole KES). Return None if that was recorded before.

    The member's credit pays it at once.

    :raises OtherBalance: the member has an opening debt of another amount that was not cancelled
    :raises ownership.OwnMoney: `by_id` is the member
    """
    _lock(member_id, by_id)
    earlier = Payment.objects.filter(payer=member_id, description=DEBT, deposit=0)
    if earlier.filter(amount_due=amount).exists():
        return None
    other = earlier.exclude(status=PaymentStatus.CANCELLED).first()
    if other is not None:
        raise OtherBalance(f"The member already has a debt of KES {other.amount_due:,} from before.")
    return creation.create_payment(
        payer_id=member_id, amount=amount, description=DEBT, created_by_id=by_id, now=now, deposit=0
    )


@transaction.atomic
def record_credit(*, member_id: int, amount: int, by_id: int, now: datetime) -> Receipt | None:
    """Record that the club owes the member `amount` (whole KES). Return None if that was recorded before.

    The credit is spent on what the member owes.

    :raises OtherBalance: the member has an opening credit of another amount that was not voided
    :raises ownership.OwnMoney: `by_id` is the member
    """
    _lock(member_id, by_id)
    earlier = Receipt.objects.filter(member=member_id, channel=Channel.OPENING)
    if earlier.filter(amount=amount).exists():
        return None
    other = earlier.filter(reversed_at=None).first()
    if other is not None:
        raise OtherBalance(f"The member already has a credit of KES {other.amount:,} from before.")
    receipt = Receipt.objects.create(
        channel=Channel.OPENING,
        number=f"OB-{member_id}-{earlier.count() + 1}",  # by which the cash desk page finds it
        amount=amount,
        paid_at=now,
        created_at=now,
        member_id=member_id,
        recorded_by_id=by_id,
    )
    account = ledger.ACCOUNT_OF[Channel.OPENING]
    settlement.apply_money(receipt=receipt, from_account=account, shares=[], by_id=by_id, now=now)
    credit.complete_open(member_id, now=now)
    return receipt


def _lock(member_id: int, by_id: int) -> None:
    ownership.require_not_own(member_id, by_id=by_id)
    locks.lock_members({member_id})
