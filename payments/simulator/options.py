"""The options of the simulator, at its start or while it runs."""

import secrets
from dataclasses import dataclass, field

# The sandbox's public test credentials (Daraja portal, "Test Credentials").
SANDBOX_SHORTCODE = "174379"
SANDBOX_PASSKEY = "bfb279f9aa9bdbcf158e97dd71a467cd2e0c893059b10f78e6b72ada1ed2c919"

# Portal, M-Pesa Express and its result codes 2, 3 and 4. Whole Kenyan shillings.
MAX_PER_TRANSACTION = 250_000
MAX_PER_DAY = 500_000

# Seconds of simulated time. Options.real() converts them.
PROMPT_SECONDS = 60  # how long a prompt stays on a phone; reports say 60 to 90 s
RULE_17_SECONDS = 120  # portal, result code 17: within two minutes
LATE_SECONDS = 150  # long after the prompt and the first query
PERSON_SECONDS = 2  # until the payer of a magic phone acts
CALLBACK_SECONDS = 0.5  # from the move of the money to the callback

# Real seconds, because the simulator waits for the product, which does not run faster.
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
    """The options. `speed` and those in CHOICES can be changed while it runs (POST /control/options/)."""

    business: str = "Kilabu Fitness"
    shortcode: str = SANDBOX_SHORTCODE
    passkey: str = SANDBOX_PASSKEY
    till: str = ""  # if set, the shortcode is a store number, and this is the till that payers see
    consumer_key: str = "simulator-key"
    consumer_secret: str = "simulator-secret"  # noqa: S105 - simulated money only
    opening_balance: int = 100_000  # balance of a new phone, in KES
    speed: float = 1.0  # with 30, a prompt of 60 s lasts 2 s
    seed: int = field(default_factory=lambda: secrets.randbelow(10**9))
    ca_file: str = ""  # a certificate authority to trust when calling back over https

    mode: str = "sandbox"  # production: https callbacks only, URLs registered once, no C2B simulate
    expires_in: str = "mixed"  # type of the token's lifetime: string, number, or alternately both
    tokens: str = "newest"  # newest: a new token ends the old one (portal, Authorization FAQ)
    second_push: str = "refuse"  # while a prompt is open: refuse at once, or accept and end with result 1001
    rule_17: str = "paid"  # same amount and phone within two minutes: after a payment, after any push, or never
    processing: str = "error"  # answer to a query of an open prompt: 500.001.1001, or result 4999
    validation: str = "on"  # C2B external validation; the sandbox's shared paybill has it on
    registering: str = "usual"  # ResponseCode of a C2B registration: "0", none as for new accounts, or "00000000"

    def real(self, seconds: float) -> float:
        """Convert simulated seconds to real seconds."""
        return seconds / self.speed

    @property
    def party(self) -> str:
        """The number to which payers pay."""
        return self.till or self.shortcode

    def change(self, name: str, value: object) -> None:
        """Change one option.

        :raises ValueError: there is no such option, or it has no such value
        """
        if name == "speed" and isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            self.speed = float(value)
        elif name in CHOICES and value in CHOICES[name]:
            setattr(self, name, value)
        else:
            known = {"speed": "a number above 0", **{key: " or ".join(words) for key, words in CHOICES.items()}}
            raise ValueError(f"{name} cannot be {value!r}. {name}: {known.get(name, 'no such option')}.")
