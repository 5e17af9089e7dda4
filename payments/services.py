"""The verbs of a payment: open, prompt, settle, cancel, expire. The one place that writes a payment's status.

Money wins: a failed or expired payment becomes paid when its money turns out to have moved; money for a
cancelled or refunded one becomes member credit. Locks are always taken in the order member, payment, receipt.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.db.models import Max, Q, QuerySet
from procrastinate.contrib.django import app as jobs

from api.errors import Conflict, Invalid, NotFound
from payments import allocation, ledger, references, review
from payments.allocation import PAYABLE, Share
from payments.models import (
    OPEN_PUSH,
    Account,
    Allocation,
    AllocationRule,
    Payment,
    PaymentEvent,
    PaymentStatus,
    Receipt,
    ReviewReason,
    StkPush,
)
from payments.signals import payment_cancelled, payment_paid, payment_unpaid

logger = logging.getLogger(__name__)

S = PaymentStatus
# From what, to what. Paid money leaves only by a reversal or a refund; `pending` and `expired` are what a payment
# falls back to when the money that covered it is taken away as if it had never come.
TRANSITIONS = {
    S.PENDING: {S.PROCESSING, S.PARTIALLY_PAID, S.PAID, S.FAILED, S.EXPIRED, S.CANCELLED},
    S.PROCESSING: {S.PARTIALLY_PAID, S.PAID, S.FAILED, S.EXPIRED, S.CANCELLED},
    S.FAILED: {S.PROCESSING, S.PARTIALLY_PAID, S.PAID, S.EXPIRED, S.CANCELLED},
    S.EXPIRED: {S.PARTIALLY_PAID, S.PAID, S.CANCELLED},
    S.PARTIALLY_PAID: {S.PAID, S.CANCELLED, S.PENDING, S.EXPIRED, S.REFUNDED},
    S.PAID: {S.PARTIALLY_PAID, S.PENDING, S.EXPIRED, S.REFUNDED},
    S.CANCELLED: set(),
    S.REFUNDED: set(),
}
# Where a prompt may be shown for a payment.
PROMPTABLE = (S.PENDING, S.PROCESSING, S.FAILED, S.PARTIALLY_PAID)
# So many payments expire in one transaction: most of the cost of one is its commit.
EXPIRE_TOGETHER = 100


class InvalidTransition(Conflict):
    """The payment's state does not allow what was asked."""

    code, message = "invalid_transition", "This payment has already been decided."


class PaymentNotFound(NotFound):
    """No such payment, or not the caller's."""

    code, message = "not_found", "Not found."


class ReceiptNotFound(NotFound):
    """No such receipt, or not the caller's."""

    code, message = "not_found", "Not found."


class IdempotencyKeyReused(Conflict):
    """The key was used for another request."""

    code, message = "idempotency_key_reused", "This Idempotency-Key was used for another request."


class InvalidAmount(Invalid):
    """Payments are whole shillings, zero or more."""

    code, message = "invalid_amount", "The amount must be whole shillings, zero or more."


WRITE_PAYMENT = """
UPDATE payments_payment SET status = %s, paid_at = %s, amount_paid = %s, deposit_paid_at = %s WHERE id = %s
"""
WRITE_EVENT = """
INSERT INTO payments_paymentevent (payment_id, from_status, to_status, evidence, by_id, at)
SELECT id, %s, %s, %s, %s, %s FROM moved
"""


# --- Opening --------------------------------------------------------------------------------------


@transaction.atomic
def open_payment(
    *,
    payer_id: int,
    amount: int,
    description: str,
    created_by_id: int,
    now: datetime,
    head_id: int | None = None,
    idempotency_key: str | None = None,
    body_fingerprint: str = "",
    spend: bool = True,
    deposit: int | None = None,
) -> Payment:
    """Open a payment of `amount` whole KES and spend the payer's credit on it; it may come back paid.

    What it buys is given once `deposit` KES of it have come: all of it, unless said otherwise. A payment that comes
    back with its deposit paid is not announced: the thing it buys does not point at it yet, so the caller grants it.
    The same `idempotency_key` of the same creator returns the payment it opened the first time. Who opens several for
    one prompt opens all of them without spending (`spend`), and calls `spend_credit` after.

    :raises InvalidAmount: the amount is negative or no whole number
    :raises IdempotencyKeyReused: the key came before with another body
    :raises InvalidTransition: the head payment takes no more money
    """
    if type(amount) is not int or amount < 0:
        raise InvalidAmount
    # The creator too: two requests with one key may name different payers.
    lock_members({payer_id, created_by_id} if idempotency_key else {payer_id})
    if idempotency_key:
        earlier = Payment.objects.filter(created_by_id=created_by_id, idempotency_key=idempotency_key).first()
        if earlier is not None:
            if earlier.body_fingerprint != body_fingerprint:
                raise IdempotencyKeyReused
            return earlier
    if head_id is not None:
        head = Payment.objects.select_for_update(no_key=True).filter(pk=head_id).first()
        if head is None or head.head_id is not None or head.status not in PAYABLE:
            raise InvalidTransition("The payment this belongs to takes no more.")
    payment = Payment.objects.create(
        reference=_free_reference(),
        payer_id=payer_id,
        head_id=head_id,
        description=description,
        amount_due=amount,
        deposit=amount if deposit is None else deposit,
        created_by_id=created_by_id,
        created_at=now,
        expires_at=now + settings.PAYMENT_LIFETIME,
        deposit_paid_at=None if amount else now,
        idempotency_key=idempotency_key,
        body_fingerprint=body_fingerprint,
    )
    _record_birth(payment, evidence="opened", by_id=created_by_id, now=now)
    if amount == 0:
        _move(payment, to=S.PAID, evidence="nothing to pay", by_id=created_by_id, now=now, paid_at=now)
    elif spend:
        spend_credit(payment=payment, by_id=created_by_id, now=now)
    return payment


@transaction.atomic
def ask_for_all(*, payment_id: int) -> None:
    """From now on nothing is given for less than the whole payment, unless its deposit has come already."""
    payment = lock_payment(payment_id)
    if payment.deposit_paid_at is None:
        payment.deposit = payment.amount_due
        payment.save(update_fields=["deposit"])


@transaction.atomic
def record_comp(
    *,
    payer_id: int,
    description: str,
    reason: str,
    by_id: int,
    now: datetime,
    head_id: int | None = None,
    idempotency_key: str | None = None,
    body_fingerprint: str = "",
) -> Payment:
    """Record something given for nothing as a paid payment of 0, with the reason and who gave it in its history."""
    lock_members({payer_id})
    payment = Payment.objects.create(
        reference=_free_reference(),
        payer_id=payer_id,
        description=description,
        amount_due=0,
        deposit=0,
        deposit_paid_at=now,
        created_by_id=by_id,
        created_at=now,
        expires_at=now,
        head_id=head_id,
        idempotency_key=idempotency_key,
        body_fingerprint=body_fingerprint,
    )
    _record_birth(payment, evidence="opened", by_id=by_id, now=now)
    _move(payment, to=S.PAID, evidence=f"comp: {reason}", by_id=by_id, now=now, paid_at=now)
    return payment


def spend_credit(*, payment: Payment, by_id: int | None, now: datetime) -> None:
    """Put the payer's credit to work on a payment just opened, oldest money first. The payer is locked.

    The payment is covered now, not when the credit was paid in: a period that starts with its money starts today.
    """
    for receipt in allocation.receipts_with_credit(payment.payer_id):
        if not payment.amount_owed:
            break
        share = Share(payment, min(receipt.rest, payment.amount_owed), AllocationRule.CREDIT)
        allocation.place(
            receipt=receipt, taken_from=Account.MEMBER_CREDIT, amount=share.amount, shares=[share], by_id=by_id, now=now
        )
        _take(payment, share.amount, evidence=f"credit of receipt {receipt.pk}", by_id=by_id, now=now, moved_at=now)


# --- Prompts (payments.pushes calls these, under its own locks) -----------------------------------


def note_prompt(payment: Payment, now: datetime) -> None:
    """Note that a phone is being asked for this payment and its companions. The payment is locked.

    A partially paid payment stays so: that money came says more than that a prompt is out.

    :raises InvalidTransition: the payment takes no prompt any more
    """
    if payment.status not in PROMPTABLE:
        raise InvalidTransition
    for each in [payment, *lock_companions(payment.pk)]:
        if each.status in (S.PENDING, S.FAILED):
            _move(each, to=S.PROCESSING, evidence="prompt asked for", by_id=None, now=now)


def note_prompt_ended(payment: Payment, push: StkPush, now: datetime) -> None:
    """Note that a prompt ended without money, for the payment and its companions. Twice changes nothing.

    The payment is locked. It stays `processing` while another prompt of it is open.
    """
    if StkPush.objects.filter(payment_id=payment.pk, status__in=OPEN_PUSH).exclude(pk=push.pk).exists():
        return
    for each in [payment, *lock_companions(payment.pk)]:
        if each.status == S.PROCESSING:
            evidence = f"push {push.pk} ended {push.result_code or push.status}"
            _move(each, to=S.FAILED, evidence=evidence, by_id=None, now=now)


# --- Money ----------------------------------------------------------------------------------------


def take_money(
    *,
    receipt: Receipt,
    taken_from: Account,
    shares: Sequence[Share],
    by_id: int | None,
    now: datetime,
    amount: int | None = None,
) -> list[Payment]:
    """Put a receipt's money where it belongs and tell the listeners of each payment whose deposit it completes.

    Runs inside the caller's transaction with member, payments and receipt locked. `amount` is the part of the
    receipt that is being placed, all that is left of it by default. Returns the payments that were told of.
    """
    allocation.place(
        receipt=receipt,
        taken_from=taken_from,
        amount=receipt.amount_held if amount is None else amount,
        shares=shares,
        by_id=by_id,
        now=now,
    )
    covered = [
        share.payment
        for share in shares
        if _take(
            share.payment,
            share.amount,
            evidence=f"receipt {receipt.pk}",
            by_id=by_id,
            now=now,
            moved_at=receipt.paid_at,
        )
    ]
    for payment in covered:
        tell_paid(payment=payment, now=now)
    return covered


def tell_paid(*, payment: Payment, now: datetime) -> None:
    """Tell the listeners that what the payment buys may be given; what fails is retried by a job, committed with it."""
    if not payment_paid.announce(payment_id=payment.pk, now=now):
        _retry_later(payment, now=now)


def tell_unpaid(*, payment: Payment, now: datetime) -> None:
    """Tell the listeners that money of the payment went back; what fails is retried by a job."""
    if not payment_unpaid.announce(payment_id=payment.pk, now=now):
        _retry_later(payment, now=now)


@transaction.atomic
def retry_listeners(*, payment_id: int, now: datetime) -> bool:
    """Tell the listeners again what the payment is now; return whether all of them heard it. Twice is harmless."""
    payment = lock_payment(payment_id)
    signal = payment_unpaid if payment.deposit_paid_at is None else payment_paid
    if payment.status == S.CANCELLED:
        signal = payment_cancelled
    heard = signal.announce(payment_id=payment_id, now=now)
    if heard:
        review.close_for_payment(
            payment_id=payment_id, reason=ReviewReason.LISTENER_FAILED, resolution="Granted by a later try.", now=now
        )
    return heard


def withdraw_money(
    *,
    receipt: Receipt,
    put_on: Account,
    by_id: int | None,
    now: datetime,
    why: str,
    went_back: bool = False,
) -> None:
    """Take a locked receipt's money out of every payment it covers and put it on `put_on`.

    A payment left with nothing becomes payable again, or refunded when the money `went_back` to the payer. Locks the
    payments; the caller holds their payers' rows.
    """
    allocations = _lock_live(receipt)
    for live in allocations:
        _take_out(live, live.amount, put_on=put_on, by_id=by_id, now=now, why=why, went_back=went_back)
    _tell_of_losses(allocations, now=now)


def give_back(*, receipt: Receipt, amount: int, paid_from: Account, by_id: int, now: datetime, why: str) -> None:
    """Take whole KES of a locked receipt out of the books by `paid_from`, the account that paid them back.

    What no payment uses goes first, then what it paid last. At most what the receipt holds; payments.refunds checks.
    """
    stands_on = Account.UNMATCHED if receipt.member_id is None else Account.MEMBER_CREDIT
    allocations = _lock_live(receipt)
    missing = amount - (receipt.amount_held - sum(live.amount for live in allocations))
    touched = []
    for live in reversed(allocations):
        part = min(live.amount, missing)
        if part > 0:
            _take_out(live, part, put_on=stands_on, by_id=by_id, now=now, why=f"refund: {why}", went_back=True)
            missing -= part
            touched.append(live)
    ledger.post(
        receipt_id=receipt.pk,
        legs=[ledger.Leg(stands_on, amount, member_id=receipt.member_id), ledger.Leg(paid_from, -amount)],
        by_id=by_id,
        at=now,
    )
    receipt.amount_refunded += amount
    receipt.save(update_fields=["amount_refunded"])
    if stands_on == Account.UNMATCHED and not receipt.amount_held:
        review.close_for_receipt(
            receipt_id=receipt.pk, reason=ReviewReason.UNMATCHED, resolution="It was given back.", now=now
        )
    _tell_of_losses(touched, now=now)


def _tell_of_losses(allocations: Sequence[Allocation], *, now: datetime) -> None:
    """Tell of each payment that lost money, after all of them have: a listener may cancel another of them."""
    for payment in {live.payment_id: live.payment for live in allocations}.values():
        tell_unpaid(payment=payment, now=now)


def _lock_live(receipt: Receipt) -> list[Allocation]:
    """Lock and return a locked receipt's live allocations, oldest first, with their payments, each only once."""
    live = receipt.allocations.filter(undone_at__isnull=True).select_related("payment").order_by("pk")
    allocations = list(live.select_for_update(no_key=True, of=("self", "payment")))
    payments: dict[int, Payment] = {}
    for each in allocations:
        each.receipt, each.payment = receipt, payments.setdefault(each.payment_id, each.payment)
    return allocations


def _take_out(
    live: Allocation, part: int, *, put_on: Account, by_id: int | None, now: datetime, why: str, went_back: bool
) -> None:
    """Take a part of a locked allocation out of its locked payment and put it on `put_on`."""
    payment = live.payment
    allocation.take_back(live, put_on=put_on, by_id=by_id, now=now)
    if part < live.amount:
        rest = Share(payment, live.amount - part, AllocationRule(live.rule))
        allocation.place(
            receipt=live.receipt, taken_from=put_on, amount=rest.amount, shares=[rest], by_id=by_id, now=now
        )
    payment.amount_paid -= part
    if payment.amount_paid < payment.deposit:
        payment.deposit_paid_at = None
    _move(payment, to=_after_loss(payment, went_back=went_back, now=now), evidence=why, by_id=by_id, now=now)


def change_owner(*, receipt: Receipt, member_id: int | None, by_id: int | None, now: datetime, why: str) -> None:
    """Take a locked receipt's money out of every payment it covers and make it another member's credit.

    Without a member it is unmatched money. The caller holds the rows of everyone concerned, and places the money.
    """
    withdraw_money(receipt=receipt, put_on=Account.MEMBER_CREDIT, by_id=by_id, now=now, why=why)
    if receipt.member_id == member_id:
        return
    put_on = Account.UNMATCHED if member_id is None else Account.MEMBER_CREDIT
    ledger.post(
        receipt_id=receipt.pk,
        legs=[
            ledger.Leg(Account.MEMBER_CREDIT, receipt.amount_held, member_id=receipt.member_id),
            ledger.Leg(put_on, -receipt.amount_held, member_id=member_id),
        ],
        by_id=by_id,
        at=now,
    )
    receipt.member_id = member_id
    receipt.save(update_fields=["member"])


def _after_loss(payment: Payment, *, went_back: bool, now: datetime) -> PaymentStatus:
    """Return what a payment is after it lost money: still partly paid, refunded, or payable again."""
    if payment.amount_paid:
        return S.PARTIALLY_PAID
    if went_back:
        return S.REFUNDED
    return S.EXPIRED if payment.expires_at <= now else S.PENDING


@transaction.atomic
def reverse_receipt(*, receipt_id: int, why: str, by_id: int | None, now: datetime, went_back: bool = True) -> Receipt:
    """Record that a receipt's money went back to where it came from. Again changes nothing.

    Payments it covered are told unpaid: refunded (payable again when the money had never come, `went_back` false), or
    partially paid when other money is left in them.
    """
    receipt = lock_receipt(receipt_id)
    if receipt.reversed_at is None:
        reverse_receipt_locked(receipt=receipt, why=why, by_id=by_id, now=now, went_back=went_back)
    return receipt


def reverse_receipt_locked(
    *, receipt: Receipt, why: str, by_id: int | None, now: datetime, went_back: bool = True
) -> None:
    """Reverse a locked receipt: out of its payments, then out of the books the way it came in."""
    stands_on = Account.UNMATCHED if receipt.member_id is None else Account.MEMBER_CREDIT
    withdraw_money(receipt=receipt, put_on=stands_on, by_id=by_id, now=now, why=why, went_back=went_back)
    owner = receipt.member_id if stands_on == Account.MEMBER_CREDIT else None
    ledger.post(
        receipt_id=receipt.pk,
        legs=[
            ledger.Leg(stands_on, receipt.amount_held, member_id=owner),
            ledger.Leg(Account.REFUNDS, receipt.amount_refunded),  # given back of money that is not there
            ledger.Leg(ledger.ACCOUNT_OF[receipt.channel], -receipt.amount),
        ],
        by_id=by_id,
        at=now,
    )
    receipt.reversed_at, receipt.reversed_by_id, receipt.reversal_reason = now, by_id, why[:255]
    receipt.save(update_fields=["reversed_at", "reversed_by", "reversal_reason"])


# --- Ends without money ---------------------------------------------------------------------------


@transaction.atomic
def cancel_payment(*, payment_id: int, by_id: int, now: datetime) -> Payment:
    """Withdraw a payment that is not paid. Money already in it becomes credit; so does money that comes later.

    Cancelling again changes nothing.

    :raises InvalidTransition: it is paid or refunded, or what it buys was given for a deposit
    :raises PaymentNotFound: no such payment
    """
    payment = lock_payment(payment_id)
    if payment.status == S.CANCELLED:
        return payment
    if payment.status not in PAYABLE or payment.deposit_paid_at is not None:
        raise InvalidTransition
    _return_to_credit(payment, by_id=by_id, now=now)
    _move(payment, to=S.CANCELLED, evidence="cancelled", by_id=by_id, now=now)
    if not payment_cancelled.announce(payment_id=payment.pk, now=now):
        _retry_later(payment, now=now)
    return payment


def expire_due(*, now: datetime, limit: int = 500) -> int:
    """Show as expired what waited too long, a batch in each short transaction; return how many.

    A payment with an open prompt waits for the prompt's end, one that somebody holds for the next run. Late money still
    pays an expired payment.
    """
    due = Payment.objects.filter(_waited_too_long(now)).exclude(pushes__status__in=OPEN_PUSH).order_by("expires_at")
    ids = list(due.values_list("pk", flat=True)[:limit])
    return sum(_try_to_expire(ids[n : n + EXPIRE_TOGETHER], now=now) for n in range(0, len(ids), EXPIRE_TOGETHER))


def _waited_too_long(now: datetime) -> Q:
    return Q(status__in=(S.PENDING, S.PROCESSING, S.FAILED), expires_at__lte=now)


def _try_to_expire(payment_ids: Sequence[int], *, now: datetime) -> int:
    """Expire a batch; if that fails, each by itself, so that one bad row never stops the rest."""
    try:
        return _expire(payment_ids, now=now)
    except Exception:
        if len(payment_ids) > 1:
            return sum(_try_to_expire([each], now=now) for each in payment_ids)
        logger.exception("Payment %s could not be expired; the next run tries again.", payment_ids[0])
        return 0


@transaction.atomic
def _expire(payment_ids: Sequence[int], *, now: datetime) -> int:
    """Expire those of the payments that are still due and that nobody holds; return how many."""
    asked_for = Payment.objects.filter(pk__in=payment_ids)
    payers = members_to_lock(asked_for.values("payer_id")).select_for_update(no_key=True, skip_locked=True)
    due = asked_for.filter(_waited_too_long(now), payer__in=list(payers)).order_by("pk")
    payments = list(due.select_for_update(no_key=True, skip_locked=True))
    prompts = StkPush.objects.filter(payment__in=payments, status__in=OPEN_PUSH)
    prompted = set(prompts.values_list("payment_id", flat=True))
    expired = [payment for payment in payments if payment.pk not in prompted]
    for payment in expired:
        _move(payment, to=S.EXPIRED, evidence="waited too long", by_id=None, now=now)
    return len(expired)


# --- Locks ----------------------------------------------------------------------------------------


def lock_members(member_ids: Iterable[int]) -> None:
    """Lock the members' rows in the order of their ids; inserts that point at them need not wait."""
    list(members_to_lock(member_ids))


def members_to_lock(member_ids: Iterable[int] | QuerySet) -> QuerySet:
    """Return the query that locks members when it is run."""
    members = get_user_model().objects.filter(pk__in=member_ids).order_by("pk").only("pk")
    return members.select_for_update(no_key=True)


def lock_payment(payment_id: int) -> Payment:
    """Lock a payment's payer, then the payment, and return it.

    :raises PaymentNotFound: no such payment
    """
    payer_id = Payment.objects.filter(pk=payment_id).values_list("payer_id", flat=True).first()
    if payer_id is None:
        raise PaymentNotFound
    lock_members({payer_id})
    return Payment.objects.select_for_update(no_key=True).get(pk=payment_id)


def lock_receipt(receipt_id: int, *, also_members: Iterable[int] = ()) -> Receipt:
    """Lock everyone a receipt's money touches (its member, the payers of its payments), its payments, then it.

    Whose money it is may change before all are locked; then they are let go, and locked anew in the right order.
    Called before other rows are locked.

    :raises ReceiptNotFound: no such receipt
    """
    if not Receipt.objects.filter(pk=receipt_id).exists():
        raise ReceiptNotFound
    members = set(also_members)
    people, payments = _touched_by(receipt_id)
    while True:
        members |= people
        before = transaction.savepoint()
        lock_members(members)
        list(Payment.objects.filter(pk__in=payments).order_by("pk").select_for_update(no_key=True))
        receipt = Receipt.objects.select_for_update(no_key=True).get(pk=receipt_id)
        people, payments = _touched_by(receipt_id)
        if people <= members:
            transaction.savepoint_commit(before)
            return receipt
        transaction.savepoint_rollback(before)


def _touched_by(receipt_id: int) -> tuple[set[int], set[int]]:
    """Return the members and the payments that a receipt's money touches."""
    owner = set(Receipt.objects.filter(pk=receipt_id, member__isnull=False).values_list("member_id", flat=True))
    live = Allocation.objects.filter(receipt_id=receipt_id, undone_at__isnull=True)
    payers = dict(live.values_list("payment_id", "payment__payer_id"))
    return owner | set(payers.values()), set(payers)


def lock_people_of(receipts: Sequence[Receipt], *, also_members: Iterable[int] = ()) -> None:
    """Lock everyone whose money locked receipts are, when other members are locked already.

    Late and out of order, so it never waits: who finds one of them busy starts again.

    :raises OperationalError: another transaction has one of them
    """
    live = Allocation.objects.filter(receipt__in=receipts, undone_at__isnull=True)
    payers = live.values_list("payment__payer_id", flat=True)
    people = {*payers, *also_members, *(receipt.member_id for receipt in receipts)} - {None}
    list(members_to_lock(people).select_for_update(no_key=True, nowait=True))


def lock_companions(payment_id: int) -> list[Payment]:
    """Lock and return the payments that this one's prompt pays too, oldest first."""
    return list(Payment.objects.filter(head_id=payment_id).order_by("pk").select_for_update(no_key=True))


# --- The one writer -------------------------------------------------------------------------------


def _move(
    payment: Payment,
    *,
    to: PaymentStatus,
    evidence: str,
    by_id: int | None,
    now: datetime,
    paid_at: datetime | None = None,
) -> None:
    """Change a locked payment's status and amount paid, and write its history.

    :raises InvalidTransition: the table above does not allow it
    """
    came_from = PaymentStatus(payment.status)
    if to != came_from and to not in TRANSITIONS[came_from]:
        raise InvalidTransition
    payment.status, payment.paid_at = to, paid_at
    row = [to, paid_at, payment.amount_paid, payment.deposit_paid_at, payment.pk]
    with connection.cursor() as cursor:
        if to == came_from:
            cursor.execute(WRITE_PAYMENT, row)
        else:
            # One statement: a status never changes without its history.
            cursor.execute(
                f"WITH moved AS ({WRITE_PAYMENT} RETURNING id) {WRITE_EVENT}",
                [*row, came_from, to, evidence[:160], by_id, now],
            )


def _take(
    payment: Payment, amount: int, *, evidence: str, by_id: int | None, now: datetime, moved_at: datetime
) -> bool:
    """Add money to a locked payment; return whether that completed its deposit."""
    had_money = payment.amount_paid > 0
    payment.amount_paid += amount
    if had_money and payment.amount_paid >= payment.deposit:
        # The money that reaches it is the one that moved last, in whatever order we learnt of them.
        earlier = payment.allocations.filter(undone_at__isnull=True).exclude(rule=AllocationRule.CREDIT)
        moved_at = max(moved_at, earlier.aggregate(last=Max("receipt__paid_at"))["last"] or moved_at)
    # Money from before the payment existed (credit, a deposit found later) covers it from its first moment.
    moved_at = max(moved_at, payment.created_at)
    completes = payment.deposit_paid_at is None and payment.amount_paid >= payment.deposit
    if completes:
        payment.deposit_paid_at = moved_at
    if payment.amount_owed:
        _move(payment, to=S.PARTIALLY_PAID, evidence=evidence, by_id=by_id, now=now)
    else:
        _move(payment, to=S.PAID, evidence=evidence, by_id=by_id, now=now, paid_at=moved_at)
    return completes


def _record_birth(payment: Payment, *, evidence: str, by_id: int | None, now: datetime) -> None:
    PaymentEvent.objects.create(
        payment=payment, from_status="", to_status=payment.status, evidence=evidence, by_id=by_id, at=now
    )


def _return_to_credit(payment: Payment, *, by_id: int | None, now: datetime) -> None:
    """Undo a locked payment's live allocations; the money stands as its receipts' members' credit again."""
    for live in payment.allocations.filter(undone_at__isnull=True).select_related("receipt"):
        allocation.take_back(live, put_on=Account.MEMBER_CREDIT, by_id=by_id, now=now)
    payment.amount_paid = 0


def _free_reference() -> str:
    while True:
        reference = references.draw()
        if not Payment.objects.filter(reference=reference).exists():
            return reference


def _retry_later(payment: Payment, *, now: datetime) -> None:
    """Leave a durable job, and a review item in case the job never succeeds, in the money's own transaction."""
    review.open_item(
        reason=ReviewReason.LISTENER_FAILED,
        detail="The money is in the books; what it buys was not granted yet. It is being retried.",
        payment_id=payment.pk,
        now=now,
    )
    jobs.configure_task("payments.retry_listeners").defer(payment_id=payment.pk)
