"""A club of a million members and three million periods: times of the gate, the admin, lists, jobs and the audit.

The rows are created with SQL, as after three months of a club, while constraint triggers are off. Times are wall clock
times, with PostgreSQL.
"""

import random
import resource
import time
from collections.abc import Callable
from datetime import timedelta
from statistics import median, quantiles

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.tests.factories import UserFactory
from api.business_days import business_day
from api.roles import Role
from benchmarks.measure import request, serve, statements_of
from benchmarks.rows import gate
from benchmarks.rows.pages import staff_cookie
from config.management.commands.audit_books import offending_rows
from payments.services import cancellation
from subscriptions.invariants import INVARIANTS
from subscriptions.models import Closure, Subscription
from subscriptions.services.freezes import create_closure, delete_closure
from subscriptions.tests.factories import PlanFactory

TAPS, PAGES = 1000, 20
GATE_GOAL, PASS_GOAL = 50, 60  # milliseconds for 95 of 100 answers; seconds for a whole job
# Goals for the median in milliseconds, for a club of 100,000 members. None: no goal.
ADMIN_PAGES = {
    "/admin/": 300,
    "/admin/members-today/": None,
    "/admin/charts/": None,
    "/admin/payments/receipt/": None,
    "/admin/subscriptions/subscription/?standing=due": None,
    "/admin/subscriptions/subscription/?standing=grace": None,
    "/admin/subscriptions/visit/": None,
}

MEMBERS = """
INSERT INTO accounts_customuser (password, is_superuser, username, first_name, last_name, is_staff, is_active,
    date_joined, role, emergency_contact, member_number, consented_at)
SELECT '!', false, 'large' || n, 'Asha', 'Otieno', false, true, now(), 'Member', '', lpad((9999999 - n)::text, 7, '0'),
    now() FROM generate_series(1, %(members)s) n
"""
# Three months for each member. The last one ends within four weeks before or after today.
PERIODS = """
WITH members AS (
    SELECT id, row_number() OVER (ORDER BY id) AS n FROM accounts_customuser WHERE username LIKE 'large%%'
), periods AS (
    SELECT id AS member_id, n, k, current_date - 80 + (n %% 28)::int + 30 * k AS starts_on
    FROM members CROSS JOIN generate_series(0, 2) k
), paid AS (
    INSERT INTO payments_payment (reference, description, amount_due, amount_paid, deposit, status, created_at,
        expires_at, paid_at, deposit_paid_at, created_by_id, payer_id)
    SELECT 'L' || n || '-' || k, 'Monthly', 1500, 1500, 1500, 'paid', starts_on, starts_on + 3, starts_on, starts_on,
        member_id, member_id FROM periods
    RETURNING id, payer_id, paid_at
)
INSERT INTO subscriptions_subscription (member_id, plan_id, group_id, payment_id, price, interval, interval_count,
    grace_days, late_renewal, visits, max_freeze_days, max_freezes, origin, joining_fee, value_carried, fact,
    not_before, anchor_on, starts_on, base_ends_on, ends_on, created_by_id, created_at, granted_at)
SELECT payer_id, %(plan)s, %(group)s, id, 1500, 'days', 30, 3, 'from_payment',
    CASE WHEN payer_id %% 10 = 0 THEN 12 END, 14, 2, 'bought', 0, 0, 'granted', paid_at::date, paid_at::date,
    paid_at::date, paid_at::date + 30, paid_at::date + 30, payer_id, paid_at, paid_at
FROM paid
"""
VISITS = """
INSERT INTO subscriptions_visit (member_id, subscription_id, at, decision, reason, gate)
SELECT member_id, id, created_at + interval '9 hours', 'allow', 'active', '' FROM subscriptions_subscription
"""
# One for each paid period, because the dashboard sums them. They are not in the ledger.
RECEIPTS = """
INSERT INTO payments_receipt (channel, code, push_guessed, amount, paid_at, payer_name, sender, account_typed,
    member_id, created_at, reversal_reason)
SELECT 'mpesa_c2b', 'L' || id, false, amount_due, paid_at, '', '', reference, payer_id, paid_at, ''
FROM payments_payment WHERE status = 'paid'
"""
# Overdue payments, as many as on a busy day, at most one for each member.
WAITING = """
UPDATE payments_payment SET status = 'pending', amount_paid = 0, paid_at = NULL, deposit_paid_at = NULL,
    expires_at = now()
WHERE id IN (SELECT id FROM payments_payment WHERE reference LIKE '%-2' ORDER BY id DESC LIMIT 5000)
"""
UNPAID = """
UPDATE subscriptions_subscription SET fact = 'pending'
WHERE payment_id IN (SELECT id FROM payments_payment WHERE status = 'pending')
"""


PLAIN_INDEXES = """
SELECT indexname, indexdef FROM pg_indexes
WHERE tablename IN ('accounts_customuser', 'payments_payment', 'payments_receipt', 'subscriptions_subscription',
    'subscriptions_visit')
    AND indexname NOT IN (SELECT conname FROM pg_constraint)
"""


def fill(members: int) -> None:
    """Create members with three periods each, their payments and visits. Indexes are created after the rows."""
    plan = PlanFactory(interval="days", interval_count=30, grace_days=3)
    names = {"members": members, "plan": plan.pk, "group": plan.group_id}
    no_overlap = next(each for each in Subscription._meta.constraints if each.name.endswith("do_not_overlap"))
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("SET statement_timeout = 0")
        cursor.execute(PLAIN_INDEXES)
        indexes = cursor.fetchall()
        for name, _ in indexes:
            cursor.execute(f'DROP INDEX "{name}"')
        with connection.schema_editor() as editor:
            editor.remove_constraint(Subscription, no_overlap)
        for statement in (MEMBERS, PERIODS, VISITS):
            cursor.execute(statement, names)
        for statement in (WAITING, UNPAID, RECEIPTS):
            cursor.execute(statement)
        for _, definition in indexes:
            cursor.execute(definition)
        with connection.schema_editor() as editor:
            editor.add_constraint(Subscription, no_overlap)
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("RESET statement_timeout")
        cursor.execute("RESET session_replication_role")


def timed(act: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def answer_times() -> tuple[list[float], list[float]]:
    """Return the milliseconds of check-ins of random members, and of GET /healthz, which reads no row."""
    numbers = random.Random(254).sample(range(1, Subscription.objects.count() // 3), TAPS + 50)  # noqa: S311
    handler, tap = WSGIHandler(), gate.taps_of(f"{9_999_999 - n:07d}" for n in numbers)
    for _ in range(50):
        serve(handler, tap())
    taps, healthz = [], []
    for _ in range(TAPS):  # alternately, so that other load on the machine slows both
        for environ, times in ((tap(), taps), (request("GET", "/healthz"), healthz)):
            times.append(1000 * timed(lambda environ=environ: serve(handler, environ)))
    return taps, healthz


def page_times(path: str) -> list[float]:
    """Return the milliseconds of a page of the admin, for an Admin."""
    client = Client()
    client.force_login(UserFactory(role=Role.ADMIN, is_staff=True))
    cookie = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
    handler = WSGIHandler()
    environs = [request("GET", path, HTTP_COOKIE=cookie) for _ in range(PAGES + 1)]
    return [1000 * timed(lambda environ=environ: serve(handler, environ)) for environ in environs][1:]


def lists() -> dict[str, Callable[[], dict]]:
    """Return requests of staff for lists of twenty subscriptions, by name."""
    cookie, soon = staff_cookie(), business_day(timezone.now()) + timedelta(days=7)
    asked = {
        "20 subscriptions, newest": "",
        "20 that are active": "&status=active",
        "20 in grace": "&status=grace",
        "20 that end within a week": f"&status=active&ends_before={soon}&ordering=ends_on",
        "20 of a member number": "&search=9999990",
    }
    return {
        name: lambda query=query: request(
            "GET", "/api/v1/subscriptions/", QUERY_STRING=f"page_size=20{query}", HTTP_COOKIE=cookie
        )
        for name, query in asked.items()
    }


def expire_all() -> None:
    """Run the job that expires payments until none is left."""
    while cancellation.expire_due(now=timezone.now()):
        pass


def close_for_a_day() -> None:
    """Close the club tomorrow. All members with a period get the day back."""
    tomorrow = business_day(timezone.now()) + timedelta(days=1)
    create_closure(
        starts_on=tomorrow,
        ends_on=tomorrow + timedelta(days=1),
        reason="Repairs",
        by_id=UserFactory(role=Role.MANAGER).pk,
        now=timezone.now(),
    )


def reopen() -> None:
    """Delete that closure."""
    closure = Closure.objects.get()
    delete_closure(closure_id=closure.pk, by_id=closure.made_by_id, now=timezone.now())


def report(members: int) -> None:
    """Fill the database, and print one line for each goal."""
    print(f"{members} members created in {timed(lambda: fill(members)):.0f} s", flush=True)
    taps, healthz = (quantiles(times, n=20) for times in answer_times())
    goal = "met" if taps[18] < GATE_GOAL else "missed"
    print(f"{'POST checkins/':<40}p50 {taps[9]:.1f} ms, p95 {taps[18]:.1f} ms, goal p95 {GATE_GOAL} ms: {goal}")
    print(f"{'GET /healthz for comparison':<40}p50 {healthz[9]:.1f} ms, p95 {healthz[18]:.1f} ms", flush=True)
    for path, most in ADMIN_PAGES.items():
        p50 = median(page_times(path))
        goal = f", goal {most} ms: {'met' if p50 < most else 'missed'}" if most else ""
        print(f"{'GET ' + path:<52}p50 {p50:.0f} ms{goal}", flush=True)
    handler = WSGIHandler()
    for name, asked in lists().items():
        statements = statements_of(handler, asked())
        times = [1000 * timed(lambda asked=asked: serve(handler, asked())) for _ in range(5)]
        print(f"{name:<40}{statements} statements, median {median(times):.0f} ms", flush=True)
    passes = {"expiring 5,000 payments": expire_all}
    for each in INVARIANTS:
        passes[f"audit_books {each.code}"] = lambda each=each: offending_rows(each)
    passes |= {"closing the club for a day": close_for_a_day, "deleting the closure": reopen}
    for name, act in passes.items():
        seconds = timed(act)
        print(
            f"{name:<40}{seconds:.1f} s, goal {PASS_GOAL} s: {'met' if seconds < PASS_GOAL else 'missed'}", flush=True
        )
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")
