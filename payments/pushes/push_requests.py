"""Requests for an STK push: may a push be sent to this phone now?"""

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

# Unanswered pushes to one phone, whoever requests them: more would be harassment.
MAX_PER_PHONE = 3
PHONE_WINDOW = timedelta(minutes=10)
# Pushes that one person requests, to any phones, so that strangers' phones are not disturbed.
MAX_PER_PAYER = 10
MAX_PER_STAFF = 200
REQUESTER_WINDOW = 60 * 60  # seconds


class PushOpen(Conflict):
    """A push is open for this payment, or on this phone."""

    code, message = "push_open", "A payment request is already on this phone. Answer it first, or wait a minute."


class PushTooSoon(TooMany):
    """M-Pesa requires a pause before the next push to this phone, or too many pushes were requested."""

    code = "push_too_soon"
    message = "This phone got too many payment requests. Please wait a few minutes."


class AmountOverLimit(Conflict):
    """The amount is more than M-Pesa moves in one payment."""

    code = "amount_over_limit"
    message = "M-Pesa does not allow this amount in one payment. Please ask the front desk."


@transaction.atomic
def request_push(*, payment_id: int, phone: str, created_by_id: int | None, now: datetime) -> StkPush:
    """Create a push for the worker to send, and set the payment to `processing`. `phone` is 2547XXXXXXXX.

    The push asks for what the payment and the other payments of its group still owe, in whole KES.

    :raises PushOpen: a push is open for the payment, for its group, or on the phone
    :raises PushTooSoon: M-Pesa requires a pause, or the phone or the requester has reached a limit
    :raises AmountOverLimit: the amount is more than M-Pesa moves in one payment
    :raises InvalidTransition: no push may be sent for the payment, or nothing is owed
    :raises PaymentNotFound: no such payment
    """
    payment = locks.lock_payment(payment_id)
    push_progress.mark_push_requested(payment, now)
    _require_no_open_push_in_group(payment)
    amount = owed_by_group(payment)
    if amount < 1:
        raise transitions.InvalidTransition
    if amount > settings.MPESA_MAX_AMOUNT:
        raise AmountOverLimit
    _require_pause(phone, now)
    try:
        with transaction.atomic():
            push = StkPush.objects.create(
                payment=payment, phone=phone, amount=amount, created_by_id=created_by_id, created_at=now
            )
    except IntegrityError as error:
        if "push_open_once_per" in str(error):  # the names of the two constraints
            raise PushOpen from None
        raise
    _count_request(payment, created_by_id, now)
    queue_send(push.pk)
    return push


def queue_send(push_id: int) -> None:
    """Queue the job that sends a push; it commits with the caller's transaction."""
    jobs.configure_task("payments.send_push").defer(push_id=push_id)


def _require_no_open_push_in_group(payment: Payment) -> None:
    """Check that no push asks for this payment already: the push of a group payment asks for the whole group.

    Two requests at once cannot both pass, because both lock the payment that they share.

    :raises PushOpen: a push is open for the group payment, or for another payment of the group
    """
    in_group = Q(payment=payment.head_id) if payment.head_id else Q(payment__head=payment.pk)
    if StkPush.objects.filter(in_group, status__in=OPEN_PUSH).exists():
        raise PushOpen("A payment request for this is already on a phone. Answer it first, or wait a minute.")


def _count_request(payment: Payment, requester_id: int | None, now: datetime) -> None:
    """Count a request of a person, with a higher limit for staff. A transaction that is rolled back does not count.

    Whoever requests a push for another person's payment is staff: PaymentPushView and request_purchase check it.

    :raises PushTooSoon: the limit is reached; it carries the seconds to wait
    """
    if requester_id is None:
        return
    limit = MAX_PER_PAYER if requester_id == payment.payer_id else MAX_PER_STAFF
    try:
        throttling.count(f"push:{requester_id}", limit, REQUESTER_WINDOW, now)
    except TooMany as error:
        message = "You sent too many payment requests. Please wait a while."
        raise PushTooSoon(message, retry_after=error.retry_after) from None


def _require_pause(phone: str, now: datetime) -> None:
    """Check that this phone may get a push now. Two requests at once cannot both pass: one push is open on a phone.

    :raises PushTooSoon: the phone must rest; it carries the seconds to wait
    """
    recent = list(
        StkPush.objects.filter(phone=phone, created_at__gt=now - PHONE_WINDOW).exclude(status=S.SUCCEEDED)
        .order_by("-created_at").values_list("created_at", "ended_at", "result_code", "status")[:MAX_PER_PHONE]
    )  # fmt: skip
    if not recent or recent[0][3] in OPEN_PUSH:
        return  # an open push breaks the constraint, whose error has the better message
    _, ended_at, code, _ = recent[0]
    if ended_at and (rested_at := ended_at + result_codes.pause_after(code)) > now:
        raise PushTooSoon(result_codes.advice(code), retry_after=_seconds(rested_at - now))
    if len(recent) == MAX_PER_PHONE:
        raise PushTooSoon(retry_after=_seconds(recent[-1][0] + PHONE_WINDOW - now))


def _seconds(wait: timedelta) -> int:
    return int(wait.total_seconds()) + 1
