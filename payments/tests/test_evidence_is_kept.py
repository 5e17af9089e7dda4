"""Evidence that would be lost without notice: unknown pushes, missing codes, reversals, closed accounts."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.urls import reverse

from payments import recovery
from payments.daraja import callback_tokens
from payments.daraja.messages import C2bMessage, StkResult, parse_status_result
from payments.desk import code_checks, refunds
from payments.evidence import c2b_confirmations, stk_results
from payments.invariants import INVARIANTS
from payments.models import Account, Callback, CodeCheck, Receipt, ReviewItem
from payments.tests.bodies import status_body, stk_body
from payments.tests.factories import NOON, MemberFactory, create_payment, make_push
from payments.tests.invariants import broken_invariants
from payments.tests.triggers import triggers_off

pytestmark = [pytest.mark.django_db, pytest.mark.server]

LATER = NOON + timedelta(seconds=30)
CODE = "TKN1AB2C3D"


def reviews():
    return list(ReviewItem.objects.order_by("pk").values_list("reason", "status"))


def succeed_by_query(push):
    result = StkResult(push.merchant_request_id, push.checkout_request_id, "0", "")
    stk_results.apply_stk_result(push_id=push.pk, result=result, source="query", now=LATER)


def confirm(account, code=CODE, amount=1500):
    message = C2bMessage(code, NOON, amount, settings.DARAJA_SHORTCODE, account, "", "JANE", "Pay Bill", "")
    return c2b_confirmations.apply_c2b(message=message, now=LATER)


# --- A token of ours, and a push or code check that is not known ---


@pytest.mark.parametrize("name", ["stk-callback", "code-check-result"])
def test_callback_with_own_token_and_unknown_push_is_kept_for_review(client, name):
    push = make_push()
    body = stk_body(push, code=CODE) if name == "stk-callback" else status_body(code=CODE, moved_at=NOON)
    url = reverse(f"payments:{name}", args=[callback_tokens.generate()])

    answers = [client.post(url, body, content_type="application/json") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert list(Callback.objects.order_by("pk").values_list("outcome", "push", "code_check")) == [
        ("review", None, None),
        ("duplicate", None, None),
    ]
    item = ReviewItem.objects.get()
    assert (item.reason, CODE in item.detail, Receipt.objects.count()) == ("unknown_callback", True, 0)


def test_unreadable_callback_with_own_token_is_kept(client):
    url = reverse("payments:stk-callback", args=[callback_tokens.generate()])

    assert client.post(url, b"{}", content_type="application/json").status_code == 200

    assert list(Callback.objects.values_list("outcome", flat=True)) == ["rejected"]
    assert reviews() == [("unreadable", "open")]


# --- A success by query whose code never comes ---


def test_missing_code_becomes_a_review_item_after_a_day():
    push = make_push()
    succeed_by_query(push)

    assert recovery.report_missing_codes(now=LATER + timedelta(hours=23)) == 0
    assert recovery.report_missing_codes(now=LATER + timedelta(hours=24)) == 1
    assert recovery.report_missing_codes(now=LATER + timedelta(hours=48)) == 0

    item = ReviewItem.objects.get()
    assert (item.reason, item.push, item.payment) == ("code_missing", push, push.payment)


def test_late_code_resolves_the_review_item():
    push = make_push()
    succeed_by_query(push)
    recovery.report_missing_codes(now=LATER + timedelta(days=1))

    confirm(push.payment.reference)

    assert (Receipt.objects.get().code, reviews()) == (CODE, [("code_missing", "resolved")])


def test_invariant_finds_a_missing_code_without_a_review_item():
    p26 = [each for each in INVARIANTS if each.code == "P26"]
    succeed_by_query(make_push())
    receipt = Receipt.objects.get()
    with triggers_off():
        Receipt.objects.update(created_at=NOON - timedelta(days=400))

    assert broken_invariants(p26) == {"P26": [f"({receipt.pk})"]}

    recovery.report_missing_codes(now=LATER)
    assert broken_invariants(p26) == {}


# --- Reversals and closed accounts ---


@pytest.mark.parametrize(
    ("paid_from", "expected"),
    [("mpesa", []), ("bank", [("contradiction", "open")])],
    ids=["reversed", "returned twice"],
)
def test_recorded_refund_by_mpesa_is_not_asked_for_again(paid_from, expected):
    payment = create_payment(amount=1500)
    confirm(payment.reference)
    manager = MemberFactory(role="Manager")
    receipt = Receipt.objects.get()
    refunds.record_refund(
        receipt_id=receipt.pk, paid_from=Account(paid_from), reason="moved away", by_id=manager.pk, now=LATER
    )
    check = CodeCheck.objects.create(code=CODE, created_at=NOON)

    answer = parse_status_result(status_body(code=CODE, state="Reversed", moved_at=NOON))
    code_checks.apply_result(check_id=check.pk, result=answer, now=LATER)

    assert reviews() == expected


def test_credit_of_a_closed_account_becomes_a_review_item():
    member = MemberFactory(is_active=False)

    confirm(member.member_number)

    item = ReviewItem.objects.get()
    assert (item.reason, item.receipt) == ("late_money", Receipt.objects.get(member=member))


def test_push_money_of_a_closed_account_becomes_a_review_item():
    push = make_push()
    confirm(push.payment.reference, code="TKN0OTHER1")
    push.payment.payer.is_active = False
    push.payment.payer.save()

    result = StkResult(push.merchant_request_id, push.checkout_request_id, "0", "", 1500, CODE, NOON)
    stk_results.apply_stk_result(push_id=push.pk, result=result, source="callback", now=LATER)

    assert reviews() == [("late_money", "open")]
