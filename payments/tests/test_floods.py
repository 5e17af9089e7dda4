"""Floods of callbacks: each URL has a limit of junk and repeats, and no true result is hidden behind it."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.db import OperationalError
from django.urls import reverse

from payments.callbacks import inbox, spool
from payments.daraja import callback_tokens
from payments.models import Callback, Receipt, ReviewItem
from payments.tests.bodies import c2b_body, status_body, stk_body
from payments.tests.factories import NOON, create_payment, make_push

pytestmark = [pytest.mark.django_db, pytest.mark.server]


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """The time of the views; a test may change it."""
    clock = {"now": NOON}
    monkeypatch.setattr("payments.views.callbacks.now", lambda: clock["now"])
    return clock


def send(client, name, argument, body):
    answer = client.post(reverse(f"payments:{name}", args=[argument]), body, content_type="application/json")
    assert answer.status_code == 200


def confirm(client, body):
    send(client, "c2b-confirmation", settings.C2B_SECRET, body)


def junk(number):
    return b'{"junk": %d}' % number


def counts():
    """Return how many callbacks are stored, and how many were only counted."""
    return Callback.objects.count(), sum(Callback.objects.values_list("not_stored", flat=True))


def warnings(caplog):
    return [record.message for record in caplog.records if "has enough" in record.message]


def test_junk_to_the_confirmations_url_is_limited_for_each_hour(client, clock, caplog):
    for number in range(60):
        confirm(client, junk(number))
    assert (counts(), len(warnings(caplog))) == ((20, 40), 1)

    clock["now"] = NOON + timedelta(hours=1)
    for number in range(30):
        confirm(client, junk(number))

    assert (counts(), len(warnings(caplog))) == ((40, 50), 2)


def test_true_confirmations_are_stored_behind_any_junk(client):
    for number in range(30):
        confirm(client, junk(number))
    payments = [create_payment(amount=500) for _ in range(30)]

    for number, payment in enumerate(payments):
        confirm(client, c2b_body(amount=500, account=payment.reference, code=f"TKN{number:07}", moved_at=NOON))

    assert {(type(payment).objects.get(pk=payment.pk).status) for payment in payments} == {"paid"}
    assert counts() == (50, 10)


def test_repeats_of_a_confirmation_are_limited(client):
    body = c2b_body(amount=500, account="gym", moved_at=NOON)

    for _ in range(50):
        confirm(client, body)

    assert (Receipt.objects.count(), counts()) == (1, (21, 29))
    assert list(Callback.objects.order_by("pk").values_list("outcome", flat=True)) == ["unmatched"] + 20 * ["duplicate"]


@pytest.mark.parametrize("name", ["stk-callback", "code-check-result"])
def test_junk_with_own_token_and_unknown_push_is_limited(client, caplog, name):
    token = callback_tokens.generate()
    true = stk_body(make_push()) if name == "stk-callback" else status_body(moved_at=NOON)

    for number in range(60):
        send(client, name, token, junk(number))
    assert (counts(), len(warnings(caplog))) == ((20, 40), 1)
    send(client, name, token, true)
    send(client, name, token, true)

    assert (counts(), Callback.objects.latest("pk").outcome) == ((21, 41), "review")
    assert ReviewItem.objects.filter(reason="unknown_callback").count() == 1
    send(client, name, callback_tokens.generate(), junk(0))  # another URL has its own limit
    assert counts() == (22, 41)


def test_confirmation_is_stored_when_its_reader_fails(client, monkeypatch):
    monkeypatch.setitem(inbox.RESULT_PARSERS, "c2b_confirmation", lambda body: 1 / 0)

    for number in range(30):
        confirm(client, c2b_body(amount=500, account="gym", code=f"TKN{number:07}", moved_at=NOON))

    assert (Receipt.objects.count(), counts()) == (30, (30, 0))


def test_spool_limits_junk_and_repeats_of_each_url(client, monkeypatch, settings, tmp_path):
    settings.STATE_DIR = tmp_path
    monkeypatch.setattr(inbox, "_store", lambda message, **when: (_ for _ in ()).throw(OperationalError("away")))
    push, body = make_push(), c2b_body(amount=500, account="gym", moved_at=NOON)

    for number in range(30):
        confirm(client, junk(number))
        send(client, "stk-callback", push.raw_token, junk(number))
        confirm(client, body)
        send(client, "stk-callback", push.raw_token, stk_body(push))

    bodies = [message.body for _, message in spool.stored_messages()]
    assert sorted(bodies) == sorted([*2 * [junk(number) for number in range(20)], body, stk_body(push)])
