"""C2B external validation: the business accepts or rejects a payment before the money moves."""

from dataclasses import dataclass

import requests

from payments.simulator import wire
from payments.simulator.book import Book
from payments.simulator.courier import post
from payments.simulator.options import VALIDATION_SECONDS, Options

REASONS = {
    "C2B00011": "Invalid MSISDN",
    "C2B00012": "Invalid Account Number",
    "C2B00013": "Invalid Amount",
    "C2B00014": "Invalid KYC Details",
    "C2B00015": "Invalid Shortcode",
    "C2B00016": "Other Error",
}


@dataclass(frozen=True)
class Verdict:
    """The decision of the business, or its registered ResponseType if it does not answer."""

    accepted: bool
    reason: str = ""
    third_party: str = ""


class Validator:
    """Asks the business whether it accepts a payment."""

    def __init__(self, options: Options, book: Book):
        self._options, self._book = options, book

    def ask(self, debit: dict, *, name: str) -> Verdict:
        """Send the payment to the ValidationURL, and wait up to eight real seconds for the decision."""
        registration = self._book.row("SELECT * FROM registrations WHERE shortcode = ?", debit["shortcode"])
        if self._options.validation == "off" or registration is None or not registration["validation_url"]:
            return Verdict(accepted=True)
        kind = "Customer Merchant Payment" if self._options.till else "Pay Bill"
        body = wire.encode(wire.c2b(debit, name=name, version=registration["version"], balance="", kind=kind))
        default = Verdict(accepted=registration["response_type"] == "Completed", reason="It did not answer in time.")
        try:
            answer = post(
                registration["validation_url"],
                body,
                shortcode=debit["shortcode"],
                ca_file=self._options.ca_file,
                timeout=VALIDATION_SECONDS,
            )
            reply = answer.json()
        except (requests.RequestException, ValueError):
            return default
        if answer.status_code != 200 or not isinstance(reply, dict) or "ResultCode" not in reply:
            return default
        if str(reply["ResultCode"]) == "0":
            return Verdict(accepted=True, third_party=str(reply.get("ThirdPartyTransID") or ""))
        return Verdict(accepted=False, reason=REASONS.get(str(reply["ResultCode"]), "Other Error"))
