"""Reported codes: M-Pesa codes that payers show at the desk. A reported code is no money until Safaricom confirms it.

The rows are `CodeClaim`. Each has one payment; it ends with the receipt of its code, or with a sentence that says why
there is no money.
"""

import re
from datetime import datetime

from django.db import transaction

from api.errors import Conflict, Invalid
from payments.daraja.messages import canonical_code
from payments.evidence import holds
from payments.matching import owners
from payments.models import CodeClaim, Payment, Receipt, ReviewReason
from payments.services import locks, ownership, review_items

# Evidence is accepted with any code. Of what people type, this rejects words and phone numbers: each code that
# Safaricom has issued so far has ten characters, and begins with the letter of its year.
TYPED_CODE = re.compile(r"[A-Z][0-9A-Z]{9}")


class InvalidCode(Invalid):
    """The text cannot be an M-Pesa code."""

    code, message = (
        "invalid_code",
        "An M-Pesa code is ten letters and digits, such as TKN1AB2C3D, and begins with a letter.",
    )


class CodeAlreadyUsed(Conflict):
    """A code counts for one payment."""

    code, message = "code_already_used", "This M-Pesa code has already been used. Check it with the payer."


def normalise_code(text: str) -> str:
    """Return a typed M-Pesa code in upper case, without blanks.

    :raises InvalidCode: it cannot be an M-Pesa code
    """
    code = canonical_code("".join(text.split()))
    if code is None or not TYPED_CODE.fullmatch(code):
        raise InvalidCode(details=[{"field": "code", "code": InvalidCode.code, "message": InvalidCode.message}])
    return code


@transaction.atomic
def report_code(*, code: str, payment_id: int, by_id: int, now: datetime) -> CodeClaim:
    """Record that a payer shows an M-Pesa code for a payment.

    Unmatched money with this code is assigned to the payment at once. Reporting the code again for the same payment
    changes nothing. Money that is held waits for the decision about it. A reported code that ended without money may
    be reported again, for any payment.

    :raises InvalidCode: it cannot be an M-Pesa code
    :raises CodeAlreadyUsed: it was reported for, or its money was assigned to, something else
    :raises ownership.OwnMoney: `by_id` is the payer of the payment
    :raises ownership.PaymentTakesNoMoney: its money is here, and the payment is closed or fully paid
    :raises locks.PaymentNotFound: no such payment
    """
    code = normalise_code(code)
    payer_id = Payment.objects.filter(pk=payment_id).values_list("payer_id", flat=True).first()
    if payer_id is None:
        raise locks.PaymentNotFound
    ownership.require_not_own(payer_id, by_id=by_id)
    owners.lock_code(code)
    receipt_id = Receipt.objects.filter(code=code).values_list("pk", flat=True).first()
    receipt = None if receipt_id is None else locks.lock_receipt(receipt_id, also_members={payer_id})
    made = {"payment_id": payment_id, "claimed_by_id": by_id, "claimed_at": now, "ended_at": None, "ended_why": ""}
    CodeClaim.objects.filter(code=code, ended_at__isnull=False).update(**made)
    reported, _ = CodeClaim.objects.get_or_create(code=code, defaults=made)
    if reported.payment_id != payment_id:
        raise CodeAlreadyUsed
    if receipt is None or reported.receipt_id is not None or holds.is_held(receipt):
        return reported
    if not _assign_receipt(reported, receipt, payer_id=payer_id, by_id=by_id, now=now):
        raise CodeAlreadyUsed
    return reported


@transaction.atomic
def settle_code(*, code: str, receipt_id: int, by_id: int | None, now: datetime) -> None:
    """Assign the money of a reported code, now that it is here; end the code when others have the money.

    Without a reported code that still waits, nothing changes.
    """
    reported = CodeClaim.objects.filter(code=code, receipt=None).select_related("payment").first()
    if reported is None:
        return
    payer_id = reported.payment.payer_id
    receipt = locks.lock_receipt(receipt_id, also_members={payer_id})
    if holds.is_held(receipt):
        return  # the code waits until it is known whether this is the money of an STK push
    try:
        if not _assign_receipt(reported, receipt, payer_id=payer_id, by_id=by_id, now=now):
            end_code(code=code, why="The money of this code was assigned to another payment, or returned.", now=now)
    except ownership.PaymentTakesNoMoney:
        end_code(
            code=code,
            why="The payment takes no more money. The money of this code is among the unmatched payments.",
            now=now,
        )


def end_code(*, code: str, why: str, now: datetime) -> None:
    """End a reported code that brought no money, with one plain sentence. Money that arrives later still counts."""
    CodeClaim.objects.filter(code=code, receipt=None, ended_at=None).update(ended_at=now, ended_why=why[:160])


def _assign_receipt(reported: CodeClaim, receipt: Receipt, *, payer_id: int, by_id: int | None, now: datetime) -> bool:
    """Link a locked receipt to its reported code, and assign its money if it has no owner.

    Return False when the money belongs to somebody else.
    """
    payment_id = reported.payment_id
    if receipt.member_id is not None or receipt.reversed_at is not None or not receipt.amount_held:
        if not receipt.allocations.filter(payment_id=payment_id, undone_at__isnull=True).exists():
            return False
    else:
        ownership.assign_to_owner(receipt=receipt, member_id=payer_id, payment_id=payment_id, by_id=by_id, now=now)
        review_items.close_for_receipt(
            receipt_id=receipt.pk,
            reason=ReviewReason.UNMATCHED,
            resolution="Its code was entered at the desk.",
            now=now,
        )
    reported.receipt, reported.ended_at, reported.ended_why = receipt, None, ""
    reported.save(update_fields=["receipt", "ended_at", "ended_why"])
    return True
