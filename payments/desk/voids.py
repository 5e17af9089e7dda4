"""Voids of desk receipts in two steps: one person asks with a reason, another confirms or declines.

A request is written under its receipt's lock, as the void itself is (payments/desk/desk_receipts.py).
"""

from datetime import datetime

from django.db import transaction

from api.errors import Conflict, NotFound
from payments.desk import desk_receipts
from payments.desk.review_decisions import ReasonNeeded, require_anothers
from payments.models import Receipt, VoidRequest
from payments.services import locks


class VoidRequestNotFound(NotFound):
    """No such request."""

    code, message = "void_request_not_found", "There is no such void."


class VoidAlreadyAsked(Conflict):
    """One void of a receipt waits at a time."""

    code, message = "void_already_asked", "A void of this receipt is waiting for a second person."


class VoidAlreadyDecided(Conflict):
    """A void is decided once."""

    code, message = "void_already_decided", "This void has already been decided."


@transaction.atomic
def ask_void(*, receipt_id: int, reason: str, by_id: int, now: datetime) -> VoidRequest:
    """Ask that a cash or bank receipt be voided. The same person asking again for the same reason changes nothing.

    :raises ReasonNeeded: the reason is empty
    :raises VoidAlreadyAsked: another request of this receipt waits
    :raises OwnMoney: by the member whose money it is
    :raises desk.NotVoidable: it is M-Pesa money, or voided already, or some of it was given back
    :raises services.ReceiptNotFound: no such receipt
    """
    reason = reason.strip()[:200]
    if not reason:
        raise ReasonNeeded
    receipt = locks.lock_receipt(receipt_id)
    require_anothers(receipt.member_id, by_id=by_id)
    desk_receipts.require_voidable(receipt)
    asked = VoidRequest.objects.filter(receipt=receipt, decided_at=None).first()
    if asked is None:
        return VoidRequest.objects.create(receipt=receipt, reason=reason, asked_by_id=by_id, asked_at=now)
    if (asked.asked_by_id, asked.reason) != (by_id, reason):
        raise VoidAlreadyAsked
    return asked


@transaction.atomic
def confirm_void(*, request_id: int, by_id: int, now: datetime) -> Receipt:
    """Void the receipt for the reason that was asked with. Confirming again changes nothing.

    :raises OwnMoney: by the member whose money it is
    :raises desk.SecondPersonNeeded: by whoever asked, or took the money
    :raises desk.NotVoidable: some of it was given back meanwhile
    :raises VoidAlreadyDecided: somebody else decided first, or it was declined
    :raises VoidRequestNotFound: no such request
    """
    request = _lock_request(request_id)
    if request.is_confirmed and request.decided_by_id == by_id:
        return request.receipt
    if request.decided_at is not None:
        raise VoidAlreadyDecided
    return desk_receipts.void_receipt(receipt_id=request.receipt_id, reason=request.reason, by_id=by_id, now=now)


@transaction.atomic
def decline_void(*, request_id: int, by_id: int, now: datetime) -> VoidRequest:
    """Leave the receipt as it is; whoever asked takes the request back so. Declining again changes nothing.

    :raises OwnMoney: by the member whose money it is
    :raises VoidAlreadyDecided: somebody else decided first, or it was confirmed
    :raises VoidRequestNotFound: no such request
    """
    request = _lock_request(request_id)
    require_anothers(request.receipt.member_id, by_id=by_id)
    if request.is_confirmed is False and request.decided_by_id == by_id:
        return request
    if request.decided_at is not None:
        raise VoidAlreadyDecided
    request.decided_by_id, request.decided_at, request.is_confirmed = by_id, now, False
    request.save(update_fields=["decided_by", "decided_at", "is_confirmed"])
    return request


def _lock_request(request_id: int) -> VoidRequest:
    """Lock a request's receipt with all that its money touches, and return the request as it is then."""
    receipt_id = VoidRequest.objects.filter(pk=request_id).values_list("receipt", flat=True).first()
    if receipt_id is None:
        raise VoidRequestNotFound
    locks.lock_receipt(receipt_id)
    return VoidRequest.objects.select_related("receipt").get(pk=request_id)
