"""Rules for staff decisions about money: a known owner, a reason, and a second person for one's own money."""

from datetime import datetime

from django.contrib.auth import get_user_model

from api.errors import Conflict, Forbidden, Invalid
from payments.models import Account, AllocationRule, Payment, Receipt
from payments.services import allocation, settlement


class OwnerNeeded(Invalid):
    """Money needs one owner that exists: a member, or a payment with its payer."""

    code, message = "owner_needed", "Name the member or the payment this money belongs to."


class OwnMoney(Forbidden):
    """A second person must decide about money that is, or would become, the caller's own."""

    code, message = "own_money", "You cannot do this for yourself. Ask a colleague."


class PaymentTakesNoMoney(Conflict):
    """The named payment is closed or fully paid; its money would go elsewhere without anybody noticing."""

    code, message = (
        "payment_takes_no_money",
        "This payment is closed or fully paid. Name another payment, or the member.",
    )


class ReasonNeeded(Invalid):
    """The reason is missing or blank."""

    code, message = "reason_needed", "Enter a reason."


def owner_of(*, member_id: int | None, payment_id: int | None) -> int:
    """Return the id of the member who owns the money: the payer of the payment, or else the named member.

    :raises OwnerNeeded: neither was named, or it does not exist
    """
    if payment_id is not None:
        member_id = Payment.objects.filter(pk=payment_id).values_list("payer_id", flat=True).first()
    if member_id is None or not get_user_model().objects.filter(pk=member_id).exists():
        raise OwnerNeeded
    return member_id


def require_not_own(member_id: int | None, *, by_id: int) -> None:
    """Check that `by_id` does not decide about their own money.

    :raises OwnMoney: they are the member
    """
    if member_id == by_id:
        raise OwnMoney


def require_reason(reason: str) -> str:
    """Return the reason without surrounding blanks.

    :raises ReasonNeeded: it is empty
    """
    reason = reason.strip()
    if not reason:
        raise ReasonNeeded
    return reason


def assign_to_owner(
    *, receipt: Receipt, member_id: int, payment_id: int | None, by_id: int | None, now: datetime
) -> None:
    """Move a locked receipt's money from unmatched to its owner. The caller has locked the member's row.

    :raises PaymentTakesNoMoney: the named payment is closed or fully paid
    """
    shares = divide_by_hand(receipt.amount_held, moved_at=receipt.paid_at, member_id=member_id, payment_id=payment_id)
    receipt.member_id = member_id
    receipt.save(update_fields=["member"])
    settlement.apply_money(
        receipt=receipt,
        from_account=Account.UNMATCHED,
        shares=shares,
        by_id=by_id,
        now=now,
        may_renew=payment_id is None,
    )


def divide_by_hand(
    amount: int, *, moved_at: datetime, member_id: int, payment_id: int | None
) -> list[allocation.Share]:
    """Return the shares of money that staff record: the named payment first, then the member's other open payments.

    :raises PaymentTakesNoMoney: the named payment is closed or fully paid
    """
    payments = allocation.lock_open_payments(member_id)
    named = [payment for payment in payments if payment.pk == payment_id]
    if payment_id is not None and not named:
        raise PaymentTakesNoMoney
    others = [payment for payment in payments if payment.pk != payment_id]
    shares, _ = allocation.divide(amount, moved_at=moved_at, first=named, rule=AllocationRule.BY_HAND, others=others)
    return shares
