"""The apply slot: under load a callback is answered at once, and a worker applies it later."""

import threading

import pytest
from django.db import connection, transaction
from django.urls import reverse
from procrastinate.contrib.django import app as jobs
from procrastinate.contrib.django.models import ProcrastinateJob

from api.clock import now
from payments.callbacks import inbox
from payments.jobs import apply_left
from payments.models import Callback, CallbackOutcome, Payment
from payments.services import settlement
from payments.tests.bodies import stk_body
from payments.tests.factories import make_push

pytestmark = [pytest.mark.django_db, pytest.mark.server]


@pytest.fixture
def slot(monkeypatch):
    """One slot, which a test can acquire and release."""
    found = threading.BoundedSemaphore(1)
    monkeypatch.setattr(inbox, "APPLY_SLOT", found)
    return found


@pytest.fixture
def no_slot(slot):
    slot.acquire()
    return slot


def deliver(client, push, **result):
    url = reverse("payments:stk-callback", args=[push.raw_token])
    return client.post(url, stk_body(push, **result), content_type="application/json")


def outcomes():
    return list(Callback.objects.order_by("pk").values_list("outcome", flat=True))


def job_statuses():
    return list(ProcrastinateJob.objects.filter(task_name="payments.apply_left").values_list("status", flat=True))


def fetch_job():
    """Return the id of the job that a worker would run next."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM procrastinate_fetch_job_v2(NULL, NULL)")
        return cursor.fetchone()[0]


def test_callback_with_free_slot_is_applied_before_the_answer(client, slot):
    deliver(client, make_push())

    assert (outcomes(), job_statuses()) == ([CallbackOutcome.APPLIED], [])


def test_callback_without_slot_is_answered_200_and_queued(client, no_slot):
    answer = deliver(client, make_push())

    assert (answer.status_code, answer.json()) == (200, {"ResultCode": 0, "ResultDesc": "Accepted"})
    assert (outcomes(), job_statuses()) == ([CallbackOutcome.NEW], ["todo"])


def test_several_callbacks_without_slot_queue_one_job(client, no_slot):
    for _ in range(3):
        deliver(client, make_push())

    assert job_statuses() == ["todo"]


def test_second_job_waits_for_the_running_one(client, no_slot):
    deliver(client, make_push())
    assert fetch_job() is not None

    deliver(client, make_push())

    assert sorted(job_statuses()) == ["doing", "todo"]
    assert fetch_job() is None


def test_worker_applies_queued_callbacks_oldest_first(client, no_slot):
    pushes = [make_push(), make_push()]
    for n, push in enumerate(pushes):
        deliver(client, push, code=f"TKN000000{n}")

    apply_left()

    assert outcomes() == [CallbackOutcome.APPLIED] * 2
    assert list(Callback.objects.order_by("processed_at").values_list("push", flat=True)) == [p.pk for p in pushes]
    assert set(Payment.objects.values_list("status", flat=True)) == {"paid"}


def test_periodic_run_applies_queued_callbacks_too(client, no_slot):
    deliver(client, make_push())

    assert inbox.apply_waiting(now=now()) == 1


def test_worker_skips_a_callback_that_is_being_applied(client, slot, monkeypatch):
    taken, apply_money = [], settlement.apply_money

    def meanwhile(**money):
        taken.append(inbox.apply_waiting(now=now()))
        return apply_money(**money)

    monkeypatch.setattr(settlement, "apply_money", meanwhile)

    deliver(client, make_push())

    assert taken == [0]


def fail(**kwargs):
    raise ZeroDivisionError


def test_slot_is_released_when_callback_fails(client, slot, monkeypatch):
    monkeypatch.setattr(settlement, "apply_money", fail)

    deliver(client, make_push())

    assert slot.acquire(blocking=False)


def test_slot_is_released_when_token_is_unknown(client, slot):
    client.post(reverse("payments:stk-callback", args=["nobodys"]), b"{}", content_type="application/json")

    assert slot.acquire(blocking=False)


def test_slot_is_released_when_callback_cannot_be_stored(client, slot, monkeypatch):
    monkeypatch.setattr(inbox, "_store_or_reconnect", fail)
    client.raise_request_exception = False

    deliver(client, make_push())

    assert slot.acquire(blocking=False)


def test_callback_is_answered_200_when_job_cannot_be_queued(client, no_slot, monkeypatch):
    monkeypatch.setattr(jobs, "configure_task", fail)

    assert deliver(client, make_push()).status_code == 200
    assert outcomes() == [CallbackOutcome.NEW]


def test_failed_callback_is_tried_again_after_ten_seconds(client, no_slot, monkeypatch):
    deliver(client, make_push())
    with monkeypatch.context() as patched:
        patched.setattr(settlement, "apply_money", fail)
        apply_left()

    at_once, later = (inbox.apply_waiting(now=each) for each in (now(), now() + inbox.RETRY_DELAY))

    assert (at_once, later, outcomes()) == (0, 1, [CallbackOutcome.APPLIED])


def test_long_running_job_queues_its_successor(monkeypatch):
    monkeypatch.setattr(inbox, "apply_waiting", lambda **kwargs: 100)
    monkeypatch.setattr("payments.jobs.MAX_RUN", -1.0)

    apply_left()

    assert job_statuses() == ["todo"]


@pytest.mark.django_db(transaction=True)
def test_worker_skips_callbacks_locked_by_another_worker(client, no_slot):
    for n in range(2):
        deliver(client, make_push(), code=f"TKN000000{n}")
    first, done = Callback.objects.order_by("pk").first(), []

    def apply():
        done.append(inbox.apply_waiting(now=now()))
        connection.close()

    with transaction.atomic():
        Callback.objects.select_for_update().get(pk=first.pk)
        worker = threading.Thread(target=apply)
        worker.start()
        worker.join(timeout=3)
        assert not worker.is_alive()

    assert (done, outcomes()) == ([1], [CallbackOutcome.NEW, CallbackOutcome.APPLIED])


@pytest.mark.django_db(transaction=True)
def test_real_worker_runs_the_queued_job(client, no_slot):
    deliver(client, make_push())

    with jobs.replace_connector(jobs.connector.get_worker_connector()) as worker_app:
        worker_app.run_worker(wait=False, install_signal_handlers=False, listen_notify=False)

    assert (outcomes(), job_statuses()) == ([CallbackOutcome.APPLIED], ["succeeded"])
