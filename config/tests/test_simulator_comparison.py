"""Comparison of the receipts with the debits of the simulator."""

import re
from io import StringIO

import pytest
import responses
from django.core.management import CommandError, call_command

from config.dev.simulator_comparison import differences
from payments.models import Channel, Receipt
from payments.tests.factories import NOON, make_push

pytestmark = [pytest.mark.django_db, pytest.mark.server]


def debit(code="TKN1AB2C3D", **fields):
    return {
        "code": code,
        "amount": 1500,
        "phone": "254700000001",
        "shortcode": "174379",
        "account": "KX12",
        "channel": "c2b",
        "at": "2026-11-02T09:00:00+00:00",
        "checkout_request_id": None,
        "reversed_at": None,
        **fields,
    }


def receipt(code="TKN1AB2C3D", **fields):
    fields = {"channel": Channel.MPESA_C2B, "amount": 1500, "paid_at": NOON, "created_at": NOON, **fields}
    return Receipt.objects.create(code=code, **fields)


@pytest.mark.breaks_the_books
def test_equal_books_have_no_differences():
    receipt()

    assert differences([debit()]) == []


def test_debit_without_receipt_is_lost():
    assert differences([debit()]) == ["lost: TKN1AB2C3D, KES 1500 left a phone, but has no receipt"]


@pytest.mark.breaks_the_books
def test_receipt_without_debit_is_invented():
    other = receipt()

    assert differences([]) == [f"invented: receipt {other.pk} (TKN1AB2C3D, KES 1500) has no debit"]


@pytest.mark.breaks_the_books
def test_other_amount_is_reported():
    other = receipt(amount=1501)

    assert differences([debit()]) == [f"amount: TKN1AB2C3D, KES 1500, but receipt {other.pk} has KES 1501"]


@pytest.mark.breaks_the_books
def test_receipt_without_code_is_found_by_its_push():
    push = make_push()
    receipt(code=None, channel=Channel.MPESA_STK, push=push)

    assert differences([debit(checkout_request_id=push.checkout_request_id)]) == []


@pytest.mark.breaks_the_books
def test_two_debits_of_one_push_cannot_share_a_receipt():
    push = make_push()
    without_code = receipt(code=None, channel=Channel.MPESA_STK, push=push)
    debits = [debit(code, checkout_request_id=push.checkout_request_id) for code in ("TKN1AB2C3D", "TKN1AB2C3E")]

    assert differences(debits) == [f"lost: TKN1AB2C3E, KES 1500 shares receipt {without_code.pk} with another debit"]


@pytest.mark.parametrize(("ours", "theirs", "where"), [(NOON, None, "in our books"), (None, "2026", "at Safaricom")])
@pytest.mark.breaks_the_books
def test_reversal_on_one_side_is_reported(ours, theirs, where):
    receipt(reversed_at=ours)

    assert differences([debit(reversed_at=theirs)]) == [f"reversed: TKN1AB2C3D, KES 1500 was reversed {where} only"]


@responses.activate
def test_audit_compares_only_our_shortcode(settings):
    settings.DARAJA_SIMULATOR_URL = "http://simulator"
    book = {"debits": [debit(), debit("TKN1AB2C3E", shortcode="600984")]}
    responses.get("http://simulator/control/book/", json=book)

    with pytest.raises(CommandError, match=re.escape("1 difference from the simulator's book.")):
        call_command("audit_books", against="simulator", stdout=(out := StringIO()))

    assert "lost: TKN1AB2C3D" in out.getvalue()
    assert "TKN1AB2C3E" not in out.getvalue()


@responses.activate
def test_audit_reports_that_the_books_agree(settings):
    settings.DARAJA_SIMULATOR_URL = "http://simulator"
    responses.get("http://simulator/control/book/", json={"debits": []})

    call_command("audit_books", against="simulator", stdout=(out := StringIO()))

    assert out.getvalue().endswith("The books agree with the simulator's.\n")


@responses.activate
def test_missing_simulator_is_reported(settings):
    settings.DARAJA_SIMULATOR_URL = "http://simulator"

    with pytest.raises(CommandError, match="The simulator at http://simulator did not answer with its book"):
        call_command("audit_books", against="simulator", stdout=StringIO())
