"""What can be set about a simulated M-Pesa, at its start or while it runs."""

import secrets
from dataclasses import dataclass, field

# The sandbox's public test credentials (Daraja portal, "Test Credentials").
SANDBOX_SHORTCODE = "174379"
SANDBOX_PASSKEY = "bfb279f9aa9bdbcf158e97dd71a467cd2e0c893059b10f78e6b72ada1ed2c919"

# Portal, M-Pesa Express and its result codes 2, 3 and 4. Whole Kenyan shillings.
MOST_PER_TRANSACTION = 250_000
MOST_PER_DAY = 500_000

# Seconds of simulated time: divide by Options.speed for real ones.
PROMPT_SECONDS = 60  # how long a prompt stays on a handset; reports say 60 to 90 s
RULE_17_SECONDS = 120  # portal, result code 17: within two minutes
LATE_SECONDS = 150  # a late callback comes after the prompt, and after a first query, are long over
PERSON_SECONDS = 2  # how long a magic number's owner thinks
CALLBACK_SECONDS = 0.5  # from the money's move to the callback

# Real seconds: it is the product that is being waited for, and it does not run faster.
VALIDATION_SECONDS = 8
TOKEN_SECONDS = 3599

CHOICES = {
    "mode": ("sandbox", "production"),
    "expires_in": ("mixed", "number", "string"),
    "tokens": ("newest", "all"),
    "second_push": ("refuse", "result"),
    "rule_17": ("paid", "any", "off"),
    "processing": ("error", "4999"),
    "validation": ("on", "off"),
    "registering": ("usual", "bare", "zeros"),
}


@dataclass
class Options:
    """The knobs; those named in CHOICES, and speed, may be turned while it runs (POST /control/options/)."""

    business: str = "Kilabu Fitness"
    shortcode: str = SANDBOX_SHORTCODE
    passkey: str = SANDBOX_PASSKEY
    till: str = ""  # set: the shortcode is a store number, and this is the till customers see
    consumer_key: str = "simulator-key"
    consumer_secret: str = "simulator-secret"  # noqa: S105 - simulated money only
    opening_balance: int = 100_000  # what a phone nobody has seen yet holds, in KES
    speed: float = 1.0  # 30 makes a 60 s prompt last 2 s
    seed: int = field(default_factory=lambda: secrets.randbelow(10**9))
    ca_file: str = ""  # a certificate authority to trust when calling back over https

    mode: str = "sandbox"  # production: https callbacks only, URLs registered once, no C2B simulate
    expires_in: str = "mixed"  # the token's lifetime as a string, a number, or by turns
    tokens: str = "newest"  # a new token ends the one before it (portal, Authorization FAQ)
    second_push: str = "refuse"  # while a prompt is open: refuse at once, or accept and report result 1001
    rule_17: str = "paid"  # same amount, same phone, two minutes: after a payment, after any push, or never
    processing: str = "error"  # what a query of an open prompt gets: 500.001.1001, or result 4999
    validation: str = "on"  # C2B external validation; the sandbox's shared paybill has it on
    registering: str = "usual"  # ResponseCode of C2B registration: "0", left out as for new accounts, or "00000000"

    def real(self, seconds: float) -> float:
        """Return how long this much simulated time takes."""
        return seconds / self.speed

    @property
    def party(self) -> str:
        """The number customers pay to."""
        return self.till or self.shortcode

    def change(self, name: str, value: object) -> None:
        """Turn one knob.

        :raises ValueError: there is no such knob, or it has no such position
        """
        if name == "speed" and isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            self.speed = float(value)
        elif name in CHOICES and value in CHOICES[name]:
            setattr(self, name, value)
        else:
            known = {"speed": "a number above 0", **{key: " or ".join(words) for key, words in CHOICES.items()}}
            raise ValueError(f"{name} cannot be {value!r}. {name}: {known.get(name, 'no such option')}.")
