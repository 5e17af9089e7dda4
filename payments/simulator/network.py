"""M-Pesa itself: handsets, wallets, prompts and the money that moves."""

import json
import sqlite3
import time
from dataclasses import dataclass

from payments.simulator import callbacks, wire
from payments.simulator.book import Book
from payments.simulator.checks import PHONE, Refusal
from payments.simulator.courier import Courier
from payments.simulator.faults import PERSONS, Behaviour, Faults, person_delay
from payments.simulator.options import MOST_PER_DAY, MOST_PER_TRANSACTION, PROMPT_SECONDS, RULE_17_SECONDS, Options
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
LATE_PAYMENT_SECONDS = 90
THEN_PAID = {"cancel_then_paid": "cancel", "timeout_then_paid": "ignore", "silent_then_paid": "ignore"}


class NotOpen(Exception):
    """The prompt is no longer on the handset."""


class Unknown(Exception):
    """There is no such prompt, phone or business."""


@dataclass(frozen=True)
class Payment:
    """How a payment from a phone ended: a receipt code, or a result code other than 0."""

    result_code: str
    result_desc: str
    code: str | None = None


class Network:
    """One simulated M-Pesa. All methods may be called from any thread."""

    def __init__(self, *, options: Options, book: Book, faults: Faults, courier: Courier):
        self.options, self.book, self.faults, self.courier = options, book, faults, courier
        self.validator = Validator(options, book)
        with book.change() as db:
            # Killed in the middle of an answer: nothing had moved, so the prompt is simply still there.
            db.execute("UPDATE prompts SET status = 'open' WHERE status = 'answering'")

    # --- Who is who ------------------------------------------------------------------------------

    def business_name(self, shortcode: str) -> str:
        """:raises Unknown: nobody has this number"""
        if shortcode in (self.options.shortcode, self.options.party):
            return self.options.business
        if len(shortcode) == 6 and shortcode.startswith("600"):  # the sandbox's numbers for apps
            return f"Safaricom Daraja {shortcode[3:]}"
        raise Unknown(f"No business has the number {shortcode}.")

    def wallet(self, db: sqlite3.Connection, phone: str) -> dict:
        """Return the phone's wallet, opened with some money when it is new."""
        digits = int(phone)
        name = f"{FIRST[digits % len(FIRST)]} {LAST[digits // 7 % len(LAST)]}"
        db.execute("INSERT OR IGNORE INTO wallets VALUES (?, ?, ?, 0)", (phone, self.options.opening_balance, name))
        return dict(db.execute("SELECT * FROM wallets WHERE phone = ?", (phone,)).fetchone())

    def deposit(self, phone: str, amount: int) -> None:
        """Put cash on a phone, as an agent does."""
        if not PHONE.fullmatch(phone) or not 1 <= amount <= MOST_PER_DAY:
            raise Unknown("A phone is 2547XXXXXXXX or 2541XXXXXXXX, an amount 1 to 500000.")
        now = time.time()
        with self.book.change() as db:
            balance = self.wallet(db, phone)["balance"] + amount
            db.execute("UPDATE wallets SET balance = ? WHERE phone = ?", (balance, phone))
            text = (
                f"Confirmed. {wire.clock_words(now).capitalize()} Give {wire.shillings(amount)} cash to the agent. "
                f"New M-PESA balance is {wire.shillings(balance)}."
            )
            _say(db, phone, text, now)

    # --- Prompts ---------------------------------------------------------------------------------

    def push(self, asked: dict, behaviour: Behaviour, *, ordinal: int) -> dict:
        """Show a prompt on a handset and return it.

        :raises Refusal: the handset has one already, and `second_push` says refuse
        """
        now = time.time()
        rng = self.faults.rng("push", asked["phone"], ordinal)
        with self.book.change() as db:
            self.wallet(db, asked["phone"])
            if self._prompt_open(db, asked["phone"]):
                if self.options.second_push == "refuse":
                    text = "Unable to lock subscriber, a transaction is already in process for the current subscriber"
                    raise Refusal(500, "500.001.1001", text)
                behaviour = behaviour.with_fault("busy")
            elif self._rule_17(db, asked, now):
                behaviour = behaviour.with_fault("rule_limited")
            elif asked["party_b"] != self.options.party or (self.options.till != "") != (
                asked["kind"] == "CustomerBuyGoodsOnline"
            ):
                known = asked["party_b"] in (self.options.shortcode, self.options.till)
                behaviour = behaviour.with_fault("product_fault" if known else "no_operator")
            acts_at = None
            if behaviour.person and behaviour.person != "ignore":
                acts_at = now + self.options.real(person_delay(behaviour.person))
            checkout = wire.checkout_request_id(now, asked["phone"])
            while db.execute("SELECT 1 FROM prompts WHERE checkout_request_id = ?", (checkout,)).fetchone():
                now += 0.001
                checkout = wire.checkout_request_id(now, asked["phone"])
            prompt = {
                **{key: asked[key] for key in ("shortcode", "party_b", "amount", "phone", "reference", "description")},
                "callback_url": asked["callback_url"],
                "checkout_request_id": checkout,
                "merchant_request_id": wire.request_id(rng),
                "ordinal": ordinal,
                "behaviour": json.dumps(behaviour.as_dict()),
                "status": "open",
                "opened_at": now,
                "expires_at": now + self.options.real(PROMPT_SECONDS),
                "acts_at": acts_at,
            }
            names = ", ".join(prompt)
            marks = ", ".join("?" * len(prompt))
            db.execute(f"INSERT INTO prompts ({names}) VALUES ({marks})", tuple(prompt.values()))  # noqa: S608
        return self.prompt(checkout)

    def prompt(self, checkout_request_id: str) -> dict:
        """:raises Unknown: there is none with this id"""
        found = self.book.row("SELECT * FROM prompts WHERE checkout_request_id = ?", checkout_request_id)
        if found is None:
            raise Unknown("There is no such prompt.")
        return found

    def _prompt_open(self, db: sqlite3.Connection, phone: str) -> bool:
        sql = "SELECT 1 FROM prompts WHERE phone = ? AND status IN ('open', 'answering')"
        return db.execute(sql, (phone,)).fetchone() is not None

    def _rule_17(self, db: sqlite3.Connection, asked: dict, now: float) -> bool:
        if self.options.rule_17 == "off":
            return False
        since = now - self.options.real(RULE_17_SECONDS)
        moment = "ended_at > ? AND status = 'paid'" if self.options.rule_17 == "paid" else "opened_at > ?"
        sql = f"SELECT 1 FROM prompts WHERE phone = ? AND amount = ? AND {moment}"  # noqa: S608
        return db.execute(sql, (asked["phone"], asked["amount"], since)).fetchone() is not None

    def answer(self, checkout_request_id: str, person: str) -> dict:
        """Do at the handset what a person does there, and return the prompt afterwards.

        :raises NotOpen: it is over
        :raises Unknown: there is no such prompt or action
        """
        prompt = self.prompt(checkout_request_id)
        if person not in PERSONS:
            raise Unknown(f"Nobody can {person}.")
        if person == "ignore":
            if prompt["status"] != "open":
                raise NotOpen("The prompt is no longer on the handset.")
            return prompt  # it stays until its time is over
        if not self._claim(prompt):
            raise NotOpen("The prompt is no longer on the handset.")
        self._finish(prompt, person)
        return self.prompt(checkout_request_id)

    def _claim(self, prompt: dict) -> bool:
        """Take the prompt off the handset, so that it ends once only."""
        with self.book.change() as db:
            sql = "UPDATE prompts SET status = 'answering' WHERE checkout_request_id = ? AND status = 'open'"
            return db.execute(sql, (prompt["checkout_request_id"],)).rowcount == 1

    def _finish(self, prompt: dict, person: str) -> None:
        """End a claimed prompt; should that break, it is open again."""
        try:
            self._end(prompt, person)
        except BaseException:
            with self.book.change() as db:
                sql = "UPDATE prompts SET status = 'open' WHERE checkout_request_id = ? AND status = 'answering'"
                db.execute(sql, (prompt["checkout_request_id"],))
            raise

    def _end(self, prompt: dict, person: str) -> None:
        """Decide how the prompt ends, keep that, and owe the callbacks: one transaction."""
        behaviour = Behaviour(**json.loads(prompt["behaviour"]))
        first = THEN_PAID.get(behaviour.callback)
        if first and person == "pay":
            self._fail(prompt, first, behaviour, pays_late=True)
        elif behaviour.callback == "forged" and person == "pay":
            self._fail(prompt, "ignore", behaviour)
        elif person == "pay":
            self._pay(prompt, behaviour)
        else:
            self._fail(prompt, person, behaviour)

    def _fail(self, prompt: dict, person: str, behaviour: Behaviour, *, pays_late: bool = False) -> None:
        code, status = PERSONS[person]
        now = time.time()
        late = now + self.options.real(LATE_PAYMENT_SECONDS) if pays_late else None
        with self.book.change() as db:
            db.execute(
                "UPDATE prompts SET status = ?, result_code = ?, result_desc = ?, ended_at = ?, pays_late_at = ?"
                " WHERE checkout_request_id = ?",
                (status, code, wire.RESULTS[code], now, late, prompt["checkout_request_id"]),
            )
            if person == "no_funds":
                balance = self.wallet(db, prompt["phone"])["balance"]
                _say(db, prompt["phone"], _no_funds(prompt["amount"], self.options.business, balance), now)
            elif person == "wrong_pin":
                _say(db, prompt["phone"], "Failed. You have entered the wrong PIN. Please try again.", now)
            self._owe(db, prompt["checkout_request_id"], behaviour, now)

    def _pay(self, prompt: dict, behaviour: Behaviour, *, late: bool = False) -> Payment:
        """Move the money of a prompt, unless a rule or the business's own validation says no."""
        payment = self.move(
            phone=prompt["phone"],
            amount=prompt["amount"],
            shortcode=prompt["party_b"],
            account=prompt["reference"] if not self.options.till else "",
            channel="stk",
            prompt=prompt,
            behaviour=behaviour,
        )
        if payment.code is None and not late:
            status = "no_funds" if payment.result_code == "1" else "failed"
            with self.book.change() as db:
                db.execute(
                    "UPDATE prompts SET status = ?, result_code = ?, result_desc = ?, ended_at = ?"
                    " WHERE checkout_request_id = ?",
                    (status, payment.result_code, payment.result_desc, time.time(), prompt["checkout_request_id"]),
                )
                self._owe(db, prompt["checkout_request_id"], behaviour, time.time())
        return payment

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
        return self.move(phone=phone, amount=amount, shortcode=business, account=account, channel="c2b")

    def move(
        self,
        *,
        phone: str,
        amount: int,
        shortcode: str,
        account: str,
        channel: str,
        prompt: dict | None = None,
        behaviour: Behaviour | None = None,
    ) -> Payment:
        """Take the money from the phone and owe the messages about it, or say which result code forbids it."""
        behaviour = behaviour or Behaviour()
        now = time.time()
        with self.book.change() as db:
            wallet = self.wallet(db, phone)
            refusal = self._refusal(db, wallet, amount, now)
            if refusal:
                if refusal == "1":
                    _say(db, phone, _no_funds(amount, self.options.business, wallet["balance"]), now)
                return Payment(refusal, wire.RESULTS[refusal])
            code = self._new_code(db, phone, now)
        debit = {"code": code, "amount": amount, "phone": phone, "shortcode": shortcode, "account": account, "at": now}
        verdict = self.validator.ask(debit, name=wallet["name"])
        if not verdict.accepted:
            with self.book.change() as db:
                _say(db, phone, f"Failed. {self.options.business} did not accept the payment. {verdict.words}", now)
            # No published sample has the code of this; 11 to 14 mean an account that does not resolve.
            return Payment("14", f"The business did not accept the payment. {verdict.words}")
        with self.book.change() as db:
            wallet = self.wallet(db, phone)
            refusal = self._refusal(db, wallet, amount, now)
            if refusal:
                return Payment(refusal, wire.RESULTS[refusal])
            self._take(db, debit, wallet, channel, prompt)
            if prompt is not None:
                db.execute(
                    "UPDATE prompts SET status = 'paid', result_code = '0', result_desc = ?, code = ?, ended_at = ?,"
                    " pays_late_at = NULL WHERE checkout_request_id = ?",
                    (wire.RESULTS["0"], code, now, prompt["checkout_request_id"]),
                )
                self._owe(db, prompt["checkout_request_id"], behaviour, now)
            self._owe_twin(db, debit, wallet["name"], verdict, behaviour, alone=prompt is None)
        return Payment("0", wire.RESULTS["0"], code)

    def _refusal(self, db: sqlite3.Connection, wallet: dict, amount: int, now: float) -> str | None:
        sql = "SELECT coalesce(sum(amount), 0) FROM debits WHERE phone = ? AND at > ?"
        today = db.execute(sql, (wallet["phone"], now - 86_400)).fetchone()[0]
        if wallet["locked"]:
            return "8006"
        if amount > wallet["balance"]:
            return "1"
        return "4" if today + amount > MOST_PER_DAY else None

    def _new_code(self, db: sqlite3.Connection, phone: str, now: float) -> str:
        nth = db.execute("SELECT count(*) FROM debits WHERE phone = ?", (phone,)).fetchone()[0]
        rng = self.faults.rng("code", phone, nth)
        code = wire.receipt_code(now, rng)
        while db.execute("SELECT 1 FROM debits WHERE code = ?", (code,)).fetchone():
            code = wire.receipt_code(now, rng)
        return code

    def _take(self, db: sqlite3.Connection, debit: dict, wallet: dict, channel: str, prompt: dict | None) -> None:
        balance = wallet["balance"] - debit["amount"]
        checkout = prompt["checkout_request_id"] if prompt else None
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
        _say(db, debit["phone"], text, debit["at"])

    def credit(self, db: sqlite3.Connection, shortcode: str, amount: int) -> None:
        """Add to (or take from) what the business holds."""
        db.execute(
            "INSERT OR IGNORE INTO organisations VALUES (?, ?, 0, 0)", (shortcode, self.business_name(shortcode))
        )
        db.execute("UPDATE organisations SET utility = utility + ? WHERE shortcode = ?", (amount, shortcode))

    # --- Callbacks owed --------------------------------------------------------------------------

    def _owe(self, db: sqlite3.Connection, checkout_request_id: str, behaviour: Behaviour, now: float) -> None:
        sql = "SELECT * FROM prompts WHERE checkout_request_id = ?"
        prompt = dict(db.execute(sql, (checkout_request_id,)).fetchone())
        earlier = db.execute(
            "SELECT code FROM debits WHERE phone = ? AND checkout_request_id IS NOT ? ORDER BY at DESC LIMIT 1",
            (prompt["phone"], checkout_request_id),
        ).fetchone()
        rng = self.faults.rng("callback", prompt["phone"], prompt["ordinal"])
        for planned in callbacks.of_prompt(
            prompt, behaviour, options=self.options, now=now, rng=rng, earlier_code=earlier["code"] if earlier else None
        ):
            callbacks.owe(db, planned)

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
            )
        )
        rng = self.faults.rng("twin", debit["phone"], debit["code"][3:])
        for planned in callbacks.of_debit(
            debit, body, registration["confirmation_url"], behaviour, options=self.options, rng=rng, alone=alone
        ):
            callbacks.owe(db, planned)

    # --- Time ------------------------------------------------------------------------------------

    def pass_time(self, now: float) -> float | None:
        """Let whoever's time has come act, and return the next such moment."""
        due = "SELECT * FROM prompts WHERE status = 'open' AND (acts_at <= ? OR expires_at <= ?)"
        for prompt in self.book.rows(due, now, now):
            acts = prompt["acts_at"] is not None and prompt["acts_at"] <= now
            person = json.loads(prompt["behaviour"])["person"] if acts else "ignore"
            if self._claim(prompt):
                # Elsewhere, because paying may have to wait for the business's validation.
                self.courier.elsewhere(self._finish, prompt, person)
        for prompt in self.book.rows("SELECT * FROM prompts WHERE pays_late_at <= ?", now):
            with self.book.change() as db:
                db.execute(
                    "UPDATE prompts SET pays_late_at = NULL WHERE checkout_request_id = ?",
                    (prompt["checkout_request_id"],),
                )
            self.courier.elsewhere(self._pay, prompt, Behaviour(), late=True)
        found = self.book.row(
            "SELECT min(moment) AS moment FROM (SELECT min(acts_at) AS moment FROM prompts WHERE status = 'open'"
            " UNION ALL SELECT min(expires_at) FROM prompts WHERE status = 'open'"
            " UNION ALL SELECT min(pays_late_at) FROM prompts WHERE pays_late_at IS NOT NULL)"
        )
        return found["moment"] if found else None

    def pay_early(self, prompt: dict) -> None:
        """Pay at once, and deliver the callbacks before this returns: they overtake the push's own answer."""
        if self._claim(prompt):
            self._finish(prompt, "pay")
        owed = self.book.rows(
            "SELECT * FROM deliveries WHERE about = ? AND state = 'waiting'", prompt["checkout_request_id"]
        )
        for delivery in owed:
            with self.book.change() as db:
                claimed = db.execute(
                    "UPDATE deliveries SET state = 'sent', sent_at = ? WHERE id = ? AND state = 'waiting'",
                    (time.time(), delivery["id"]),
                ).rowcount
            if claimed:
                self.courier.send(delivery)


def _say(db: sqlite3.Connection, phone: str, text: str, now: float) -> None:
    db.execute("INSERT INTO messages (phone, text, at) VALUES (?, ?, ?)", (phone, text, now))


def _no_funds(amount: int, business: str, balance: int) -> str:
    return (
        f"Failed. You do not have enough money in your M-PESA account to pay {wire.shillings(amount)} to "
        f"{business.upper()}. Your M-PESA balance is {wire.shillings(balance)}."
    )
