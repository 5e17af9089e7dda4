"""A prompt is sent by one worker alone, and what Safaricom answers is recorded. It is never sent twice."""

import logging
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, OperationalError, connection, transaction
from django.urls import reverse

from payments.daraja import callback_tokens, client, limits
from payments.daraja.errors import Busy, DarajaError, NotSent, Unknown
from payments.daraja.messages import PushAccepted
from payments.failpoints import reach
from payments.models import PushStatus, ReviewReason, StkPush
from payments.pushes.closing import end_without_money, fail_unsent
from payments.pushes.queries import CHECK_AFTER, NO_ID_WAIT, report_contradiction
from payments.pushes.rows import lock, owed_by_group, requested_at
from payments.services import review_items, transitions

logger = logging.getLogger(__name__)

S = PushStatus

# A prompt that comes later than this after it was asked for would surprise the person.
LATEST_SEND = timedelta(minutes=2)
RECORD_TRIES = 5  # seconds apart: 0.5, 1, 2, 4


@dataclass(frozen=True, slots=True)
class Claim:
    """What one worker alone may now ask Safaricom."""

    push_id: int
    phone: str
    amount: int
    reference: str
    description: str
    token: str


def send(*, push_id: int, now: datetime) -> None:
    """Send a push that waits, and record what became of it; a push that another has claimed is left alone.

    :raises Busy: nothing was sent; the push waits, and the job is to come again
    """
    waiting = StkPush.objects.filter(pk=push_id, status=S.CREATED).values_list("created_at", flat=True).first()
    if waiting is None:
        return
    if waiting + LATEST_SEND <= now:
        fail_unsent(push_id=push_id, code="busy", why="It could not be sent in time.", now=now)
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
    push = lock(push_id)
    if push.status != S.CREATED:
        return None
    owed = owed_by_group(push.payment) if push.payment.status in transitions.ACCEPTS_PUSH else 0
    if owed < 1:
        end_without_money(push, status=S.CANCELLED, code="withdrawn", why="There was nothing left to pay.", now=now)
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
                _write_outcome(lock(push_id), outcome, now=now)
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
        push.status, push.result_desc, push.next_check_at = S.UNKNOWN, str(outcome)[:255], now + NO_ID_WAIT
        push.save(update_fields=["status", "result_desc", "next_check_at"])
    else:
        logger.warning("Push %s was not sent: %s", push.pk, outcome)
        end_without_money(push, status=S.FAILED, code=outcome.code, why=str(outcome), now=now)


def _name(push: StkPush, accepted: PushAccepted, *, now: datetime) -> None:
    """Write the names Safaricom gave a push; when its callback was quicker, that is all there is to write."""
    if push.checkout_request_id not in (None, accepted.checkout_request_id):
        report_contradiction(
            push_id=push.pk, why="Safaricom names this prompt otherwise than the callback that paid it.", now=now
        )
    push.merchant_request_id, push.checkout_request_id = accepted.merchant_request_id, accepted.checkout_request_id
    fields = ["merchant_request_id", "checkout_request_id"]
    if push.status in (S.SENDING, S.UNKNOWN):
        push.status, push.result_desc = S.SENT, ""
        push.next_check_at = requested_at(push) + CHECK_AFTER[0]
        fields += ["status", "result_desc", "next_check_at"]
    try:
        with transaction.atomic():
            push.save(update_fields=fields)
    except IntegrityError:  # Safaricom gave one name twice
        detail = "Safaricom named this prompt as it had named another. Its callback will still find it."
        review_items.open_item(reason=ReviewReason.CONTRADICTION, detail=detail, push_id=push.pk, now=now)
        StkPush.objects.filter(pk=push.pk, status=S.SENDING).update(
            status=S.UNKNOWN, next_check_at=now + NO_ID_WAIT, result_desc=detail
        )
