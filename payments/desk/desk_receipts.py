"""Money over the desk: cash sessions, numbered cash and bank receipts, voids by a second person, claimed codes.

Desk receipts are numbered per Nairobi year without a gap: the counter's row is locked while a number is given, and
a receipt that does not come to be gives its number back with the transaction.
"""

import re
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import F, Max, Sum

from api.business_days import business_day
from api.errors import Conflict, Forbidden, Invalid
from payments.daraja.messages import canonical_code
from payments.desk import review_decisions
from payments.matching import owners
from payments.models import (
    CashSession,
    Channel,
    CodeClaim,
    Payment,
    Receipt,
    ReceiptCounter,
    Refund,
    ReviewReason,
    VoidRequest,
)
from payments.services import creation, ledger, locks, reversals, review_items, settlement

DESK = (Channel.CASH, Channel.BANK)


class SessionOpen(Conflict):
    """A cashier has one drawer at a time."""

    code, message = "session_open", "Your drawer is open already."


class NoOpenSession(Conflict):
    """Cash goes into a drawer that was opened and counted."""

    code, message = "no_open_session", "Your drawer is closed. Open it at the cash desk first."


class SecondPersonNeeded(Forbidden):
    """Whoever took the money does not void it."""

    code, message = "second_person_needed", "Another person must void this receipt."


class SessionCounted(Conflict):
    """A drawer is counted once."""

    code, message = "session_counted", "This drawer was counted and closed before."


class NotVoidable(Conflict):
    """Only a standing cash or bank receipt can be voided."""

    code, message = "not_voidable", "This receipt cannot be voided."


class NotDeskMoney(Invalid):
    """Only cash and bank money is recorded by hand; M-Pesa money by Safaricom's evidence alone."""

    code, message = "invalid_channel", "Only cash and bank money can be recorded here."


class BankReferenceNeeded(Invalid):
    """A bank transfer is found again on the statement by its reference."""

    code, message = "bank_reference_needed", "Give the bank's reference of the transfer as the note."


class InvalidCode(Invalid):
    """What somebody shows as an M-Pesa code can be none."""

    code, message = (
        "invalid_code",
        "An M-Pesa code is ten letters and digits, such as TKN1AB2C3D, and begins with a letter.",
    )


class CodeAlreadyUsed(Conflict):
    """A code works once."""

    code, message = "code_already_used", "This M-Pesa code has already been used."


# --- The drawer ---


def open_session(*, cashier_id: int, opening_float: int, now: datetime) -> CashSession:
    """Open a cashier's drawer with what lies in it, in whole KES.

    :raises SessionOpen: the cashier's last session was not closed
    """
    try:
        with transaction.atomic():
            return CashSession.objects.create(cashier_id=cashier_id, opening_float=opening_float, opened_at=now)
    except IntegrityError:
        raise SessionOpen from None


@transaction.atomic
def close_session(
    *, cashier_id: int, counted: int, now: datetime, note: str = "", session_id: int | None = None
) -> CashSession:
    """Close a cashier's drawer with what was counted; over or short becomes a review item.

    :raises SessionCounted: the drawer that was counted, `session_id` if given, is not the open one
    :raises NoOpenSession: the cashier has no open drawer
    """
    if session_id and CashSession.objects.filter(pk=session_id, closed_at__isnull=False).exists():
        raise SessionCounted
    session = lock_session(cashier_id)
    if session_id not in (None, session.pk):
        raise SessionCounted
    # Who read the clock first need not come first: what was voided before the count is told from what was after.
    now = max(now, session.receipts.aggregate(last=Max("reversed_at"))["last"] or now)
    session.expected = expected_in(session)
    session.counted, session.closed_at, session.note = counted, now, note[:255]
    session.save(update_fields=["expected", "counted", "closed_at", "note"])
    if session.difference:
        side = "over" if session.difference > 0 else "short"
        detail = f"Cash session {session.pk} was counted KES {abs(session.difference)} {side}."
        # Told per session: the item names no receipt or payment to be found by.
        review_items.create_item(reason=ReviewReason.CASH_DIFFERS, detail=detail, now=now)
        ledger.post_drawer_difference(session, at=now)
    return session


def expected_in(session: CashSession) -> int:
    """Return what an open drawer should hold: its float and live cash receipts, less cash refunds; whole KES."""
    came = Receipt.objects.filter(cash_session=session, reversed_at__isnull=True)
    went = Refund.objects.filter(cash_session=session)
    total = Sum("amount", default=0)
    return session.opening_float + came.aggregate(total=total)["total"] - went.aggregate(total=total)["total"]


def lock_session(cashier_id: int) -> CashSession:
    """Lock and return a cashier's open drawer.

    :raises NoOpenSession: there is none
    """
    open_ones = CashSession.objects.filter(cashier_id=cashier_id, closed_at__isnull=True)
    session = open_ones.select_for_update(no_key=True).first()
    if session is None:
        raise NoOpenSession
    return session


# --- Receipts ---


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
    idempotency_key: str | None = None,
    body_fingerprint: str = "",
) -> Receipt:
    """Record cash or a bank transfer (whole KES) for a payment, or for a member's open payments; the rest is credit.

    `note` is the bank's reference, kept as the account typed. The same `idempotency_key` of the same person returns
    what it recorded the first time.

    :raises NotDeskMoney: another channel
    :raises BankReferenceNeeded: a bank transfer without its reference
    :raises resolutions.OwnMoney: by the member or payer whose money it would be
    :raises resolutions.OwnerNeeded: neither a member nor a payment that exist was named
    :raises resolutions.PaymentTakesNoMoney: the payment named is closed or covered
    :raises NoOpenSession: cash without an open drawer
    :raises services.IdempotencyKeyReused: the key came before with another body
    :raises services.InvalidAmount: not a positive whole number
    """
    if channel not in DESK:
        raise NotDeskMoney
    if type(amount) is not int or amount <= 0:
        raise creation.InvalidAmount("The amount must be whole shillings, more than zero.")
    if channel == Channel.BANK and not note.strip():
        raise BankReferenceNeeded
    member_id = review_decisions.owner_of(member_id=member_id, payment_id=payment_id)
    review_decisions.require_anothers(member_id, by_id=by_id)
    # The taker too: two requests with one key may name different members.
    locks.lock_members({member_id, by_id} if idempotency_key else {member_id})
    if idempotency_key:
        earlier = Receipt.objects.filter(recorded_by_id=by_id, idempotency_key=idempotency_key).first()
        if earlier is not None:
            if earlier.body_fingerprint != body_fingerprint:
                raise creation.IdempotencyKeyReused
            return earlier
    shares = review_decisions.share_out(amount, moved_at=now, member_id=member_id, payment_id=payment_id)
    receipt = Receipt.objects.create(
        channel=channel,
        amount=amount,
        paid_at=now,
        member_id=member_id,
        recorded_by_id=by_id,
        account_typed=note[:64],
        cash_session=lock_session(by_id) if channel == Channel.CASH else None,
        number=_next_number(now),
        created_at=now,
        idempotency_key=idempotency_key,
        body_fingerprint=body_fingerprint,
    )
    settlement.apply_money(
        receipt=receipt, from_account=ledger.ACCOUNT_OF[channel], shares=shares, by_id=by_id, now=now
    )
    return receipt


@transaction.atomic
def void_receipt(*, receipt_id: int, reason: str, by_id: int, now: datetime) -> Receipt:
    """Void a cash or bank receipt as if the money had never come; payments it covered are payable again.

    Cash that was counted in its drawer becomes a review item: the count held it, and the books no longer do.

    :raises SecondPersonNeeded: by the person who recorded it, or who asked for the void that waits
    :raises NotVoidable: it is M-Pesa money, or voided already, or some of it was given back
    :raises resolutions.OwnMoney: by the member whose money it is
    :raises resolutions.ReasonNeeded: the reason is empty
    :raises services.ReceiptNotFound: no such receipt
    """
    if not reason.strip():
        raise review_decisions.ReasonNeeded
    receipt = locks.lock_receipt(receipt_id)
    review_decisions.require_anothers(receipt.member_id, by_id=by_id)
    require_voidable(receipt)
    waiting = VoidRequest.objects.filter(receipt=receipt, decided_at=None)
    if receipt.recorded_by_id == by_id or waiting.filter(asked_by=by_id).exists():
        raise SecondPersonNeeded
    # Locked: the drawer is either counted already, or will be counted without this money.
    session = None
    if receipt.cash_session_id is not None:
        session = CashSession.objects.select_for_update(no_key=True).get(pk=receipt.cash_session_id)
        if session.closed_at is not None:
            now = max(now, session.closed_at + timedelta(microseconds=1))  # as in close_session
    waiting.update(decided_by=by_id, decided_at=now, is_confirmed=True)
    reversals.reverse_receipt_locked(
        receipt=receipt, reason=f"void: {reason.strip()}", by_id=by_id, now=now, returned_to_payer=False
    )
    if session is not None and session.closed_at is not None:
        detail = (
            f"Receipt {receipt.number} of KES {receipt.amount:,} was voided "
            f"after cash session {session.pk} was counted."
        )
        review_items.create_item(reason=ReviewReason.CASH_DIFFERS, detail=detail, receipt_id=receipt.pk, now=now)
    return receipt


def require_voidable(receipt: Receipt) -> None:
    """Let a standing cash or bank receipt pass of which nothing was given back.

    :raises NotVoidable: it is another
    """
    if receipt.channel not in DESK or receipt.reversed_at is not None or receipt.amount_refunded:
        raise NotVoidable


def _next_number(now: datetime) -> str:
    """Return the next receipt number of the Nairobi year, such as 2026-000042; its row stays locked."""
    year = business_day(now).year
    ReceiptCounter.objects.get_or_create(year=year)
    ReceiptCounter.objects.filter(year=year).update(last=F("last") + 1)
    return f"{year}-{ReceiptCounter.objects.get(year=year).last:06d}"


# --- Codes shown at the desk ---


# Evidence is taken with whatever code it has; of what people type, this keeps words and phone numbers out. Each code
# that Safaricom has printed so far has ten characters, the first of them the letter of its year.
SHOWN_CODE = re.compile(r"[A-Z][0-9A-Z]{9}")


def code_shown(text: str) -> str:
    """Return an M-Pesa code that somebody typed, spaces and all, as it is kept.

    :raises InvalidCode: it is no M-Pesa code
    """
    code = canonical_code("".join(text.split()))
    if code is None or not SHOWN_CODE.fullmatch(code):
        raise InvalidCode(details=[{"field": "code", "code": InvalidCode.code, "message": InvalidCode.message}])
    return code


@transaction.atomic
def claim_code(*, code: str, payment_id: int, by_id: int, now: datetime) -> CodeClaim:
    """Note that a payer shows an M-Pesa code for a payment. It is no money until Safaricom's evidence has the code.

    When unmatched money with this code is already here, the payment gets it now. Claiming again for the same payment
    changes nothing; a claim that ended without money may be made anew, for any payment.

    :raises InvalidCode: it is no M-Pesa code
    :raises CodeAlreadyUsed: it was claimed for, or its money went to, something else
    :raises resolutions.OwnMoney: by the payer of the payment
    :raises resolutions.PaymentTakesNoMoney: its money is here, and the payment is closed or covered
    :raises services.PaymentNotFound: no such payment
    """
    code = code_shown(code)
    payer_id = Payment.objects.filter(pk=payment_id).values_list("payer_id", flat=True).first()
    if payer_id is None:
        raise locks.PaymentNotFound
    review_decisions.require_anothers(payer_id, by_id=by_id)
    owners.lock_code(code)
    receipt_id = Receipt.objects.filter(code=code).values_list("pk", flat=True).first()
    receipt = None if receipt_id is None else locks.lock_receipt(receipt_id, also_members={payer_id})
    made = {"payment_id": payment_id, "claimed_by_id": by_id, "claimed_at": now, "ended_at": None, "ended_why": ""}
    CodeClaim.objects.filter(code=code, ended_at__isnull=False).update(**made)
    claim, _ = CodeClaim.objects.get_or_create(code=code, defaults=made)
    if claim.payment_id != payment_id:
        raise CodeAlreadyUsed
    if receipt is None or claim.receipt_id is not None:
        return claim
    if not _give_to_claim(claim, receipt, payer_id=payer_id, by_id=by_id, now=now):
        raise CodeAlreadyUsed
    return claim


@transaction.atomic
def settle_claim(*, code: str, receipt_id: int, by_id: int | None, now: datetime) -> None:
    """Give a claim the money of its code, now that it is here; end it when that went to something else.

    Without a waiting claim of the code nothing changes.
    """
    claim = CodeClaim.objects.filter(code=code, receipt=None).select_related("payment").first()
    if claim is None:
        return
    payer_id = claim.payment.payer_id
    receipt = locks.lock_receipt(receipt_id, also_members={payer_id})
    try:
        if not _give_to_claim(claim, receipt, payer_id=payer_id, by_id=by_id, now=now):
            end_claim(code=code, why="The money of this code went to something else, or back.", now=now)
    except review_decisions.PaymentTakesNoMoney:
        end_claim(code=code, why="The payment takes no money any more; the money waits for its owner.", now=now)


def end_claim(*, code: str, why: str, now: datetime) -> None:
    """End a claim that turned out to be no money of ours, with one plain sentence. Should its money come, it counts."""
    CodeClaim.objects.filter(code=code, receipt=None, ended_at=None).update(ended_at=now, ended_why=why[:160])


def _give_to_claim(claim: CodeClaim, receipt: Receipt, *, payer_id: int, by_id: int | None, now: datetime) -> bool:
    """Tie a locked receipt to a claim and, when it has no owner, give its money; False when others have it."""
    payment_id = claim.payment_id
    if receipt.member_id is not None or receipt.reversed_at is not None or not receipt.amount_held:
        if not receipt.allocations.filter(payment_id=payment_id, undone_at__isnull=True).exists():
            return False
    else:
        review_decisions.give_to_owner(receipt=receipt, member_id=payer_id, payment_id=payment_id, by_id=by_id, now=now)
        review_items.close_for_receipt(
            receipt_id=receipt.pk, reason=ReviewReason.UNMATCHED, resolution="Its code was shown.", now=now
        )
    claim.receipt, claim.ended_at, claim.ended_why = receipt, None, ""
    claim.save(update_fields=["receipt", "ended_at", "ended_why"])
    return True
