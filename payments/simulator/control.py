"""The simulator's own URLs, /control/ and /phone/: phones, faults, options and the book, for people and for tests."""

import json
import time
from importlib import resources

from payments.simulator import faults as catalogue
from payments.simulator import wire
from payments.simulator.book import Book
from payments.simulator.faults import Faults
from payments.simulator.money import Money, NotFound
from payments.simulator.options import CHOICES, Options
from payments.simulator.prompts import NotOpen, Prompts, is_seen
from payments.simulator.web import Request, Response, json_response

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; "
    # The product's page may show a phone in a frame, but only pages of this machine may.
    "frame-ancestors 'self' http://127.0.0.1:* http://localhost:* https://127.0.0.1:* https://localhost:*",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
MAX_WAIT_SECONDS = 25
RECENT_SECONDS = 3600


class BadRequest(Exception):
    """The body or path of a request is invalid."""


class Control:
    """The URLs under /control/ and /phone/."""

    def __init__(self, *, options: Options, book: Book, faults: Faults, money: Money, prompts: Prompts):
        self.options, self.book, self.faults, self.money, self.prompts = options, book, faults, money, prompts

    def handle(self, request: Request) -> Response:
        try:
            return self._route(request)
        except (BadRequest, ValueError) as error:
            return json_response({"error": str(error)}, 400)
        except NotFound as error:
            return json_response({"error": str(error)}, 404)
        except NotOpen as error:
            return json_response({"error": str(error)}, 409)

    def _route(self, request: Request) -> Response:
        parts = [part for part in request.path.split("/") if part]
        if request.verb == "GET" and parts[0] == "phone":
            if len(parts) == 1 and not request.path.endswith("/"):
                return Response(302, headers={"Location": "/phone/"})
            return page(parts[1] if len(parts) > 1 else "phone.html")
        match (request.verb, *parts[1:]):
            case ("GET", "health"):
                return json_response({"status": "ok", "seed": self.options.seed})
            case ("GET", "prompts"):
                return json_response({"prompts": self.list_prompts(request.query.get("phone", ""))})
            case ("POST", "prompts", checkout, "answer"):
                action = _body(request).get("action")
                if action not in ("pay", "cancel", "wrong_pin", "no_funds", "ignore"):
                    raise BadRequest("action must be pay, cancel, wrong_pin, no_funds or ignore.")
                return json_response(self._prompt(self.prompts.answer(checkout, action)))
            case ("POST", "paybill"):
                return self.paybill(_body(request))
            case ("POST", "deposit"):
                body = _body(request)
                self.money.deposit(_text(body, "phone"), _whole(body, "amount"))
                return json_response({"status": "ok"})
            case ("POST", "sms"):
                return self.sms(_body(request))
            case ("GET", "book"):
                return json_response({"debits": self.debits(), "payouts": self.payouts()})
            case ("GET", "phones"):
                return self.phones(request)
            case ("GET", "faults"):
                return json_response(self.fault_list())
            case ("POST", "faults"):
                return self.set_faults(_body(request))
            case ("GET", "options"):
                return json_response(self.option_list())
            case ("POST", "options"):
                for name, value in _body(request).items():
                    self.options.change(name, value)
                return json_response(self.option_list())
            case ("GET", "deliveries"):
                return json_response({"deliveries": self.deliveries()})
        raise NotFound("There is nothing at this URL.")

    # --- Phones ----------------------------------------------------------------------------------

    def _prompt(self, row: dict) -> dict:
        return {
            "checkout_request_id": row["checkout_request_id"],
            "phone": row["phone"],
            "amount": row["amount"],
            "reference": row["reference"],
            "description": row["description"],
            "business": self.options.business,
            "status": row["status"],
            "opened_at": wire.iso(row["opened_at"]),
            "expires_at": wire.iso(row["expires_at"]),
            "result_code": row["result_code"],
            "code": row["code"],
        }

    def list_prompts(self, phone: str) -> list[dict]:
        """Return the prompts of a phone, or of all phones, newest first."""
        where = "WHERE phone = ?" if phone else "WHERE ? = ''"
        sql = f"SELECT * FROM prompts {where} ORDER BY opened_at DESC LIMIT 200"  # noqa: S608
        return [self._prompt(row) for row in self.book.rows(sql, phone)]

    def sms(self, body: dict) -> Response:
        """Show a text message of another sender on a phone, for example a code of the club."""
        phone, text = _text(body, "phone"), _text(body, "text")
        if not catalogue.PHONE.fullmatch(phone):
            raise BadRequest("A phone is 12 digits: 2547XXXXXXXX or 2541XXXXXXXX.")
        with self.book.change() as db:
            self.money.send_message(
                db, phone, text, time.time(), sender=_text(body, "sender", self.options.business.upper())
            )
        return json_response({"status": "ok"})

    def paybill(self, body: dict) -> Response:
        payment = self.money.pay_bill(
            phone=_text(body, "phone"),
            business=_text(body, "business", self.options.party),
            account=_text(body, "account", ""),
            amount=_whole(body, "amount"),
        )
        status = 200 if payment.code else 409
        return json_response(
            {"code": payment.code, "result_code": payment.result_code, "result_desc": payment.result_desc}, status
        )

    def phones(self, request: Request) -> Response:
        """Answer with the state of these phones, as soon as the version is newer than `after`."""
        after, wait = request.query.get("after", "0"), request.query.get("wait", "0")
        if not after.isdigit() or not wait.isdigit():
            raise BadRequest("after and wait are whole numbers.")
        version = self.book.wait_for_change(int(after), min(int(wait), MAX_WAIT_SECONDS))
        wanted = [phone for phone in request.query.get("phones", "").split(",") if phone]
        recent = self.book.rows(
            "SELECT phone FROM prompts WHERE opened_at > ? GROUP BY phone ORDER BY max(opened_at) DESC LIMIT 4",
            time.time() - RECENT_SECONDS,
        )
        return json_response(
            {
                "version": version,
                "business": {"name": self.options.business, "number": self.options.party, "till": self.options.till},
                "recent": [row["phone"] for row in recent],
                "phones": [self._phone(phone) for phone in wanted[:8]],
            }
        )

    def _phone(self, phone: str) -> dict:
        if not catalogue.PHONE.fullmatch(phone):
            raise BadRequest("A phone is 12 digits: 2547XXXXXXXX or 2541XXXXXXXX.")
        wallet = self.book.row("SELECT * FROM wallets WHERE phone = ?", phone) or self.money.new_wallet(phone)
        open_prompts = self.book.rows(
            "SELECT * FROM prompts WHERE phone = ? AND status IN ('open', 'answering') ORDER BY opened_at DESC", phone
        )
        messages = self.book.rows(
            "SELECT id, sender, text, at FROM messages WHERE phone = ? ORDER BY id DESC LIMIT 30", phone
        )
        statement = self.book.rows(
            "SELECT code, -amount AS amount, coalesce(name, shortcode) AS what, account, at FROM debits"
            " LEFT JOIN organisations USING (shortcode) WHERE phone = ?"
            " UNION ALL SELECT code, amount, what, '', at FROM credits WHERE phone = ? ORDER BY at DESC LIMIT 30",
            phone,
            phone,
        )
        return {
            "phone": phone,
            "name": wallet["name"],
            "balance": wallet["balance"],
            "prompts": [self._prompt(row) for row in open_prompts if is_seen(row)],
            "messages": [{**row, "at": wire.iso(row["at"])} for row in messages],
            "statement": [{**row, "at": wire.iso(row["at"])} for row in statement],
        }

    # --- The book --------------------------------------------------------------------------------

    def _debit(self, row: dict) -> dict:
        return {**row, "at": wire.iso(row["at"]), "reversed_at": wire.iso(row["reversed_at"])}

    def debits(self) -> list[dict]:
        """Return the money that left phones, oldest first. The product's receipts are compared with it."""
        return [self._debit(row) for row in self.book.debits()]

    def payouts(self) -> list[dict]:
        """Return the money that businesses sent to phones (B2C), oldest first."""
        rows = self.book.rows("SELECT * FROM payouts WHERE code IS NOT NULL ORDER BY at, code")
        return [{**row, "at": wire.iso(row["at"])} for row in rows]

    def deliveries(self) -> list[dict]:
        """Return the last callbacks, newest first, with their results."""
        rows = self.book.rows("SELECT * FROM deliveries ORDER BY id DESC LIMIT 200")
        return [
            {
                **{key: row[key] for key in ("id", "kind", "about", "state", "http_status", "error")},
                "due_at": wire.iso(row["due_at"]),
                "sent_at": wire.iso(row["sent_at"]),
                "body": row["body"][:2000].decode(errors="replace"),
            }
            for row in rows
        ]

    # --- Faults ----------------------------------------------------------------------------------

    def fault_list(self) -> dict:
        return {
            "seed": self.faults.seed,
            "rates": self.faults.rates,
            "queue": self.faults.queue,
            "magic_phones": {phone: behaviour.as_dict() for phone, behaviour in catalogue.MAGIC_PHONES.items()},
            "known": {
                "person": {
                    name: f"{payer.does} (result {payer.result_code})" for name, payer in catalogue.PERSONS.items()
                },
                "answer": catalogue.ANSWER_FAULTS,
                "callback": catalogue.CALLBACK_FAULTS,
                "query": catalogue.QUERY_FAULTS,
                "confirmation": catalogue.CONFIRMATION_FAULTS,
                "result": catalogue.RESULT_FAULTS,
            },
            "endpoints": {name: sorted(catalogue.faults_of(name)) for name in catalogue.ENDPOINTS},
        }

    def set_faults(self, body: dict) -> Response:
        """Apply {"clear": true}, {"seed": n}, {"rates": {...}} and {"next": [{"fault", "phone", "endpoint", "times"}]}.

        :raises ValueError: a fault, phone or number is invalid
        """
        if unknown := set(body) - {"clear", "seed", "rates", "next"}:
            raise BadRequest(f"Unknown: {', '.join(sorted(unknown))}.")
        if body.get("clear"):
            self.faults.clear()
        if "seed" in body:
            self.faults.restart(_whole(body, "seed"))
        if "rates" in body:
            if not isinstance(body["rates"], dict):
                raise BadRequest("rates is an object of fault names and shares.")
            self.faults.set_rates(body["rates"])
        for entry in body.get("next", []):
            if not isinstance(entry, dict) or set(entry) - {"fault", "phone", "endpoint", "times"}:
                raise BadRequest("next holds objects with fault, phone, endpoint and times.")
            self.faults.enqueue(
                _text(entry, "fault"),
                phone=_text(entry, "phone", ""),
                endpoint=_text(entry, "endpoint", "push"),
                times=entry.get("times", 1),
            )
        return json_response(self.fault_list())

    def option_list(self) -> dict:
        now = {name: getattr(self.options, name) for name in CHOICES}
        return {"speed": self.options.speed, **now, "known": CHOICES}


def page(name: str) -> Response:
    """Answer with one file of static/."""
    folder = resources.files("payments.simulator") / "static"
    suffix = name[name.rfind(".") :]
    file = folder / name
    if suffix not in CONTENT_TYPES or "/" in name or not file.is_file():
        raise NotFound("There is nothing at this URL.")
    return Response(200, file.read_bytes(), kind=CONTENT_TYPES[suffix], headers=PAGE_HEADERS)


def _body(request: Request) -> dict:
    # A page of another site needs a preflight request for this type, which is never allowed.
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise BadRequest("Send JSON, with Content-Type: application/json.")
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        raise BadRequest("The body is not JSON.") from None
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object.")
    return body


def _text(body: dict, name: str, default: str | None = None) -> str:
    value = body.get(name, default)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise BadRequest(f"{name} must be a string.")
    return value


def _whole(body: dict, name: str) -> int:
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadRequest(f"{name} must be a whole number.")
    return value
