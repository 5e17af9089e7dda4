"""The spool: a callback that was answered 200 is stored, even when the database or the process fails."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import DataError, InterfaceError, OperationalError, connection
from django.test import Client
from django.urls import reverse
from procrastinate.contrib.django.models import ProcrastinateJob

from payments.callbacks import inbox, spool
from payments.callbacks.spool_mover import SpoolMover
from payments.daraja import callback_tokens
from payments.models import Callback, CallbackOutcome, Payment, ReviewItem
from payments.services import settlement
from payments.tests.bodies import stk_body
from payments.tests.factories import NOON, make_push

pytestmark = [pytest.mark.django_db, pytest.mark.server]


@pytest.fixture(autouse=True)
def spool_folder(settings, tmp_path):
    settings.STATE_DIR = tmp_path


@pytest.fixture
def no_database(monkeypatch):
    def away(message, **when):
        raise OperationalError("connection refused")

    monkeypatch.setattr(inbox, "_store", away)
    yield
    monkeypatch.undo()


def deliver(client, push):
    url = reverse("payments:stk-callback", args=[push.raw_token])
    return client.post(url, stk_body(push), content_type="application/json")


def test_callback_is_spooled_and_answered_200_without_database(client, no_database):
    push = make_push()

    answer = deliver(client, push)

    assert (answer.status_code, answer.json()["ResultCode"]) == (200, 0)
    assert [message.body for _, message in spool.stored_messages()] == [stk_body(push)]
    assert push.raw_token not in next(spool.folder().iterdir()).read_text()


@pytest.mark.django_db(transaction=True)
def test_callback_is_spooled_when_database_is_read_only(client):
    push = make_push()
    options = connection.settings_dict["OPTIONS"]
    read_only = {**options, "options": "-c default_transaction_read_only=on"}
    connection.close()
    connection.settings_dict["OPTIONS"] = read_only
    try:
        answer = deliver(client, push)
    finally:
        connection.settings_dict["OPTIONS"] = options
        connection.close()

    assert answer.status_code == 200
    assert [message.body for _, message in spool.stored_messages()] == [stk_body(push)]


@pytest.mark.parametrize(
    "token", ["any-token", "t" * 52, "é" * 52, ""], ids=["short", "long", "not ASCII", "proof only"]
)
def test_foreign_token_is_refused_without_database(client, no_database, token):
    proof = callback_tokens.generate()[callback_tokens.RANDOM_LENGTH :]

    answer = client.post(
        reverse("payments:stk-callback", args=[token or proof]), b"{}", content_type="application/json"
    )

    assert (answer.status_code, list(spool.stored_messages())) == (404, [])


def test_token_of_previous_secret_key_is_still_ours(settings):
    token, earlier = callback_tokens.generate(), settings.SECRET_KEY
    settings.SECRET_KEY = "k" * 50
    assert not callback_tokens.is_ours(token)

    settings.SECRET_KEY_FALLBACKS = [earlier]

    assert callback_tokens.is_ours(token)


def drain_and_apply():
    moved = inbox.drain_spool(now=NOON)
    inbox.apply_waiting(now=NOON)
    return moved


def test_spool_is_drained_into_inbox_for_workers(client, monkeypatch):
    push = make_push()
    with monkeypatch.context() as patched:
        patched.setattr(inbox, "_store", lambda message, **when: (_ for _ in ()).throw(OperationalError("away")))
        deliver(client, push)
    assert Callback.objects.count() == 0

    moved = [inbox.drain_spool(now=NOON), inbox.drain_spool(now=NOON)]

    assert moved == [1, 0]
    assert (Callback.objects.get().outcome, Payment.objects.get().status) == (CallbackOutcome.NEW, "processing")
    assert ProcrastinateJob.objects.filter(task_name=inbox.APPLY_JOB, status="todo").count() == 1
    assert inbox.apply_waiting(now=NOON) == 1
    assert Payment.objects.get().status == "paid"
    assert Callback.objects.get().outcome == CallbackOutcome.APPLIED


def test_spooled_message_stored_twice_counts_once(client, monkeypatch):
    push = make_push()
    message = spool.Message("stk", stk_body(push), {}, None, NOON, push.token_hash)
    spool.append(message)
    with monkeypatch.context() as patched:
        patched.setattr(spool, "remove", lambda path: None)  # as when the process is killed before the removal
        drain_and_apply()

    drain_and_apply()

    assert list(Callback.objects.order_by("pk").values_list("outcome", flat=True)) == ["applied", "duplicate"]


def test_spooled_callback_of_unknown_push_becomes_review_item():
    """Only callbacks with a token of ours are spooled."""
    push = make_push()
    spool.append(spool.Message("stk", stk_body(push), {}, None, NOON, "0" * 64))

    assert drain_and_apply() == 1

    assert list(Callback.objects.values_list("outcome", "push")) == [("review", None)]
    assert ReviewItem.objects.get().reason == "unknown_callback"


def spooled(push):
    spool.append(spool.Message("stk", stk_body(push), {}, None, NOON, push.token_hash))


@pytest.mark.parametrize("text", ["", "{}", '{"source": "smoke", "body": ""}', "[1]"])
def test_unreadable_spool_file_is_set_aside(text, caplog):
    spool.folder().mkdir()
    (spool.folder() / "0000000000.000001-first.json").write_text(text)
    spooled(make_push())

    assert inbox.drain_spool(now=NOON) == 1
    assert [path.name for path in spool.folder().iterdir()] == ["0000000000.000001-first.bad"]
    assert "is set aside as .bad" in caplog.text


def test_spooled_message_refused_by_database_is_set_aside(monkeypatch):
    keep, refused = inbox._store, make_push()

    def refusing(message, **when):
        if message.token_hash == refused.token_hash:
            raise DataError("invalid byte sequence")
        return keep(message, **when)

    monkeypatch.setattr(inbox, "_store", refusing)
    spooled(refused)
    spooled(make_push())

    assert inbox.drain_spool(now=NOON) == 1
    assert [path.suffix for path in spool.folder().iterdir()] == [".bad"]


def test_spool_is_kept_while_database_fails(no_database):
    spooled(make_push())

    assert inbox.drain_spool(now=NOON) == 0
    assert len(list(spool.stored_messages())) == 1


def test_second_process_of_a_host_moves_no_spooled_callback():
    spooled(make_push())

    with spool.lock() as is_free:
        assert is_free
        assert inbox.drain_spool(now=NOON) == 0

    assert inbox.drain_spool(now=NOON) == 1


def test_stopping_process_keeps_the_remaining_spool():
    for _ in range(3):
        spooled(make_push())
    answers = iter([False, True])

    assert inbox.drain_spool(now=NOON, is_stopping=lambda: next(answers)) == 1
    assert spool.status().waiting == 2


@pytest.mark.django_db(transaction=True)
def test_spool_mover_moves_callbacks_until_it_is_stopped():
    spooled(make_push())
    mover = SpoolMover()
    mover.start()
    wait_until(lambda: Callback.objects.exists())

    mover.stop()

    assert not mover.is_alive()
    assert spool.status() == spool.Status(waiting=0, oldest_seconds=None, set_aside=0)


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_readyz_shows_number_and_age_of_spooled_callbacks():
    spooled(make_push())
    spooled(make_push())
    oldest = min(spool.folder().iterdir())
    os.utime(oldest, (time.time() - 90, time.time() - 90))
    (spool.folder() / "broken.bad").touch()

    shown = Client().get("/readyz").json()["spool"]

    assert (shown["waiting"], shown["oldest_seconds"] in (90, 91), shown["set_aside"]) == (2, True, 1)


def test_callback_is_answered_503_when_disk_is_full_too(client, no_database, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))

    assert deliver(client, make_push()).status_code == 503


@pytest.mark.django_db(transaction=True)
def test_dead_connection_is_replaced_before_spooling(client):
    push = make_push()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    other.close()

    assert deliver(client, push).status_code == 200
    assert list(spool.stored_messages()) == []
    assert Payment.objects.get().status == "paid"


def test_callback_that_fails_is_applied_later(client, monkeypatch):
    push = make_push()
    with monkeypatch.context() as patched:
        patched.setattr(settlement, "apply_money", lambda **kwargs: 1 / 0)
        assert deliver(client, push).status_code == 200
    assert Callback.objects.values_list("outcome", "attempts").get() == ("new", 1)
    assert Payment.objects.get().status == "processing"

    done = inbox.apply_waiting(now=Callback.objects.get().received_at + timedelta(seconds=11))

    assert (done, Payment.objects.get().status) == (1, "paid")


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_stored_callback_is_answered_200_when_the_failure_cannot_be_recorded(client, monkeypatch, error):
    push = make_push()
    with monkeypatch.context() as patched:
        patched.setattr(settlement, "apply_money", lambda **kwargs: 1 / 0)
        patched.setattr(Callback.objects, "filter", lambda **kwargs: (_ for _ in ()).throw(error("no connection")))
        assert deliver(client, push).status_code == 200

    assert Callback.objects.values_list("outcome", "attempts").get() == ("new", 0)


def test_callback_is_applied_after_the_clock_was_set_back(client, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(settlement, "apply_money", lambda **kwargs: 1 / 0)
        deliver(client, make_push())
    received = Callback.objects.get().received_at

    assert inbox.apply_waiting(now=received) == 0
    assert inbox.apply_waiting(now=received - timedelta(hours=3)) == 1


def test_failing_callback_becomes_review_item_without_stopping_others(client, monkeypatch):
    bad, good = make_push(), make_push()
    with monkeypatch.context() as patched:
        patched.setattr(settlement, "apply_money", lambda **kwargs: 1 / 0)
        deliver(client, bad)
        url = reverse("payments:stk-callback", args=[good.raw_token])
        client.post(url, stk_body(good, code="TKN0000002"), content_type="application/json")
    Callback.objects.filter(push=bad).update(attempts=inbox.MOST_ATTEMPTS)

    inbox.apply_waiting(now=Callback.objects.first().received_at + timedelta(minutes=1))

    assert dict(Callback.objects.values_list("push", "outcome")) == {bad.pk: "review", good.pk: "applied"}
    assert ReviewItem.objects.get().reason == "unreadable"


ANSWER_AND_DIE = """
    import os, signal, sys, time
    import django
    django.setup()
    from django.test import Client
    from payments.daraja import callback_tokens
    address = f"/api/v1/callbacks/stk/{callback_tokens.generate()}/"
    answer = Client().post(address, b'{"Body": 1}', content_type="application/json")
    print(answer.status_code, flush=True)
    time.sleep(0.005)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_answered_callback_survives_a_killed_process(tmp_path):
    """Nothing listens at the database's address, and the process is killed 5 milliseconds after its answer."""
    environment = {
        "PATH": os.environ["PATH"],
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "ENVIRONMENT": "development",
        "DATABASE_URL": f"postgresql://postgres@/nothing?host={tmp_path}",
        "STATE_DIR": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }

    died = subprocess.run(  # noqa: S603
        [sys.executable, "-c", textwrap.dedent(ANSWER_AND_DIE)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (died.returncode, died.stdout.strip()) == (-signal.SIGKILL, "200"), died.stderr
    assert [message.body for _, message in spool.stored_messages()] == [b'{"Body": 1}']
