"""The APIs that acknowledge a request and send a Result later: B2C, Reversal, Transaction Status, Account Balance.

Any SecurityCredential is accepted, because it is not decrypted. Some names of initiators cause errors (INITIATORS).
"""

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from payments.simulator import callbacks, checks, wire
from payments.simulator.book import Book
from payments.simulator.callbacks import PlannedCallback
from payments.simulator.checks import Refusal
from payments.simulator.faults import Behaviour, Faults
from payments.simulator.money import Money, NotFound
from payments.simulator.options import CALLBACK_SECONDS, LATE_SECONDS, Options

INITIATORS = {"wrong": "2001", "locked": "8006", "norole": "21"}
RESULTS = {
    **wire.RESULTS,
    "21": "The initiator is not allowed to initiate this request",
    "25": "The format of parameter null is invalid.",  # for an unknown receipt (tests of Safaricom's node library)
    "R000001": "The transaction has already been reversed.",
    "R000002": "The OriginalTransactionID is invalid.",
}
QUEUE = "https://internalsandbox.safaricom.co.ke/mpesa/{}/v1/submit"


@dataclass
class Outcome:
    """The result of a request: a result code and, after a success, its parameters."""

    code: str = "0"
    transaction: str = "0000000000"
    parameters: list[dict] = field(default_factory=list)
    strings: bool = False  # Account Balance reports its codes as strings


class Results:
    """The endpoints of these APIs."""

    def __init__(self, *, options: Options, book: Book, faults: Faults, money: Money):
        self.options, self.book, self.faults, self.money = options, book, faults, money

    def routes(self) -> dict:
        return {
            "/mpesa/b2c/v1/paymentrequest": ("b2c", self.b2c),
            "/mpesa/b2c/v3/paymentrequest": ("b2c", lambda body, behaviour: self.b2c(body, behaviour, named=True)),
            "/mpesa/reversal/v1/request": ("reversal", self.reversal),
            "/mpesa/transactionstatus/v1/query": ("status", self.status),
            "/mpesa/accountbalance/v1/query": ("balance", self.balance),
        }

    # --- Endpoints -------------------------------------------------------------------------------

    def b2c(self, body: dict, behaviour: Behaviour, *, named: bool = False) -> dict:
        """Pay a phone from the utility account of the business. In v3 the caller sends a unique id.

        :raises Refusal: a field is wrong, or the id was used before
        """
        if body.get("CommandID") not in ("BusinessPayment", "SalaryPayment", "PromotionPayment"):
            raise checks.invalid("CommandID")
        amount = checks.amount(body)
        shortcode = checks.digits(body, "PartyA", r"\d{5,7}")
        phone = checks.phone_number(body, "PartyB")
        checks.short_text(body, "Remarks", 100, least=2)
        checks.short_text(body, "Occassion", 100, least=0)
        originator = checks.short_text(body, "OriginatorConversationID", 100) if named else ""

        def pay(db: sqlite3.Connection, ids: dict, now: float) -> Outcome:
            try:
                utility = self._utility_balance(db, shortcode)
            except NotFound:
                return Outcome("2028")
            if amount > utility:
                return Outcome("1")
            wallet = self.money.wallet(db, phone)
            code = self.money.new_code(db, phone, now)
            self.money.credit(db, shortcode, -amount)
            name = self.money.business_name(shortcode)
            balance = self.money.receive(db, phone, amount, what=f"From {name}", code=code, now=now)
            self.money.send_message(
                db,
                phone,
                f"{code} Confirmed. You have received {wire.shillings(amount)} from {name.upper()} "
                f"{wire.clock_words(now)}. New M-PESA balance is {wire.shillings(balance)}.",
                now,
            )
            day = wire.stamp(now)
            return Outcome(
                "0",
                code,
                [
                    {"Key": "TransactionAmount", "Value": amount},
                    {"Key": "TransactionReceipt", "Value": code},
                    {"Key": "ReceiverPartyPublicName", "Value": f"{phone} - {wallet['name']}"},
                    {
                        "Key": "TransactionCompletedDateTime",
                        "Value": f"{day[6:8]}.{day[4:6]}.{day[:4]} {day[8:10]}:{day[10:12]}:{day[12:]}",
                    },
                    {"Key": "B2CUtilityAccountAvailableFunds", "Value": wire.exactly(f"{utility - amount}.00")},
                    {"Key": "B2CWorkingAccountAvailableFunds", "Value": wire.exactly("0.00")},
                    {"Key": "B2CRecipientIsRegisteredCustomer", "Value": "Y"},
                    {"Key": "B2CChargesPaidAccountAvailableFunds", "Value": wire.exactly("-1980.00")},
                ],
            )

        return self._acknowledge(
            body, behaviour, pay, kind="b2c", initiator="InitiatorName", shortcode=shortcode,
            originator=originator, payout=(phone, amount),
        )  # fmt: skip

    def reversal(self, body: dict, behaviour: Behaviour) -> dict:
        """Reverse a payment of a customer. It can be reversed once, with its whole amount."""
        if body.get("CommandID") != "TransactionReversal":
            raise checks.invalid("CommandID")
        receipt = checks.digits(body, "TransactionID", r"[A-Z0-9]{10}")
        amount = checks.amount(body)
        shortcode = checks.digits(body, "ReceiverParty", r"\d{5,7}")
        checks.digits(body, "RecieverIdentifierType", "11")  # misspelt by Safaricom
        checks.short_text(body, "Remarks", 100, least=2)

        def reverse(db: sqlite3.Connection, ids: dict, now: float) -> Outcome:
            sql = "SELECT * FROM debits WHERE code = ? AND shortcode IN (?, ?)"
            parties = (shortcode, self.options.party if shortcode == self.options.shortcode else shortcode)
            debit = db.execute(sql, (receipt, *parties)).fetchone()
            if debit is None:
                return Outcome("R000002")
            if debit["reversed_at"] is not None:
                return Outcome("R000001")
            if amount != debit["amount"]:
                return Outcome("2")  # no published answer; this code is final, and no money moves
            utility = self._utility_balance(db, debit["shortcode"])
            if amount > utility:
                return Outcome("1")
            wallet = self.money.wallet(db, debit["phone"])
            code = self.money.new_code(db, debit["phone"], now)
            db.execute("UPDATE debits SET reversed_at = ? WHERE code = ?", (now, receipt))
            balance = self.money.receive(db, debit["phone"], amount, what=f"Reversal of {receipt}", code=code, now=now)
            self.money.credit(db, debit["shortcode"], -amount)
            self.money.send_message(
                db,
                debit["phone"],
                f"{code} Confirmed. Transaction {receipt} has been reversed {wire.clock_words(now)}. "
                f"{wire.shillings(amount)} is credited to your M-PESA account. "
                f"New M-PESA balance is {wire.shillings(balance)}.",
                now,
            )
            left = f"{utility - amount}.00"
            return Outcome(
                "0",
                code,
                [
                    {"Key": "DebitAccountBalance", "Value": f"Utility Account|KES|{left}|{left}|0.00|0.00"},
                    {"Key": "Amount", "Value": wire.exactly(f"{amount}.00")},
                    {"Key": "TransCompletedTime", "Value": int(wire.stamp(now))},
                    {"Key": "OriginalTransactionID", "Value": receipt},
                    {"Key": "Charge", "Value": wire.exactly("0.00")},
                    {"Key": "CreditPartyPublicName", "Value": f"{debit['phone']} - {wallet['name']}"},
                    {"Key": "DebitPartyPublicName", "Value": self._public_name(debit["shortcode"])},
                ],
            )

        return self._acknowledge(body, behaviour, reverse, kind="reversal", shortcode=shortcode)

    def status(self, body: dict, behaviour: Behaviour) -> dict:
        """Find a payment by its receipt, or a payout by its conversation id.

        Two field names have spaces in the portal's sample, but not live. Both forms are accepted.
        """
        body = {key.replace(" ", ""): value for key, value in body.items()}
        if body.get("CommandID") != "TransactionStatusQuery":
            raise checks.invalid("CommandID")
        if not body.get("TransactionID") and not body.get("OriginalConversationID"):
            raise checks.invalid("TransactionID")
        receipt = checks.digits(body, "TransactionID", r"[A-Z0-9]{10}") if body.get("TransactionID") else ""
        shortcode = checks.digits(body, "PartyA", r"\d{5,12}")
        checks.digits(body, "IdentifierType", "[124]")

        def find(db: sqlite3.Connection, ids: dict, now: float) -> Outcome:
            debit = db.execute("SELECT * FROM debits WHERE code = ?", (receipt,)).fetchone()
            if debit is not None:
                at = int(wire.stamp(debit["at"]))
                name = self.money.wallet(db, debit["phone"])["name"]
                return self._found(
                    now, receipt, debit["amount"], at, "Pay Bill Online", "",
                    debtor=f"{debit['phone']} - {name}", creditor=self._public_name(debit["shortcode"]),
                    state="Reversed" if debit["reversed_at"] else "Completed",
                )  # fmt: skip
            sql = "SELECT * FROM payouts WHERE originator_conversation_id = ? OR code = ?"
            paid = db.execute(sql, (str(body.get("OriginalConversationID", "")), receipt or None)).fetchone()
            if paid is None or paid["code"] is None:
                return Outcome("25")
            name = self.money.wallet(db, paid["phone"])["name"]
            return self._found(
                now, paid["code"], paid["amount"], int(wire.stamp(paid["at"])),
                "Business Payment to Customer via API", paid["conversation_id"],
                debtor=self._public_name(paid["shortcode"]), creditor=f"{paid['phone']} - {name}", state="Completed",
            )  # fmt: skip

        return self._acknowledge(body, behaviour, find, kind="status", shortcode=shortcode)

    def _found(
        self, now: float, code: str, amount: int, at: int, reason: str, conversation: str, *, debtor: str,
        creditor: str, state: str,
    ) -> Outcome:  # fmt: skip
        return Outcome(
            "0",
            wire.receipt_code(now, self.faults.rng("status", code))[:3] + "0000000",
            [
                {"Key": "DebitPartyName", "Value": debtor},
                {"Key": "CreditPartyName", "Value": creditor},
                {"Key": "OriginatorConversationID"},
                {"Key": "InitiatedTime", "Value": at},
                {"Key": "DebitAccountType", "Value": "MMF Account For Customer"},
                {"Key": "DebitPartyCharges"},
                {"Key": "TransactionReason"},
                {"Key": "ReasonType", "Value": reason},
                {"Key": "TransactionStatus", "Value": state},
                {"Key": "FinalisedTime", "Value": at},
                {"Key": "Amount", "Value": wire.exactly(f"{amount}.00")},
                {"Key": "ConversationID", **({"Value": conversation} if conversation else {})},
                {"Key": "ReceiptNo", "Value": code},
            ],
        )

    def balance(self, body: dict, behaviour: Behaviour) -> dict:
        """Report the balance of the business."""
        if body.get("CommandID") != "AccountBalance":
            raise checks.invalid("CommandID")
        shortcode = checks.digits(body, "PartyA", r"\d{5,7}")
        checks.digits(body, "IdentifierType", "[124]")

        def read(db: sqlite3.Connection, ids: dict, now: float) -> Outcome:
            try:
                utility = self._utility_balance(db, shortcode)
            except NotFound:
                return Outcome("2028", strings=True)
            accounts = {"Working": 0, "Float": 0, "Utility": utility, "Charges Paid": 0, "Organization Settlement": 0}
            text = "&".join(f"{name} Account|KES|{kes}.00|{kes}.00|0.00|0.00" for name, kes in accounts.items())
            return Outcome(
                "0",
                wire.receipt_code(now, self.faults.rng("balance", now))[:3] + "0000000",
                [{"Key": "AccountBalance", "Value": text}, {"Key": "BOCompletedTime", "Value": wire.stamp(now)}],
                strings=True,
            )

        return self._acknowledge(body, behaviour, read, kind="balance", shortcode=shortcode)

    # --- Common parts ----------------------------------------------------------------------------

    def _utility_balance(self, db: sqlite3.Connection, shortcode: str) -> int:
        party = self.options.party if shortcode == self.options.shortcode else shortcode
        self.money.credit(db, party, 0)
        sql = "SELECT utility FROM organisations WHERE shortcode = ?"
        return db.execute(sql, (party,)).fetchone()["utility"]

    def _public_name(self, shortcode: str) -> str:
        return f"{shortcode} - {self.money.business_name(shortcode)}"

    def _acknowledge(
        self,
        body: dict,
        behaviour: Behaviour,
        run: Callable[[sqlite3.Connection, dict, float], Outcome],
        *,
        kind: str,
        shortcode: str,
        initiator: str = "Initiator",
        originator: str = "",
        payout: tuple[str, int] | None = None,
    ) -> dict:
        """Check the common fields, run the request, plan its Result, and return the acknowledgement."""
        name = checks.short_text(body, initiator, 100)
        checks.short_text(body, "SecurityCredential", 2000)
        result_url = checks.url(body, "ResultURL", self.options)
        timeout_url = checks.url(body, "QueueTimeOutURL", self.options)
        now = time.time()
        rng = self.faults.rng("result", kind, self.book.count(f"result {kind}"))
        with self.book.change() as db:
            if (
                originator
                and db.execute("SELECT 1 FROM payouts WHERE originator_conversation_id = ?", (originator,)).fetchone()
            ):
                raise Refusal(500, "500.002.1001", "Duplicate OriginatorConversationID.")
            ids = {
                "OriginatorConversationID": originator or wire.request_id(rng),
                "ConversationID": wire.conversation_id(now, rng),
            }
            timed_out = behaviour.result == "queue_timeout"
            refused = INITIATORS.get(name.lower())
            outcome = Outcome(refused) if refused else Outcome("1") if timed_out else run(db, ids, now)
            if payout:
                code = outcome.transaction if outcome.code == "0" else None
                db.execute(
                    "INSERT INTO payouts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (*ids.values(), shortcode, *payout, code, outcome.code, now),
                )
            for planned in self._plan(kind, ids, outcome, behaviour, now, (result_url, timeout_url), shortcode):
                callbacks.save(db, planned)
        return {
            **ids,
            "ResponseCode": "0",
            "ResponseDescription": "Accept the service request successfully.",
        }

    def _plan(
        self, kind: str, ids: dict, outcome: Outcome, behaviour: Behaviour, now: float, urls: tuple[str, str],
        shortcode: str,
    ) -> list[PlannedCallback]:  # fmt: skip
        fault = behaviour.result
        if fault == "result_lost":
            return []
        body = wire.encode(self._envelope(kind, ids, outcome, behaviour))
        seconds = LATE_SECONDS if fault == "result_late" else CALLBACK_SECONDS
        url = urls[1] if fault == "queue_timeout" else urls[0]
        due_at = now + self.options.real(seconds)
        planned = PlannedCallback(kind, url, shortcode, ids["ConversationID"], body, due_at)
        return [planned] * (2 if fault == "result_duplicate" else 1)

    def _envelope(self, kind: str, ids: dict, outcome: Outcome, behaviour: Behaviour) -> dict:
        code: int | str = int(outcome.code) if outcome.code.isdigit() and not outcome.strings else outcome.code
        result: dict = {
            "ResultType": "0" if outcome.strings else 0,
            "ResultCode": code,
            "ResultDesc": RESULTS[outcome.code],
            **ids,
            "TransactionID": outcome.transaction,
        }
        if outcome.parameters:
            parameters = list(outcome.parameters)
            self.faults.rng("parameters", ids["ConversationID"]).shuffle(parameters)  # live order varies
            result["ResultParameters"] = {"ResultParameter": parameters}
        item: dict = {"Key": "QueueTimeoutURL", "Value": QUEUE.format(f"{kind}results")}
        if kind == "status":
            item = {"Key": "Occasion"}
        if behaviour.result == "reference_list":
            result["ReferenceData"] = {"ReferenceItem": [item, {"Key": "Occassion"}]}
        else:
            result["ReferenceData"] = {"ReferenceItem": item}
        return {"Result": result}
