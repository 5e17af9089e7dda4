"""Whose unmatched money may be: each reason, and what none of them costs."""

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


def arrive(account="gym", sender="", payer="JANE", amount=1500, code="TKN1AB2C3D"):
    """Let money come that nobody can tell the owner of; return its item."""
    message = C2bMessage(code, NOON, amount, "174379", account, sender, payer, "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=NOON)
    return ReviewItem.objects.latest("pk")


def suggested(item):
    return [(each.member, each.reasons) for each in suggest_owners(item)]


def test_a_masked_phone_that_fits_is_a_reason():
    member = MemberFactory(phone_number="254712345678")
    MemberFactory(phone_number="254799999999")

    assert suggested(arrive(sender="25471****678")) == [(member, ["the sender's phone fits theirs"])]


def test_a_member_number_with_one_wrong_digit_or_a_swap_is_a_reason():
    member = MemberFactory(member_number=with_check_digit("904215"))
    swapped = "940215" + member.member_number[-1]
    wrong = "904216" + member.member_number[-1]

    for number, typed in enumerate((swapped, wrong)):
        found = suggested(arrive(account=typed, code=f"TKN1AB2C{number}D"))
        assert found == [(member, [f"“{typed}” is one slip away from their member number"])]


def test_a_payment_reference_with_one_wrong_character_is_a_reason():
    payment = create_payment(amount=2000)
    wrong = payment.reference[:3] + ("2" if payment.reference[3] != "2" else "3") + payment.reference[4:]
    assert references.repair(wrong) is None

    (suggestion,) = suggest_owners(arrive(account=wrong))

    assert (suggestion.member, suggestion.payments) == (payment.payer, [payment])
    assert suggestion.reasons == [f"“{wrong}” is one slip away from {payment.reference}"]


def test_first_and_last_name_are_a_reason_and_a_first_name_alone_is_none():
    member = MemberFactory(first_name="Jane", last_name="Wanjiru")

    assert suggested(arrive(account="jane  wanjiru", payer="JANE")) == [(member, ["“JANE WANJIRU” is their name"])]


def test_owing_exactly_this_since_the_last_days_is_a_reason():
    soon = create_payment(amount=1500, now=NOON - timedelta(days=1))
    create_payment(amount=1600, now=NOON)
    create_payment(amount=1500, now=NOON - timedelta(days=3))

    assert suggested(arrive()) == [(soon.payer, [f"owes exactly KES 1,500 as {soon.reference}"])]


def test_whom_more_speaks_for_comes_first():
    fits = MemberFactory(phone_number="254712345678")
    both = MemberFactory(phone_number="254712000678", first_name="Jane", last_name="Wanjiru")

    found = suggested(arrive(sender="25471****678", account="Jane Wanjiru"))

    assert [member for member, _ in found] == [both, fits]


def test_an_item_that_is_about_no_money_suggests_nobody():
    assert suggest_owners(ReviewItem(receipt=None)) == []


def test_suggestions_cost_the_same_however_many_there_are():
    item = arrive()
    with CaptureQueriesContext(connection) as none:
        suggest_owners(item)
    for _ in range(9):
        create_payment(amount=1500, now=NOON)

    with CaptureQueriesContext(connection) as many:
        found = suggest_owners(item)

    assert (len(found), Payment.objects.count()) == (5, 9)
    assert len(none) == len(many)
