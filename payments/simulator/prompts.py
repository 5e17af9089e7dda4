"""Prompts on phones: they appear, are answered or expire, and cause callbacks."""

import json
import sqlite3
import time

from payments.simulator import callbacks, wire
from payments.simulator.book import Book
from payments.simulator.checks import Refusal
from payments.simulator.courier import Courier
from payments.simulator.faults import PERSONS, UNSEEN, Behaviour, Faults, person_delay
from payments.simulator.money import Money, NotFound, no_funds
from payments.simulator.options import PROMPT_SECONDS, RULE_17_SECONDS, Options

LATE_PAYMENT_SECONDS = 90
MAX_PROMPT = 182  # characters; portal, result code 1025
THEN_PAID = {"cancel_then_paid": "cancel", "timeout_then_paid": "ignore", "silent_then_paid": "ignore"}


class NotOpen(Exception):
    """The prompt is no longer open on the phone."""


def is_seen(prompt: dict) -> bool:
    """Return whether the phone shows the prompt at all."""
    return json.loads(prompt["behaviour"]).get("person") not in UNSEEN


class Prompts:
    """The prompts of all phones. All methods may be called from any thread."""

    def __init__(self, *, options: Options, book: Book, faults: Faults, courier: Courier, money: Money):
        self.options, self.book, self.faults, self.courier, self.money = options, book, faults, courier, money
        with book.change() as db:
            # The process was killed during an answer. No money had moved, so the prompt is still open.
            db.execute("UPDATE prompts SET status = 'open' WHERE status = 'answering'")

    def push(self, fields: dict, behaviour: Behaviour, *, ordinal: int) -> dict:
        """Show a prompt on a phone and return it.

        :raises Refusal: the phone has an open prompt, and the option second_push is "refuse"
        """
        now = time.time()
        rng = self.faults.rng("push", fields["phone"], ordinal)
        with self.book.change() as db:
            self.money.wallet(db, fields["phone"])
            if self._prompt_open(db, fields["phone"]):
                if self.options.second_push == "refuse":
                    text = "Unable to lock subscriber, a transaction is already in process for the current subscriber"
                    raise Refusal(500, "500.001.1001", text)
                behaviour = behaviour.with_fault("busy")
            elif self._rule_17(db, fields, now):
                behaviour = behaviour.with_fault("rule_limited")
            elif fields["party_b"] != self.options.party or (self.options.till != "") != (
                fields["kind"] == "CustomerBuyGoodsOnline"
            ):
                known = fields["party_b"] in (self.options.shortcode, self.options.till)
                behaviour = behaviour.with_fault("product_fault" if known else "no_operator")
            elif len(wire.question(fields, self.options.business) + fields["description"]) > MAX_PROMPT:
                behaviour = behaviour.with_fault("not_sent")
            acts_at = None
            if behaviour.person and behaviour.person != "ignore":
                acts_at = now + self.options.real(person_delay(behaviour.person))
            checkout = wire.checkout_request_id(now, fields["phone"])
            while db.execute("SELECT 1 FROM prompts WHERE checkout_request_id = ?", (checkout,)).fetchone():
                now += 0.001
                checkout = wire.checkout_request_id(now, fields["phone"])
            prompt = {
                **{key: fields[key] for key in ("shortcode", "party_b", "amount", "phone", "reference", "description")},
                "callback_url": fields["callback_url"],
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
        """Return a prompt.

        :raises NotFound: there is no prompt with this id
        """
        found = self.book.row("SELECT * FROM prompts WHERE checkout_request_id = ?", checkout_request_id)
        if found is None:
            raise NotFound("There is no such prompt.")
        return found

    def _prompt_open(self, db: sqlite3.Connection, phone: str) -> bool:
        sql = "SELECT 1 FROM prompts WHERE phone = ? AND status IN ('open', 'answering')"
        return db.execute(sql, (phone,)).fetchone() is not None

    def _rule_17(self, db: sqlite3.Connection, fields: dict, now: float) -> bool:
        if self.options.rule_17 == "off":
            return False
        since = now - self.options.real(RULE_17_SECONDS)
        since_when = "ended_at > ? AND status = 'paid'" if self.options.rule_17 == "paid" else "opened_at > ?"
        sql = f"SELECT 1 FROM prompts WHERE phone = ? AND amount = ? AND {since_when}"  # noqa: S608
        return db.execute(sql, (fields["phone"], fields["amount"], since)).fetchone() is not None

    def answer(self, checkout_request_id: str, person: str) -> dict:
        """Answer a prompt as a payer does, and return the prompt after that.

        :raises NotOpen: the prompt is not open
        :raises NotFound: there is no such prompt or action
        """
        prompt = self.prompt(checkout_request_id)
        if not is_seen(prompt):
            raise NotOpen("This prompt did not reach the phone.")
        if person not in PERSONS:
            raise NotFound(f"There is no action {person}.")
        if person == "ignore":
            if prompt["status"] != "open":
                raise NotOpen("The prompt is no longer open on the phone.")
            return prompt  # it stays open until it expires
        if not self._claim(prompt):
            raise NotOpen("The prompt is no longer open on the phone.")
        self._finish(prompt, person)
        return self.prompt(checkout_request_id)

    def _claim(self, prompt: dict) -> bool:
        """Take the prompt off the phone, so that it ends once only."""
        with self.book.change() as db:
            sql = "UPDATE prompts SET status = 'answering' WHERE checkout_request_id = ? AND status = 'open'"
            return db.execute(sql, (prompt["checkout_request_id"],)).rowcount == 1

    def _finish(self, prompt: dict, person: str) -> None:
        """End a claimed prompt. After an exception it is open again."""
        try:
            self._end(prompt, person)
        except BaseException:
            with self.book.change() as db:
                sql = "UPDATE prompts SET status = 'open' WHERE checkout_request_id = ? AND status = 'answering'"
                db.execute(sql, (prompt["checkout_request_id"],))
            raise

    def _end(self, prompt: dict, person: str) -> None:
        """End the prompt, and plan its callbacks in the same transaction."""
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
                self.money.send_message(
                    db, prompt["phone"], no_funds(prompt["amount"], self.options.business.upper(), balance), now
                )
            elif person == "wrong_pin":
                self.money.send_message(
                    db, prompt["phone"], "Failed. You have entered the wrong PIN. Please try again.", now
                )
            self._plan_callbacks(db, prompt["checkout_request_id"], behaviour, now)

    def _pay(self, prompt: dict, behaviour: Behaviour, *, late: bool = False) -> None:
        """Move the money of a prompt, unless a rule or the validation of the business refuses it."""
        checkout = prompt["checkout_request_id"]

        def mark_paid(db: sqlite3.Connection, code: str, now: float) -> None:
            db.execute(
                "UPDATE prompts SET status = 'paid', result_code = '0', result_desc = ?, code = ?, ended_at = ?,"
                " pays_late_at = NULL WHERE checkout_request_id = ?",
                (wire.RESULTS["0"], code, now, checkout),
            )
            self._plan_callbacks(db, checkout, behaviour, now)

        payment = self.money.move(
            phone=prompt["phone"],
            amount=prompt["amount"],
            shortcode=prompt["party_b"],
            account="" if self.options.till else prompt["reference"],
            channel="stk",
            checkout_request_id=checkout,
            confirmation=behaviour.confirmation,
            on_moved=mark_paid,
        )
        if payment.code is None and not late:
            status = "no_funds" if payment.result_code == "1" else "failed"
            with self.book.change() as db:
                db.execute(
                    "UPDATE prompts SET status = ?, result_code = ?, result_desc = ?, ended_at = ?"
                    " WHERE checkout_request_id = ?",
                    (status, payment.result_code, payment.result_desc, time.time(), checkout),
                )
                self._plan_callbacks(db, checkout, behaviour, time.time())

    # --- Callbacks -------------------------------------------------------------------------------

    def _plan_callbacks(
        self, db: sqlite3.Connection, checkout_request_id: str, behaviour: Behaviour, now: float
    ) -> None:
        sql = "SELECT * FROM prompts WHERE checkout_request_id = ?"
        prompt = dict(db.execute(sql, (checkout_request_id,)).fetchone())
        earlier = db.execute(
            "SELECT code FROM debits WHERE phone = ? AND checkout_request_id IS NOT ? ORDER BY at DESC LIMIT 1",
            (prompt["phone"], checkout_request_id),
        ).fetchone()
        rng = self.faults.rng("callback", prompt["phone"], prompt["ordinal"])
        for planned in callbacks.for_prompt(
            prompt, behaviour, options=self.options, now=now, rng=rng, earlier_code=earlier["code"] if earlier else None
        ):
            callbacks.save(db, planned)

    # --- Time ------------------------------------------------------------------------------------

    def run_due(self, now: float) -> float | None:
        """Run the actions and expiries that are due, and return the time of the next one."""
        due = "SELECT * FROM prompts WHERE status = 'open' AND (acts_at <= ? OR expires_at <= ?)"
        for prompt in self.book.rows(due, now, now):
            acts = prompt["acts_at"] is not None and prompt["acts_at"] <= now
            person = json.loads(prompt["behaviour"])["person"] if acts else "ignore"
            if self._claim(prompt):
                # In the background, because a payment may wait for the validation of the business.
                self.courier.run_in_background(self._finish, prompt, person)
        for prompt in self.book.rows("SELECT * FROM prompts WHERE pays_late_at <= ?", now):
            with self.book.change() as db:
                db.execute(
                    "UPDATE prompts SET pays_late_at = NULL WHERE checkout_request_id = ?",
                    (prompt["checkout_request_id"],),
                )
            self.courier.run_in_background(self._pay, prompt, Behaviour(), late=True)
        found = self.book.row(
            "SELECT min(at) AS at FROM (SELECT min(acts_at) AS at FROM prompts WHERE status = 'open'"
            " UNION ALL SELECT min(expires_at) FROM prompts WHERE status = 'open'"
            " UNION ALL SELECT min(pays_late_at) FROM prompts WHERE pays_late_at IS NOT NULL)"
        )
        return found["at"] if found else None

    def pay_early(self, prompt: dict) -> None:
        """Pay at once, and send the callbacks before this returns: they arrive before the answer to the push."""
        if self._claim(prompt):
            self._finish(prompt, "pay")
        planned = self.book.rows(
            "SELECT * FROM deliveries WHERE about = ? AND state = 'waiting'", prompt["checkout_request_id"]
        )
        for delivery in planned:
            with self.book.change() as db:
                claimed = db.execute(
                    "UPDATE deliveries SET state = 'sent', sent_at = ? WHERE id = ? AND state = 'waiting'",
                    (time.time(), delivery["id"]),
                ).rowcount
            if claimed:
                self.courier.send(delivery)
