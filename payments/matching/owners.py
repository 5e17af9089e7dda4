"""Owners: the member whose money a paybill or till payment is.

Tried in this order: a payment reference, a member number or a phone number typed as account; a reference or member
number inside other text, when exactly one member is named; then the sender's phone number or its SHA-256, when exactly
one member has it; then a reported code. A masked phone number gives suggestions only. Look-alike characters are
corrected only where a check character, or a number that exists, proves the correction.
"""

import contextlib
import hashlib
import re
from dataclasses import dataclass, field
from itertools import combinations

from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import Q

from api import advisory_locks
from api.member_numbers import is_member_number
from api.phones import InvalidPhoneNumber, PhoneSha256, normalise
from payments.matching import references
from payments.models import CodeClaim, Payment

LOOK_ALIKE_DIGITS = str.maketrans({"O": "0", "I": "1", "L": "1"})
MOST_SUGGESTIONS = 5
SHORTEST_HASH = 20  # characters; a masked phone number has at most about 15, a masked SHA-256 more
FEWEST_OF_HASH = 6  # visible characters of a masked SHA-256 that identify a phone number
PHONE_LENGTHS = (9, 10, 12)  # digits: 712345678, 0712345678, 254712345678
# A phone number that somebody typed at registration and has not verified may be another person's.
KNOWN_PHONE = {"phone_is_self_declared": False}


@dataclass(frozen=True, slots=True)
class Match:
    """The owner of some money. Without `member_id` the owner is not known; `suggestions` are ids of likely members."""

    member_id: int | None = None
    payment_id: int | None = None
    suggestions: list[int] = field(default_factory=list)
    reported_code_id: int | None = None


def find_owner(*, account: str, sender: str, code: str = "") -> Match:
    """Return the owner of a payment: `account` as the payer typed it, `sender` as Safaricom wrote the phone number.

    When neither names a member, the payer who reported the M-Pesa `code` at the desk is the owner.
    """
    payment = find_payment(account)
    if payment is not None:
        return Match(payment.payer_id, payment.pk)
    member_id = find_by_member_number(account) or find_by_phone(account)
    if member_id is not None:
        return Match(member_id)
    named = find_in_text(account)
    if len(named) == 1:
        return named[0]
    if not named and (member_id := find_by_sender(sender)) is not None:
        return Match(member_id)
    reported = _find_by_reported_code(code)
    if reported is not None:
        return reported
    return Match(suggestions=[each.member_id for each in named if each.member_id] or find_by_masked_phone(sender))


def find_owner_by_code(*, code: str, sender: str) -> Match:
    """Return the owner when the account typed is not known: who reported the code. A phone gives suggestions only."""
    by_phone = find_by_sender(sender)
    reported = _find_by_reported_code(code)
    if reported is not None:
        return reported
    return Match(suggestions=find_by_masked_phone(sender) if by_phone is None else [by_phone])


def _find_by_reported_code(code: str) -> Match | None:
    reported = CodeClaim.objects.filter(code=code, receipt=None).select_related("payment").first()
    if reported is None:
        return None
    return Match(reported.payment.payer_id, reported.payment_id, reported_code_id=reported.pk)


def lock_code(code: str) -> None:
    """Make the report of a code at the desk and its confirmation wait for each other.

    Neither has a row yet that the other could lock. Call this before rows are locked. The lock ends with the
    transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [advisory_locks.CODE, code])


# --- By the account typed -------------------------------------------------------------------------


def find_payment(account: str) -> Payment | None:
    """Return the payment whose reference was typed."""
    reference = references.repair(account)
    return Payment.objects.filter(reference=reference).first() if reference else None


def member_number_in(account: str) -> str | None:
    """Return the seven digits that were typed, with look-alike letters corrected, or None when it is not a number."""
    digits = re.sub(r"[\s-]", "", account.upper()).translate(LOOK_ALIKE_DIGITS)
    return digits if re.fullmatch(r"[0-9]{7}", digits) else None


def find_by_member_number(account: str) -> int | None:
    """Return the member whose number was typed. A number with a wrong check digit belongs to no member."""
    number = member_number_in(account)
    return _only_member(member_number=number) if number else None


def words_in(account: str) -> list[str]:
    """Return the words of an account text in upper case: `Ref. K13FS986, John` is REF, K13FS986 and JOHN."""
    return [word.upper() for word in re.findall(r"[0-9A-Za-z]+", account)]


def find_in_text(account: str) -> list[Match]:
    """Return the owners whose payment reference or member number is inside other text, each once.

    The check character must be right, and the payment or member must exist. Both may be written onto another word
    (`ASHA1000351`); a reference may be divided (`K13F S986 John`).
    """
    words = words_in(account)
    names = _references_in(words)
    numbers = [number for word in words for number in _numbers_in(word) if is_member_number(number)]
    found: dict[int, Match] = {}
    if names:
        for payment in Payment.objects.filter(reference__in=names).order_by("pk"):
            found.setdefault(payment.payer_id, Match(payment.payer_id, payment.pk))
    if numbers:
        members = get_user_model().objects.filter(member_number__in=numbers).order_by("pk")
        for member_id in members.values_list("pk", flat=True):
            found.setdefault(member_id, Match(member_id))
    return list(found.values())


def find_suggested_in_text(account: str) -> list[int]:
    """Return members whose divided member number (`100 0351 Asha`) or known phone number is inside other text.

    They are suggested only: parts of other numbers may be a member number by chance, and a phone number has no check
    digit.
    """
    words = words_in(account)
    numbers = [number for run in _runs_of(words, length=7) if (number := member_number_in(run))]
    phones = set()
    for run in (run for length in PHONE_LENGTHS for run in _runs_of(words, length=length)):
        with contextlib.suppress(InvalidPhoneNumber):
            phones.add(normalise(run))
    fits = Q(member_number__in=filter(is_member_number, numbers)) | Q(phone_number__in=phones, **KNOWN_PHONE)
    return list(get_user_model().objects.filter(fits).order_by("pk").values_list("pk", flat=True)[:MOST_SUGGESTIONS])


def _references_in(words: list[str]) -> list[str]:
    """Return the right references that are a word, a part of one, or several neighbouring ones."""
    runs = (reference for run in _runs_of(words, length=references.LENGTH) if (reference := references.repair(run)))
    parts = (part for word in words for part in re.findall(rf"(?=(K[0-9A-Z]{{{references.LENGTH - 1}}}))", word))
    return [*runs, *(part for part in parts if references.is_reference(part))]


def _numbers_in(word: str) -> list[str]:
    """Return the seven digits that a word is, look-alikes corrected, or that are written onto its letters."""
    whole = member_number_in(word)
    return [whole] if whole else re.findall(r"(?<![0-9])[0-9]{7}(?![0-9])", word)


def _runs_of(words: list[str], *, length: int) -> list[str]:
    """Return the neighbouring words that are together of one length; a single word is a run, too."""
    runs = ("".join(words[start:end]) for start, end in combinations(range(len(words) + 1), 2))
    return [run for run in runs if len(run) == length]


def find_by_phone(text: str) -> int | None:
    """Return the member who has a phone number that is written in full."""
    try:
        return _only_member(phone_number=normalise(text), **KNOWN_PHONE)
    except InvalidPhoneNumber:
        return None


# --- By the sender's phone ------------------------------------------------------------------------


def find_by_sender(sender: str) -> int | None:
    """Return the one member who has the sender's phone number, written in full or as its SHA-256."""
    if re.fullmatch(r"[0-9a-fA-F]{64}", sender):
        return _only_member(phone_sha256=sender.lower(), **KNOWN_PHONE)
    return find_by_phone(sender)


def find_by_masked_phone(sender: str) -> list[int]:
    """Return members whose phone number fits a masked one (`25470****149`, `2547 ***** 126`), at most five."""
    mask = re.sub(r"\s", "", sender)
    if not re.fullmatch(r"254[0-9]+\*+[0-9]+", mask):
        return []
    fits = get_user_model().objects.filter(phone_number__regex=_mask_pattern(mask), **KNOWN_PHONE).order_by("pk")
    return list(fits.values_list("pk", flat=True)[:MOST_SUGGESTIONS])


def fits_sender(*, phone: str, sender: str) -> bool | None:
    """Return whether a phone number is the sender as Safaricom wrote it; None when that does not say who it is.

    A whole number and its SHA-256 decide. A masked number decides by the digits that are left. A masked SHA-256 can
    only confirm: its form is known from one live sample.
    """
    text = re.sub(r"\s", "", sender)
    if re.fullmatch(r"[0-9a-fA-F]{64}", text):
        return sha256_of(phone) == text.lower()
    if re.fullmatch(r"254[0-9]*\*+[0-9]{2,}", text) and len(text) < SHORTEST_HASH:
        return re.fullmatch(_mask_pattern(text), phone) is not None
    if re.fullmatch(r"[0-9a-fA-F]+\*+[0-9a-fA-F]+", text):
        head, tail = text.lower().split("*", 1)[0], text.lower().rsplit("*", 1)[1]
        full = sha256_of(phone)
        shown = len(head) + len(tail)
        return True if shown >= FEWEST_OF_HASH and full.startswith(head) and full.endswith(tail) else None
    try:
        return normalise(text) == phone
    except InvalidPhoneNumber:
        return None


def sha256_of(phone: str) -> str:
    """Return the hash that Safaricom's older C2B confirmations send in place of a phone number."""
    return hashlib.sha256(phone.encode()).hexdigest()


def _mask_pattern(mask: str) -> str:
    head, tail = mask[: mask.find("*")], mask[mask.rfind("*") + 1 :]
    return f"^{head}[0-9]+{tail}$" if "*" in mask else f"^{mask}$"


def _only_member(**having: str | bool) -> int | None:
    """Return the id of the one member that fits, or None when there is none or more than one."""
    members = get_user_model().objects.all()
    if "phone_sha256" in having:
        members = members.annotate(phone_sha256=PhoneSha256("phone_number"))
    found = list(members.filter(**having).values_list("pk", flat=True)[:2])
    return found[0] if len(found) == 1 else None
