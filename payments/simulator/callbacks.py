"""The callbacks of prompts and payments: their bodies, their times and their faults."""

import random
import sqlite3
import string
from dataclasses import dataclass, replace

from payments.simulator import wire
from payments.simulator.faults import Behaviour
from payments.simulator.options import CALLBACK_SECONDS, LATE_SECONDS, Options

HELD_SECONDS = 30  # the longest time that a reordered callback waits for another one
AGAIN_SECONDS = 60
CONFIRMATION_SECONDS = 1  # between STK callback and C2B confirmation, as seen live
OVERSIZE = 2 * 1024 * 1024


@dataclass(frozen=True)
class PlannedCallback:
    """A callback that will be sent once. `about` is the id of its prompt or its receipt code."""

    kind: str
    url: str
    shortcode: str
    about: str
    body: bytes
    due_at: float


def save(db: sqlite3.Connection, planned: PlannedCallback) -> int:
    """Save a callback that is still to be sent, and return its number."""
    cursor = db.execute(
        "INSERT INTO deliveries (kind, url, shortcode, about, body, due_at, state)"
        " VALUES (?, ?, ?, ?, ?, ?, 'waiting')",
        (planned.kind, planned.url, planned.shortcode, planned.about, planned.body, planned.due_at),
    )
    return cursor.lastrowid or 0


def for_prompt(
    prompt: dict, behaviour: Behaviour, *, options: Options, now: float, rng: random.Random, earlier_code: str | None
) -> list[PlannedCallback]:
    """Return the callbacks of a prompt that has just ended, with its faults."""
    fault = behaviour.callback
    after = options.real(CALLBACK_SECONDS)

    def plan(seconds: float, body: bytes | None = None, kind: str = "stk", **changed: str) -> PlannedCallback:
        about = {**prompt, **changed}
        if body is None:
            body = wire.stk_callback(
                about, code=about["result_code"], desc=about["result_desc"], at=about["ended_at"], variants=(fault,)
            )
        due_at = now + (after if seconds == 0 else options.real(seconds))
        return PlannedCallback(
            kind, prompt["callback_url"], prompt["shortcode"], prompt["checkout_request_id"], body, due_at
        )

    def success(code: str, **changed: str) -> bytes:
        about = {**prompt, "code": code, **changed}
        return wire.stk_callback(about, code="0", desc=wire.RESULTS["0"], at=now)

    if fault in ("lost_callback", "silent_then_paid") or behaviour.confirmation == "confirmation_only":
        return []
    if fault == "late":
        return [plan(LATE_SECONDS)]
    if fault == "duplicate":
        return [plan(0), plan(0), plan(1)]
    if fault == "duplicate_later":
        return [plan(0), plan(AGAIN_SECONDS)]
    if fault == "reordered":
        return [plan(HELD_SECONDS, kind="held")]
    if fault == "paid_then_cancelled" and prompt["result_code"] == "0":
        return [plan(0), plan(2, result_code="1032", result_desc=wire.RESULTS["1032"])]
    if fault == "forged":
        return [plan(0, success(wire.receipt_code(now, rng)), kind="forged"), plan(5)]
    if fault == "forged_url":
        forged = plan(0, success(wire.receipt_code(now, rng)), kind="forged")
        return [replace(forged, url=_guessed(forged.url, rng)), plan(5)]
    if fault == "forged_id":
        other_id = wire.checkout_request_id(now - 1, f"2547{rng.randrange(10**8):08d}")
        body = success(wire.receipt_code(now, rng), checkout_request_id=other_id)
        return [plan(0, body, kind="forged"), plan(2)]
    if fault == "same_code" and earlier_code and prompt["result_code"] == "0":
        return [plan(0, code=earlier_code)]
    if fault in ("malformed", "malformed_then_good"):
        whole = plan(0).body
        cut = plan(0, whole[: len(whole) // 2], kind="malformed")
        return [cut] if fault == "malformed" else [cut, plan(2)]
    if fault == "oversized":
        return [plan(0, plan(0).body[:-1] + b',"Padding":"' + b"x" * OVERSIZE + b'"}')]
    if fault == "not_json":
        return [plan(0, b'<?xml version="1.0"?><stkCallback/>', kind="malformed")]
    if fault == "deep_json":
        return [plan(0, b"[" * 5000 + b"]" * 5000, kind="malformed")]
    return [plan(0)]


def _guessed(url: str, rng: random.Random) -> str:
    """Return the URL with its longest part, probably a secret, replaced by random characters."""
    parts = url.split("/")
    secret = max(range(3, len(parts)), key=lambda index: len(parts[index]), default=None)
    if secret is None:
        return url + "/guess"
    parts[secret] = "".join(rng.choices(string.ascii_letters + string.digits, k=len(parts[secret])))
    return "/".join(parts)


def for_debit(
    debit: dict, body: bytes, url: str, behaviour: Behaviour, *, options: Options, rng: random.Random, alone: bool
) -> list[PlannedCallback]:
    """Return the C2B confirmations of money that has just moved. `alone`: there is no STK callback."""
    if behaviour.confirmation == "no_confirmation":
        return []
    after = options.real(CALLBACK_SECONDS)
    if not alone:
        # Either one may arrive first, as seen live.
        first = {"confirmation_first": True, "confirmation_only": True, "confirmation_last": False}.get(
            behaviour.confirmation, rng.random() < 0.5
        )
        after = after / 4 if first else after + options.real(CONFIRMATION_SECONDS)
    if behaviour.confirmation == "confirmation_late":
        after = options.real(LATE_SECONDS)
    copies = 2 if behaviour.confirmation == "confirmation_twice" else 1
    planned = PlannedCallback("c2b", url, debit["shortcode"], debit["code"], body, debit["at"] + after)
    return [planned] * copies
