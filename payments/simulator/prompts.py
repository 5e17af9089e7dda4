"""The handsets: prompts that appear, are answered or not, and what that causes."""

import json
import sqlite3
import time

from payments.simulator import callbacks, wire
from payments.simulator.book import Book
from payments.simulator.checks import Refusal
from payments.simulator.courier import Courier
from payments.simulator.faults import PERSONS, UNSEEN, Behaviour, Faults, person_delay
from payments.simulator.money import Money, Unknown, no_funds
from payments.simulator.options import PROMPT_SECONDS, RULE_17_SECONDS, Options

LATE_PAYMENT_SECONDS = 90
LONGEST_PROMPT = 182  # characters; portal, result code 1025
THEN_PAID = {"cancel_then_paid": "cancel", "timeout_then_paid": "ignore", "silent_then_paid": "ignore"}


class NotOpen(Exception):
    """The prompt is no longer on the handset."""


def is_seen(prompt: dict) -> bool:
    """Whether the prompt shows on its handset at all."""
    return json.loads(prompt["behaviour"]).get("person") not in UNSEEN


class Prompts:
    """All prompts of all handsets. Its methods may be called from any thread."""

    def __init__(self, *, options: Options, book: Book, faults: Faults, courier: Courier, money: Money):
        self.options, self.book, self.faults, self.courier, self.money = options, book, faults, courier, money
        with book.change() as db:
            # Killed in the middle of an answer: nothing had moved, so the prompt is simply still there.
            db.execute("UPDATE prompts SET status = 'open' WHERE status = 'answering'")

    def push(self, asked: dict, behaviour: Behaviour, *, ordinal: int) -> dict:
        """Show a prompt on a handset and return it.

        :raises Refusal: the handset has one already, and `second_push` says refuse
        """
        now = time.time()
        rng = self.faults.rng("push", asked["phone"], ordinal)
        with self.book.change() as db:
            self.money.wallet(db, asked["phone"])
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
            elif len(wire.question(asked, self.options.business) + asked["description"]) > LONGEST_PROMPT:
                behaviour = behaviour.with_fault("not_sent")
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
        if not is_seen(prompt):
            raise NotOpen("This prompt never reached the handset.")
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
        elif behaviour.callback in ("forged", "forged_url") and person == "pay":
            self._fail(prompt, "ignore", behaviour)
        elif person == "pay":
            self._pay(prompt, behaviour)
        else:
            self._fail(prompt, person, behaviour)

    def _fail(self, prompt: dict, person: str, behaviour: Behaviour, *, pays_late: bool = False) -> None:
        code, status, _ = PERSONS[person]
        now = time.time()
        late = now + self.options.real(LATE_PAYMENT_SECONDS) if pays_late else None
        with self.book.change() as db:
            db.execute(
                "UPDATE prompts SET status = ?, result_code = ?, result_desc = ?, ended_at = ?, pays_late_at = ?"
                " WHERE checkout_request_id = ?",
                (status, code, wire.RESULTS[code], now, late, prompt["checkout_request_id"]),
            )
            if person == "no_funds":
                balance = self.money.wallet(db, prompt["phone"])["balance"]
                self.money.say(
                    db, prompt["phone"], no_funds(prompt["amount"], self.options.business.upper(), balance), now
                )
            elif person == "wrong_pin":
                self.money.say(db, prompt["phone"], "Failed. You have entered the wrong PIN. Please try again.", now)
            self._owe(db, prompt["checkout_request_id"], behaviour, now)

    def _pay(self, prompt: dict, behaviour: Behaviour, *, late: bool = False) -> None:
        """Move the money of a prompt, unless a rule or the business's own validation says no."""
        checkout = prompt["checkout_request_id"]

        def paid(db: sqlite3.Connection, code: str, now: float) -> None:
            db.execute(
                "UPDATE prompts SET status = 'paid', result_code = '0', result_desc = ?, code = ?, ended_at = ?,"
                " pays_late_at = NULL WHERE checkout_request_id = ?",
                (wire.RESULTS["0"], code, now, checkout),
            )
            self._owe(db, checkout, behaviour, now)

        payment = self.money.move(
            phone=prompt["phone"],
            amount=prompt["amount"],
            shortcode=prompt["party_b"],
            account="" if self.options.till else prompt["reference"],
            channel="stk",
            checkout_request_id=checkout,
            twin=behaviour.twin,
            also=paid,
        )
        if payment.code is None and not late:
            status = "no_funds" if payment.result_code == "1" else "failed"
            with self.book.change() as db:
                db.execute(
                    "UPDATE prompts SET status = ?, result_code = ?, result_desc = ?, ended_at = ?"
                    " WHERE checkout_request_id = ?",
                    (status, payment.result_code, payment.result_desc, time.time(), checkout),
                )
                self._owe(db, checkout, behaviour, time.time())

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
