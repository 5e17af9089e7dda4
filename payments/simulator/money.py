"""Money: the balances of phones and businesses, and payments between them."""

import re
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass

from payments.simulator import callbacks, wire
from payments.simulator.book import Book
from payments.simulator.checks import PHONE
from payments.simulator.faults import MAGIC_PHONES, Behaviour, Faults
from payments.simulator.options import MAX_PER_DAY, MAX_PER_TRANSACTION, Options
from payments.simulator.validation import Validator, Verdict

# Names of payers. The phone number decides, so that a phone always has the same name.
FIRST = (
    "Amina",
    "Brian",
    "Chebet",
    "Daudi",
    "Esther",
    "Fatuma",
    "George",
    "Halima",
    "Joyce",
    "Kevin",
    "Mwangi",
    "Njeri",
)
LAST = ("Achieng", "Barasa", "Cherono", "Kamau", "Kiptoo", "Mutua", "Mwende", "Ndung'u", "Odhiambo", "Wafula", "Were")
SANDBOX_FLOAT = 1_000_000  # the balance of the sandbox's shared shortcodes, so that they can pay out


class NotFound(Exception):
    """There is no such prompt, phone or business."""


@dataclass(frozen=True)
class Payment:
    """The result of a payment from a phone: a receipt code, or a result code other than 0."""

    result_code: str
    result_desc: str
    code: str | None = None


class Money:
    """Wallets of phones, and businesses. All methods may be called from any thread."""

    def __init__(self, *, options: Options, book: Book, faults: Faults):
        self.options, self.book, self.faults = options, book, faults
        self.validator = Validator(options, book)

    # --- Phones and businesses -------------------------------------------------------------------

    def business_name(self, shortcode: str) -> str:
        """Return the name of a business.

        :raises NotFound: no business has this number
        """
        if shortcode in (self.options.shortcode, self.options.party):
            return self.options.business
        if re.fullmatch(r"60\d{4}", shortcode):  # the sandbox's numbers for apps
            return f"Safaricom Daraja {shortcode[3:]}"
        raise NotFound(f"No business has the number {shortcode}.")

    def wallet(self, db: sqlite3.Connection, phone: str) -> dict:
        """Return the phone's wallet. A new one is created with some money."""
        new = self.new_wallet(phone)
        db.execute("INSERT OR IGNORE INTO wallets VALUES (:phone, :balance, :name, 0)", new)
        return dict(db.execute("SELECT * FROM wallets WHERE phone = ?", (phone,)).fetchone())

    def new_wallet(self, phone: str) -> dict:
        """Return the wallet of a new phone: its balance and the name of its owner."""
        digits = int(phone)
        name = f"{FIRST[digits % len(FIRST)]} {LAST[digits // 7 % len(LAST)]}"
        return {"phone": phone, "balance": self.options.opening_balance, "name": name}

    def deposit(self, phone: str, amount: int) -> None:
        """Deposit cash on a phone, as an agent does."""
        if not PHONE.fullmatch(phone) or not 1 <= amount <= MAX_PER_DAY:
            raise NotFound("A phone is 2547XXXXXXXX or 2541XXXXXXXX, an amount 1 to 500000.")
        now = time.time()
        with self.book.change() as db:
            code = self.new_code(db, phone, now)
            balance = self.receive(db, phone, amount, what="Cash at an agent", code=code, now=now)
            text = (
                f"{code} Confirmed. {wire.clock_words(now).capitalize()} Give {wire.shillings(amount)} cash to the "
                f"agent. New M-PESA balance is {wire.shillings(balance)}."
            )
            self.send_message(db, phone, text, now)

    def receive(self, db: sqlite3.Connection, phone: str, amount: int, *, what: str, code: str, now: float) -> int:
        """Add money to the phone's wallet, and return the new balance."""
        balance = self.wallet(db, phone)["balance"] + amount
        db.execute("UPDATE wallets SET balance = ? WHERE phone = ?", (balance, phone))
        sql = "INSERT INTO credits (phone, amount, what, code, at) VALUES (?, ?, ?, ?, ?)"
        db.execute(sql, (phone, amount, what, code, now))
        return balance

    # --- Money -----------------------------------------------------------------------------------

    def pay_bill(self, *, phone: str, business: str, account: str, amount: int) -> Payment:
        """Pay a business from the phone's M-Pesa menu.

        :raises NotFound: there is no such phone or business, or the amount or account is out of bounds
        """
        if not PHONE.fullmatch(phone):
            raise NotFound("A phone is 12 digits: 2547XXXXXXXX or 2541XXXXXXXX.")
        if not 1 <= amount <= MAX_PER_TRANSACTION or len(account) > 20:
            raise NotFound(f"An amount is 1 to {MAX_PER_TRANSACTION}, an account at most 20 characters.")
        self.business_name(business)
        # The fault of a magic number's confirmation applies to these payments too.
        confirmation = MAGIC_PHONES.get(phone, Behaviour()).confirmation
        return self.move(
            phone=phone, amount=amount, shortcode=business, account=account, channel="c2b", confirmation=confirmation
        )

    def move(
        self,
        *,
        phone: str,
        amount: int,
        shortcode: str,
        account: str,
        channel: str,
        checkout_request_id: str | None = None,
        confirmation: str = "",
        on_moved: Callable[[sqlite3.Connection, str, float], None] | None = None,
    ) -> Payment:
        """Move the money from the phone to the business, and plan the C2B confirmation. Return the result.

        `on_moved` is called in the transaction that moves the money, with the receipt code and the time.
        """
        now = time.time()
        with self.book.change() as db:
            wallet = self.wallet(db, phone)
            refusal = self._refusal(db, wallet, amount, now)
            if refusal:
                if refusal == "1":
                    self.send_message(
                        db, phone, no_funds(amount, self.options.business.upper(), wallet["balance"]), now
                    )
                return Payment(refusal, wire.RESULTS[refusal])
            code = self.new_code(db, phone, now)
        debit = {"code": code, "amount": amount, "phone": phone, "shortcode": shortcode, "account": account, "at": now}
        verdict = self.validator.ask(debit, name=wallet["name"])
        if not verdict.accepted:
            with self.book.change() as db:
                self.send_message(
                    db, phone, f"Failed. {self.options.business} did not accept the payment. {verdict.reason}", now
                )
            # No published sample shows this code. 11 to 14 mean that the account was not found.
            return Payment("14", f"The business did not accept the payment. {verdict.reason}")
        with self.book.change() as db:
            wallet = self.wallet(db, phone)
            refusal = self._refusal(db, wallet, amount, now)
            if refusal:
                return Payment(refusal, wire.RESULTS[refusal])
            self._debit(db, debit, wallet, channel, checkout_request_id)
            if on_moved is not None:
                on_moved(db, code, now)
            self._plan_confirmations(
                db,
                debit,
                wallet["name"],
                verdict,
                Behaviour(confirmation=confirmation),
                alone=checkout_request_id is None,
            )
        return Payment("0", wire.RESULTS["0"], code)

    def _refusal(self, db: sqlite3.Connection, wallet: dict, amount: int, now: float) -> str | None:
        sql = "SELECT coalesce(sum(amount), 0) FROM debits WHERE phone = ? AND at > ?"
        today = db.execute(sql, (wallet["phone"], now - 86_400)).fetchone()[0]
        if wallet["locked"]:
            return "8006"
        if amount > wallet["balance"]:
            return "1"
        return "4" if today + amount > MAX_PER_DAY else None

    def new_code(self, db: sqlite3.Connection, phone: str, now: float) -> str:
        """Return a new receipt code."""
        movements = "SELECT code FROM debits WHERE phone = :phone UNION SELECT code FROM credits WHERE phone = :phone"
        nth = db.execute(f"SELECT count(*) FROM ({movements})", {"phone": phone}).fetchone()[0]  # noqa: S608
        rng = self.faults.rng("code", phone, nth)
        code = wire.receipt_code(now, rng)
        used = "SELECT 1 FROM debits WHERE code = ? UNION SELECT 1 FROM credits WHERE code = ?"
        while db.execute(used, (code, code)).fetchone():
            code = wire.receipt_code(now, rng)
        return code

    def _debit(self, db: sqlite3.Connection, debit: dict, wallet: dict, channel: str, checkout: str | None) -> None:
        balance = wallet["balance"] - debit["amount"]
        db.execute("UPDATE wallets SET balance = ? WHERE phone = ?", (balance, debit["phone"]))
        self.credit(db, debit["shortcode"], debit["amount"])
        db.execute(
            "INSERT INTO debits (code, amount, phone, shortcode, account, channel, at, checkout_request_id)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(debit[key] for key in ("code", "amount", "phone", "shortcode", "account")),
                channel,
                debit["at"],
                checkout,
            ),
        )
        name = self.business_name(debit["shortcode"]).upper()
        account = f" for account {debit['account']}" if debit["account"] else ""
        verb = "paid to" if self.options.till else "sent to"
        text = (
            f"{debit['code']} Confirmed. {wire.shillings(debit['amount'])} {verb} {name}{account} "
            f"{wire.clock_words(debit['at'])}. New M-PESA balance is {wire.shillings(balance)}. "
            "Transaction cost, Ksh0.00."
        )
        self.send_message(db, debit["phone"], text, debit["at"])

    def credit(self, db: sqlite3.Connection, shortcode: str, amount: int) -> None:
        """Change the balance of a business. The amount may be negative."""
        name = self.business_name(shortcode)
        opening = 0 if shortcode == self.options.party else SANDBOX_FLOAT
        db.execute("INSERT OR IGNORE INTO organisations VALUES (?, ?, ?)", (shortcode, name, opening))
        db.execute("UPDATE organisations SET utility = utility + ? WHERE shortcode = ?", (amount, shortcode))

    def send_message(self, db: sqlite3.Connection, phone: str, text: str, now: float, *, sender: str = "MPESA") -> None:
        """Send the phone a message."""
        db.execute("INSERT INTO messages (phone, text, at, sender) VALUES (?, ?, ?, ?)", (phone, text, now, sender))

    def _plan_confirmations(
        self, db: sqlite3.Connection, debit: dict, name: str, verdict: Verdict, behaviour: Behaviour, *, alone: bool
    ) -> None:
        sql = "SELECT * FROM registrations WHERE shortcode = ?"
        registration = db.execute(sql, (debit["shortcode"],)).fetchone()
        if registration is None or not registration["confirmation_url"]:
            return
        balance = db.execute("SELECT utility FROM organisations WHERE shortcode = ?", (debit["shortcode"],)).fetchone()[
            0
        ]
        body = wire.encode(
            wire.c2b(
                debit,
                name=name,
                version=registration["version"],
                balance=f"{balance}.00",
                kind="Customer Merchant Payment" if self.options.till else "Pay Bill",
                third_party=verdict.third_party,
                variant=behaviour.confirmation,
            )
        )
        rng = self.faults.rng("confirmation", debit["phone"], debit["code"][3:])
        for planned in callbacks.for_debit(
            debit, body, registration["confirmation_url"], behaviour, options=self.options, rng=rng, alone=alone
        ):
            callbacks.save(db, planned)


def no_funds(amount: int, business: str, balance: int) -> str:
    """Return the message of M-Pesa to a phone with too little money."""
    text = f"Failed. You do not have enough money in your M-PESA account to pay {wire.shillings(amount)} to {business}."
    # When the payer only simulates this, the real balance would contradict the message.
    return text + (f" Your M-PESA balance is {wire.shillings(balance)}." if balance < amount else "")
