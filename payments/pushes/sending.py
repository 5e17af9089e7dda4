"""Sending an STK push: one worker claims it, calls Safaricom, and records the answer. No push is sent twice."""

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
from payments.models import PushStatus, StkPush
from payments.pushes.closing import end_without_money, fail_unsent
from payments.pushes.queries import NO_ID_WAIT, QUERY_AFTER, report_contradiction
from payments.pushes.rows import lock, owed_by_group, sent_or_created_at
from payments.services import transitions

logger = logging.getLogger(__name__)

S = PushStatus

# A push that arrives later than this after its request would surprise the person.
MAX_SEND_DELAY = timedelta(minutes=2)
RECORD_ATTEMPTS = 5  # seconds between them: 0.5, 1, 2, 4


@dataclass(frozen=True, slots=True)
class ClaimedPush:
    """The content of a push that one worker has claimed, and that only this worker may send."""

    push_id: int
    phone: str
    amount: int
    reference: str
    description: str
    token: str


def send(*, push_id: int, now: datetime) -> None:
    """Send a created push and record the outcome. A push that another worker has claimed is not changed.

    A push that is too old to be sent fails.

    :raises Busy: nothing was sent; the push stays created, and the job must run again
    """
    created_at = StkPush.objects.filter(pk=push_id, status=S.CREATED).values_list("created_at", flat=True).first()
    if created_at is None:
        return
    if created_at + MAX_SEND_DELAY <= now:
        fail_unsent(push_id=push_id, result_code="busy", result_desc="It could not be sent in time.", now=now)
        return
    limits.acquire()
    claimed = _claim(push_id, now=now)
    if claimed is None:
        return
    reach("push claimed")
    outcome = _call_safaricom(claimed, now=now)
    reach("push answered")
    _record(push_id, outcome, now=now)
    reach("push recorded")
    if isinstance(outcome, Busy):
        raise outcome


@transaction.atomic
def _claim(push_id: int, *, now: datetime) -> ClaimedPush | None:
    """Claim a push for this worker, with a new callback token; return None if it is not to be sent any more."""
    push = lock(push_id)
    if push.status != S.CREATED:
        return None
    owed = owed_by_group(push.payment) if push.payment.status in transitions.ACCEPTS_PUSH else 0
    if owed < 1:
        end_without_money(
            push, status=S.CANCELLED, result_code="withdrawn", result_desc="There was nothing left to pay.", now=now
        )
        return None
    token = callback_tokens.generate()
    push.status, push.amount, push.token_hash = S.SENDING, owed, callback_tokens.hash_of(token)
    push.sent_at = max(now, push.created_at)  # the clock may have been set back
    push.save(update_fields=["status", "amount", "sent_at", "token_hash"])
    return ClaimedPush(push.pk, push.phone, push.amount, push.payment.reference, push.payment.description, token)


def _call_safaricom(claimed: ClaimedPush, *, now: datetime) -> PushAccepted | DarajaError:
    """Call Safaricom and return its answer or the error; call again once if the first call certainly was not sent."""
    callback_url = settings.PUBLIC_URL + reverse("payments:stk-callback", args=[claimed.token])
    for is_last in (False, True):
        try:
            return client.push_stk(
                phone=claimed.phone,
                amount=claimed.amount,
                reference=claimed.reference,
                description=claimed.description,
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
    """Record the outcome of the call. If the database fails, the record is tried again, but never the call.

    :raises OperationalError: every attempt failed; the push stays `sending` until a periodic job makes it `unknown`
    """
    for attempt in range(RECORD_ATTEMPTS):
        try:
            with transaction.atomic():
                _write_outcome(lock(push_id), outcome, now=now)
            return
        except OperationalError:
            if attempt == RECORD_ATTEMPTS - 1:
                raise
            if not connection.in_atomic_block:
                connection.close()
            time.sleep(0.5 * 2**attempt)


def _write_outcome(push: StkPush, outcome: PushAccepted | DarajaError, *, now: datetime) -> None:
    if isinstance(outcome, PushAccepted):
        _write_accepted(push, outcome, now=now)
    elif push.status not in (S.SENDING, S.UNKNOWN):
        return  # the callback came before this answer
    elif isinstance(outcome, Busy) and push.created_at + MAX_SEND_DELAY > now:
        push.status, push.sent_at, push.token_hash, push.next_check_at = S.CREATED, None, None, None
        push.save(update_fields=["status", "sent_at", "token_hash", "next_check_at"])
    elif isinstance(outcome, Unknown):
        logger.warning("The outcome of push %s is unknown: %s", push.pk, outcome)
        push.status, push.result_desc, push.next_check_at = S.UNKNOWN, str(outcome)[:255], now + NO_ID_WAIT
        push.save(update_fields=["status", "result_desc", "next_check_at"])
    else:
        logger.warning("Push %s was not sent: %s", push.pk, outcome)
        end_without_money(push, status=S.FAILED, result_code=outcome.code, result_desc=str(outcome), now=now)


def _write_accepted(push: StkPush, accepted: PushAccepted, *, now: datetime) -> None:
    """Store Safaricom's request IDs, and set the push to `sent` unless its callback has already ended it."""
    if push.checkout_request_id not in (None, accepted.checkout_request_id):
        detail = "Safaricom's answer to this push and the callback that paid it have different checkout request IDs."
        report_contradiction(push_id=push.pk, detail=detail, now=now)
    push.merchant_request_id, push.checkout_request_id = accepted.merchant_request_id, accepted.checkout_request_id
    fields = ["merchant_request_id", "checkout_request_id"]
    if push.status in (S.SENDING, S.UNKNOWN):
        push.status, push.result_desc = S.SENT, ""
        push.next_check_at = sent_or_created_at(push) + QUERY_AFTER[0]
        fields += ["status", "result_desc", "next_check_at"]
    try:
        with transaction.atomic():
            push.save(update_fields=fields)
    except IntegrityError:  # another push has this checkout request ID
        detail = "Safaricom gave this push the checkout request ID of another push. Its callback still finds it."
        report_contradiction(push_id=push.pk, detail=detail, now=now)
        StkPush.objects.filter(pk=push.pk, status=S.SENDING).update(
            status=S.UNKNOWN, next_check_at=now + NO_ID_WAIT, result_desc=detail
        )
