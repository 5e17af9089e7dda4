"""The life of a prompt: asked for, claimed by a worker, sent, ended. The one place that writes a push's status.

Claiming, calling and recording are separate commits. Whoever claims a push alone calls Safaricom, so a job that runs
twice, or on two workers, sends one prompt; a call whose outcome is unknown is never made again.
"""

import logging
import random
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models import Q
from django.urls import reverse
from procrastinate.contrib.django import app as jobs

from api import throttling
from api.errors import Conflict, TooMany
from payments import callback_tokens, review, services
from payments.allocation import PAYABLE
from payments.daraja import client, limits, result_codes
from payments.daraja.errors import Busy, DarajaError, NotSent, Unknown
from payments.daraja.messages import PushAccepted
from payments.failpoints import reach
from payments.models import OPEN_PUSH, Payment, PushStatus, ReviewReason, StkPush

logger = logging.getLogger(__name__)

S = PushStatus
# When an open push is asked about, counted from the moment it was sent; after the last one a person looks.
CHECK_AFTER = (
    timedelta(seconds=20),
    timedelta(seconds=60),
    timedelta(minutes=3),
    timedelta(minutes=15),
    timedelta(hours=1),
    timedelta(hours=24),
)
# A push that Safaricom never named cannot be asked about: only its callback can tell, and comes within minutes.
NAMELESS_WAIT = timedelta(minutes=15)
# By then the answer to the push, which the callback overtook, is recorded.
CONFIRM_AFTER = {"seconds": 20}
# A prompt that comes later than this after it was asked for would surprise the person.
LATEST_SEND = timedelta(minutes=2)
# Prompts on one phone, whoever asks: more is harassment.
MOST_PER_PHONE = 3
PHONE_WINDOW = timedelta(minutes=10)
# Prompts one person asks for, on whatever phones: strangers' phones are not to be played with.
MOST_OF_OWN = 10
MOST_BY_STAFF = 200
ASKER_WINDOW = 60 * 60  # seconds
RECORD_TRIES = 5  # seconds apart: 0.5, 1, 2, 4


class PushOpen(Conflict):
    """A prompt is open for this payment, or on this phone."""

    code, message = "push_open", "A payment request is already on this phone. Answer it first, or wait a minute."


class PushTooSoon(TooMany):
    """M-Pesa asks for a pause before this phone is prompted again, or it was prompted too often."""

    code, message = "push_too_soon", "This phone was asked too often. Please wait a few minutes."


class AmountOverLimit(Conflict):
    """M-Pesa moves no such amount in one payment."""

    code, message = "amount_over_limit", "M-Pesa does not allow this amount in one payment."


@dataclass(frozen=True, slots=True)
class Claim:
    """What one worker alone may now ask Safaricom."""

    push_id: int
    phone: str
    amount: int
    reference: str
    description: str
    token: str


# --- Asked for ------------------------------------------------------------------------------------


@transaction.atomic
def request_push(*, payment_id: int, phone: str, created_by_id: int | None, now: datetime) -> StkPush:
    """Leave a prompt for the worker to send; the payment waits for its answer. `phone` is 2547XXXXXXXX.

    It asks for what the payment and its companions still owe, in whole KES.

    :raises PushOpen: one is open for the payment, for one it is paid together with, or on the phone
    :raises PushTooSoon: M-Pesa asks this phone to wait, or it was prompted, or its asker asked, too often
    :raises AmountOverLimit: more than M-Pesa moves at once
    :raises services.InvalidTransition: the payment takes no prompt
    :raises services.PaymentNotFound: no such payment
    """
    payment = services.lock_payment(payment_id)
    services.note_prompt(payment, now)
    _require_no_prompt_beside(payment)
    amount = _owed(payment)
    if amount < 1:
        raise services.InvalidTransition
    if amount > settings.MPESA_MAX_AMOUNT:
        raise AmountOverLimit
    _require_a_pause(phone, now)
    try:
        with transaction.atomic():
            push = StkPush.objects.create(
                payment=payment, phone=phone, amount=amount, created_by_id=created_by_id, created_at=now
            )
    except IntegrityError as error:
        if "push_open_once_per" in str(error):  # the names of the two constraints
            raise PushOpen from None
        raise
    _count_asking(payment, created_by_id, now)
    defer_send(push.pk)
    return push


def defer_send(push_id: int) -> None:
    """Leave the job that sends a push, in the caller's transaction."""
    jobs.configure_task("payments.send_push").defer(push_id=push_id)


# --- Sent -----------------------------------------------------------------------------------------


def send(*, push_id: int, now: datetime) -> None:
    """Send a push that waits, and record what became of it; a push that another has claimed is left alone.

    :raises Busy: nothing was sent; the push waits, and the job is to come again
    """
    waiting = StkPush.objects.filter(pk=push_id, status=S.CREATED).values_list("created_at", flat=True).first()
    if waiting is None:
        return
    if waiting + LATEST_SEND <= now:
        drop(push_id=push_id, code="busy", why="It could not be sent in time.", now=now)
        return
    limits.enter()
    claim = _claim(push_id, now=now)
    if claim is None:
        return
    reach("push claimed")
    outcome = _ask(claim, now=now)
    reach("push answered")
    _record(push_id, outcome, now=now)
    reach("push recorded")
    if isinstance(outcome, Busy):
        raise outcome


@transaction.atomic
def _claim(push_id: int, *, now: datetime) -> Claim | None:
    """Take a push for this worker alone, with a new callback token; None when there is nothing to send any more."""
    push = _lock(push_id)
    if push.status != S.CREATED:
        return None
    owed = _owed(push.payment) if push.payment.status in services.PROMPTABLE else 0
    if owed < 1:
        _end_without_money(push, status=S.CANCELLED, code="withdrawn", why="There was nothing left to pay.", now=now)
        return None
    token = callback_tokens.draw()
    push.status, push.amount, push.sent_at, push.token_hash = S.SENDING, owed, now, callback_tokens.hash_of(token)
    push.save(update_fields=["status", "amount", "sent_at", "token_hash"])
    return Claim(push.pk, push.phone, push.amount, push.payment.reference, push.payment.description, token)


def _ask(claim: Claim, *, now: datetime) -> PushAccepted | DarajaError:
    """Call Safaricom; once more when the first call provably never reached it."""
    callback_url = settings.PUBLIC_URL + reverse("payments:stk-callback", args=[claim.token])
    for is_last in (False, True):
        try:
            return client.push_stk(
                phone=claim.phone,
                amount=claim.amount,
                reference=claim.reference,
                description=claim.description,
                callback_url=callback_url,
                now=now,
            )
        except NotSent as error:
            if is_last:
                return error
        except DarajaError as error:
            return error
    raise AssertionError("unreachable")


def _record(push_id: int, outcome: PushAccepted | DarajaError, *, now: datetime) -> None:
    """Write what became of the call. The database may blink: the record is tried again, the call never is."""
    for attempt in range(RECORD_TRIES):
        try:
            with transaction.atomic():
                _write_outcome(_lock(push_id), outcome, now=now)
            return
        except OperationalError:
            if attempt == RECORD_TRIES - 1:
                raise  # the push stays `sending`, and the sweep makes it unknown
            if not connection.in_atomic_block:
                connection.close()
            time.sleep(0.5 * 2**attempt)


def _write_outcome(push: StkPush, outcome: PushAccepted | DarajaError, *, now: datetime) -> None:
    if isinstance(outcome, PushAccepted):
        _name(push, outcome, now=now)
    elif push.status not in (S.SENDING, S.UNKNOWN):
        return  # its callback was quicker
    elif isinstance(outcome, Busy) and push.created_at + LATEST_SEND > now:
        push.status, push.sent_at, push.token_hash, push.next_check_at = S.CREATED, None, None, None
        push.save(update_fields=["status", "sent_at", "token_hash", "next_check_at"])
    elif isinstance(outcome, Unknown):
        logger.warning("The outcome of push %s is unknown: %s", push.pk, outcome)
        push.status, push.result_desc, push.next_check_at = S.UNKNOWN, str(outcome)[:255], now + NAMELESS_WAIT
        push.save(update_fields=["status", "result_desc", "next_check_at"])
    else:
        logger.warning("Push %s was not sent: %s", push.pk, outcome)
        _end_without_money(push, status=S.FAILED, code=outcome.code, why=str(outcome), now=now)


def _name(push: StkPush, accepted: PushAccepted, *, now: datetime) -> None:
    """Write the names Safaricom gave a push; when its callback was quicker, that is all there is to write."""
    if push.checkout_request_id not in (None, accepted.checkout_request_id):
        doubt(push_id=push.pk, why="Safaricom names this prompt otherwise than the callback that paid it.", now=now)
    push.merchant_request_id, push.checkout_request_id = accepted.merchant_request_id, accepted.checkout_request_id
    fields = ["merchant_request_id", "checkout_request_id"]
    if push.status in (S.SENDING, S.UNKNOWN):
        push.status, push.result_desc = S.SENT, ""
        push.next_check_at = asked_at(push) + CHECK_AFTER[0]
        fields += ["status", "result_desc", "next_check_at"]
    try:
        with transaction.atomic():
            push.save(update_fields=fields)
    except IntegrityError:  # Safaricom gave one name twice
        detail = "Safaricom named this prompt as it had named another. Its callback will still find it."
        review.open_item(reason=ReviewReason.CONTRADICTION, detail=detail, push_id=push.pk, now=now)
        StkPush.objects.filter(pk=push.pk, status=S.SENDING).update(
            status=S.UNKNOWN, next_check_at=now + NAMELESS_WAIT, result_desc=detail
        )


# --- Open -----------------------------------------------------------------------------------------


def asked_at(push: StkPush) -> datetime:
    """Return when a phone was asked, or is to be."""
    return push.sent_at or push.created_at


def next_check(push: StkPush, *, now: datetime) -> datetime | None:
    """Return when to ask about a sent push next, a little after its plan so that many do not come at once.

    A plan that was missed is caught up at the pace of the first check.
    """
    if push.checks >= len(CHECK_AFTER):
        return None
    spread = random.uniform(1.0, 1.1)  # noqa: S311 - jitter, no secret
    planned = asked_at(push) + CHECK_AFTER[push.checks] * spread
    return max(planned, now + CHECK_AFTER[0])


@transaction.atomic
def note_check(*, push_id: int, now: datetime) -> None:
    """Note that a push was asked about without learning its end; after the last time a person looks."""
    push = _lock(push_id)
    if push.status not in (S.SENT, S.UNKNOWN):
        return
    push.checks += 1
    push.next_check_at = next_check(push, now=now) if push.checkout_request_id else None
    push.save(update_fields=["checks", "next_check_at"])
    if push.next_check_at is None:
        logger.warning("Push %s: nobody could tell its end; a person must look.", push.pk)
        detail = "Nobody could tell how this prompt ended. Look for the money in the M-Pesa statement."
        review.open_item(
            reason=ReviewReason.OVERDUE_UNKNOWN, detail=detail, push_id=push.pk, payment_id=push.payment_id, now=now
        )


@transaction.atomic
def postpone_check(*, push_id: int, until: datetime) -> None:
    """Ask about an open push later: this time it could not be asked at all."""
    push = _lock(push_id)
    if push.status in (S.SENT, S.UNKNOWN) and push.next_check_at is not None:
        push.next_check_at = until
        push.save(update_fields=["next_check_at"])


@transaction.atomic
def lose_track(*, push_id: int, now: datetime) -> bool:
    """Call a push unknown whose worker died in mid-call; return whether it was one. It is never sent again."""
    push = _lock(push_id)
    if push.status != S.SENDING:
        return False
    push.status, push.next_check_at = S.UNKNOWN, now + NAMELESS_WAIT
    push.result_desc = "The worker ended before it could record what Safaricom said."
    push.save(update_fields=["status", "next_check_at", "result_desc"])
    return True


def take_names(push: StkPush, *, merchant_request_id: str, checkout_request_id: str) -> None:
    """Keep the names that a success gives a locked push which Safaricom's own answer has not named.

    The secret address alone vouches for such a success (docs/decisions/0013). It counts at once, and Safaricom is
    asked about the name soon after, by a job that commits with the money.
    """
    push.merchant_request_id, push.checkout_request_id = merchant_request_id, checkout_request_id
    push.save(update_fields=["merchant_request_id", "checkout_request_id"])
    jobs.configure_task("payments.confirm_push", schedule_in=CONFIRM_AFTER).defer(push_id=push.pk)


def doubt(*, push_id: int, why: str, now: datetime) -> None:
    """Let a person look at a success that Safaricom does not confirm. The money stands until then."""
    review.open_item(reason=ReviewReason.CONTRADICTION, detail=why, push_id=push_id, now=now)


# --- Ended ----------------------------------------------------------------------------------------


def end(push: StkPush, *, status: PushStatus, result_code: str, result_desc: str, now: datetime) -> None:
    """Write how a locked push ended; it is not asked about again. Nothing is written over a success."""
    if _waits_for_a_person(push):
        review.close_for_push(push_id=push.pk, reason=ReviewReason.OVERDUE_UNKNOWN, resolution="It ended.", now=now)
    if push.status != S.SUCCEEDED:
        _write_end(push, status=status, code=result_code, why=result_desc, now=now)


@transaction.atomic
def drop(*, push_id: int, code: str, why: str, now: datetime) -> bool:
    """End a push that was never sent; return whether it was one."""
    push = _lock(push_id)
    if push.status != S.CREATED:
        return False
    _end_without_money(push, status=S.FAILED, code=code, why=why, now=now)
    return True


@transaction.atomic
def close_unknown(*, push_id: int, now: datetime) -> bool:
    """Let go of a push of which a person found no money, so that its phone and payment can be prompted again.

    Returns whether it was one that waited for a person. Should its money turn up after all, it still counts.
    """
    push = _lock(push_id)
    if not _waits_for_a_person(push):
        return False
    _end_without_money(push, status=S.TIMED_OUT, code="closed", why="A person found no money for it.", now=now)
    return True


def _end_without_money(push: StkPush, *, status: PushStatus, code: str, why: str, now: datetime) -> None:
    _write_end(push, status=status, code=code, why=why, now=now)
    services.note_prompt_ended(push.payment, push, now)


def _write_end(push: StkPush, *, status: PushStatus, code: str, why: str, now: datetime) -> None:
    push.status, push.result_code, push.result_desc = status, code, why[:255]
    push.ended_at, push.next_check_at = now, None
    push.save(update_fields=["status", "result_code", "result_desc", "ended_at", "next_check_at"])


# --- Small things ---------------------------------------------------------------------------------


def _lock(push_id: int) -> StkPush:
    """Lock a push after its payer and payment; `payment` on it is the locked row."""
    payment = services.lock_payment(StkPush.objects.values_list("payment_id", flat=True).get(pk=push_id))
    push = StkPush.objects.select_for_update(no_key=True).get(pk=push_id)
    push.payment = payment
    return push


def _waits_for_a_person(push: StkPush) -> bool:
    """Say whether all questions about an open push were asked in vain."""
    return push.status in (S.SENT, S.UNKNOWN) and push.next_check_at is None


def _owed(payment: Payment) -> int:
    """Return what a locked payment and its companions still owe, in whole KES."""
    companions = [each for each in services.lock_companions(payment.pk) if each.status in PAYABLE]
    return sum(each.amount_owed for each in (payment, *companions))


def _require_no_prompt_beside(payment: Payment) -> None:
    """Ask nobody twice: a head's prompt asks for its companions too. Both lock the companion first.

    :raises PushOpen: one is open for the payment's head, or for a companion
    """
    beside = Q(payment=payment.head_id) if payment.head_id else Q(payment__head=payment.pk)
    if StkPush.objects.filter(beside, status__in=OPEN_PUSH).exists():
        raise PushOpen("A payment request that asks for this too is already on a phone. Answer it first, or wait.")


def _count_asking(payment: Payment, by_id: int | None, now: datetime) -> None:
    """Let a person ask a few phones, staff many; what is rolled back does not count.

    Who asks for another's payment is staff: see PaymentVerbView and subscribe_as.

    :raises PushTooSoon: with the seconds to wait
    """
    if by_id is None:
        return
    most = MOST_OF_OWN if by_id == payment.payer_id else MOST_BY_STAFF
    try:
        throttling.count(f"push:{by_id}", most, ASKER_WINDOW, now)
    except TooMany as error:
        message = "You sent too many payment requests. Please wait a while."
        raise PushTooSoon(message, retry_after=error.retry_after) from None


def _require_a_pause(phone: str, now: datetime) -> None:
    """Let a phone rest. Two requests at once cannot both pass: only one push may be open on a phone.

    :raises PushTooSoon: with the seconds to wait
    """
    recent = list(
        StkPush.objects.filter(phone=phone, created_at__gt=now - PHONE_WINDOW).exclude(status=S.SUCCEEDED)
        .order_by("-created_at").values_list("created_at", "ended_at", "result_code", "status")[:MOST_PER_PHONE]
    )  # fmt: skip
    if not recent or recent[0][3] in OPEN_PUSH:
        return  # the constraint says it better
    _, ended_at, code, _ = recent[0]
    if ended_at and (rested_at := ended_at + result_codes.wait(code)) > now:
        raise PushTooSoon(result_codes.advice(code), retry_after=_seconds(rested_at - now))
    if len(recent) == MOST_PER_PHONE:
        raise PushTooSoon(retry_after=_seconds(recent[-1][0] + PHONE_WINDOW - now))


def _seconds(wait: timedelta) -> int:
    return int(wait.total_seconds()) + 1
