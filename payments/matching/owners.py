"""Who paid: from what the payer typed and what Safaricom tells of the sender.

In this order: payment reference, member number, phone typed as account, the sender's phone or its SHA-256
when exactly one member has it. A masked phone only suggests. Look-alikes are mended only where a check
character, or a number that exists, proves the repair.
"""

import hashlib
import re
from dataclasses import dataclass, field

from django.contrib.auth import get_user_model
from django.db import connection

from api.phones import InvalidPhoneNumber, PhoneSha256, normalise
from payments.matching import references
from payments.models import CodeClaim, Payment

LOOK_ALIKE_DIGITS = str.maketrans({"O": "0", "I": "1", "L": "1"})
MOST_SUGGESTIONS = 5
CLAIMS = 254_002  # names the advisory locks on codes among any others of this database


@dataclass(frozen=True, slots=True)
class Match:
    """Whose money it is. Without a member it has no owner, and `suggestions` are members it could be of."""

    member_id: int | None = None
    payment_id: int | None = None
    suggestions: list[int] = field(default_factory=list)
    claim_id: int | None = None


def find_owner(*, account: str, sender: str, code: str = "") -> Match:
    """Return whose money it is: `account` as the payer typed it, `sender` as Safaricom wrote the phone.

    When neither tells, a payer who showed the M-Pesa `code` at the desk does.
    """
    payment = payment_typed(account)
    if payment is not None:
        return Match(payment.payer_id, payment.pk)
    member_id = member_typed(account) or member_by_phone(account) or member_by_sender(sender)
    if member_id is not None:
        return Match(member_id)
    return _claimant(code) or Match(suggestions=members_by_mask(sender))


def find_claimant(*, code: str, sender: str) -> Match:
    """Return whose money it is when nobody knows what its payer typed: only who showed the code. A phone suggests."""
    by_phone = member_by_sender(sender)
    return _claimant(code) or Match(suggestions=[by_phone] if by_phone is not None else members_by_mask(sender))


def _claimant(code: str) -> Match | None:
    claim = CodeClaim.objects.filter(code=code, receipt=None).select_related("payment").first()
    return claim and Match(claim.payment.payer_id, claim.payment_id, claim_id=claim.pk)


def wait_for_code(code: str) -> None:
    """Let a code's claim and its confirmation see each other, one after the other.

    Neither has a row that the other could wait for. Taken before rows are locked, until the end of the transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [CLAIMS, code])


def payment_typed(account: str) -> Payment | None:
    """Return the payment whose reference was typed."""
    reference = references.repair(account)
    return Payment.objects.filter(reference=reference).first() if reference else None


def member_number_typed(account: str) -> str | None:
    """Return the seven digits that were typed, look-alikes mended, or None when it is something else."""
    digits = re.sub(r"[\s-]", "", account.upper()).translate(LOOK_ALIKE_DIGITS)
    return digits if re.fullmatch(r"[0-9]{7}", digits) else None


def member_typed(account: str) -> int | None:
    """Return the member whose number was typed. Only numbers with a right check digit exist."""
    number = member_number_typed(account)
    return number and _only_member(member_number=number)


def member_by_phone(text: str) -> int | None:
    """Return the member who has the phone number that was written in full."""
    try:
        return _only_member(phone_number=normalise(text))
    except InvalidPhoneNumber:
        return None


def member_by_sender(sender: str) -> int | None:
    """Return the one member who has the sender's phone, written in full or as its SHA-256."""
    if re.fullmatch(r"[0-9a-fA-F]{64}", sender):
        return _only_member(phone_sha256=sender.lower())
    return member_by_phone(sender)


def members_by_mask(sender: str) -> list[int]:
    """Return members whose phone fits a masked one (`25470****149`, `2547 ***** 126`): suggestions, not proof."""
    mask = re.sub(r"\s", "", sender)
    if not re.fullmatch(r"254[0-9]+\*+[0-9]+", mask):
        return []
    fits = get_user_model().objects.filter(phone_number__regex=_mask_pattern(mask)).order_by("pk")
    return list(fits.values_list("pk", flat=True)[:MOST_SUGGESTIONS])


def fits_sender(*, phone: str, sender: str) -> bool:
    """Say whether a whole phone number may be the sender as Safaricom wrote it: whole, masked or hashed."""
    mask = re.sub(r"\s", "", sender)
    if re.fullmatch(r"[0-9a-fA-F]{64}", mask):
        return sha256_of(phone) == mask.lower()
    return re.fullmatch(r"[0-9*]+", mask) is not None and re.fullmatch(_mask_pattern(mask), phone) is not None


def sha256_of(phone: str) -> str:
    """Return the hash by which Safaricom's older C2B confirmations name a phone."""
    return hashlib.sha256(phone.encode()).hexdigest()


def _mask_pattern(mask: str) -> str:
    head, tail = mask[: mask.find("*")], mask[mask.rfind("*") + 1 :]
    return f"^{head}[0-9]+{tail}$" if "*" in mask else f"^{mask}$"


def _only_member(**having: str) -> int | None:
    """Return the id of the one member that fits, or None when none or several do."""
    members = get_user_model().objects.all()
    if "phone_sha256" in having:
        members = members.annotate(phone_sha256=PhoneSha256("phone_number"))
    found = list(members.filter(**having).values_list("pk", flat=True)[:2])
    return found[0] if len(found) == 1 else None
