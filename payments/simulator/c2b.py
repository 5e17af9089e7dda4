"""Customer to Business (C2B) and Pull Transactions: registration of URLs, simulated payments, missed payments."""

import re
import time
from datetime import datetime, timedelta

from payments.simulator import checks, wire
from payments.simulator.book import Book
from payments.simulator.checks import Refusal
from payments.simulator.courier import Courier
from payments.simulator.faults import Behaviour, Faults
from payments.simulator.money import Money, NotFound
from payments.simulator.options import SANDBOX_SHORTCODE, Options

PULL_HOURS = 48
PULL_PAGE = 100


class CustomerPayments:
    """The endpoints of C2B and Pull Transactions."""

    def __init__(self, *, options: Options, book: Book, faults: Faults, money: Money, courier: Courier):
        self.options, self.book, self.faults, self.money, self.courier = options, book, faults, money, courier

    def routes(self) -> dict:
        return {
            "/mpesa/c2b/v1/registerurl": ("c2b", lambda body, behaviour: self.register(body, "v1")),
            "/mpesa/c2b/v2/registerurl": ("c2b", lambda body, behaviour: self.register(body, "v2")),
            "/mpesa/c2b/v1/simulate": ("c2b", self.simulate),
            "/mpesa/c2b/v2/simulate": ("c2b", self.simulate),
            "/pulltransactions/v1/register": ("pull", self.pull_register),
            "/pulltransactions/v1/query": ("pull", self.pull),
        }

    def _business(self, body: dict) -> str:
        shortcode = checks.digits(body, "ShortCode", r"\d{5,7}")
        try:
            self.money.business_name(shortcode)
        except NotFound:
            raise checks.invalid("ShortCode") from None
        return shortcode

    def register(self, body: dict, version: str) -> dict:
        """Store the two URLs. They can be replaced in the sandbox, but not in production.

        :raises Refusal: a field is wrong, or the URLs are registered already
        """
        shortcode = self._business(body)
        if body.get("ResponseType") not in ("Completed", "Cancelled"):  # with this capital letter
            raise checks.invalid("ResponseType")
        confirmation = checks.url(body, "ConfirmationURL", self.options, registering=True)
        validation = ""
        is_required = shortcode == SANDBOX_SHORTCODE and self.options.validation == "on"
        if body.get("ValidationURL") or is_required:
            validation = checks.url(body, "ValidationURL", self.options, registering=True)
        known = self.book.row("SELECT 1 FROM registrations WHERE shortcode = ?", shortcode)
        if known and self.options.mode == "production":
            raise Refusal(500, "500.003.1001", "Urls are already registered.", request_id="")
        with self.book.change() as db:
            db.execute(
                "INSERT OR REPLACE INTO registrations VALUES (?, ?, ?, ?, ?)",
                (shortcode, version, body["ResponseType"], confirmation, validation),
            )
        code = "00000000" if self.options.registering == "zeros" else "0"
        return {
            # Safaricom spells it like this, without the first n of Conversation.
            "OriginatorCoversationID": wire.request_id(self.faults.rng("register", self.book.count("register"))),
            **({} if self.options.registering == "bare" else {"ResponseCode": code}),
            "ResponseDescription": "success" if version == "v1" else "Success",
        }

    def simulate(self, body: dict, behaviour: Behaviour) -> dict:
        """Pay a business from a phone. Only the sandbox has this endpoint.

        :raises Refusal: a field is wrong, or this is production
        """
        if self.options.mode == "production":
            raise Refusal(404, "404.001.01", "Resource not found")
        shortcode = self._business(body)
        if body.get("CommandID") not in ("CustomerPayBillOnline", "CustomerBuyGoodsOnline"):
            raise checks.invalid("CommandID")
        amount = checks.amount(body)
        phone = checks.phone_number(body, "Msisdn")
        account = ""
        if body["CommandID"] == "CustomerPayBillOnline":
            account = checks.short_text(body, "BillRefNumber", 20)
        self.courier.run_in_background(
            self.money.pay_bill, phone=phone, business=shortcode, account=account, amount=amount
        )
        return {
            "OriginatorCoversationID": wire.request_id(self.faults.rng("simulate", self.book.count("simulate"))),
            "ResponseCode": "0",
            "ResponseDescription": "Accept the service request successfully.",
        }

    # --- Pull Transactions -----------------------------------------------------------------------

    def pull_register(self, body: dict, behaviour: Behaviour) -> dict:
        shortcode = self._pull_business(body)
        if body.get("RequestType") != "Pull":
            raise checks.invalid("RequestType")
        checks.digits(body, "NominatedNumber", r"(?:254|0)[17]\d{8}")
        callback = checks.url(body, "CallBackURL", self.options)
        with self.book.change() as db:
            new = db.execute("INSERT OR IGNORE INTO pull_registrations VALUES (?, ?)", (shortcode, callback)).rowcount
        return {
            "ResponseRefID": self._reference(),
            "ResponseStatus": "1000" if new else "1001",
            "ShortCode": shortcode,
            "ResponseDescription": "Shortcode Registered Successfully" if new else "ShortCode already Registered",
        }

    def pull(self, body: dict, behaviour: Behaviour) -> dict:
        """Return the payments between two times of the last 48 hours."""
        shortcode = self._pull_business(body)
        if self.book.row("SELECT 1 FROM pull_registrations WHERE shortcode = ?", shortcode) is None:
            raise Refusal(
                500, "500", "Failed to retrieve transactions. The short code does not have any available transactions."
            )
        begin = max(_timestamp(body, "StartDate"), time.time() - timedelta(hours=PULL_HOURS).total_seconds())
        offset = int(checks.digits(body, "OffSetValue", r"\d{1,9}"))
        rows = self.book.rows(
            "SELECT * FROM debits WHERE shortcode = ? AND at BETWEEN ? AND ? ORDER BY at, code LIMIT ? OFFSET ?",
            shortcode,
            begin,
            _timestamp(body, "EndDate") + 1,
            PULL_PAGE,
            offset,
        )
        name = self.money.business_name(shortcode)
        return {
            "ResponseRefID": self._reference(),
            "ResponseCode": "1000" if rows else "1001",
            "ResponseMessage": "Success" if rows else "No transactions available",
            "Response": [
                [
                    {
                        "transactionId": row["code"],
                        "trxDate": wire.zulu(row["at"]),
                        "msisdn": int(row["phone"][3:]),
                        "sender": "MPESA",
                        "transactiontype": "c2b-buy-goods-debit" if self.options.till else "c2b-pay-bill-debit",
                        "billreference": row["account"],
                        "amount": wire.exactly(f"{row['amount']}.0"),
                        "organizationname": name,
                    }
                    for row in rows
                ]
            ],
        }

    def _pull_business(self, body: dict) -> str:
        try:
            return self._business(body)
        except Refusal:
            raise Refusal(400, "400.001", "Invalid ShortCode") from None

    def _reference(self) -> str:
        raw = f"{self.faults.rng('pull', self.book.count('pull')).getrandbits(128):032x}"
        return f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"


def _timestamp(body: dict, field: str) -> float:
    """Parse yyyy-MM-dd H:mm[:ss] in Nairobi time. The portal's own sample has three digits of seconds."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d) (\d{1,2}):(\d\d)(?::\d{2,3})?", checks.text_of(body, field), re.ASCII)
    try:
        day = datetime.fromisoformat(f"{found[1]}T{found[2]:0>2}:{found[3]}+03:00") if found else None
    except ValueError:
        day = None
    if day is None:
        raise checks.invalid(field)
    seconds = checks.text_of(body, field).split(":")[2:]
    return day.timestamp() + min(59, int(seconds[0]) if seconds else 0)
