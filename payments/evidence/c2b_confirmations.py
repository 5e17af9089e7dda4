"""C2B confirmations: money that was paid to the paybill or till, and the decision table for them.

A Transaction Status result that reports completed money is applied in the same way (`from_code_check`). It does not say
what the payer typed as account, so only an STK push or a reported code can name its owner.

The first row that fits applies. "Review" opens a review item with the reason named; in rows 1, 9 and 14 no money
moves. The tests of the rows are in test_c2b, test_cents and test_code_checks.

| | Shortcode and M-Pesa code | Owner of the money (payments.matching) | Action | Outcome |
|---|---|---|---|---|
| 1 | shortcode is not ours | | review: amount_differs | review |
| 2 | code is new; the amount has cents | | unmatched money, held: amount_with_cents | unmatched |
| 3 | code is new; a receipt without a code fits (pairing) | | write the code on it, as a guess | applied |
| 4 | code is new; in doubt with a receipt without a code | | unmatched money, held: possible_double | unmatched |
| 5 | code is new | a payment that is open | `allocate_money`: to it, to other open payments, to credit | applied |
| 6 | code is new | a payment that is cancelled or refunded | credit, and review: late_money for it | applied |
| 7 | code is new | a member | `allocate_money`: to their open payments, to credit | applied |
| 8 | code is new | unknown | unmatched money, and review: unmatched | unmatched |
| 9 | code has a receipt of another amount | | review: code_used_twice | review |
| 10 | code has a receipt in doubt; account or sender is that of the push | | `merge_duplicate` | applied |
| 11 | code has a receipt in doubt; account or sender is another's | | `release` | applied |
| 12 | code has a receipt | the same, or unknown | complete the receipt's empty fields | duplicate |
| 13 | code has an unmatched receipt, from a code check | a member | as 5 to 7; close the unmatched item | applied |
| 14 | code has an owned receipt, from a code check | another member | review: contradiction | review |
| 15 | code has a receipt | any | as 12 | duplicate |

In rows 10 to 15, too, the receipt's empty fields are completed. Rows 13 and 14 are for a confirmation and a receipt
that was not reversed. A payment that is named by a reported code gets its money by the rule BY_HAND, one that is named
by its reference by REFERENCE.
"""

from datetime import datetime

from django.db import transaction

from payments.daraja.messages import C2bMessage
from payments.evidence import holds, pairing, paybill_money, receipts
from payments.evidence.outcomes import APPLIED, DUPLICATE, EvidenceOutcome, our_shortcodes
from payments.matching import owners
from payments.models import Account, CallbackOutcome, Channel, Receipt, ReviewReason
from payments.services import locks, review_items, settlement


@transaction.atomic(savepoint=False)  # the callback inbox has opened this transaction
def apply_c2b(
    *, message: C2bMessage, now: datetime, callback_id: int | None = None, from_code_check: bool = False
) -> EvidenceOutcome:
    """Apply the confirmation of money that has already moved. The same money again is counted once.

    `from_code_check`: the message was made from a Transaction Status result. The confirmation itself may still arrive.
    """
    if message.shortcode not in our_shortcodes():
        detail = f"Money was paid to shortcode {message.shortcode[:16]}, which is not ours."
        review_items.open_item(reason=ReviewReason.AMOUNT_DIFFERS, detail=detail, callback_id=callback_id, now=now)
        return EvidenceOutcome(CallbackOutcome.REVIEW, detail)

    if message.cents and _hold_cents(message, callback_id=callback_id, now=now):
        return EvidenceOutcome(CallbackOutcome.UNMATCHED, "The amount has cents. Its whole shillings are held.")
    if not message.account.strip():
        pairing.lock_amount(message.amount)
    match = _find_owner(message, from_code_check=from_code_check)
    if match.member_id is None:
        # Staff may be reporting the code at this moment.
        owners.lock_code(message.code)
        match = _find_owner(message, from_code_check=from_code_check)
    reported_for = match.payment_id if match.reported_code_id is not None else None
    waiting, _ = pairing.find_receipts_without_code(message, reported_for=reported_for)
    locks.lock_members({member for member in (match.member_id, waiting and waiting.member_id) if member})
    candidates = paybill_money.lock_candidates(match)

    known = Receipt.objects.filter(code=message.code).select_for_update(no_key=True).first()
    if known is None:
        # Again under the locks: a query, or the push's own callback, may have been applied in between.
        waiting, in_doubt = pairing.find_receipts_without_code(message, reported_for=reported_for)
        if waiting is not None and _write_code(waiting, message, now=now):
            return APPLIED
        if in_doubt:
            held = _hold_new(message, in_doubt, callback_id=callback_id, now=now)
            if held is not None:
                return held
    receipt = _new_receipt(message, match, now=now)
    if known is None and receipts.insert(receipt):
        return paybill_money.allocate_money(
            receipt, match, candidates, from_account=Account.MPESA, callback_id=callback_id, now=now
        )
    if known is None:  # another transaction has inserted it since
        known = Receipt.objects.select_for_update(no_key=True).get(code=message.code)
    if (known.amount, known.cents) != (message.amount, message.cents):
        return _hold_other_amount(known, message, callback_id=callback_id, now=now)
    is_decided = _decide_doubt(known, message, now=now)
    _complete(known, message)
    if is_decided:
        return APPLIED
    if from_code_check or holds.is_held(known):
        return DUPLICATE
    return _apply_owner(known, match, candidates, callback_id=callback_id, now=now)


def _find_owner(message: C2bMessage, *, from_code_check: bool) -> owners.Match:
    if from_code_check:
        return owners.find_owner_by_code(code=message.code, sender=message.sender)
    return owners.find_owner(account=message.account, sender=message.sender, code=message.code)


# --- A code that is new ---------------------------------------------------------------------------


def _hold_cents(message: C2bMessage, *, callback_id: int | None, now: datetime) -> bool:
    """Store a new code's whole shillings as unmatched and hold them (row 2); return False if the code is known.

    No push asks for cents, so this is the money of none.
    """
    receipt = _new_receipt(message, owners.Match(), now=now)
    if not receipts.insert(receipt):
        return False
    settlement.apply_money(receipt=receipt, from_account=Account.MPESA, shares=[], by_id=None, now=now)
    holds.hold_cents(receipt, callback_id=callback_id, now=now)
    return True


def _write_code(found: Receipt, message: C2bMessage, *, now: datetime) -> bool:
    """Write a new code on the receipt without a code of the same money (row 3); return whether it still has none."""
    waiting = Receipt.objects.filter(pk=found.pk, code=None).select_for_update(no_key=True).first()
    if waiting is None or waiting.push_id is None:
        return False
    receipts.update(waiting, code=message.code, push_guessed=True, paid_at=message.moved_at or waiting.paid_at)
    _complete(waiting, message)
    receipts.close_missing_code_item(waiting, now=now)
    paybill_money.release_for_push(waiting.push_id, now=now)
    return True


def _hold_new(
    message: C2bMessage, in_doubt: list[Receipt], *, callback_id: int | None, now: datetime
) -> EvidenceOutcome | None:
    """Store a new code's money as unmatched and hold it (row 4); None if another transaction has stored it."""
    receipt = _new_receipt(message, owners.Match(), now=now)
    if not receipts.insert(receipt):
        return None
    settlement.apply_money(receipt=receipt, from_account=Account.MPESA, shares=[], by_id=None, now=now)
    for waiting in in_doubt:
        if waiting.push is not None:
            holds.hold(receipt, waiting.push, now=now, callback_id=callback_id)
    return EvidenceOutcome(CallbackOutcome.UNMATCHED, "It may be the money of an STK push. Its money is held.")


# --- A code that has a receipt --------------------------------------------------------------------


def _hold_other_amount(
    known: Receipt, message: C2bMessage, *, callback_id: int | None, now: datetime
) -> EvidenceOutcome:
    """Open the review item for a code that is now reported with another amount (row 9)."""
    booked, reported = (f"KES {each.amount:,}" + (f".{each.cents:02}" * (each.cents > 0)) for each in (known, message))
    detail = f"M-Pesa code {known.code} is {booked} in the books; now {reported} is reported."
    review_items.open_item(
        reason=ReviewReason.CODE_USED_TWICE, detail=detail, receipt_id=known.pk, callback_id=callback_id, now=now
    )
    return EvidenceOutcome(CallbackOutcome.REVIEW, detail)


def _apply_owner(
    known: Receipt, match: owners.Match, candidates: paybill_money.Candidates, *, callback_id: int | None, now: datetime
) -> EvidenceOutcome:
    """Apply the owner that a confirmation names, when a code check made its receipt first (rows 12 to 15)."""
    if match.member_id in (None, known.member_id) or known.reversed_at or not known.code_checks.exists():
        return DUPLICATE
    if known.member_id is not None:
        detail = f"M-Pesa code {known.code} was allocated to one member, but its confirmation names another."
        review_items.open_item(
            reason=ReviewReason.CONTRADICTION, detail=detail, receipt_id=known.pk, callback_id=callback_id, now=now
        )
        return EvidenceOutcome(CallbackOutcome.REVIEW, detail)
    receipts.update(known, member_id=match.member_id)
    allocated = paybill_money.allocate_money(
        known, match, candidates, from_account=Account.UNMATCHED, callback_id=callback_id, now=now
    )
    review_items.close_for_receipt(
        receipt_id=known.pk, reason=ReviewReason.UNMATCHED, resolution="Its confirmation named the owner.", now=now
    )
    return allocated


def _decide_doubt(known: Receipt, message: C2bMessage, *, now: datetime) -> bool:
    """Decide by newer evidence about a code whether its money is the money of a push (rows 10 and 11).

    Return whether money that was held has moved.
    """
    for item in holds.open_items(known):
        push = item.push
        if push is None:
            continue
        fits = pairing.fit(account=message.account, sender=message.sender, push=push)
        of_push = Receipt.objects.filter(push=push, code=None, reversed_at=None).select_for_update(no_key=True).first()
        if fits == pairing.Fit.SAME and of_push is not None:
            locks.lock_members_of([known, of_push])
            pairing.merge_duplicate(known, into=of_push, guessed=True, now=now)
            paybill_money.release_for_push(push.pk, now=now)
            known.refresh_from_db()
            return True
        if fits == pairing.Fit.OTHER:
            _complete(known, message)
            paybill_money.release(item, known, resolution="Newer evidence names another payer.", by_id=None, now=now)
            if not holds.is_held(known):
                return True
    return False


# --- The receipt's row ----------------------------------------------------------------------------


def _new_receipt(message: C2bMessage, match: owners.Match, *, now: datetime) -> Receipt:
    moved_at = message.moved_at
    return Receipt(
        channel=Channel.MPESA_C2B,
        code=message.code,
        amount=message.amount,
        cents=message.cents,
        paid_at=now if moved_at is None else min(moved_at, now),
        member_id=match.member_id,
        created_at=now,
        **_details(message),
    )


def _complete(receipt: Receipt, message: C2bMessage) -> None:
    """Fill the empty fields of a receipt that only a confirmation reports."""
    missing = {name: value for name, value in _details(message).items() if value and not getattr(receipt, name)}
    if missing:
        receipts.update(receipt, **missing)


def _details(message: C2bMessage) -> dict[str, str]:
    """Return the fields of receipts.confirmation_details, cut to their columns."""
    return {
        "sender": message.sender[:80],
        "payer_name": message.payer_name[:120],
        "account_typed": message.account[:64],
        "invoice_typed": message.invoice,
    }
