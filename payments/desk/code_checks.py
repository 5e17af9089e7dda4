"""Code checks: questions to Safaricom about an M-Pesa code (Transaction Status). Only this module writes a CodeCheck.

A payer reported a code at the desk, and its confirmation has not arrived. Then staff, or a job, ask Safaricom. Row,
call and record are separate commits, as with an STK push. But the question moves no money, so it may be asked again at
any time. The answer arrives later, at a URL with a secret token, and goes through the callback inbox.
"""

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q, Sum
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
    Account,
    CallbackOutcome,
    CodeCheck,
    CodeCheckStatus,
    CodeClaim,
    Receipt,
    ReviewItem,
    ReviewReason,
    ReviewStatus,
)
from payments.services import review_items

logger = logging.getLogger(__name__)

S = CodeCheckStatus
UNKNOWN_CODE = "25"  # result code of Transaction Status: no such transaction, or a malformed parameter
COMPLETED = "completed"
# States in which M-Pesa left none of the money with us. A state that is not listed decides nothing.
WITHOUT_MONEY = {"cancelled", "canceled", "declined", "expired", "failed", "reversed"}
# A check without an answer ends after this time. An answer that arrives later is still applied.
ANSWER_TIMEOUT = timedelta(minutes=15)
# When the job asks about a reported code that no money has arrived for, counted from the report.
ASK_AFTER = (timedelta(minutes=5), timedelta(hours=1), timedelta(hours=24))
OLDEST_REPORT = timedelta(days=7)
BATCH = 500


class NotConfigured(Conflict):
    """The settings for Transaction Status, which needs an API operator of the shortcode, are missing."""

    code = "code_checks_not_set_up"
    message = "Code checks are not set up. Set DARAJA_INITIATOR and DARAJA_SECURITY_CREDENTIAL."


# --- Asking ---------------------------------------------------------------------------------------


def is_configured() -> bool:
    """Return whether the settings name the API operator that asks."""
    return bool(settings.DARAJA_INITIATOR and settings.DARAJA_SECURITY_CREDENTIAL)


@transaction.atomic
def request_check(*, code: str, by_id: int | None, now: datetime) -> CodeCheck:
    """Create a check of an M-Pesa code, which the worker sends. While one is open for the code, return that one.

    A code that has a receipt may be checked too; the answer reports a reversal. `by_id` is None for a job.

    :raises reported_codes.InvalidCode: it is not an M-Pesa code
    :raises NotConfigured: the settings for it are missing
    """
    code = reported_codes.normalise_code(code)
    if not is_configured():
        raise NotConfigured
    try:
        with transaction.atomic():
            check = CodeCheck.objects.create(code=code, asked_by_id=by_id, created_at=now)
    except IntegrityError:
        return CodeCheck.objects.get(code=code, status__in=OPEN_CHECK)
    jobs.configure_task("payments.ask_about_code").defer(check_id=check.pk)
    return check


def send(*, check_id: int, now: datetime) -> None:
    """Send an open check to Safaricom. Sent again, it asks again, which moves no money.

    :raises Busy: too many calls; the job tries again
    :raises NotSent: Safaricom cannot be reached; the job tries again
    """
    check = CodeCheck.objects.filter(pk=check_id, status__in=OPEN_CHECK).first()
    if check is None:
        return
    limits.acquire(urgent=False)
    token = callback_tokens.generate()
    # Committed before the call, because the answer may arrive before the call returns.
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
        logger.warning("Code check %s: it is not known whether Safaricom accepted it: %s", check_id, error)
    except DarajaError as error:
        logger.warning("Code check %s was refused: %s", check_id, error)
        _end_open(Q(pk=check_id), said="Safaricom refused the code check. Tell the operator.", now=now)
    else:
        CodeCheck.objects.filter(pk=check_id, status__in=OPEN_CHECK).update(conversation_id=conversation[:64])


# --- Answers --------------------------------------------------------------------------------------


@transaction.atomic
def apply_result(
    *, check_id: int, result: StatusResult, now: datetime, callback_id: int | None = None
) -> EvidenceOutcome:
    """Apply Safaricom's answer. Completed money of ours becomes a receipt; without money the reported code ends.

    The same answer again changes nothing. An answer after the timeout still counts. Money that a check has found is
    not undone by a later answer.
    """
    # The row of the check is not locked: apply_c2b locks members, payments and receipts first.
    check = CodeCheck.objects.get(pk=check_id)
    problem = _mismatch(check, result)
    if problem:
        review_items.open_item(reason=ReviewReason.AMOUNT_DIFFERS, detail=problem, callback_id=callback_id, now=now)
        return EvidenceOutcome(CallbackOutcome.REVIEW, problem)
    if check.status == S.FOUND:
        return EvidenceOutcome(CallbackOutcome.DUPLICATE)
    state = result.state.lower()
    if result.result_code == "0" and state == COMPLETED and result.paid_to in our_shortcodes():
        return _apply_money(check, result, callback_id=callback_id, now=now)
    status, said = _meaning(result, state)
    if state == "reversed":
        _report_reversal(check.code, callback_id=callback_id, now=now)
    changed = _end_open(Q(pk=check_id), status=status, said=said, result_code=result.result_code, now=now)
    if not changed and check.status == S.UNCLEAR and status == S.NO_MONEY:
        changed = CodeCheck.objects.filter(pk=check_id, status=S.UNCLEAR).update(
            status=status, said=said, result_code=result.result_code, ended_at=now
        )
    if changed and status == S.NO_MONEY:
        reported_codes.end_code(code=check.code, why=said, now=now)
    return EvidenceOutcome(CallbackOutcome.APPLIED if changed else CallbackOutcome.DUPLICATE)


@transaction.atomic
def apply_timeout(*, check_id: int, now: datetime) -> EvidenceOutcome:
    """End a check that expired in Safaricom's queue. That is no answer, so the reported code stays open."""
    changed = _end_open(Q(pk=check_id), said="Safaricom was too busy to check the code. Ask again.", now=now)
    return EvidenceOutcome(CallbackOutcome.APPLIED if changed else CallbackOutcome.DUPLICATE)


def _apply_money(check: CodeCheck, result: StatusResult, *, callback_id: int | None, now: datetime) -> EvidenceOutcome:
    """Apply completed money as a C2B confirmation without an account, then settle the reported code."""
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
        cents=result.cents,
    )
    applied = c2b_confirmations.apply_c2b(message=message, now=now, callback_id=callback_id, from_code_check=True)
    if applied.outcome == CallbackOutcome.REVIEW:
        said = "The amount differs from the one in our books. See the review item."
        _end_open(Q(pk=check.pk), said=said, result_code=result.result_code, now=now)
        return applied
    receipt = Receipt.objects.get(code=result.code)
    reported_codes.settle_code(code=result.code, receipt_id=receipt.pk, by_id=check.asked_by_id, now=now)
    CodeCheck.objects.filter(pk=check.pk).update(
        status=S.FOUND,
        receipt=receipt,
        said=f"KES {receipt.amount:,} was paid with this code. It is in the books.",
        result_code=result.result_code,
        ended_at=now,
    )
    return applied


def _mismatch(check: CodeCheck, result: StatusResult) -> str:
    """Return why a result does not belong to the check that its token found; empty when it does."""
    if check.conversation_id and result.conversation_id != check.conversation_id:
        return "The result names another code check than the one that it was sent to."
    if result.result_code == "0" and result.code != check.code:
        return f"The result of a check of {check.code} is about another code."
    return ""


def _meaning(result: StatusResult, state: str) -> tuple[CodeCheckStatus, str]:
    """Return the status for a result without money for us, and a sentence for staff."""
    if result.result_code == UNKNOWN_CODE:
        return S.NO_MONEY, "M-Pesa does not know this code."
    if result.result_code != "0":
        return S.UNCLEAR, f"Safaricom did not check the code (result {result.result_code}). Tell the operator."
    if state in WITHOUT_MONEY:
        return S.NO_MONEY, f"M-Pesa says this payment was {state}."
    if state == COMPLETED:
        return S.NO_MONEY, "This code is of a payment to another receiver."
    return S.UNCLEAR, f"M-Pesa says this payment is {result.state[:40]}, so it is not finished. Ask again later."


def _report_reversal(code: str, *, callback_id: int | None, now: datetime) -> None:
    """Open a review item when M-Pesa has reversed money that is in our books."""
    receipt = Receipt.objects.filter(code=code, reversed_at__isnull=True).first()
    if receipt is not None and not _is_recorded_as_refund(receipt):
        detail = f"M-Pesa says that code {code} was reversed, but it is in the books. Record the reversal."
        review_items.open_item(
            reason=ReviewReason.CONTRADICTION, detail=detail, receipt_id=receipt.pk, callback_id=callback_id, now=now
        )


def _is_recorded_as_refund(receipt: Receipt) -> bool:
    """Return whether staff have recorded that M-Pesa returned all of a receipt's money."""
    refunds = receipt.refunds.filter(paid_from=Account.MPESA)
    return refunds.aggregate(total=Sum("amount", default=0))["total"] == receipt.amount


def _end_open(
    which: Q, *, said: str, now: datetime, status: CodeCheckStatus = CodeCheckStatus.UNCLEAR, result_code: str = ""
) -> int:
    """End the open ones of some checks. Return how many were open."""
    return CodeCheck.objects.filter(which, status__in=OPEN_CHECK).update(
        status=status, said=said[:160], result_code=result_code, ended_at=now
    )


# --- The periodic job -----------------------------------------------------------------------------


def end_unanswered(*, now: datetime) -> int:
    """End the checks that got no answer in time. Return how many."""
    said = "Safaricom did not answer. Ask again."
    clock_was_set_back = Q(created_at__gt=now + ANSWER_TIMEOUT)
    return _end_open(Q(created_at__lte=now - ANSWER_TIMEOUT) | clock_was_set_back, said=said, now=now)


def check_reported_codes(*, now: datetime) -> int:
    """Settle reported codes whose money has arrived, and check those without. Return how many checks were requested.

    The job checks a code three times at most, after longer and longer times. Staff may check it at any time.
    """
    waiting = CodeClaim.objects.filter(
        receipt=None, ended_at=None, claimed_at__lte=now - ASK_AFTER[0], claimed_at__gt=now - OLDEST_REPORT
    )
    requested = 0
    for reported in waiting.order_by("claimed_at")[:BATCH]:
        try:
            requested += _check_reported_code(reported, now=now)
        except Exception:
            logger.exception("Reported code %s could not be checked. The next run tries again.", reported.pk)
    return requested


def check_held_codes(*, now: datetime) -> int:
    """Check the codes of held money. Return how many checks were requested.

    Money in doubt about a push is checked once, because the answer may name the sender's phone. Money with cents is
    checked until Safaricom has answered, three times at most.
    """
    if not is_configured():
        return 0
    with_cents = ReviewItem.objects.filter(reason=ReviewReason.AMOUNT_WITH_CENTS, status=ReviewStatus.OPEN)
    requested = sum(_check_with_cents(item, now=now) for item in with_cents.select_related("receipt")[:BATCH])
    held = ReviewItem.objects.filter(reason=ReviewReason.POSSIBLE_DOUBLE, status=ReviewStatus.OPEN)
    codes = Receipt.objects.filter(review_items__in=held, code__isnull=False).values_list("code", flat=True).distinct()
    typed = [code for code in codes[:BATCH] if code and reported_codes.TYPED_CODE.fullmatch(code)]
    unchecked = [code for code in typed if not CodeCheck.objects.filter(code=code).exists()]
    for code in unchecked:
        request_check(code=code, by_id=None, now=now)
    return requested + len(unchecked)


def _check_with_cents(item: ReviewItem, *, now: datetime) -> bool:
    """Request the check of an item's code when it is due: at once, then later and later. Return whether it was."""
    code = (item.receipt and item.receipt.code) or ""
    earlier = list(CodeCheck.objects.filter(code=code).values_list("status", flat=True))
    due = [item.created_at, *(item.created_at + after for after in ASK_AFTER[1:])]
    is_answered = any(status != S.UNCLEAR for status in earlier)
    if (
        is_answered
        or len(earlier) >= len(due)
        or now < due[len(earlier)]
        or not reported_codes.TYPED_CODE.fullmatch(code)
    ):
        return False
    request_check(code=code, by_id=None, now=now)
    return True


def _check_reported_code(reported: CodeClaim, *, now: datetime) -> bool:
    """Settle a reported code, or request its check when it is due. Return whether a check was requested."""
    receipt_id = Receipt.objects.filter(code=reported.code).values_list("pk", flat=True).first()
    if receipt_id is not None:
        reported_codes.settle_code(code=reported.code, receipt_id=receipt_id, by_id=reported.claimed_by_id, now=now)
        return False
    times = CodeCheck.objects.filter(code=reported.code, created_at__gte=reported.claimed_at).count()
    if not is_configured() or times >= len(ASK_AFTER) or now < reported.claimed_at + ASK_AFTER[times]:
        return False
    request_check(code=reported.code, by_id=None, now=now)
    return True
