"""Voids of desk receipts: one person asks with a reason, another person confirms or declines.

Each function locks the receipt first, so that a void and a request for it never overlap.
"""

from datetime import datetime, timedelta

from django.db import transaction

from api.errors import Conflict, Forbidden, NotFound
from payments.desk.desk_receipts import DESK
from payments.models import CashSession, Channel, Receipt, ReviewReason, VoidRequest
from payments.services import locks, ownership, reversals, review_items

VOIDABLE = (*DESK, Channel.OPENING)


class SecondPersonNeeded(Forbidden):
    """The person who recorded the receipt, or asked for its void, cannot void it."""

    code, message = "second_person_needed", "Another person must confirm the void of this receipt."


class NotVoidable(Conflict):
    """Only a receipt that staff recorded, and that is neither reversed nor refunded, can be voided."""

    code, message = "not_voidable", "Only a cash or bank receipt that was not refunded or voided can be voided."


class VoidRequestNotFound(NotFound):
    """There is no such void request."""

    code, message = "void_request_not_found", "There is no such void request."


class VoidAlreadyAsked(Conflict):
    """A receipt has one open void request at a time."""

    code, message = "void_already_asked", "A void of this receipt already waits for a second person."


class VoidAlreadyDecided(Conflict):
    """A void request is decided once."""

    code, message = "void_already_decided", "This void has already been decided."


@transaction.atomic
def ask_void(*, receipt_id: int, reason: str, by_id: int, now: datetime) -> VoidRequest:
    """Ask that a cash or bank receipt be voided. A repeated call of the same person and reason changes nothing.

    :raises ownership.ReasonNeeded: the reason is empty
    :raises ownership.OwnMoney: `by_id` is the member whose money it is
    :raises VoidAlreadyAsked: the receipt has another open request
    :raises NotVoidable: it is M-Pesa money, or was reversed or refunded, in part too
    :raises locks.ReceiptNotFound: no such receipt
    """
    reason = ownership.require_reason(reason)[:200]
    receipt = locks.lock_receipt(receipt_id)
    ownership.require_not_own(receipt.member_id, by_id=by_id)
    require_voidable(receipt)
    asked = VoidRequest.objects.filter(receipt=receipt, decided_at=None).first()
    if asked is None:
        return VoidRequest.objects.create(receipt=receipt, reason=reason, asked_by_id=by_id, asked_at=now)
    if (asked.asked_by_id, asked.reason) != (by_id, reason):
        raise VoidAlreadyAsked
    return asked


@transaction.atomic
def confirm_void(*, request_id: int, by_id: int, now: datetime) -> Receipt:
    """Void the receipt with the reason of the request. A repeated call of the same person changes nothing.

    :raises ownership.OwnMoney: `by_id` is the member whose money it is
    :raises SecondPersonNeeded: `by_id` asked for the void, or recorded the receipt
    :raises NotVoidable: the receipt was refunded since, in part too
    :raises VoidAlreadyDecided: another person decided first, or it was declined
    :raises VoidRequestNotFound: no such request
    """
    request = _lock_request(request_id)
    if request.is_confirmed and request.decided_by_id == by_id:
        return request.receipt
    if request.decided_at is not None:
        raise VoidAlreadyDecided
    return void_receipt(receipt_id=request.receipt_id, reason=request.reason, by_id=by_id, now=now)


@transaction.atomic
def decline_void(*, request_id: int, by_id: int, now: datetime) -> VoidRequest:
    """Close the request and keep the receipt; this is also how the asking person withdraws a request.

    A repeated call of the same person changes nothing.

    :raises ownership.OwnMoney: `by_id` is the member whose money it is
    :raises VoidAlreadyDecided: another person decided first, or it was confirmed
    :raises VoidRequestNotFound: no such request
    """
    request = _lock_request(request_id)
    ownership.require_not_own(request.receipt.member_id, by_id=by_id)
    if request.is_confirmed is False and request.decided_by_id == by_id:
        return request
    if request.decided_at is not None:
        raise VoidAlreadyDecided
    request.decided_by_id, request.decided_at, request.is_confirmed = by_id, now, False
    request.save(update_fields=["decided_by", "decided_at", "is_confirmed"])
    return request


@transaction.atomic
def void_receipt(*, receipt_id: int, reason: str, by_id: int, now: datetime) -> Receipt:
    """Void a cash or bank receipt: its money counts as never received, and what it paid can be paid again.

    If the cash session was already counted, a review item is opened: the count included this cash.

    :raises SecondPersonNeeded: `by_id` recorded the receipt, or asked for its open void request
    :raises NotVoidable: it is M-Pesa money, or was reversed or refunded, in part too
    :raises ownership.OwnMoney: `by_id` is the member whose money it is
    :raises ownership.ReasonNeeded: the reason is empty
    :raises locks.ReceiptNotFound: no such receipt
    """
    reason = ownership.require_reason(reason)
    receipt = locks.lock_receipt(receipt_id)
    ownership.require_not_own(receipt.member_id, by_id=by_id)
    require_voidable(receipt)
    waiting = VoidRequest.objects.filter(receipt=receipt, decided_at=None)
    if receipt.recorded_by_id == by_id or waiting.filter(asked_by=by_id).exists():
        raise SecondPersonNeeded
    # Locked, so that the session is either counted already, or will be counted without this money.
    session = None
    if receipt.cash_session_id is not None:
        session = CashSession.objects.select_for_update(no_key=True).get(pk=receipt.cash_session_id)
        if session.closed_at is not None:
            now = max(now, session.closed_at + timedelta(microseconds=1))  # as in cash_sessions.close_session
    waiting.update(decided_by=by_id, decided_at=now, is_confirmed=True)
    reversals.reverse_locked_receipt(
        receipt=receipt, reason=f"void: {reason}", by_id=by_id, now=now, returned_to_payer=False
    )
    if session is not None and session.closed_at is not None:
        detail = (
            f"Receipt {receipt.number} of KES {receipt.amount:,} was voided "
            f"after cash session {session.pk} was counted."
        )
        review_items.create_item(reason=ReviewReason.CASH_DIFFERS, detail=detail, receipt_id=receipt.pk, now=now)
    return receipt


def require_voidable(receipt: Receipt) -> None:
    """Check that staff recorded the receipt, and that it is neither reversed nor refunded.

    :raises NotVoidable: it is not
    """
    if receipt.channel not in VOIDABLE or receipt.reversed_at is not None or receipt.amount_refunded:
        raise NotVoidable


def _lock_request(request_id: int) -> VoidRequest:
    """Lock the request's receipt with every row that its money touches, and return the request read after that."""
    receipt_id = VoidRequest.objects.filter(pk=request_id).values_list("receipt", flat=True).first()
    if receipt_id is None:
        raise VoidRequestNotFound
    locks.lock_receipt(receipt_id)
    return VoidRequest.objects.select_related("receipt").get(pk=request_id)
