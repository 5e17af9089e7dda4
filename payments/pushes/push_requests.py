"""A prompt is asked for: may this phone be asked now?"""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from procrastinate.contrib.django import app as jobs

from api import throttling
from api.errors import Conflict, TooMany
from payments.daraja import result_codes
from payments.models import OPEN_PUSH, Payment, PushStatus, StkPush
from payments.pushes.rows import owed_by_group
from payments.services import locks, push_progress, transitions

S = PushStatus

# Prompts on one phone, whoever asks: more is harassment.
MOST_PER_PHONE = 3
PHONE_WINDOW = timedelta(minutes=10)
# Prompts one person asks for, on whatever phones: strangers' phones are not to be played with.
MOST_OF_OWN = 10
MOST_BY_STAFF = 200
ASKER_WINDOW = 60 * 60  # seconds


class PushOpen(Conflict):
    """A prompt is open for this payment, or on this phone."""

    code, message = "push_open", "A payment request is already on this phone. Answer it first, or wait a minute."


class PushTooSoon(TooMany):
    """M-Pesa asks for a pause before this phone is prompted again, or it was prompted too often."""

    code, message = "push_too_soon", "This phone was asked too often. Please wait a few minutes."


class AmountOverLimit(Conflict):
    """M-Pesa moves no such amount in one payment."""

    code, message = "amount_over_limit", "M-Pesa does not allow this amount in one payment."


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
    payment = locks.lock_payment(payment_id)
    push_progress.mark_push_requested(payment, now)
    _require_no_prompt_beside(payment)
    amount = owed_by_group(payment)
    if amount < 1:
        raise transitions.InvalidTransition
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


def _require_no_prompt_beside(payment: Payment) -> None:
    """Ask nobody twice: a head's prompt asks for its companions too. Both lock the companion first.

    :raises PushOpen: one is open for the payment's head, or for a companion
    """
    beside = Q(payment=payment.head_id) if payment.head_id else Q(payment__head=payment.pk)
    if StkPush.objects.filter(beside, status__in=OPEN_PUSH).exists():
        raise PushOpen("A payment request that asks for this too is already on a phone. Answer it first, or wait.")


def _count_asking(payment: Payment, by_id: int | None, now: datetime) -> None:
    """Let a person ask a few phones, staff many; what is rolled back does not count.

    Who asks for another's payment is staff: see PaymentVerbView and request_purchase.

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
