"""Recovery: queries about open pushes, lost jobs and workers, failed listeners, and the jobs that run them."""

import json
import re
from datetime import timedelta

import pytest
import requests
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from procrastinate.contrib.django import app as jobs
from procrastinate.contrib.django.models import ProcrastinateJob
from procrastinate.jobs import Job
from procrastinate.worker import Worker

from payments import recovery
from payments.daraja import limits
from payments.daraja.errors import Busy, DarajaError
from payments.daraja.messages import parse_stk_callback
from payments.evidence import stk_results
from payments.models import (
    Callback,
    Payment,
    PaymentEvent,
    PaymentStatus,
    PushStatus,
    Receipt,
    ReviewItem,
    ReviewReason,
    StkPush,
)
from payments.pushes import push_requests, queries, sending
from payments.signals import payment_paid
from payments.tests.bodies import stk_body
from payments.tests.daraja_answers import ACCEPTED, PUSH, QUERY, Wire, refusal
from payments.tests.factories import NOON, MemberFactory, create_payment, make_push
from payments.tests.threads import run_together

pytestmark = [pytest.mark.django_db, pytest.mark.server]

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


@pytest.fixture
def wire():
    with Wire() as wire:
        wire.token()
        yield wire


def query_answer(push, code, **changes):
    """Return Safaricom's answer to a query about a push."""
    return {
        "json": {
            **ACCEPTED,
            "MerchantRequestID": push.merchant_request_id,
            "CheckoutRequestID": push.checkout_request_id,
            "ResultCode": code,
            "ResultDesc": "The result.",
            **changes,
        }
    }


def queried(push, now=NOON + MINUTE):
    recovery.query_due_pushes(now=now)
    push.refresh_from_db()
    push.payment.refresh_from_db()
    return push


# --- A success that only the secret callback URL vouches for ----------------------------------------------


@pytest.fixture
def overtaken(wire):
    """A push whose callback brought the IDs before Safaricom's own answer did."""
    push = make_push(status=PushStatus.UNKNOWN, checkout_request_id=None)
    stk_results.apply_stk_result(
        push_id=push.pk, result=parse_stk_callback(stk_body(push)), source="callback", now=NOON
    )
    push.refresh_from_db()
    return push


def review_items():
    return list(ReviewItem.objects.values_list("reason", "detail"))


def test_success_without_stored_ids_pays_and_is_confirmed_by_a_job(wire, overtaken):
    assert (overtaken.checkout_request_id, overtaken.payment.status) == ("ws_CO_unknown", PaymentStatus.PAID)
    job = ProcrastinateJob.objects.get(task_name="payments.confirm_push")
    assert job.args == {"push_id": overtaken.pk}
    wire.query(**query_answer(overtaken, "0"))

    jobs.tasks["payments.confirm_push"].func(push_id=overtaken.pk)

    assert review_items() == []


def test_success_with_stored_ids_needs_no_confirmation():
    push = make_push()

    stk_results.apply_stk_result(push_id=push.pk, result=success_of(push), source="callback", now=NOON)

    assert not ProcrastinateJob.objects.filter(task_name="payments.confirm_push").exists()


def test_success_that_safaricom_denies_stands_and_opens_a_review_item(wire, overtaken):
    wire.query(**query_answer(overtaken, "1032"))

    recovery.confirm_success(push_id=overtaken.pk, now=NOON + MINUTE)

    detail = (
        "A callback paid this push, but Safaricom says that it ended with 1032."
        " Look for the money in the M-Pesa statement."
    )
    assert review_items() == [("contradiction", detail)]
    assert Receipt.objects.get().reversed_at is None


@pytest.mark.parametrize(
    "answer", [refusal("500.001.1001", "The transaction does not Exist", 500), {"body": requests.ReadTimeout()}]
)
def test_success_unknown_to_safaricom_for_an_hour_opens_a_review_item(wire, overtaken, answer):
    wire.query(**answer)

    with pytest.raises(DarajaError):
        recovery.confirm_success(push_id=overtaken.pk, now=NOON + 59 * MINUTE)
    assert review_items() == []
    recovery.confirm_success(push_id=overtaken.pk, now=NOON + 60 * MINUTE)

    assert [reason for reason, _ in review_items()] == ["contradiction"]


def test_success_that_is_open_at_safaricom_is_queried_again(wire, overtaken):
    wire.query(**query_answer(overtaken, "4999"))

    with pytest.raises(DarajaError):
        recovery.confirm_success(push_id=overtaken.pk, now=NOON + MINUTE)


def test_answer_and_callback_with_different_ids_open_a_review_item(wire):
    push = make_push(status=PushStatus.CREATED)

    def send_callback_first(request):
        push.refresh_from_db()
        result = parse_stk_callback(stk_body(push))
        stk_results.apply_stk_result(push_id=push.pk, result=result, source="callback", now=NOON)
        return (200, {}, json.dumps(ACCEPTED | {"CheckoutRequestID": "ws_CO_true"}))

    wire.add_callback("POST", settings.DARAJA_BASE_URL + PUSH, send_callback_first)
    sending.send(push_id=push.pk, now=NOON)

    push.refresh_from_db()
    assert push.checkout_request_id == "ws_CO_true"
    assert review_items() == [
        (
            "contradiction",
            "Safaricom's answer to this push and the callback that paid it have different checkout request IDs.",
        )
    ]


# --- Queries about open pushes -----------------------------------------------------------------------


def test_success_by_query_pays_without_a_code(wire):
    push = make_push()
    wire.query(**query_answer(push, "0"))

    queried(push)

    assert (push.status, push.payment.status) == (PushStatus.SUCCEEDED, PaymentStatus.PAID)
    assert Receipt.objects.get().code is None


def test_callback_after_the_query_adds_the_code_only(wire):
    push = make_push()
    wire.query(**query_answer(push, "0"))
    queried(push)

    stk_results.apply_stk_result(
        push_id=push.pk,
        result=success_of(push),
        source="callback",
        now=NOON + 2 * MINUTE,
    )

    assert Receipt.objects.get().code == "TKN1AB2C3D"


def success_of(push):
    return parse_stk_callback(stk_body(push))


@pytest.mark.parametrize(
    ("code", "status"),
    [("1032", PushStatus.CANCELLED), ("1", PushStatus.FAILED), ("2001", PushStatus.FAILED), ("17", PushStatus.FAILED)],
)
def test_final_result_code_ends_the_push_and_frees_the_payment(wire, code, status):
    push = make_push()
    wire.query(**query_answer(push, code))

    queried(push)

    assert (push.status, push.result_code, push.next_check_at) == (status, code, None)
    assert push.payment.status == PaymentStatus.FAILED


@pytest.mark.parametrize("code", ["1036", "1037", "1019"])
def test_timeout_counts_only_after_the_push_has_left_the_phone(wire, code):
    push = make_push()
    wire.query(**query_answer(push, code))

    assert queried(push, now=NOON + 2 * MINUTE).status == PushStatus.SENT
    assert queried(push, now=NOON + 5 * MINUTE).status == PushStatus.TIMED_OUT


@pytest.mark.parametrize(
    "answer",
    [
        {"code": "4999"},
        {"code": "15"},
        {"code": "no-such-code"},
        refusal("500.001.1001", "The transaction is being processed", 500),
        refusal("500.001.1001", "The transaction does not Exist", 500),
        refusal("400.002.02", "Bad Request - Invalid CheckoutRequestID", 400),
        {"body": "", "status": 503},
        {"body": "<html>"},
        {"body": TimeoutError()},
    ],
)
def test_query_without_an_end_is_repeated_later(wire, answer):
    push = make_push()
    wire.query(**(query_answer(push, answer["code"]) if "code" in answer else answer))

    queried(push, now=NOON + timedelta(seconds=20))

    assert (push.status, push.payment.status) == (PushStatus.SENT, PaymentStatus.PROCESSING)
    assert push.next_check_at >= NOON + timedelta(seconds=40)


def test_open_push_is_queried_six_times_then_reviewed(wire):
    push = make_push()
    wire.query(**query_answer(push, "4999"))
    delays = []

    while push.next_check_at is not None:
        delays.append(push.next_check_at - NOON)
        queried(push, now=push.next_check_at)

    plan = [timedelta(seconds=20), MINUTE, 3 * MINUTE, 15 * MINUTE, 60 * MINUTE, timedelta(hours=24)]
    assert len(delays) == 6
    assert all(planned <= at <= planned * 1.1 for planned, at in zip(plan, delays, strict=True))
    assert (push.status, len(wire.sent(QUERY))) == (PushStatus.TIMED_OUT, 6)
    assert ReviewItem.objects.get().reason == ReviewReason.OVERDUE_UNKNOWN


def test_missed_queries_are_made_up_at_the_first_pace(wire):
    push = make_push()
    wire.query(**query_answer(push, "4999"))

    queried(push, now=NOON + timedelta(hours=6))

    assert push.next_check_at == NOON + timedelta(hours=6, seconds=20)


def test_push_without_an_id_is_reviewed_without_a_query(wire):
    push = make_push(status=PushStatus.UNKNOWN, checkout_request_id=None, next_check_at=NOON)

    queried(push)

    assert (push.status, push.next_check_at, len(wire.calls)) == (PushStatus.TIMED_OUT, None, 0)
    assert ReviewItem.objects.get().reason == ReviewReason.OVERDUE_UNKNOWN


def test_failure_by_query_never_undoes_a_success(wire):
    push = make_push()

    def pay_first(request):
        stk_results.apply_stk_result(push_id=push.pk, result=success_of(push), source="callback", now=NOON)
        return 200, {}, json.dumps(query_answer(push, "1032")["json"])

    wire.add_callback("POST", settings.DARAJA_BASE_URL + QUERY, callback=pay_first)

    queried(push)

    assert (push.status, push.payment.status) == (PushStatus.SUCCEEDED, PaymentStatus.PAID)


def test_oldest_push_is_queried_first_and_none_twice(wire):
    older, newer = make_push(sent_at=NOON - MINUTE), make_push()
    for push in (older, newer):
        wire.query(**query_answer(push, "1032"))

    assert recovery.query_due_pushes(now=NOON + MINUTE) == 2
    assert [body["CheckoutRequestID"] for body in wire.bodies(QUERY)] == [
        older.checkout_request_id,
        newer.checkout_request_id,
    ]


def test_run_ends_at_the_rate_limit_and_keeps_the_order(wire, settings, monkeypatch):
    settings.DARAJA_CALLS_PER_SECOND = 0.1
    monkeypatch.setattr(limits, "BURST", 40)
    pushes_due = [make_push(sent_at=NOON + timedelta(seconds=n)) for n in range(4)]
    for push in pushes_due:
        wire.query(**query_answer(push, "1032"))

    assert recovery.query_due_pushes(now=NOON + MINUTE) == 2

    waiting = StkPush.objects.filter(status=PushStatus.SENT).order_by("pk")
    assert list(waiting.values_list("next_check_at", flat=True)) == [push.next_check_at for push in pushes_due[2:]]


@pytest.mark.slow
def test_ten_thousand_open_pushes_are_queried_in_order_within_the_rate(monkeypatch):
    """Three runs, each with room for 200 queries, query the 600 pushes that are due longest, each once, in order."""
    member = MemberFactory()
    payer = {"payer_id": member.pk, "created_by_id": member.pk}
    payments = Payment.objects.bulk_create(
        Payment(reference=f"Q{n}", amount_due=10, deposit=10, created_at=NOON, expires_at=NOON + DAY, **payer)
        for n in range(10_000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE payments_payment")  # else the planner still takes the table for an empty one
    PaymentEvent.objects.bulk_create(PaymentEvent(payment=each, to_status="pending", at=NOON) for each in payments)
    StkPush.objects.bulk_create(
        StkPush(
            payment=payment,
            phone=f"2541{n:08d}",
            amount=10,
            status=PushStatus.SENT,
            token_hash=f"hash {n}",
            created_at=NOON,
            sent_at=NOON,
            next_check_at=NOON + timedelta(seconds=20, milliseconds=(n * 7919) % 10_000),  # a prime: all differ
        )
        for n, payment in enumerate(payments)
    )
    expected, queried_ids, room = (
        list(StkPush.objects.order_by("next_check_at").values_list("pk", flat=True)[:600]),
        [],
        0,
    )

    def check(*, push_id, due_at, now):
        if not len(queried_ids) < room:
            queries.postpone_query(push_id=push_id, until=due_at)
            raise Busy("limit reached", retry_after=1)
        queried_ids.append(push_id)
        StkPush.objects.filter(pk=push_id).update(next_check_at=now + timedelta(seconds=20))

    monkeypatch.setattr(recovery, "query_push", check)
    for run in range(3):
        room += 200
        recovery.query_due_pushes(now=NOON + MINUTE + timedelta(seconds=10 * run))

    assert queried_ids == expected


@pytest.mark.parametrize(
    "answer",
    [
        refusal("500.003.02", "Error Occurred: Spike Arrest Violation", 500),
        {"body": requests.ConnectTimeout()},
    ],
)
def test_push_that_could_not_be_queried_keeps_its_place(wire, answer):
    push = make_push()
    wire.query(**answer)

    queried(push)

    assert (push.checks, push.next_check_at) == (0, NOON + timedelta(seconds=20))


def test_failed_recovery_of_one_push_does_not_stop_the_others(monkeypatch):
    for _ in range(2):
        make_push(status=PushStatus.SENDING)
    bad = StkPush.objects.earliest("pk").pk
    real = queries.mark_unknown

    def mark_unknown(*, push_id, now):
        if push_id == bad:
            raise ZeroDivisionError
        return real(push_id=push_id, now=now)

    monkeypatch.setattr(queries, "mark_unknown", mark_unknown)

    assert recovery.mark_lost_calls_unknown(now=NOON + MINUTE) == 1


def test_failed_query_of_one_push_does_not_stop_the_others(wire, monkeypatch):
    bad, good = make_push(sent_at=NOON - MINUTE), make_push()
    wire.query(**query_answer(good, "1032"))
    real = recovery.query_push

    def check(*, push_id, due_at, now):
        if push_id == bad.pk:
            raise ZeroDivisionError
        real(push_id=push_id, due_at=due_at, now=now)

    monkeypatch.setattr(recovery, "query_push", check)

    queried(good)

    assert good.status == PushStatus.CANCELLED
    bad.refresh_from_db()
    assert bad.next_check_at == NOON + MINUTE + recovery.CLAIM_FOR


@pytest.mark.django_db(transaction=True)
def test_concurrent_runs_query_each_push_once(wire):
    with transaction.atomic():
        due = [make_push() for _ in range(6)]
    wire.query(json={"never": "an end"})
    limits.acquire()

    run_all(*[lambda: recovery.query_due_pushes(now=NOON + MINUTE)] * 3)

    queried_ids = [body["CheckoutRequestID"] for body in wire.bodies(QUERY)]
    assert sorted(queried_ids) == sorted(push.checkout_request_id for push in due)


def run_all(*calls):
    """Run all calls at the same time, and check that none of them raised an error."""
    assert [result for result in run_together(*calls) if isinstance(result, Exception)] == []


# --- Races --------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_concurrent_workers_send_a_push_once(wire):
    wire.push()
    limits.acquire()
    push = push_requests.request_push(
        payment_id=create_payment().pk, phone="254712345678", created_by_id=None, now=NOON
    )

    run_all(*[lambda: sending.send(push_id=push.pk, now=NOON)] * 4)

    push.refresh_from_db()
    assert (push.status, len(wire.sent(PUSH))) == (PushStatus.SENT, 1)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("shared", ["payment", "phone"])
def test_concurrent_requests_create_one_push_and_refuse_the_others(shared):
    payments = [create_payment()] * 6 if shared == "payment" else [create_payment() for _ in range(6)]
    phones = ["254712345678"] * 6 if shared == "phone" else [f"25471234567{n}" for n in range(6)]
    refused = []

    def request(payment, phone):
        try:
            push_requests.request_push(payment_id=payment.pk, phone=phone, created_by_id=None, now=NOON)
        except push_requests.PushOpen:
            refused.append(phone)

    run_all(*[lambda pair=pair: request(*pair) for pair in zip(payments, phones, strict=True)])

    push = StkPush.objects.get()
    assert (ProcrastinateJob.objects.filter(args={"push_id": push.pk}).count(), len(refused)) == (1, 5)


# --- Lost jobs, lost workers ----------------------------------------------------------------------------


def created_push(**fields):
    return make_push(status=PushStatus.CREATED, **fields)


def test_push_that_lost_its_job_gets_one_new_job():
    push = created_push()

    found = [recovery.requeue_lost_pushes(now=NOON + recovery.LOST_JOB_AFTER) for _ in range(2)]

    assert found == [1, 0]
    assert ProcrastinateJob.objects.get().args == {"push_id": push.pk}


def test_push_created_seconds_ago_gets_no_new_job():
    created_push()

    assert recovery.requeue_lost_pushes(now=NOON + timedelta(seconds=29)) == 0


def test_push_whose_worker_died_is_unknown_and_not_sent_again(wire):
    push = make_push(status=PushStatus.SENDING, checkout_request_id=None, next_check_at=None)

    found = [recovery.mark_lost_calls_unknown(now=NOON + MINUTE) for _ in range(2)]
    sending.send(push_id=push.pk, now=NOON + MINUTE)

    push.refresh_from_db()
    assert (found, push.status, len(wire.calls)) == ([1, 0], PushStatus.UNKNOWN, 0)
    assert push.next_check_at == NOON + MINUTE + queries.NO_ID_WAIT


def test_push_sent_seconds_ago_stays_sending():
    make_push(status=PushStatus.SENDING)

    assert recovery.mark_lost_calls_unknown(now=NOON + timedelta(seconds=59)) == 0


def test_late_answer_sets_an_unknown_push_to_sent(wire):
    push = created_push(phone="254712345678")

    def answer_late(request):
        recovery.mark_lost_calls_unknown(now=NOON + MINUTE)
        return 200, {}, json.dumps(ACCEPTED)

    wire.add_callback("POST", settings.DARAJA_BASE_URL + PUSH, callback=answer_late)

    sending.send(push_id=push.pk, now=NOON)

    push.refresh_from_db()
    assert (push.status, push.checkout_request_id) == (PushStatus.SENT, ACCEPTED["CheckoutRequestID"])


# --- Listeners, bodies, jobs ----------------------------------------------------------------------------


def test_failed_listener_is_retried_until_it_succeeds(wire):
    received = []

    def listen(sender, *, payment_id, now, **kwargs):
        received.append(payment_id)
        if len(received) < 3:
            raise ZeroDivisionError

    payment_paid.connect(listen)
    try:
        push = make_push()
        wire.query(**query_answer(push, "0"))
        queried(push)
        succeeded = [recovery.retry_failed_listeners(now=NOON + MINUTE) for _ in range(3)]
    finally:
        payment_paid.disconnect(listen)

    assert succeeded == [0, 1, 0]
    assert received == [push.payment_id] * 3


def make_callback(push, *, days, outcome):
    return Callback.objects.create(
        source="stk", push=push, body=b"{}", received_at=NOON - timedelta(days=days), outcome=outcome, processed_at=NOON
    )


def test_old_bodies_of_applied_callbacks_are_emptied(settings):
    settings.CALLBACK_BODY_DAYS = 100
    push = make_push()
    old, young = make_callback(push, days=101, outcome="duplicate"), make_callback(push, days=99, outcome="duplicate")
    held = make_callback(push, days=101, outcome="rejected")

    assert [recovery.purge_bodies(now=NOON) for _ in range(2)] == [1, 0]

    bodies = dict(Callback.objects.values_list("pk", "body"))
    assert {key: bytes(body) for key, body in bodies.items()} == {old.pk: b"", young.pk: b"{}", held.pk: b"{}"}


def stalled_job(**fields):
    """Insert a job that a dead worker was running; return its id."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, args, status, queueing_lock)"
            " VALUES ('default', 'payments.send_push', '{\"push_id\": 1}', 'doing', %s) RETURNING id",
            [fields.get("queueing_lock")],
        )
        return cursor.fetchone()[0]


def test_job_of_a_dead_worker_is_queued_again():
    job_id = stalled_job()

    assert [recovery.rescue_stalled_jobs() for _ in range(2)] == [1, 0]
    assert ProcrastinateJob.objects.get(pk=job_id).status == "todo"


def test_job_of_a_live_worker_is_not_rescued():
    job_id = stalled_job()
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id")
        cursor.execute("UPDATE procrastinate_jobs SET worker_id = %s WHERE id = %s", [cursor.fetchone()[0], job_id])

    assert recovery.rescue_stalled_jobs() == 0

    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '21 seconds'")
    assert recovery.rescue_stalled_jobs() == 1


def test_job_of_a_dead_worker_is_rescued_within_30_seconds():
    crons = {task.task.name: task.cron for task in jobs.periodic_registry.periodic_tasks.values()}
    every = int(re.fullmatch(r"\* \* \* \* \* \*/([0-9]+)", crons["payments.rescue_stalled_jobs"])[1])

    # Without a heartbeat for so long, then found by the next run.
    assert recovery.DEAD_AFTER + every <= 30
    # A live worker is never taken for a dead one: one heartbeat may be late.
    assert 2 * Worker(jobs).update_heartbeat_interval <= recovery.DEAD_AFTER


def ended_job(status, days):
    """Insert a job that ended some days ago."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('default', 'x') RETURNING id",
        )
        [job_id] = cursor.fetchone()
        for each in ("doing", status):
            cursor.execute("UPDATE procrastinate_jobs SET status = %s WHERE id = %s", [each, job_id])
        cursor.execute("UPDATE procrastinate_events SET at = now() - %s WHERE job_id = %s", [days * DAY, job_id])


@pytest.mark.django_db(transaction=True)
def test_finished_jobs_are_deleted_after_a_week_or_three_months():
    for days in (6, 8, 89, 91):
        ended_job("succeeded", days)
        ended_job("failed", days)
    jobs.configure_task("payments.remove_old_jobs").defer(timestamp=1)

    with jobs.replace_connector(jobs.connector.get_worker_connector()) as worker_app:
        worker_app.run_worker(wait=False, install_signal_handlers=False, listen_notify=False)

    left = ProcrastinateJob.objects.filter(task_name="x").order_by("pk")
    assert list(left.values_list("status", flat=True)) == ["succeeded", "failed", "failed", "failed"]


def test_stalled_job_is_deleted_if_an_equal_job_is_queued():
    stalled = stalled_job(queueing_lock="payments.check_pushes")
    jobs.configure_task("payments.check_pushes", queueing_lock="payments.check_pushes").defer(timestamp=1)

    recovery.rescue_stalled_jobs()

    assert not ProcrastinateJob.objects.filter(pk=stalled).exists()
    assert ProcrastinateJob.objects.get().status == "todo"


def test_busy_push_is_retried_when_safaricom_says():
    decision = jobs.tasks["payments.send_push"].get_retry_exception(Busy("x", retry_after=40), make_job(attempts=3))

    assert 39 < seconds_until(decision) < 51


@pytest.mark.parametrize(("attempts", "least", "most"), [(0, 4, 7), (3, 39, 51), (50, 599, 751)])
def test_failed_job_is_retried_forever_with_growing_delays(attempts, least, most):
    decision = jobs.tasks["payments.retry_listeners"].get_retry_exception(
        ZeroDivisionError(), make_job(attempts=attempts)
    )

    assert least < seconds_until(decision) < most


def make_job(*, attempts):
    return Job(id=1, queue="q", lock=None, queueing_lock=None, task_name="t", attempts=attempts)


def seconds_until(decision):
    return (decision.retry_decision.retry_at - timezone.now()).total_seconds()


def test_every_periodic_job_has_a_queueing_lock_and_no_lock():
    periodic = jobs.periodic_registry.periodic_tasks
    ours = {task.task.name: task.task for task in periodic.values() if task.task.name.startswith("payments.")}

    assert sorted(ours) == [
        "payments.check_claims",
        "payments.check_pushes",
        "payments.expire_due",
        "payments.expire_orders",
        "payments.find_lost_pushes",
        "payments.keep_callbacks_moving",
        "payments.purge_bodies",
        "payments.remove_old_jobs",
        "payments.report_missing_codes",
        "payments.rescue_stalled_jobs",
        "payments.retry_listeners_due",
    ]
    assert {name: (task.queueing_lock, task.lock) for name, task in ours.items()} == {
        name: (name, None) for name in ours
    }


@pytest.mark.django_db(transaction=True)
def test_every_periodic_job_succeeds_in_a_worker():
    for name in sorted(name for name in jobs.tasks if name.startswith("payments.") and "send" not in name):
        if name not in (
            "payments.retry_listeners",
            "payments.ask_about_code",
            "payments.confirm_push",
            "payments.apply_left",
        ):
            jobs.configure_task(name).defer(timestamp=1)

    with jobs.replace_connector(jobs.connector.get_worker_connector()) as worker_app:
        worker_app.run_worker(wait=False, install_signal_handlers=False, listen_notify=False)

    assert set(ProcrastinateJob.objects.values_list("status", flat=True)) == {"succeeded"}
