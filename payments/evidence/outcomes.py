"""What becomes of a piece of evidence, and what all evidence must agree with."""

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings

from payments.models import CallbackOutcome, PaymentStatus

# How far Safaricom's clock and ours may differ before its moment is not believed.
CLOCK_SKEW = timedelta(minutes=10)
CLOSED = (PaymentStatus.CANCELLED, PaymentStatus.REFUNDED)


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one piece of evidence; `why` is for the inbox and for staff."""

    outcome: CallbackOutcome
    why: str = ""


APPLIED = Applied(CallbackOutcome.APPLIED)
DUPLICATE = Applied(CallbackOutcome.DUPLICATE)


def our_shortcodes() -> set[str]:
    """Return the numbers people pay to: the paybill, or the store number and its till."""
    return {settings.DARAJA_SHORTCODE, settings.DARAJA_TILL} - {""}
