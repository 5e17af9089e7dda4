"""Held money: a till payment that may, or may not, be the money of an STK push without a code."""

from datetime import timedelta

import pytest
from django.conf import settings
from rest_framework.test import APIClient

from payments.daraja.messages import C2bMessage, StkResult
from payments.desk import code_checks, refunds, reported_codes, review_decisions
from payments.evidence import c2b_confirmations, holds, stk_results
from payments.matching.owners import fits_sender, sha256_of
from payments.models import Account, CodeCheck, CodeClaim, Receipt, ReviewItem
from payments.services import ledger, ownership
from payments.tests.factories import NOON, MemberFactory, create_payment, make_push

pytestmark = pytest.mark.django_db

LATER = NOON + timedelta(seconds=30)
CODE, PHONE = "TKN1AB2C3D", "254712345678"


def succeed(push):
    result = StkResult(push.merchant_request_id, push.checkout_request_id, "0", "")
    stk_results.apply_stk_result(push_id=push.pk, result=result, source="query", now=LATER)


def call_back(push, code):
    ids = push.merchant_request_id, push.checkout_request_id
    result = StkResult(*ids, "0", "", amount=1500, receipt_code=code, moved_at=NOON)
    stk_results.apply_stk_result(push_id=push.pk, result=result, source="callback", now=LATER)


def confirm(code=CODE, sender="", account="", from_code_check=False):
    shortcode = settings.DARAJA_SHORTCODE
    message = C2bMessage(code, NOON, 1500, shortcode, account, sender, "JANE", "Pay Bill", "")
    return c2b_confirmations.apply_c2b(message=message, now=LATER, from_code_check=from_code_check)


@pytest.fixture
def push():
    """A push whose success is known by query, and held money that may be the same."""
    push = make_push(create_payment(amount=1500), phone=PHONE)
    succeed(push)
    confirm()
    return push


@pytest.fixture
def manager():
    return MemberFactory(role="Manager", is_staff=True)


def open_items():
    return list(ReviewItem.objects.filter(status="open").values_list("reason", flat=True))


def live():
    return set(Receipt.objects.filter(reversed_at=None).values_list("code", "push", "push_guessed"))


def test_held_money_cannot_be_assigned_refunded_or_dismissed(push, manager):
    item = ReviewItem.objects.get()
    other = create_payment(amount=1500)
    held = Receipt.objects.get(code=CODE)

    with pytest.raises(review_decisions.NotAssignable):
        review_decisions.assign_money(item_id=item.pk, payment_id=other.pk, by_id=manager.pk, now=LATER)
    with pytest.raises(review_decisions.MoneyIsHeld):
        refunds.record_refund(
            receipt_id=held.pk, paid_from=Account.BANK, reason="not ours", by_id=manager.pk, now=LATER
        )
    with pytest.raises(review_decisions.NotAssignable):
        refunds.send_back(item_id=item.pk, paid_from=Account.BANK, reason="not ours", by_id=manager.pk, now=LATER)
    with pytest.raises(review_decisions.MoneyIsHeld):
        review_decisions.dismiss_item(item_id=item.pk, reason="nobody asks", by_id=manager.pk, now=LATER)
    reported = reported_codes.report_code(code=CODE, payment_id=other.pk, by_id=manager.pk, now=LATER)
    reported_codes.settle_code(code=CODE, receipt_id=held.pk, by_id=manager.pk, now=LATER)

    assert (reported.receipt_id, open_items()) == (None, ["possible_double"])
    assert holds.is_held(Receipt.objects.get(code=CODE))


def test_same_money_leaves_one_receipt_with_the_code(push, manager):
    CodeCheck.objects.create(
        code=CODE, status="found", receipt=Receipt.objects.get(code=CODE), created_at=NOON, ended_at=NOON
    )

    review_decisions.decide_same_money(item_id=ReviewItem.objects.get().pk, by_id=manager.pk, now=LATER)

    assert live() == {(CODE, push.pk, True)}
    assert CodeCheck.objects.get().receipt == Receipt.objects.get(code=CODE)
    assert (ledger.balance(Account.MPESA), ledger.balance(Account.UNMATCHED), open_items()) == (1500, 0, [])
    item = ReviewItem.objects.get()
    assert (item.status, item.resolved_by) == ("resolved", manager)


def test_callback_corrects_a_wrong_decision_for_the_same_money(push, manager):
    review_decisions.decide_same_money(item_id=ReviewItem.objects.get().pk, by_id=manager.pk, now=LATER)

    call_back(push, "TKN0PROMPT")

    assert live() == {("TKN0PROMPT", push.pk, False), (CODE, None, False)}
    assert (ledger.balance(Account.MPESA), open_items()) == (3000, ["unmatched"])


def test_other_money_becomes_ordinary_unmatched_money(push, manager):
    other = create_payment(amount=1500)

    review_decisions.decide_other_money(item_id=ReviewItem.objects.get().pk, by_id=manager.pk, now=LATER)

    assert open_items() == ["unmatched"]
    item = ReviewItem.objects.get(reason="unmatched")
    review_decisions.assign_money(item_id=item.pk, payment_id=other.pk, by_id=manager.pk, now=LATER)
    assert Receipt.objects.get(code=CODE).member == other.payer


def test_other_money_pays_the_payment_its_code_was_reported_for(push, manager):
    other = create_payment(amount=1500)
    reported_codes.report_code(code=CODE, payment_id=other.pk, by_id=manager.pk, now=LATER)

    review_decisions.decide_other_money(item_id=ReviewItem.objects.get().pk, by_id=manager.pk, now=LATER)

    other.refresh_from_db()
    assert (other.status, open_items()) == ("paid", [])
    assert CodeClaim.objects.get().receipt == Receipt.objects.get(code=CODE)


def test_decided_item_cannot_be_decided_again(push, manager):
    item_id = ReviewItem.objects.get().pk
    review_decisions.decide_other_money(item_id=item_id, by_id=manager.pk, now=LATER)

    for decide in (review_decisions.decide_other_money, review_decisions.decide_same_money):
        with pytest.raises(review_decisions.NotHeld):
            decide(item_id=item_id, by_id=manager.pk, now=LATER)


def test_payer_of_the_push_does_not_decide(push):
    for decide in (review_decisions.decide_other_money, review_decisions.decide_same_money):
        with pytest.raises(ownership.OwnMoney):
            decide(item_id=ReviewItem.objects.get().pk, by_id=push.payment.payer_id, now=LATER)


def test_callback_with_another_code_releases_held_money(push):
    call_back(push, "TKN0PROMPT")

    assert live() == {("TKN0PROMPT", push.pk, False), (CODE, None, False)}
    assert (ledger.balance(Account.MPESA), open_items()) == (3000, ["unmatched"])


@pytest.mark.parametrize(
    ("sender", "left"), [(PHONE, {"push"}), ("254799999999", {"push", None})], ids=["same money", "other money"]
)
def test_status_answer_with_the_senders_phone_decides(push, sender, left):
    confirm(sender=sender, from_code_check=True)

    assert {"push" if each else None for _, each, _ in live()} == left
    assert open_items() == ([] if sender == PHONE else ["unmatched"])


def test_two_pushes_in_doubt_are_decided_one_by_one(manager):
    pushes = [make_push(create_payment(amount=1500), phone=phone) for phone in (PHONE, "254712000000")]
    for each in pushes:
        succeed(each)
    confirm()
    first, second = ReviewItem.objects.order_by("pk")

    review_decisions.decide_other_money(item_id=first.pk, by_id=manager.pk, now=LATER)
    assert holds.is_held(Receipt.objects.get(code=CODE))
    review_decisions.decide_same_money(item_id=second.pk, by_id=manager.pk, now=LATER)

    assert live() == {(None, pushes[0].pk, False), (CODE, pushes[1].pk, True)}
    assert open_items() == []


def test_money_that_staff_gave_to_another_member_is_reviewed(manager):
    push, other = make_push(create_payment(amount=1500), phone=PHONE), create_payment(amount=1500)
    confirm()
    review_decisions.assign_money(item_id=ReviewItem.objects.get().pk, payment_id=other.pk, by_id=manager.pk, now=LATER)

    succeed(push)

    assert open_items() == ["possible_double"]
    review_decisions.decide_same_money(item_id=ReviewItem.objects.latest("pk").pk, by_id=manager.pk, now=LATER)
    other.refresh_from_db()
    assert (live(), other.status) == ({(CODE, push.pk, True)}, "pending")


def test_code_check_is_requested_for_held_money(push, settings):
    settings.DARAJA_INITIATOR, settings.DARAJA_SECURITY_CREDENTIAL = "api", "secret"

    assert code_checks.check_held_codes(now=LATER) == 1
    assert code_checks.check_held_codes(now=LATER) == 0

    assert CodeCheck.objects.get().code == CODE


@pytest.mark.parametrize("decision", ["same-money", "other-money"])
def test_manager_decides_over_the_api(push, manager, decision):
    client = APIClient()
    client.force_authenticate(manager)
    url = f"/api/v1/review-items/{ReviewItem.objects.get().pk}"

    assert client.post(f"{url}/dismiss/", {"reason": "later"}).json()["error"]["code"] == "money_is_held"
    answer = client.post(f"{url}/{decision}/")

    assert (answer.status_code, answer.json()["data"]["status"]) == (200, "resolved")
    again = client.post(f"{url}/{decision}/")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "not_held")


@pytest.mark.parametrize("decision", ["same_money", "other_money"])
def test_manager_decides_in_the_admin(client, push, manager, decision):
    client.force_login(manager)
    item = ReviewItem.objects.get()
    page = f"/admin/payments/reviewitem/{item.pk}"

    answer = client.get(f"{page}/change/", secure=True)
    assert [form.name for form in answer.context["actions"]] == ["same_money", "other_money"]
    client.post(f"{page}/{decision}/", secure=True)

    item.refresh_from_db()
    assert (item.status, item.resolved_by) == ("resolved", manager)


@pytest.mark.parametrize(
    ("sender", "fits"),
    [
        (PHONE, True),
        ("0712345678", True),
        ("254799999999", False),
        ("2547 ***** 678", True),
        ("25471****679", False),
        (sha256_of(PHONE), True),
        (sha256_of("254799999999"), False),
        (f"{sha256_of(PHONE)[:6]}****************{sha256_of(PHONE)[-6:]}", True),
        ("0f86d0****0a08", None),
        ("", None),
        ("****", None),
        ("0", None),
        ("JOHN DOE", None),
    ],
)
def test_sender_fits_the_phone_of_a_push(sender, fits):
    assert fits_sender(phone=PHONE, sender=sender) is fits
