"""Result codes of STK pushes: the meaning of each, and the message for the member.

Codes: Daraja portal, "M-Pesa Express" result codes, and codes seen on live paybills. Only a code that is listed here as
final ends a push. With any other code the push stays open until there is evidence or a staff decision, because "still
processing" taken for a failure has cost a payer real money.
"""

import enum
from dataclasses import dataclass
from datetime import timedelta


class Verdict(enum.Enum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    OPEN = "open"  # not final


@dataclass(frozen=True, slots=True)
class Meaning:
    """The meaning of a code: verdict, message for the member in English and Swahili, pause before a new push."""

    verdict: Verdict
    en: str
    sw: str
    pause: timedelta = timedelta(0)


V = Verdict
# "Rule limited": Safaricom refuses the same amount to the same customer within two minutes.
RULE_LIMITED = timedelta(minutes=2, seconds=5)
# Safaricom asks for at least one minute while another session of the subscriber is open.
LOCKED = timedelta(minutes=1)
BUSY = timedelta(minutes=2)

_OURS = (
    "This is a fault on our side. Please tell the front desk; you were not charged.",
    "Hitilafu iko kwetu. Tafadhali waambie wahudumu; hujatozwa pesa.",
)
_OPEN = (
    "We are still waiting for M-Pesa. Do not pay again yet.",
    "Bado tunasubiri M-Pesa. Usilipe tena kwa sasa.",
)
_NO_ANSWER = (
    "We could not reach your phone. Check that it is on and has network, then try again.",
    "Hatukuweza kufikia simu yako. Hakikisha imewashwa na ina mtandao, kisha ujaribu tena.",
)
_ACCOUNT = (
    "M-Pesa cannot take money from this number. Please use another number, or call Safaricom on 100.",
    "M-Pesa haiwezi kutoa pesa kwenye nambari hii. Tafadhali tumia nambari nyingine, au piga Safaricom 100.",
)
_LOCKED = (
    "Another M-Pesa request is open on this phone. Finish or close it, wait a minute, then try again.",
    "Kuna ombi lingine la M-Pesa kwenye simu hii. Limalize au ulifunge, subiri dakika moja, kisha ujaribu tena.",
)
_BUSY = (
    "M-Pesa is busy. Please try again in a few minutes.",
    "M-Pesa ina shughuli nyingi. Tafadhali jaribu tena baada ya dakika chache.",
)
_CANCELLED = (
    "The request was cancelled on the phone. Try again when you are ready.",
    "Ombi lilighairiwa kwenye simu. Jaribu tena ukiwa tayari.",
)
_AMOUNT = (
    "M-Pesa does not allow this amount in one payment. Please ask the front desk.",
    "M-Pesa hairuhusu kiasi hiki kwa malipo moja. Tafadhali uliza wahudumu.",
)
_FAILED = (
    "The request could not be completed. Please try again.",
    "Ombi halikukamilika. Tafadhali jaribu tena.",
)

MEANINGS: dict[str, Meaning] = {
    "0": Meaning(
        V.SUCCEEDED, "Paid. You will get an SMS from M-Pesa.", "Malipo yamekamilika. Utapata ujumbe wa M-Pesa."
    ),
    "1": Meaning(
        V.FAILED,
        "There is not enough money in this M-Pesa account. Top up, then try again.",
        "Akaunti hii ya M-Pesa haina pesa za kutosha. Ongeza pesa, kisha ujaribu tena.",
    ),
    "2": Meaning(V.FAILED, *_AMOUNT),
    "3": Meaning(V.FAILED, *_AMOUNT),
    "4": Meaning(
        V.FAILED,
        "This would pass your M-Pesa limit for today. Try again tomorrow, or use another number.",
        "Hii itapita kikomo chako cha M-Pesa cha leo. Jaribu tena kesho, au tumia nambari nyingine.",
    ),
    "8": Meaning(V.FAILED, *_OURS),  # our own account is full
    "11": Meaning(V.FAILED, *_ACCOUNT),
    "12": Meaning(V.FAILED, *_ACCOUNT),
    "13": Meaning(V.FAILED, *_ACCOUNT),
    "14": Meaning(V.FAILED, *_ACCOUNT),
    "15": Meaning(V.OPEN, *_OPEN),  # a duplicate: the original decides
    "17": Meaning(
        V.FAILED,
        "M-Pesa refuses the same amount twice within two minutes. Wait two minutes, then try again.",
        "M-Pesa hukataa kiasi kilekile mara mbili ndani ya dakika mbili. Subiri dakika mbili, kisha ujaribu tena.",
        RULE_LIMITED,
    ),
    "21": Meaning(V.FAILED, *_OURS),
    "26": Meaning(V.FAILED, *_BUSY, BUSY),
    "1001": Meaning(V.FAILED, *_LOCKED, LOCKED),
    "1019": Meaning(
        V.TIMED_OUT,
        "The request took too long. Please try again.",
        "Ombi lilichukua muda mrefu mno. Tafadhali jaribu tena.",
    ),
    "1025": Meaning(V.FAILED, *_FAILED),
    "9999": Meaning(V.FAILED, *_FAILED),
    "1031": Meaning(V.CANCELLED, *_CANCELLED),
    "1032": Meaning(V.CANCELLED, *_CANCELLED),
    "1036": Meaning(V.TIMED_OUT, *_NO_ANSWER),
    "1037": Meaning(V.TIMED_OUT, *_NO_ANSWER),
    "1101": Meaning(V.FAILED, *_OURS),
    "1102": Meaning(V.FAILED, *_OURS),
    "2001": Meaning(
        V.FAILED,
        "The PIN was wrong, or this number is not on M-Pesa. Check both, then try again.",
        "PIN haikuwa sahihi, au nambari hii haiko kwenye M-Pesa. Angalia, kisha ujaribu tena.",
    ),
    "2006": Meaning(V.FAILED, *_ACCOUNT),
    "2008": Meaning(V.FAILED, *_FAILED),
    "2026": Meaning(V.OPEN, *_OPEN),
    "2028": Meaning(V.FAILED, *_OURS),
    "2040": Meaning(V.FAILED, *_ACCOUNT),
    "4999": Meaning(V.OPEN, *_OPEN),
    "8006": Meaning(
        V.FAILED,
        "The M-Pesa PIN of this number is locked. Call Safaricom on 100, or use another number.",
        "PIN ya M-Pesa ya nambari hii imefungwa. Piga Safaricom 100, au tumia nambari nyingine.",
    ),
    "100000100": Meaning(V.OPEN, *_OPEN),
    "SFC_IC0003": Meaning(V.FAILED, *_OURS),
}
# Our own codes, for a push that was never sent or whose end was never reported. From Safaricom they would not be final.
OUR_CODES: dict[str, Meaning] = {
    "not_sent": Meaning(
        V.FAILED,
        "M-Pesa could not be reached, so nothing was sent to your phone. Please try again.",
        "M-Pesa haikupatikana, hivyo hakuna ombi lililotumwa kwa simu yako. Tafadhali jaribu tena.",
    ),
    "busy": Meaning(V.FAILED, *_BUSY, BUSY),
    "locked": Meaning(V.FAILED, *_LOCKED, LOCKED),
    "bad_phone": Meaning(V.FAILED, *_ACCOUNT),
    "refused": Meaning(V.FAILED, *_OURS),
    "withdrawn": Meaning(
        V.CANCELLED,
        "There was nothing left to pay, so nothing was sent to your phone.",
        "Hakukuwa na kitu cha kulipa, hivyo hakuna ombi lililotumwa kwa simu yako.",
    ),
    "closed": Meaning(
        V.TIMED_OUT,
        "We found no money for this request. If you did pay, show the front desk your M-Pesa SMS.",
        "Hatukupata pesa za ombi hili. Kama ulilipa, waonyeshe wahudumu ujumbe wako wa M-Pesa.",
    ),
}
UNLISTED = Meaning(V.OPEN, *_OPEN)
WAITING = Meaning(
    V.OPEN,
    "Check your phone and enter your M-Pesa PIN.",
    "Angalia simu yako na uweke PIN ya M-Pesa.",
)


def verdict(code: str) -> Verdict:
    """Return whether and how a result code ends a push. A code that is not listed is not final."""
    return MEANINGS.get(code, UNLISTED).verdict


def advice(code: str, language: str = "en") -> str:
    """Return the message for the member. An empty code is for a push that is open."""
    meaning = _meaning(code) if code else WAITING
    return meaning.sw if language.split("-")[0] == "sw" else meaning.en


def pause_after(code: str) -> timedelta:
    """Return how long after this result no push may be sent to the same phone."""
    return _meaning(code).pause


def _meaning(code: str) -> Meaning:
    return MEANINGS.get(code) or OUR_CODES.get(code) or UNLISTED
