"""Faults: what can go wrong, where, and how to request it: by magic phone number, by the control API, or by seed.

docs/simulator.md lists the same names. A test compares the two.
"""

import random
import threading
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from payments.simulator.checks import PHONE
from payments.simulator.options import PERSON_SECONDS


class Person(NamedTuple):
    """What a payer does, and the result of the prompt."""

    result_code: str
    status: str
    does: str


# What the payer does without a human. The last ones are results of Safaricom rather than of a payer.
PERSONS = {
    "pay": Person("0", "paid", "enters the right PIN"),
    "cancel": Person("1032", "cancelled", "presses cancel"),
    "wrong_pin": Person("2001", "wrong_pin", "enters a wrong PIN"),
    "no_funds": Person("1", "no_funds", "has too little money"),
    "ignore": Person("1037", "timed_out", "does nothing until the prompt expires after 60 seconds"),
    "unreachable": Person("1037", "timed_out", "has the phone off; reported after 26 seconds"),
    "expired_on_handset": Person("1032", "cancelled", "does nothing, and the phone reports the prompt as cancelled"),
    "daily_limit": Person("4", "failed", "would exceed the daily limit"),
    "receiver_full": Person("8", "failed", "would exceed the largest balance of the business"),
    "rule_limited": Person("17", "failed", "has just paid the same amount"),
    "busy": Person("1001", "failed", "is busy with another M-PESA session"),
    "expired": Person("1019", "timed_out", "answers too late for the platform"),
    "not_sent": Person("1025", "failed", "gets no prompt, because it could not be sent"),
    "cancelled_1031": Person("1031", "cancelled", "presses cancel, reported with the older code"),
    "smsc_timeout": Person("1036", "timed_out", "answers too late for the message centre"),
    "product_fault": Person("2028", "failed", "pays with a wrong TransactionType or PartyB"),
    "pin_locked": Person("8006", "failed", "has a locked PIN"),
    "platform_fault": Person("9999", "failed", "gets no prompt, because of an error of the platform"),
    "no_operator": Person("SFC_IC0003", "failed", "pays to a PartyB that does not exist; the code is a string"),
    "traffic": Person("26", "failed", "pays while the system is too busy"),
    "below_minimum": Person("2", "failed", "would pay less than the minimum amount"),
    "above_maximum": Person("3", "failed", "would pay more than the maximum amount"),
    "inactive": Person("2006", "failed", "has an M-PESA account that is not active"),
    "not_registered": Person("2040", "failed", "is not registered for M-PESA"),
    "session_expired": Person("2026", "failed", "loses the session; the meaning of the code is unclear"),
    "unlisted": Person("7777", "failed", "ends with a result that is in no list"),
}

# The payer sees no prompt in these cases.
UNSEEN = {
    *("unreachable", "rule_limited", "busy", "not_sent", "product_fault"),
    *("platform_fault", "no_operator", "traffic", "below_minimum", "above_maximum", "inactive", "not_registered"),
}

# The HTTP answer of any endpoint.
ANSWER_FAULTS = {
    "slow": "answers after 20 seconds",
    "lost_answer": "acts, then closes the connection without an answer",
    "cut_before": "does nothing and closes the connection",
    "error_after": "acts, then answers 500 with an unlisted text",
    "error_500": "does nothing and answers 500 with an unlisted text",
    "busy_500": "500.003.02 System is busy",
    "spike_500": "500.003.02 Spike Arrest Violation",
    "quota_500": "500.003.03 Quota Violation",
    "too_many_429": "429 with an HTML body",
    "html_403": "the firewall's HTML page",
    "html_502": "a proxy's HTML page",
    "garbage": "acts, then answers 200 with bytes that are not JSON",
    "empty": "acts, then answers 200 with an empty body",
    "half_json": "acts, then announces more bytes than it sends",
    "token_invalid": "deletes the token and answers as to a wrong one",
    "locked": "500.001.1001 Unable to lock subscriber",
    "no_iccid": "500.001.1001 No ICCID found, as for a number that is not Safaricom's",
    "maintenance_500": "500.002.1001 Service is currently under maintenance",
}
ACTS_FIRST = {"slow", "lost_answer", "error_after", "garbage", "empty", "half_json"}

# The callback of a push.
CALLBACK_FAULTS = {
    "lost_callback": "is never sent",
    "late": "is sent 150 seconds after the money moved",
    "early": "is sent before the push is answered, because the payer is quick",
    "duplicate": "is sent three times",
    "duplicate_later": "is sent again a minute later",
    "reordered": "is sent only after another payment's callback, or after 30 seconds",
    "cancel_then_paid": "reports 1032; 90 seconds later the money moves and it reports 0",
    "timeout_then_paid": "reports 1037; 90 seconds later the money moves and it reports 0",
    "silent_then_paid": "is not sent while a query reports 1037; 90 seconds later the money moves and it reports 0",
    "paid_then_cancelled": "reports 0, then 1032",
    "forged": "nobody paid, but an attacker who knows the URL reports 0; the prompt is ignored",
    "forged_id": "an attacker first sends a success with another CheckoutRequestID",
    "malformed": "is cut in the middle, and sent once only",
    "malformed_then_good": "is cut in the middle, then sent complete",
    "oversized": "has two megabytes",
    "not_json": "is an XML document",
    "deep_json": "is nested five thousand deep",
    "wrong_amount": "reports one shilling more than was requested and paid",
    "same_code": "repeats the receipt number of this phone's earlier payment",
    "string_values": "has every number as a string",
    "integer_amount": "has the amount as 1500, not 1500.00",
    "no_balance": "has no Balance item",
    "string_balance": 'has a Balance of "200"',
    "structured_balance": "has a Balance written as {Amount={...}}",
    "shuffled_items": "has its items in reverse order",
    "no_phone": "has no PhoneNumber",
    "masked_phone": "has a masked PhoneNumber",
    "no_date": "has no TransactionDate",
    "prefixed_desc": "has [STK_CB - ] before its ResultDesc",
    "unknown_field": "has an unknown field",
    "forged_url": "nobody paid, but an attacker who guesses a URL reports 0; the prompt is ignored",
}

# The answers to queries about a push.
QUERY_FAULTS = {
    "processing_500": "stays at 500.001.1001 The transaction is being processed",
    "processing_4999": "stays at result 4999",
    "unknown_id": "500.001.1001 The transaction does not Exist",
    "says_cancelled": "the first query reports 1032, in any case",
    "says_paid": "the first query reports 0, in any case",
    "unlisted_code": "reports result 7777",
    "query_500": "answers 500 with an unlisted text",
    "query_garbage": "answers 200 with bytes that are not JSON",
    "query_slow": "answers after 20 seconds",
}

# The C2B confirmation of the same money, if URLs are registered.
CONFIRMATION_FAULTS = {
    "confirmation_first": "is sent before the callback",
    "confirmation_last": "is sent after the callback",
    "confirmation_only": "is sent, and the callback is not",
    "no_confirmation": "is not sent",
    "confirmation_twice": "is sent twice",
    "confirmation_late": "is sent 150 seconds after the money moved",
    "confirmation_nulls": "has null for empty values, and no names",
    "confirmation_full_phone": "has the whole phone number, as before 2022",
    "confirmation_masked_hash": "has the hash of the phone number with its middle masked",
    "confirmation_whole_amount": "has the amount as 1500, not 1500.00",
}
# The Result that B2C, Reversal, Transaction Status and Account Balance send.
RESULT_FAULTS = {
    "result_lost": "is never sent",
    "result_late": "is sent after 150 seconds",
    "result_duplicate": "is sent twice",
    "queue_timeout": "nothing is done, and the QueueTimeOutURL is called",
    "reference_list": "has a list instead of one ReferenceItem",
}
PLACES = {
    "person": tuple(PERSONS),
    "answer": tuple(ANSWER_FAULTS),
    "callback": tuple(CALLBACK_FAULTS),
    "query": tuple(QUERY_FAULTS),
    "confirmation": tuple(CONFIRMATION_FAULTS),
    "result": tuple(RESULT_FAULTS),
}
OF_CALLS = ("answer", "result")  # the faults of endpoints other than push
WITH_RESULT = ("b2c", "reversal", "status", "balance")
ENDPOINTS = ("push", "oauth", "query", "c2b", "pull", *WITH_RESULT)
# With faults of these places the payer pays, because otherwise the fault would not show.
_PAYING = {"answer", "callback", "query", "confirmation"}


def place_of(name: str) -> str:
    """Return the place of a fault.

    :raises ValueError: there is no such fault
    """
    for place, names in PLACES.items():
        if name in names:
            return place
    raise ValueError(f"There is no fault {name!r}.")


def faults_of(endpoint: str) -> set[str]:
    """Return the names of the faults of an endpoint."""
    places = {"answer"}
    if endpoint == "push":
        places = set(PLACES) - {"result"}
    elif endpoint in WITH_RESULT:
        places = {"answer", "result"}
    return {name for place in places for name in PLACES[place]}


@dataclass(frozen=True)
class Behaviour:
    """The faults of one push, one for each place. An empty person means a human at the phone page."""

    person: str = ""
    answer: str = ""
    callback: str = ""
    query: str = ""
    confirmation: str = ""
    result: str = ""

    def with_fault(self, name: str) -> "Behaviour":
        return replace(self, **{place_of(name): name})

    def as_dict(self) -> dict:
        return {key: value for key, value in asdict(self).items() if value}


def _magic() -> dict[str, Behaviour]:
    """Return a phone number for each fault: 254700000 and three digits."""
    numbers: dict[str, Behaviour] = {}
    for place, first in (("person", 100), ("answer", 200), ("callback", 300), ("query", 400), ("confirmation", 500)):
        for offset, name in enumerate(PLACES[place]):
            behaviour = Behaviour().with_fault(name)
            if place in _PAYING:
                behaviour = replace(behaviour, person="pay")
            numbers[f"254700000{first + offset}"] = behaviour
    return numbers


# 2547000001xx: payers, 02xx: answers, 03xx: callbacks, 04xx: queries, 05xx: confirmations.
MAGIC_PHONES = _magic()
# As measured: nobody answers the sandbox's test number, and its prompt ends as 1037.
MAGIC_PHONES["254708374149"] = Behaviour(person="unreachable")


class Faults:
    """Chooses the faults of each push and each call: first armed faults, then magic numbers, then the seeded draw.

    The draw depends on the seed, the phone and its number of pushes, and not on the order of threads. So the same seed
    and the same pushes give the same run.
    """

    def __init__(self, seed: int):
        self.seed = seed
        self.rates: dict[str, float] = {}
        self.queue: list[dict] = []
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()

    def rng(self, *key: object) -> random.Random:
        """Return a separate random generator for one decision."""
        return random.Random("|".join(map(str, (self.seed, *key))))  # noqa: S311 - chance, not secrecy

    def set_rates(self, rates: dict) -> None:
        """Set the share of pushes (0 to 1) with each fault.

        :raises ValueError: an unknown fault, or a share outside of 0 to 1
        """
        for name, share in rates.items():
            place_of(name)
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
                raise ValueError(f"The rate of {name} must be between 0 and 1.")
        self.rates = dict(rates)

    def enqueue(self, name: str, *, phone: str = "", endpoint: str = "push", times: int = 1) -> None:
        """Arm a fault for the next pushes, or for the next calls of another endpoint.

        :raises ValueError: an unknown fault or phone, or the endpoint does not have this fault
        """
        place_of(name)
        if endpoint not in ENDPOINTS:
            raise ValueError(f"endpoint must be one of {', '.join(ENDPOINTS)}.")
        if name not in faults_of(endpoint):
            raise ValueError(f"{endpoint} has no fault {name}.")
        if phone and not PHONE.fullmatch(phone):
            raise ValueError("A phone is 12 digits: 2547XXXXXXXX or 2541XXXXXXXX.")
        if isinstance(times, bool) or not isinstance(times, int) or not 1 <= times <= 10_000:
            raise ValueError("times must be a whole number from 1 to 10000.")
        with self._lock:
            self.queue.append({"fault": name, "phone": phone, "endpoint": endpoint, "times": times})

    def clear(self) -> None:
        with self._lock:
            self.queue.clear()
        self.rates = {}

    def of_push(self, phone: str, ordinal: int) -> Behaviour:
        """Return the faults of push number `ordinal` of a phone."""
        behaviour = MAGIC_PHONES.get(phone, Behaviour())
        for place in PLACES:
            name = self._draw(place, "push", phone, ordinal)
            if name and not getattr(behaviour, place):
                behaviour = behaviour.with_fault(name)
        for place in PLACES:
            if name := self._next_armed("push", phone, PLACES[place]):
                behaviour = behaviour.with_fault(name)
        if not behaviour.person and behaviour.callback == "early":
            behaviour = replace(behaviour, person="pay")
        return behaviour

    def next_push(self, phone: str) -> int:
        """Count one push of a phone, also a refused one, and return their number."""
        with self._lock:
            self._calls[f"push {phone}"] += 1
            return self._calls[f"push {phone}"]

    def pushes(self, phone: str) -> int:
        """Return the number of pushes of a phone so far."""
        with self._lock:
            return self._calls[f"push {phone}"]

    def restart(self, seed: int) -> None:
        """Set a new seed, and count from the beginning."""
        with self._lock:
            self.seed = seed
            self._calls.clear()

    def of_call(self, endpoint: str) -> Behaviour:
        """Return the faults of the next call of an endpoint other than push."""
        with self._lock:
            self._calls[endpoint] += 1
            nth = self._calls[endpoint]
        behaviour = Behaviour()
        for place in OF_CALLS:
            name = self._next_armed(endpoint, "", PLACES[place]) or self._draw(place, endpoint, "", nth)
            if name:
                behaviour = behaviour.with_fault(name)
        return behaviour

    def _draw(self, place: str, endpoint: str, phone: str, nth: int) -> str:
        rates = {name: share for name, share in self.rates.items() if name in PLACES[place]}
        if not rates:
            return ""
        point = self.rng(place, endpoint, phone, nth).random()
        for name, share in sorted(rates.items()):
            if point < share:
                return name
            point -= share
        return ""

    def _next_armed(self, endpoint: str, phone: str, names: tuple[str, ...]) -> str:
        with self._lock:
            for entry in self.queue:
                if entry["endpoint"] == endpoint and entry["phone"] in ("", phone) and entry["fault"] in names:
                    entry["times"] -= 1
                    if not entry["times"]:
                        self.queue.remove(entry)
                    return entry["fault"]
        return ""


def person_delay(person: str) -> float:
    """Return the simulated seconds until a payer who is not a human acts."""
    return {"unreachable": 26, "rule_limited": 0.5, "busy": 0.5, "not_sent": 0.5, "no_operator": 0.5}.get(
        person, PERSON_SECONDS
    )
