"""Suggested owners of unmatched money: each reason, and the number of queries."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from api.member_numbers import with_check_digit
from payments.daraja.messages import C2bMessage
from payments.desk.suggestions import suggest_owners
from payments.evidence import c2b_confirmations
from payments.matching import references
from payments.models import Payment, ReviewItem
from payments.tests.factories import NOON, MemberFactory, create_payment

pytestmark = [pytest.mark.django_db, pytest.mark.server]


def receive_unmatched(account="gym", sender="", payer="JANE", amount=1500, code="TKN1AB2C3D", invoice=""):
    """Apply a confirmation without a known owner and return its review item."""
    message = C2bMessage(code, NOON, amount, "174379", account, sender, payer, "Pay Bill", "", invoice)
    c2b_confirmations.apply_c2b(message=message, now=NOON)
    return ReviewItem.objects.latest("pk")


def suggested(item):
    return [(each.member, each.reasons) for each in suggest_owners(item)]


def test_matching_masked_phone_is_a_reason():
    member = MemberFactory(phone_number="254712345678")
    MemberFactory(phone_number="254799999999")

    assert suggested(receive_unmatched(sender="25471****678")) == [
        (member, ["the sender's phone number matches theirs"])
    ]


def test_nearly_correct_member_number_is_a_reason():
    member = MemberFactory(member_number=with_check_digit("904215"))
    swapped = "940215" + member.member_number[-1]
    wrong = "904216" + member.member_number[-1]

    for number, typed in enumerate((swapped, wrong)):
        found = suggested(receive_unmatched(account=typed, code=f"TKN1AB2C{number}D"))
        assert found == [(member, [f"“{typed}” is one typing error away from their member number"])]


def test_nearly_correct_payment_reference_is_a_reason():
    payment = create_payment(amount=2000)
    wrong = payment.reference[:3] + ("2" if payment.reference[3] != "2" else "3") + payment.reference[4:]
    assert references.repair(wrong) is None

    (suggestion,) = suggest_owners(receive_unmatched(account=wrong))

    assert (suggestion.member, suggestion.payments) == (payment.payer, [payment])
    assert suggestion.reasons == [f"“{wrong}” is one typing error away from {payment.reference}"]


def test_nearly_correct_reference_of_an_earlier_version_is_a_reason(monkeypatch):
    right = references.with_check_character("KAMCW9F")
    monkeypatch.setattr("payments.matching.references.generate", lambda: right)
    payment = create_payment(amount=2000)
    wrong = "KAMCX9F" + right[-1]

    (suggestion,) = suggest_owners(receive_unmatched(account=f"ref {wrong}"))

    assert (suggestion.member, suggestion.reasons) == (
        payment.payer,
        [f"“ref {wrong}” is one typing error away from {right}"],
    )


def test_members_named_by_one_text_have_this_reason():
    one, other = MemberFactory(), MemberFactory(phone_number="254712345678")

    found = suggested(receive_unmatched(account=f"{one.member_number} or {other.member_number}"))

    reason = f"“{one.member_number} or {other.member_number}” contains their number or a reference of theirs"
    assert found == [(one, [reason]), (other, [reason])]


@pytest.mark.parametrize("text", ["{0} {1} Asha", "ASHA 0712345678", "asha 0712 345 678"])
def test_divided_number_or_phone_inside_text_is_a_reason(text):
    member = MemberFactory(phone_number="254712345678")
    typed = text.format(member.member_number[:3], member.member_number[3:])

    assert suggested(receive_unmatched(account=typed)) == [
        (member, [f"“{typed}” contains their number or a reference of theirs"])
    ]


def test_unproved_phone_inside_text_is_no_reason():
    MemberFactory(phone_number="254712345678", phone_is_self_declared=True)

    assert suggested(receive_unmatched(account="ASHA 0712345678")) == []


def test_full_name_is_a_reason_but_first_name_alone_is_not():
    member = MemberFactory(first_name="Jane", last_name="Wanjiru")

    assert suggested(receive_unmatched(account="jane  wanjiru", payer="JANE")) == [
        (member, ["“JANE WANJIRU” is their name"])
    ]


@pytest.mark.parametrize(
    ("invoice", "reason"),
    [
        ("Jane Akinyi Wanjiru", "“JANE AKINYI WANJIRU” is their name"),
        ("9042159 jane", "“9042159 jane” contains their number or a reference of theirs"),
        ("0712345678", "“0712345678” contains their number or a reference of theirs"),
        ("9402159", "“9402159” is one typing error away from their member number"),
    ],
)
def test_invoice_number_of_a_bank_wallet_is_a_reason(invoice, reason):
    member = MemberFactory(
        first_name="Jane", last_name="Wanjiru", phone_number="254712345678", member_number=with_check_digit("904215")
    )

    assert suggested(receive_unmatched(payer="EQUITY BANK", invoice=invoice)) == [(member, [reason])]


def test_recent_payment_of_the_same_amount_is_a_reason():
    soon = create_payment(amount=1500, now=NOON - timedelta(days=1))
    create_payment(amount=1600, now=NOON)
    create_payment(amount=1500, now=NOON - timedelta(days=3))

    assert suggested(receive_unmatched()) == [(soon.payer, [f"owes exactly KES 1,500 as {soon.reference}"])]


def test_member_with_most_reasons_comes_first():
    fits = MemberFactory(phone_number="254712345678")
    both = MemberFactory(phone_number="254712000678", first_name="Jane", last_name="Wanjiru")

    found = suggested(receive_unmatched(sender="25471****678", account="Jane Wanjiru"))

    assert [member for member, _ in found] == [both, fits]


def test_item_without_receipt_has_no_suggestions():
    assert suggest_owners(ReviewItem(receipt=None)) == []


def test_query_count_does_not_depend_on_number_of_suggestions():
    item = receive_unmatched()
    with CaptureQueriesContext(connection) as none:
        suggest_owners(item)
    for _ in range(9):
        create_payment(amount=1500, now=NOON)

    with CaptureQueriesContext(connection) as many:
        found = suggest_owners(item)

    assert (len(found), Payment.objects.count()) == (5, 9)
    assert len(none) == len(many)
