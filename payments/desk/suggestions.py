"""Possible owners of unmatched money, with the reasons. Staff decide; a suggestion assigns nothing.

Every query uses an index, so that its cost does not grow with the number of members and payments.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import F, Q

from api.member_numbers import is_member_number
from payments.matching import owners, references
from payments.matching.owners import MOST_SUGGESTIONS
from payments.models import Payment, Receipt, ReviewItem
from payments.services.allocation import PAYABLE

# Members pay by hand soon after the payment was created.
CREATED_WITHIN = timedelta(days=2)


@dataclass
class Suggestion:
    """A possible owner, with the reasons. `payments` are the open payments of the member."""

    member: Any
    reasons: list[str] = field(default_factory=list)
    payments: list[Payment] = field(default_factory=list)


def suggest_owners(item: ReviewItem) -> list[Suggestion]:
    """Return the possible owners of an item's money, those with the most reasons first."""
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
    """Yield each possible owner with one reason."""
    people = get_user_model().objects
    texts = [text for text in (receipt.account_typed, receipt.invoice_typed) if text]
    named = {text: _named_in(text) for text in texts}
    for text in texts:
        for member in people.filter(pk__in=named[text]):
            yield member, f"“{text}” contains their number or a reference of theirs"
    for member in people.filter(pk__in=set(item.suggested_members).difference(*named.values())):
        yield member, "the sender's phone number matches theirs"
    for text in texts:
        yield from _nearly_named_in(text)
    for words in sorted({" ".join(text.upper().split()) for text in (*texts, receipt.payer_name)}):
        for member in people.filter(_is_called(words))[:MOST_SUGGESTIONS]:
            yield member, f"“{words}” is their name"
    exact = Payment.objects.filter(
        created_at__range=(receipt.paid_at - CREATED_WITHIN, receipt.paid_at),
        status__in=PAYABLE,
        amount_due=F("amount_paid") + receipt.amount_held,
    )
    for payment in exact.select_related("payer").order_by("-created_at", "-pk")[:MOST_SUGGESTIONS]:
        yield payment.payer, f"owes exactly KES {receipt.amount_held:,} as {payment.reference}"


def _named_in(text: str) -> set[int]:
    """Return the members whose member number, reference or phone number is the text, or is inside it."""
    named = (match.member_id for match in owners.find_in_text(text))
    return {*filter(None, named), *owners.find_suggested_in_text(text)}


def _nearly_named_in(text: str) -> Iterator[tuple[Any, str]]:
    """Yield the members whose member number or reference is one typing error away, with this reason."""
    for member in get_user_model().objects.filter(member_number__in=_numbers_like(text)):
        yield member, f"“{text}” is one typing error away from their member number"
    for payment in Payment.objects.filter(reference__in=_references_like(text)).select_related("payer"):
        yield payment.payer, f"“{text}” is one typing error away from {payment.reference}"


def _is_called(words: str) -> Q:
    """Match members whose first and last name are the words. One name alone would match too many."""
    first, *rest = words.split() or [""]
    return Q(first_name__iexact=first, last_name__iexact=rest[-1]) if rest else Q(pk__in=[])


def _numbers_like(typed: str) -> list[str]:
    """Return the valid member numbers that differ from seven typed digits by one digit, or by one swap."""
    numbers = {number for word in (typed, *owners.words_in(typed)) if (number := owners.member_number_in(word))}
    return [near for number in numbers for near in _slips(number, "0123456789") if is_member_number(near)]


def _references_like(typed: str) -> list[str]:
    """Return the valid references that differ from eight typed characters by one character, or by one swap.

    A name of eight letters resembles a few, of which hardly one exists.
    """
    alike = {references.plain(word) for word in (typed, *owners.words_in(typed))}
    slips = (near for text in alike if len(text) == references.LENGTH for near in _slips(text, references.ALPHABET))
    return [near for near in slips if references.is_reference(near)]


def _slips(text: str, alphabet: str) -> set[str]:
    """Return every text that differs by one character, or by one swap of neighbours."""
    changed = {text[:at] + other + text[at + 1 :] for at in range(len(text)) for other in alphabet}
    swapped = {text[:at] + text[at + 1] + text[at] + text[at + 2 :] for at in range(len(text) - 1)}
    return (changed | swapped) - {text}
