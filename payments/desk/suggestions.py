"""Whose unmatched money may be, and why: help for the person who decides, never a decision.

Every look-up is one in an index, whatever the number of members and payments.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import F, Q

from api.member_numbers import is_member_number
from payments.matching import references
from payments.matching.owners import MOST_SUGGESTIONS, member_number_in
from payments.models import Payment, Receipt, ReviewItem
from payments.services.allocation import PAYABLE

# Who pays in by hand does it soon after they were asked.
ASKED_WITHIN = timedelta(days=2)


@dataclass
class Suggestion:
    """A member the money may be of, with the reasons; `payments` are what they were asked for and owe."""

    member: Any
    reasons: list[str] = field(default_factory=list)
    payments: list[Payment] = field(default_factory=list)


def suggest_owners(item: ReviewItem) -> list[Suggestion]:
    """Return who the money of an item may be of, the most reasons first."""
    receipt = item.receipt
    if receipt is None:
        return []
    found: dict[int, Suggestion] = {}
    for member, reason in _reasons(item, receipt):
        suggestion = found.setdefault(member.pk, Suggestion(member))
        suggestion.reasons.append(reason)
    best = sorted(found.values(), key=lambda each: -len(each.reasons))[:MOST_SUGGESTIONS]
    owing = Payment.objects.filter(payer__in=[each.member.pk for each in best], status__in=PAYABLE)
    for payment in owing.filter(amount_due__gt=F("amount_paid")).order_by("created_at", "pk"):
        found[payment.payer_id].payments.append(payment)
    return best


def _reasons(item: ReviewItem, receipt: Receipt) -> Iterator[tuple[Any, str]]:
    people = get_user_model().objects
    for member in people.filter(pk__in=item.suggested_members):
        yield member, "the sender's phone fits theirs"
    typed = receipt.account_typed
    for member in people.filter(member_number__in=_numbers_like(typed)):
        yield member, f"“{typed}” is one slip away from their member number"
    for payment in Payment.objects.filter(reference__in=_references_like(typed)).select_related("payer"):
        yield payment.payer, f"“{typed}” is one slip away from {payment.reference}"
    for words in sorted({" ".join(text.upper().split()) for text in (typed, receipt.payer_name)}):
        for member in people.filter(_is_called(words))[:MOST_SUGGESTIONS]:
            yield member, f"“{words}” is their name"
    asked = Payment.objects.filter(
        created_at__range=(receipt.paid_at - ASKED_WITHIN, receipt.paid_at),
        status__in=PAYABLE,
        amount_due=F("amount_paid") + receipt.amount_held,
    )
    for payment in asked.select_related("payer").order_by("-created_at", "-pk")[:MOST_SUGGESTIONS]:
        yield payment.payer, f"owes exactly KES {receipt.amount_held:,} as {payment.reference}"


def _is_called(words: str) -> Q:
    """Return the condition that the first and the last word are somebody's names. One name alone is too many's."""
    first, *rest = words.split() or [""]
    return Q(first_name__iexact=first, last_name__iexact=rest[-1]) if rest else Q(pk__in=[])


def _numbers_like(typed: str) -> list[str]:
    """Return the member numbers one wrong digit, or one swap, away from the digits that were typed."""
    number = member_number_in(typed)
    return [near for near in _slips(number, "0123456789") if is_member_number(near)] if number else []


def _references_like(typed: str) -> list[str]:
    """Return the references one wrong character, or one swap, away from what was typed for one."""
    if not references.resembles_reference(typed):
        return []
    return [near for near in _slips(references.plain(typed), references.ALPHABET) if references.is_reference(near)]


def _slips(text: str, alphabet: str) -> set[str]:
    changed = {text[:at] + other + text[at + 1 :] for at in range(len(text)) for other in alphabet}
    swapped = {text[:at] + text[at + 1] + text[at] + text[at + 2 :] for at in range(len(text) - 1)}
    return changed | swapped
