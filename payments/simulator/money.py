"""Who has money, and how it moves from a phone to a business."""

import re
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass

from payments.simulator import callbacks, wire
from payments.simulator.book import Book
from payments.simulator.checks import PHONE
from payments.simulator.faults import MAGIC_PHONES, Behaviour, Faults
from payments.simulator.options import MOST_PER_DAY, MOST_PER_TRANSACTION, Options
from payments.simulator.validation import Validator, Verdict

# Names that the confirmations carry; chosen by the phone, so that a phone always has the same.
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
SANDBOX_FLOAT = 1_000_000  # what the sandbox's shared shortcodes hold, so that they can pay out


class Unknown(Exception):
    """There is no such prompt, phone or business."""


@dataclass(frozen=True)
class Payment:
    """How a payment from a phone ended: a receipt code, or a result code other than 0."""

    result_code: str
    result_desc: str
    code: str | None = None


class Money:
    """Wallets and businesses. Its methods may be called from any thread."""

    def __init__(self, *, options: Options, book: Book, faults: Faults):
        self.options, self.book, self.faults = options, book, faults
        self.validator = Validator(options, book)

    # --- Who is who ------------------------------------------------------------------------------

    def business_name(self, shortcode: str) -> str:
        """:raises Unknown: nobody has this number"""
        if shortcode in (self.options.shortcode, self.options.party):
            return self.options.business
        if re.fullmatch(r"60\d{4}", shortcode):  # the sandbox's numbers for apps
            return f"Safaricom Daraja {shortcode[3:]}"
        raise Unknown(f"No business has the number {shortcode}.")

    def wallet(self, db: sqlite3.Connection, phone: str) -> dict:
        """Return the phone's wallet, opened with some money when it is new."""
        new = self.new_wallet(phone)
        db.execute("INSERT OR IGNORE INTO wallets VALUES (:phone, :balance, :name, 0)", new)
        return dict(db.execute("SELECT * FROM wallets WHERE phone = ?", (phone,)).fetchone())

    def new_wallet(self, phone: str) -> dict:
        """What a phone holds that nobody has seen yet, and whose it is."""
        digits = int(phone)
        name = f"{FIRST[digits % len(FIRST)]} {LAST[digits // 7 % len(LAST)]}"
        return {"phone": phone, "balance": self.options.opening_balance, "name": name}

    def deposit(self, phone: str, amount: int) -> None:
        """Put cash on a phone, as an agent does."""
        if not PHONE.fullmatch(phone) or not 1 <= amount <= MOST_PER_DAY:
            raise Unknown("A phone is 2547XXXXXXXX or 2541XXXXXXXX, an amount 1 to 500000.")
        now = time.time()
        with self.book.change() as db:
            code = self.new_code(db, phone, now)
            balance = self.receive(db, phone, amount, what="Cash at an agent", code=code, now=now)
            text = (
                f"{code} Confirmed. {wire.clock_words(now).capitalize()} Give {wire.shillings(amount)} cash to the "
                f"agent. New M-PESA balance is {wire.shillings(balance)}."
            )
            self.say(db, phone, text, now)

    def receive(self, db: sqlite3.Connection, phone: str, amount: int, *, what: str, code: str, now: float) -> int:
        """Add money that comes to the phone, and return what it then holds."""
        balance = self.wallet(db, phone)["balance"] + amount
        db.execute("UPDATE wallets SET balance = ? WHERE phone = ?", (balance, phone))
        sql = "INSERT INTO credits (phone, amount, what, code, at) VALUES (?, ?, ?, ?, ?)"
        db.execute(sql, (phone, amount, what, code, now))
        return balance

    # --- Money -----------------------------------------------------------------------------------

    def pay_bill(self, *, phone: str, business: str, account: str, amount: int) -> Payment:
        """Pay a business by hand from the phone's M-Pesa menu.

        :raises Unknown: no such phone or business, or an amount or account M-Pesa has no room for
        """
        if not PHONE.fullmatch(phone):
            raise Unknown("A phone is 12 digits: 2547XXXXXXXX or 2541XXXXXXXX.")
        if not 1 <= amount <= MOST_PER_TRANSACTION or len(account) > 20:
            raise Unknown(f"An amount is 1 to {MOST_PER_TRANSACTION}, an account at most 20 characters.")
        self.business_name(business)
        # A magic number's confirmation goes wrong for payments by hand, too.
        twin = MAGIC_PHONES.get(phone, Behaviour()).twin
        return self.move(phone=phone, amount=amount, shortcode=business, account=account, channel="c2b", twin=twin)

    def move(
        self,
        *,
        phone: str,
        amount: int,
        shortcode: str,
        account: str,
        channel: str,
        checkout_request_id: str | None = None,
        twin: str = "",
        also: Callable[[sqlite3.Connection, str, float], None] | None = None,
    ) -> Payment:
        """Take the money from the phone and owe the C2B confirmation, or say which result code forbids it.

        `also` is told the receipt code and the moment inside the transaction that moves the money.
        """
        now = time.time()
        with self.book.change() as db:
            wallet = self.wallet(db, phone)
            refusal = self._refusal(db, wallet, amount, now)
            if refusal:
                if refusal == "1":
                    self.say(db, phone, no_funds(amount, self.options.business.upper(), wallet["balance"]), now)
                return Payment(refusal, wire.RESULTS[refusal])
            code = self.new_code(db, phone, now)
        debit = {"code": code, "amount": amount, "phone": phone, "shortcode": shortcode, "account": account, "at": now}
        verdict = self.validator.ask(debit, name=wallet["name"])
        if not verdict.accepted:
            with self.book.change() as db:
                self.say(db, phone, f"Failed. {self.options.business} did not accept the payment. {verdict.words}", now)
            # No published sample has the code of this; 11 to 14 mean an account that does not resolve.
            return Payment("14", f"The business did not accept the payment. {verdict.words}")
        with self.book.change() as db:
            wallet = self.wallet(db, phone)
            refusal = self._refusal(db, wallet, amount, now)
            if refusal:
                return Payment(refusal, wire.RESULTS[refusal])
            self._take(db, debit, wallet, channel, checkout_request_id)
            if also is not None:
                also(db, code, now)
            self._owe_twin(db, debit, wallet["name"], verdict, Behaviour(twin=twin), alone=checkout_request_id is None)
        return Payment("0", wire.RESULTS["0"], code)

    def _refusal(self, db: sqlite3.Connection, wallet: dict, amount: int, now: float) -> str | None:
        sql = "SELECT coalesce(sum(amount), 0) FROM debits WHERE phone = ? AND at > ?"
        today = db.execute(sql, (wallet["phone"], now - 86_400)).fetchone()[0]
        if wallet["locked"]:
            return "8006"
        if amount > wallet["balance"]:
            return "1"
        return "4" if today + amount > MOST_PER_DAY else None

    def new_code(self, db: sqlite3.Connection, phone: str, now: float) -> str:
        """Return a receipt number that no movement of money has yet."""
        movements = "SELECT code FROM debits WHERE phone = :phone UNION SELECT code FROM credits WHERE phone = :phone"
        nth = db.execute(f"SELECT count(*) FROM ({movements})", {"phone": phone}).fetchone()[0]  # noqa: S608
        rng = self.faults.rng("code", phone, nth)
        code = wire.receipt_code(now, rng)
        used = "SELECT 1 FROM debits WHERE code = ? UNION SELECT 1 FROM credits WHERE code = ?"
        while db.execute(used, (code, code)).fetchone():
            code = wire.receipt_code(now, rng)
        return code

    def _take(self, db: sqlite3.Connection, debit: dict, wallet: dict, channel: str, checkout: str | None) -> None:
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
        self.say(db, debit["phone"], text, debit["at"])

    def credit(self, db: sqlite3.Connection, shortcode: str, amount: int) -> None:
        """Add to (or take from) what the business holds."""
        name = self.business_name(shortcode)
        opening = 0 if shortcode == self.options.party else SANDBOX_FLOAT
        db.execute("INSERT OR IGNORE INTO organisations VALUES (?, ?, ?)", (shortcode, name, opening))
        db.execute("UPDATE organisations SET utility = utility + ? WHERE shortcode = ?", (amount, shortcode))

    def say(self, db: sqlite3.Connection, phone: str, text: str, now: float, *, sender: str = "MPESA") -> None:
        """Send the phone a message."""
        db.execute("INSERT INTO messages (phone, text, at, sender) VALUES (?, ?, ?, ?)", (phone, text, now, sender))

    def _owe_twin(
        self, db: sqlite3.Connection, debit: dict, name: str, verdict: Verdict, behaviour: Behaviour, *, alone: bool
    ) -> None:
        sql = "SELECT * FROM registrations WHERE shortcode = ?"
        registration = db.execute(sql, (debit["shortcode"],)).fetchone()
        if registration is None or not registration["confirmation_url"]:
            return
        held = db.execute("SELECT utility FROM organisations WHERE shortcode = ?", (debit["shortcode"],)).fetchone()[0]
        body = wire.encode(
            wire.c2b(
                debit,
                name=name,
                version=registration["version"],
                balance=f"{held}.00",
                kind="Customer Merchant Payment" if self.options.till else "Pay Bill",
                third_party=verdict.third_party,
                variant=behaviour.twin,
            )
        )
        rng = self.faults.rng("twin", debit["phone"], debit["code"][3:])
        for planned in callbacks.of_debit(
            debit, body, registration["confirmation_url"], behaviour, options=self.options, rng=rng, alone=alone
        ):
            callbacks.owe(db, planned)


def no_funds(amount: int, business: str, balance: int) -> str:
    """What M-Pesa says to a phone that holds too little."""
    text = f"Failed. You do not have enough money in your M-PESA account to pay {wire.shillings(amount)} to {business}."
    # A person who only plays at being poor is not told a balance that contradicts it.
    return text + (f" Your M-PESA balance is {wire.shillings(balance)}." if balance < amount else "")
