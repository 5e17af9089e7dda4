"""Asking Safaricom what became of an M-Pesa code (Transaction Status). The one place that writes a CodeCheck.

A member claims a code, its confirmation never came, and staff (or a job) ask. Row, call and record are separate
commits, as with a prompt; but the question moves no money, so it may be asked again at any time. The answer comes
later, to an address with a secret token, and passes the inbox like every callback.
"""

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.urls import reverse
from procrastinate.contrib.django import app as jobs

from api.errors import Conflict
from payments.daraja import callback_tokens, client, limits
from payments.daraja.errors import Busy, DarajaError, NotSent, Unknown
from payments.daraja.messages import C2bMessage, StatusResult
from payments.desk import reported_codes
from payments.evidence import c2b_confirmations
from payments.evidence.outcomes import EvidenceOutcome, our_shortcodes
from payments.models import (
    OPEN_CHECK,
    CallbackOutcome,
    CodeCheck,
    CodeCheckStatus,
    CodeClaim,
    Receipt,
    ReviewReason,
)
from payments.services import review_items

logger = logging.getLogger(__name__)

S = CodeCheckStatus
UNKNOWN_CODE = "25"  # of Transaction Status: no such transaction, or a malformed parameter
COMPLETED = "completed"
# States of M-Pesa after which no money of the transaction is left with us. Any other word decides nothing.
WITHOUT_MONEY = {"cancelled", "canceled", "declined", "expired", "failed", "reversed"}
# How long an answer is waited for; one that comes later still counts.
PATIENCE = timedelta(minutes=15)
# When a claim that nothing has answered is asked about by itself, counted from the claim.
ASK_AFTER = (timedelta(minutes=5), timedelta(hours=1), timedelta(hours=24))
OLDEST_CLAIM = timedelta(days=7)
BATCH = 500


class NotSetUp(Conflict):
    """Transaction Status needs an API operator of the shortcode."""

    code = "code_checks_not_set_up"
    message = "M-Pesa cannot be asked about codes here: set DARAJA_INITIATOR and DARAJA_SECURITY_CREDENTIAL."


# --- Asked ----------------------------------------------------------------------------------------


def is_set_up() -> bool:
    """Say whether Safaricom would know who asks."""
    return bool(settings.DARAJA_INITIATOR and settings.DARAJA_SECURITY_CREDENTIAL)


@transaction.atomic
def request_check(*, code: str, by_id: int | None, now: datetime) -> CodeCheck:
    """Leave a question about an M-Pesa code for the worker to ask. While one is open, this is the one.

    A code that stands in the books may be asked about too: that tells of a reversal.

    :raises desk.InvalidCode: it is no M-Pesa code
    :raises NotSetUp: the settings for it are missing
    """
    code = reported_codes.normalise_code(code)
    if not is_set_up():
        raise NotSetUp
    try:
        with transaction.atomic():
            check = CodeCheck.objects.create(code=code, asked_by_id=by_id, created_at=now)
    except IntegrityError:
        return CodeCheck.objects.get(code=code, status__in=OPEN_CHECK)
    jobs.configure_task("payments.ask_about_code").defer(check_id=check.pk)
    return check


def ask(*, check_id: int, now: datetime) -> None:
    """Ask Safaricom, when the question still waits. Twice asks twice at worst, which moves nothing.

    :raises Busy: too many calls; the job is to come again
    :raises NotSent: Safaricom cannot be reached; the job is to come again
    """
    check = CodeCheck.objects.filter(pk=check_id, status__in=OPEN_CHECK).first()
    if check is None:
        return
    limits.enter(urgent=False)
    token = callback_tokens.draw()
    # Committed before the call: the answer may overtake it.
    CodeCheck.objects.filter(pk=check_id, status__in=OPEN_CHECK).update(
        status=S.ASKED, token_hash=callback_tokens.hash_of(token), conversation_id=""
    )
    try:
        conversation = client.request_transaction_status(
            receipt_code=check.code,
            result_url=settings.PUBLIC_URL + reverse("payments:code-check-result", args=[token]),
            timeout_url=settings.PUBLIC_URL + reverse("payments:code-check-timeout", args=[token]),
        )
    except (Busy, NotSent):
        CodeCheck.objects.filter(pk=check_id, status=S.ASKED).update(status=S.WAITING)
        raise
    except Unknown as error:
        logger.warning("Check %s: it is not known whether Safaricom took the question: %s", check_id, error)
    except DarajaError as error:
        logger.warning("Check %s was refused: %s", check_id, error)
        _end_open(Q(pk=check_id), said="Safaricom refused the question; tell the operator.", now=now)
    else:
        CodeCheck.objects.filter(pk=check_id, status__in=OPEN_CHECK).update(conversation_id=conversation[:64])


# --- Answered -------------------------------------------------------------------------------------


@transaction.atomic
def apply_result(
    *, check_id: int, result: StatusResult, now: datetime, callback_id: int | None = None
) -> EvidenceOutcome:
    """Act on Safaricom's answer: completed money of ours becomes a receipt, once; anything else ends the claim.

    Twice changes nothing. An answer that comes after we stopped waiting still counts, and money that was found is
    never lost again.
    """
    # Money first: members, payments and receipts are locked before the check, which only this module locks.
    check = CodeCheck.objects.get(pk=check_id)
    why = _is_of_another_question(check, result)
    if why:
        review_items.open_item(reason=ReviewReason.AMOUNT_DIFFERS, detail=why, callback_id=callback_id, now=now)
        return EvidenceOutcome(CallbackOutcome.REVIEW, why)
    if check.status == S.FOUND:
        return EvidenceOutcome(CallbackOutcome.DUPLICATE)
    state = result.state.lower()
    if result.result_code == "0" and state == COMPLETED and result.paid_to in our_shortcodes():
        return _apply_money(check, result, callback_id=callback_id, now=now)
    status, said = _meaning(result, state)
    if state == "reversed":
        _tell_of_reversal(check.code, callback_id=callback_id, now=now)
    changed = _end_open(Q(pk=check_id), status=status, said=said, result_code=result.result_code, now=now)
    if not changed and check.status == S.UNCLEAR and status == S.NO_MONEY:
        changed = CodeCheck.objects.filter(pk=check_id, status=S.UNCLEAR).update(
            status=status, said=said, result_code=result.result_code, ended_at=now
        )
    if changed and status == S.NO_MONEY:
        reported_codes.end_code(code=check.code, why=said, now=now)
    return EvidenceOutcome(CallbackOutcome.APPLIED if changed else CallbackOutcome.DUPLICATE)


@transaction.atomic
def note_timeout(*, check_id: int, now: datetime) -> EvidenceOutcome:
    """Note that the question expired in Safaricom's queue: no answer, and no reason to end a claim."""
    changed = _end_open(Q(pk=check_id), said="Safaricom was too busy to look; ask again.", now=now)
    return EvidenceOutcome(CallbackOutcome.APPLIED if changed else CallbackOutcome.DUPLICATE)


def _apply_money(check: CodeCheck, result: StatusResult, *, callback_id: int | None, now: datetime) -> EvidenceOutcome:
    message = C2bMessage(
        code=result.code,
        moved_at=result.moved_at,
        amount=result.amount,
        shortcode=result.paid_to,
        account="",
        sender=result.sender,
        payer_name=result.payer_name,
        transaction_type=result.kind,
        third_party_id="",
    )
    applied = c2b_confirmations.apply_c2b(message=message, now=now, callback_id=callback_id, from_code_check=True)
    if applied.outcome == CallbackOutcome.REVIEW:
        said = "Its amount is not the one in our books; see the review item."
        _end_open(Q(pk=check.pk), said=said, result_code=result.result_code, now=now)
        return applied
    receipt = Receipt.objects.get(code=result.code)
    reported_codes.settle_code(code=result.code, receipt_id=receipt.pk, by_id=check.asked_by_id, now=now)
    CodeCheck.objects.filter(pk=check.pk).update(
        status=S.FOUND,
        receipt=receipt,
        said=f"KES {receipt.amount:,} came with this code; it is in the books.",
        result_code=result.result_code,
        ended_at=now,
    )
    return applied


def _is_of_another_question(check: CodeCheck, result: StatusResult) -> str:
    """Say why a result does not belong to the check whose address it came to; empty when it does."""
    if check.conversation_id and result.conversation_id != check.conversation_id:
        return "The result names another question than the one it was sent to."
    if result.result_code == "0" and result.code != check.code:
        return f"The result of a question about {check.code} tells of another code."
    return ""


def _meaning(result: StatusResult, state: str) -> tuple[CodeCheckStatus, str]:
    """Return what a result without money for us means, and its sentence for staff."""
    if result.result_code == UNKNOWN_CODE:
        return S.NO_MONEY, "M-Pesa does not know this code."
    if result.result_code != "0":
        return S.UNCLEAR, f"Safaricom did not look it up (result {result.result_code}); tell the operator."
    if state in WITHOUT_MONEY:
        return S.NO_MONEY, f"M-Pesa says this payment was {state}."
    if state == COMPLETED:
        return S.NO_MONEY, "This code is a payment to somebody else."
    return S.UNCLEAR, f"M-Pesa calls this payment {result.state[:40]}: not finished; ask again later."


def _tell_of_reversal(code: str, *, callback_id: int | None, now: datetime) -> None:
    """Let a person record that money which stands in our books went back."""
    receipt = Receipt.objects.filter(code=code, reversed_at__isnull=True).first()
    if receipt is not None:
        detail = f"M-Pesa says that code {code} was reversed, and it stands in the books. Record the reversal."
        review_items.open_item(
            reason=ReviewReason.CONTRADICTION, detail=detail, receipt_id=receipt.pk, callback_id=callback_id, now=now
        )


def _end_open(
    which: Q, *, said: str, now: datetime, status: CodeCheckStatus = CodeCheckStatus.UNCLEAR, result_code: str = ""
) -> int:
    """End checks that are open; return how many were."""
    return CodeCheck.objects.filter(which, status__in=OPEN_CHECK).update(
        status=status, said=said[:160], result_code=result_code, ended_at=now
    )


# --- From time to time ----------------------------------------------------------------------------


def end_silent(*, now: datetime) -> int:
    """Stop waiting for answers that do not come; return for how many."""
    said = "Safaricom did not answer; ask again."
    return _end_open(Q(created_at__lte=now - PATIENCE), said=said, now=now)


def check_claims(*, now: datetime) -> int:
    """Settle claims whose money is here, and ask about those that nothing answers; return how many were asked about.

    A claim is asked about three times at most, ever more slowly; staff may ask at any time.
    """
    waiting = CodeClaim.objects.filter(
        receipt=None, ended_at=None, claimed_at__lte=now - ASK_AFTER[0], claimed_at__gt=now - OLDEST_CLAIM
    )
    asked = 0
    for claim in waiting.order_by("claimed_at")[:BATCH]:
        try:
            asked += _check_claim(claim, now=now)
        except Exception:
            logger.exception("Claim %s could not be looked into; the next run tries again.", claim.pk)
    return asked


def _check_claim(claim: CodeClaim, *, now: datetime) -> bool:
    receipt_id = Receipt.objects.filter(code=claim.code).values_list("pk", flat=True).first()
    if receipt_id is not None:
        reported_codes.settle_code(code=claim.code, receipt_id=receipt_id, by_id=claim.claimed_by_id, now=now)
        return False
    times = CodeCheck.objects.filter(code=claim.code, created_at__gte=claim.claimed_at).count()
    if not is_set_up() or times >= len(ASK_AFTER) or now < claim.claimed_at + ASK_AFTER[times]:
        return False
    request_check(code=claim.code, by_id=None, now=now)
    return True
