"""The real processes under load: gunicorn, a worker and PostgreSQL on this machine.

Each request has its scheduled time, whether or not earlier ones were answered. Its duration counts from that time. The
client uses the same processors as the product. On a machine with other load, the CPU time of a callback is more
reliable than its milliseconds.
"""

import contextlib
import http.client
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import Min
from django.utils import timezone

from accounts.tests.factories import UserFactory
from api.roles import Role
from api.tests.clients import logged_in_as
from config.dev.processes import Supervisor
from config.dev.product import Places, programs
from config.management.commands.audit_books import offending_rows
from payments.callbacks import spool
from payments.daraja import callback_tokens
from payments.invariants import INVARIANTS
from payments.models import Callback, Payment, PaymentEvent, Receipt, StkPush
from payments.tests.bodies import stk_body
from subscriptions.models import Subscription
from subscriptions.services.catalog import snapshot
from subscriptions.tests.factories import PlanFactory

DARAJA_TAKES = 2.0  # seconds for an STK push
SETTLE = 60  # seconds after the last answer until all payments should give access
SUSTAINED = 50  # callbacks in a second that two processors handle in addition to the client
numbers = count(1)


@dataclass(frozen=True)
class Sent:
    """The answer to a request: its status (0: no answer) and its milliseconds since the scheduled time."""

    status: int
    milliseconds: float


@dataclass(frozen=True)
class Request:
    """A request to send."""

    path: str
    body: bytes
    headers: dict[str, str]
    method: str = "POST"


# --- Safaricom ------------------------------------------------------------------------------------


class SlowDaraja(BaseHTTPRequestHandler):
    """A Safaricom that answers every push slowly."""

    def do_GET(self):
        self.answer({"access_token": "t" * 28, "expires_in": "3599"})

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(DARAJA_TAKES)
        n = next(numbers)
        self.answer({"MerchantRequestID": f"slow-{n}", "CheckoutRequestID": f"ws_CO_slow_{n}", "ResponseCode": "0"})

    def answer(self, body: dict) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        with contextlib.suppress(OSError):  # at the end the worker closes its connections
            self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        """Log healthz."""


# --- Requests -------------------------------------------------------------------------------------


def members(how_many: int) -> list:
    """Create members who agreed to the terms and cannot log in."""
    now, batch = timezone.now(), [next(numbers) for _ in range(how_many)]
    person = get_user_model()
    return person.objects.bulk_create(
        person(
            username=f"load{n}",
            password="!",  # noqa: S106 - none
            member_number=f"{n:07d}",
            phone_number=f"2541{n:08d}",
            consented_at=now,
        )
        for n in batch
    )


def callbacks(how_many: int) -> list[Request]:
    """Create members who bought a month and have an open push. Return the callbacks that pay them."""
    plan, now = PlanFactory(), timezone.now()
    open_ = {"amount_due": plan.price, "deposit": plan.price, "status": "processing", "created_at": now}
    payments = Payment.objects.bulk_create(
        Payment(
            reference=f"L{member.member_number}",
            payer=member,
            created_by=member,
            expires_at=now + settings.PAYMENT_LIFETIME,
            **open_,
        )
        for member in members(how_many)
    )
    PaymentEvent.objects.bulk_create(PaymentEvent(payment=each, to_status="processing", at=now) for each in payments)
    Subscription.objects.bulk_create(
        Subscription(member=each.payer, payment=each, created_by=each.payer, created_at=now, **snapshot(plan))
        for each in payments
    )
    tokens = [callback_tokens.generate() for _ in payments]
    pushes = StkPush.objects.bulk_create(
        StkPush(
            payment=payment,
            phone=payment.payer.phone_number,
            amount=plan.price,
            status="sent",
            token_hash=callback_tokens.hash_of(token),
            checkout_request_id=f"ws_CO_{payment.pk}",
            merchant_request_id=f"load-{payment.pk}",
            created_at=now,
            sent_at=now,
        )
        for payment, token in zip(payments, tokens, strict=True)
    )
    headers = {"Content-Type": "application/json"}
    return [
        Request(
            f"/api/v1/callbacks/stk/{token}/", stk_body(push, code=f"TK{push.payment.reference}", moved_at=now), headers
        )
        for token, push in zip(tokens, pushes, strict=True)
    ]


def purchases(how_many: int) -> list[Request]:
    """Return purchases for new members, by a few receptionists."""
    plan = PlanFactory().code
    desks = []
    for _ in range(-(-how_many // 150)):  # the rate limit of one user in an hour
        client = logged_in_as(UserFactory(role=Role.RECEPTIONIST))
        cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
        desks.append({"Cookie": cookies, "X-CSRFToken": client.csrf_token, "Content-Type": "application/json"})
    return [
        Request(
            "/api/v1/subscriptions/",
            json.dumps({"plan": plan, "member": member.pk}).encode(),
            desks[place % len(desks)] | {"Idempotency-Key": f"load-{member.pk}"},
        )
        for place, member in enumerate(members(how_many))
    ]


def send(port: int, post: Request, due: float) -> Sent:
    """Send one request on a new connection."""
    try:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        client.request(post.method, post.path, post.body, post.headers)
        status = client.getresponse().status
        client.close()
    except OSError:
        status = 0
    return Sent(status, (time.perf_counter() - due) * 1000)


def fire(port: int, posts: Sequence[Request], *, rate: float, threads: int) -> list[Sent]:
    """Send each request at its scheduled time, `rate` in a second."""
    began, places, sent = time.perf_counter() + 0.2, iter(range(len(posts))), []

    def work() -> None:
        for place in places:  # one iterator for all threads: next() of a range is atomic
            due = began + place / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            sent.append(send(port, posts[place], due))

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sent


# --- Checks ---------------------------------------------------------------------------------------


def hashes_of(posts: Sequence[Request]) -> list[str]:
    return [callback_tokens.hash_of(post.path.split("/")[-2]) for post in posts]


def lost(posts: Sequence[Request], sent: Sequence[Sent]) -> int:
    """Return the number of callbacks that were answered 200 but are neither in the callback inbox nor in the spool."""
    stored = Callback.objects.filter(push__token_hash__in=hashes_of(posts)).count() + sum(
        1 for _ in spool.stored_messages()
    )
    return max(0, sum(each.status == 200 for each in sent) - stored)


def without_access(posts: Sequence[Request], sent: Sequence[Sent]) -> int:
    """Wait until all paid periods are granted. Return the number of callbacks answered 200 without access then."""
    hashes = hashes_of(posts)
    paid = Subscription.objects.filter(payment__pushes__token_hash__in=hashes, fact="granted")
    answered, deadline = sum(each.status == 200 for each in sent), time.monotonic() + SETTLE
    while (missing := answered - paid.count()) > 0 and time.monotonic() < deadline:
        time.sleep(0.5)
    return max(0, missing)


class LongestWait(threading.Thread):
    """Measure the longest time between the arrival of a callback and its processing."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seconds = 0.0
        self._ended = threading.Event()

    def run(self) -> None:
        waiting = Callback.objects.filter(outcome="new")
        while not self._ended.wait(0.1):
            oldest = waiting.aggregate(arrived=Min("received_at"))["arrived"]
            if oldest is not None:
                self.seconds = max(self.seconds, (timezone.now() - oldest).total_seconds())
        connection.close()

    def __enter__(self) -> "LongestWait":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()


def receipts_of(post: Request) -> int:
    return Receipt.objects.filter(push__token_hash__in=hashes_of([post])).count()


def refused(sent: Sequence[Sent], *, wanted: int = 200) -> int:
    return sum(each.status != wanted for each in sent)


def failures(gone: tuple[int, int]) -> str:
    return f"{gone[0]} not answered 200, {gone[1]} lost"


def percentile(n: int, sent: Sequence[Sent]) -> float:
    return quantiles([each.milliseconds for each in sent], n=100)[n - 1]


def cpu_spent() -> float:
    """Return the CPU milliseconds so far of the product's processes and of PostgreSQL, also of ended ones."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        own_backend = cursor.fetchone()[0]
    postmaster = numbers_of(own_backend)[1]
    ticks = sum(numbers_of(postmaster)[13:15])  # children that have ended
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # the process has ended
            of_product = connection.settings_dict["NAME"].encode() in (each / "environ").read_bytes()
            found = numbers_of(int(each.name))
            if int(each.name) != own_backend and (of_product or found[1] == postmaster):
                ticks += sum(found[11:13])
    return ticks * 1000 / os.sysconf("SC_CLK_TCK")


def numbers_of(pid: int) -> list[int]:
    """Return the numbers of /proc/<pid>/stat from the state on (man 5 proc)."""
    _state, *rest = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return [0, *map(int, rest)]


def say(name: str, sent: Sequence[Sent], verdict: str) -> None:
    times = ", ".join(f"p{n} {percentile(n, sent):.0f} ms" for n in (50, 95, 99))
    print(f"{name:<46}{times}; {verdict}", flush=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def met(holds: bool) -> str:
    return "met" if holds else "missed"


def report(*, seconds: int) -> None:
    """Start all processes, and print one line for each goal."""
    daraja = ThreadingHTTPServer(("127.0.0.1", 0), SlowDaraja)
    threading.Thread(target=daraja.serve_forever, daemon=True).start()
    params = connection.get_connection_params()
    where = {name: params[name] for name in ("user", "host", "port", "password") if params.get(name)}
    database = f"postgresql:///{params['dbname']}?{urlencode(where)}"
    with tempfile.TemporaryDirectory() as folder:
        settings.STATE_DIR = Path(folder)
        places = Places(free_port(), None, settings.PUBLIC_URL, database)
        copy = programs(places, autoreload=False)
        for each in copy:
            each.env.update(
                STATE_DIR=folder,
                DARAJA_SIMULATOR_URL=f"http://127.0.0.1:{daraja.server_port}",
                DARAJA_CALLS_PER_SECOND="1000",
            )
        with Supervisor(copy, log_dir=Path(folder), say=print) as running:
            running.wait_until_ready()
            measure(places.port, seconds=seconds)
    daraja.shutdown()


def crowd(port: int, *, rate: int, seconds: int, answered: float | None = None, access: float | None = None) -> None:
    """Send callbacks at a rate, and wait until all give access.

    Goals: the milliseconds for 99 of 100 answers (`answered`), and the seconds until all have access (`access`).
    """
    posts = callbacks(rate * seconds)
    before, began = cpu_spent(), time.monotonic()
    with LongestWait() as longest:
        sent = fire(port, posts, rate=rate, threads=200)
        took = time.monotonic() - began
        gone = refused(sent), lost(posts, sent)
        late = without_access(posts, sent)
    each_took = (cpu_spent() - before) / len(posts)
    holds = gone == (0, 0) and (answered is None or percentile(99, sent) < answered)
    goal = "" if answered is None else f", goal p99 {answered} ms"
    say(f"{rate} callbacks a second for {seconds} s", sent, f"{failures(gone)}{goal}: {met(holds)}")
    goal = "" if access is None else f", goal {access} s: {met(longest.seconds < access and not late)}"
    waits = f", {late} are still waiting" if late else ""
    print(f"{'':<46}sent in {took:.0f} s; the longest wait for access was {longest.seconds:.1f} s{waits}{goal}")
    print(f"{'':<46}{each_took:.1f} ms of CPU each, web server, worker and PostgreSQL", flush=True)


def measure(port: int, *, seconds: int) -> None:
    fire(port, callbacks(50), rate=25, threads=16)  # imports and connections

    healthz = [send(port, Request("/healthz", b"", {}, "GET"), time.perf_counter()) for _ in range(200)]
    say("GET /healthz, without the database", healthz, "for comparison")

    posts = callbacks(200)
    sent = [send(port, post, time.perf_counter()) for post in posts]
    holds = median(each.milliseconds for each in sent) < 50 and not without_access(posts, sent)
    say("callback to access, one after another", sent, f"goal p50 50 ms: {met(holds)}")

    posts = callbacks(1) * 100
    sent = fire(port, posts, rate=1e6, threads=100)
    took = max(each.milliseconds for each in sent) / 1000
    holds = took < 2 and refused(sent) == 0 and receipts_of(posts[0]) == 1
    say("one callback a hundred times at once", sent, f"all in {took:.1f} s, goal 2 s: {met(holds)}")

    sent = fire(port, purchases(10 * 10), rate=10, threads=64)
    holds = percentile(95, sent) < 150 and refused(sent, wanted=202) == 0
    say(f"10 purchases a second, Daraja takes {DARAJA_TAKES:.0f} s", sent, f"goal p95 150 ms: {met(holds)}")

    crowd(port, rate=SUSTAINED, seconds=seconds, answered=250, access=5)
    crowd(port, rate=150, seconds=seconds, answered=250)
    crowd(port, rate=500, seconds=min(seconds, 10))

    waiting = Callback.objects.filter(outcome="new").count() + sum(1 for _ in spool.stored_messages())
    broken = [each.code for each in INVARIANTS if not each.quiet and offending_rows(each)]
    print(f"{'the books after the load':<46}{waiting} callbacks are waiting, broken invariants: {broken or 'none'}")
