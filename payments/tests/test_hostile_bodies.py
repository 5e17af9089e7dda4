"""Hostile bodies: any bytes at a callback URL are answered, without a 500 and without money from unclear evidence."""

import io
import json

import pytest
from django.conf import settings as django_settings
from django.db import transaction
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from payments.models import Callback, Payment, Receipt
from payments.tests.bodies import c2b_body, stk_body
from payments.tests.factories import NOON, create_payment, make_push

pytestmark = pytest.mark.django_db

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=True),
    st.text(max_size=30),
    st.sampled_from(["0", 0, 0.0, -0, "00", "\x00", "\ud800", 10**30, "TKN1AB2C3D", 1500, "1500", 1500.5, True]),
)
trees = st.recursive(
    scalars, lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=10), below, max_size=4)
)
KEYS = ["MerchantRequestID", "CheckoutRequestID", "ResultCode", "ResultDesc", "CallbackMetadata"]
ITEMS = ["Amount", "MpesaReceiptNumber", "TransactionDate", "PhoneNumber", "Balance"]
C2B_KEYS = ["TransID", "TransTime", "TransAmount", "BusinessShortCode", "BillRefNumber", "MSISDN", "FirstName"]
quick = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def deliver_stk(push, body):
    url = reverse("payments:stk-callback", args=[push.raw_token])
    with transaction.atomic():
        answer = Client(raise_request_exception=False).post(url, body, content_type="application/json")
        found = (answer.status_code, Receipt.objects.count(), Callback.objects.filter(outcome="new").count())
        transaction.set_rollback(True)
    return found


def deliver_c2b(name, body):
    url = reverse(f"payments:{name}", args=[django_settings.C2B_SECRET])
    with transaction.atomic():
        answer = Client(raise_request_exception=False).post(url, body, content_type="application/json")
        found = (answer.status_code, list(Receipt.objects.values_list("code", "amount")))
        transaction.set_rollback(True)
    return found


@pytest.fixture
def push():
    return make_push(create_payment(amount=1500))


@quick
@given(body=st.binary(max_size=400))
def test_arbitrary_bytes_are_stored_and_move_nothing(push, body):
    assert deliver_stk(push, body) == (200, 0, 0)
    assert deliver_c2b("c2b-confirmation", body) == (200, [])


@quick
@given(tree=trees)
def test_arbitrary_json_is_stored_and_moves_nothing(push, tree):
    body = json.dumps(tree).encode()

    assert deliver_stk(push, body) == (200, 0, 0)
    assert deliver_stk(push, json.dumps({"Body": {"stkCallback": tree}}).encode()) == (200, 0, 0)
    assert deliver_c2b("c2b-confirmation", body) == (200, [])


@quick
@given(name=st.sampled_from(KEYS), value=trees)
def test_success_with_one_corrupt_value_moves_only_its_amount(push, name, value):
    message = json.loads(stk_body(push))
    message["Body"]["stkCallback"][name] = value

    status, receipts, waiting = deliver_stk(push, json.dumps(message).encode())

    assert (status, waiting) == (200, 0)
    # Only the description and the merchant ID may change, or a value that is correct by chance.
    if receipts:
        assert name in ("ResultDesc", "MerchantRequestID") or value in (
            0,
            "0",
            push.checkout_request_id,
        )


@quick
@given(name=st.sampled_from(ITEMS), value=trees)
def test_success_with_one_corrupt_item_moves_only_the_requested_amount(push, name, value):
    message = json.loads(stk_body(push))
    for item in message["Body"]["stkCallback"]["CallbackMetadata"]["Item"]:
        if item["Name"] == name:
            item["Value"] = value

    status, receipts, waiting = deliver_stk(push, json.dumps(message).encode())

    assert (status, waiting) == (200, 0)
    if receipts and name == "Amount":
        assert str(value) in ("1500", "1500.0")


@quick
@given(name=st.sampled_from(C2B_KEYS), value=trees)
def test_confirmation_with_one_corrupt_value_moves_no_other_amount(name, value):
    message = json.loads(c2b_body(amount=700, account="gym", moved_at=NOON))
    message[name] = value

    status, receipts = deliver_c2b("c2b-confirmation", json.dumps(message).encode())

    assert status == 200
    assert all(amount == 700 or name == "TransAmount" for _, amount in receipts)
    assert deliver_c2b("c2b-validation", json.dumps(message).encode())[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{" * 5_000,
        b"[" * 8_000,
        b'{"Body": ' * 1_000,
        b'{"a": ' + b"9" * 5_000 + b"}",
        b'{"a": 1e999}',
        b'{"a": NaN}',
        b'{"a": "\\u0000"}',
        b'{"a": "\\ud800"}',
        b'{"Body": 1, "Body": 2}',
        "\ufeff{}".encode(),
        "{}".encode("utf-16"),
        b"\x1f\x8b\x08\x00" + b"\x00" * 100,
    ],
    ids=range(15),
)
def test_known_hostile_bodies_are_stored_and_move_nothing(push, body):
    assert deliver_stk(push, body) == (200, 0, 0)
    assert deliver_c2b("c2b-confirmation", body) == (200, [])
    assert deliver_c2b("c2b-validation", body) == (200, [])


class NoChunks(io.BytesIO):
    """The input of a request whose chunks the web server cannot parse."""

    def read(self, size=-1):
        raise ValueError("Invalid chunk size")


def in_chunks(push, stream, **server):
    """Post as a web server that reads chunks does: without a length, with an input that ends by itself."""
    server = {"wsgi.input_terminated": True} | server
    url = reverse("payments:stk-callback", args=[push.raw_token])
    return Client(raise_request_exception=False).post(
        url,
        content_type="application/json",
        headers={"Transfer-Encoding": "chunked"},
        **{"CONTENT_LENGTH": "", "wsgi.input": stream},
        **server,
    )


def test_chunked_callback_pays(push):
    answer = in_chunks(push, io.BytesIO(stk_body(push)))

    assert (answer.status_code, Payment.objects.get().status) == (200, "paid")


@pytest.mark.parametrize(
    ("stream", "server", "status"),
    [
        (io.BytesIO(b"{}"), {"wsgi.input_terminated": False}, 411),
        (io.BytesIO(b"x" * (16 * 1024 + 1)), {}, 413),
        (NoChunks(), {}, 400),
    ],
    ids=["the server reads no chunks", "too long", "not chunks"],
)
def test_incomplete_chunked_body_is_never_accepted(push, stream, server, status):
    assert in_chunks(push, stream, **server).status_code == status
    assert Callback.objects.count() == 0


@pytest.mark.parametrize("length", ["abc", "-5", "99999999999", "١٢"])
def test_invalid_content_length_causes_no_server_error(push, length):
    url = reverse("payments:stk-callback", args=[push.raw_token])

    answer = Client(raise_request_exception=False).post(
        url, b"{}", content_type="application/json", CONTENT_LENGTH=length
    )

    assert answer.status_code in (200, 400, 413)
    assert Payment.objects.get().status == "processing"
