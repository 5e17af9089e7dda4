"""The outcome of a piece of evidence, and the facts that all evidence is checked against."""

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings

from payments.models import CallbackOutcome, PaymentStatus

# The largest difference between Safaricom's clock and ours. A time further off is not used.
CLOCK_SKEW = timedelta(minutes=10)
# A payment in one of these takes no money: what arrives for it becomes the member's credit.
CLOSED = (PaymentStatus.CANCELLED, PaymentStatus.REFUNDED)


@dataclass(frozen=True, slots=True)
class EvidenceOutcome:
    """The outcome of one piece of evidence. `detail` is stored in the callback inbox, for staff."""

    outcome: CallbackOutcome
    detail: str = ""


APPLIED = EvidenceOutcome(CallbackOutcome.APPLIED)
DUPLICATE = EvidenceOutcome(CallbackOutcome.DUPLICATE)


def our_shortcodes() -> set[str]:
    """Return the numbers that people pay to: the paybill, or the store number and its till."""
    return {settings.DARAJA_SHORTCODE, settings.DARAJA_TILL} - {""}
