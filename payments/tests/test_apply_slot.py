"""Under load the answer comes first: what finds no room in the web server is left to a worker."""

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
def room(monkeypatch):
    """Room for one, to be taken and given back."""
    found = threading.BoundedSemaphore(1)
    monkeypatch.setattr(inbox, "APPLY_SLOT", found)
    return found


@pytest.fixture
def full(room):
    room.acquire()
    return room


def deliver(client, push, **result):
    url = reverse("payments:stk-callback", args=[push.raw_token])
    return client.post(url, stk_body(push, **result), content_type="application/json")


def outcomes():
    return list(Callback.objects.order_by("pk").values_list("outcome", flat=True))


def calls():
    return list(ProcrastinateJob.objects.filter(task_name="payments.apply_left").values_list("status", flat=True))


def fetched():
    """The job that a worker would begin now."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM procrastinate_fetch_job_v2(NULL, NULL)")
        return cursor.fetchone()[0]


def test_a_callback_that_finds_room_is_applied_before_it_is_answered(client, room):
    deliver(client, make_push())

    assert (outcomes(), calls()) == ([CallbackOutcome.APPLIED], [])


def test_a_callback_that_finds_no_room_is_answered_200_and_left_to_a_worker(client, full):
    answer = deliver(client, make_push())

    assert (answer.status_code, answer.json()) == (200, {"ResultCode": 0, "ResultDesc": "Accepted"})
    assert (outcomes(), calls()) == ([CallbackOutcome.NEW], ["todo"])


def test_many_that_find_no_room_call_for_one_worker(client, full):
    for _ in range(3):
        deliver(client, make_push())

    assert calls() == ["todo"]


def test_a_call_while_a_worker_is_at_it_waits_for_its_end(client, full):
    deliver(client, make_push())
    assert fetched() is not None

    deliver(client, make_push())

    assert sorted(calls()) == ["doing", "todo"]
    assert fetched() is None


def test_the_worker_applies_what_was_left_at_once_oldest_first(client, full):
    pushes = [make_push(), make_push()]
    for n, push in enumerate(pushes):
        deliver(client, push, code=f"TKN000000{n}")

    apply_left()

    assert outcomes() == [CallbackOutcome.APPLIED] * 2
    assert list(Callback.objects.order_by("processed_at").values_list("push", flat=True)) == [p.pk for p in pushes]
    assert set(Payment.objects.values_list("status", flat=True)) == {"paid"}


def test_what_was_left_is_applied_by_the_periodic_run_too_should_nobody_come(client, full):
    deliver(client, make_push())

    assert inbox.apply_waiting(now=now()) == 1


def test_a_callback_that_is_being_applied_is_not_taken_up_by_a_worker(client, room, monkeypatch):
    taken, apply_money = [], settlement.apply_money

    def meanwhile(**money):
        taken.append(inbox.apply_waiting(now=now()))
        return apply_money(**money)

    monkeypatch.setattr(settlement, "apply_money", meanwhile)

    deliver(client, make_push())

    assert taken == [0]


def fail(**kwargs):
    raise ZeroDivisionError


def test_the_room_is_given_back_when_a_callback_cannot_be_applied(client, room, monkeypatch):
    monkeypatch.setattr(settlement, "apply_money", fail)

    deliver(client, make_push())

    assert room.acquire(blocking=False)


def test_the_room_is_given_back_when_a_callback_is_nobodys(client, room):
    client.post(reverse("payments:stk-callback", args=["nobodys"]), b"{}", content_type="application/json")

    assert room.acquire(blocking=False)


def test_the_room_is_given_back_when_neither_database_nor_disk_keeps_a_callback(client, room, monkeypatch):
    monkeypatch.setattr(inbox, "_store_or_reconnect", fail)
    client.raise_request_exception = False

    deliver(client, make_push())

    assert room.acquire(blocking=False)


def test_a_callback_is_answered_200_although_no_worker_can_be_called(client, full, monkeypatch):
    monkeypatch.setattr(jobs, "configure_task", fail)

    assert deliver(client, make_push()).status_code == 200
    assert outcomes() == [CallbackOutcome.NEW]


def test_a_callback_that_failed_waits_ten_seconds_for_its_next_turn(client, full, monkeypatch):
    deliver(client, make_push())
    with monkeypatch.context() as patched:
        patched.setattr(settlement, "apply_money", fail)
        apply_left()

    at_once, later = (inbox.apply_waiting(now=each) for each in (now(), now() + inbox.RETRY_DELAY))

    assert (at_once, later, outcomes()) == (0, 1, [CallbackOutcome.APPLIED])


def test_a_worker_that_is_at_it_for_long_hands_over_to_another_job(monkeypatch):
    monkeypatch.setattr(inbox, "apply_waiting", lambda **kwargs: 100)
    monkeypatch.setattr("payments.jobs.MAX_RUN", -1.0)

    apply_left()

    assert calls() == ["todo"]


@pytest.mark.django_db(transaction=True)
def test_what_another_worker_has_in_hand_is_passed_over_without_waiting(client, full):
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
def test_a_real_worker_takes_the_call(client, full):
    deliver(client, make_push())

    with jobs.replace_connector(jobs.connector.get_worker_connector()) as worker_app:
        worker_app.run_worker(wait=False, install_signal_handlers=False, listen_notify=False)

    assert (outcomes(), calls()) == ([CallbackOutcome.APPLIED], ["succeeded"])
