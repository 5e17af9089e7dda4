"""Group payments: a parent pays for three children with one M-Pesa code."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.urls import reverse

from payments.models import Account, Payment, Receipt
from payments.pushes import push_requests
from payments.services import ledger
from payments.services.reversals import reverse_receipt
from payments.tests.bodies import c2b_body, stk_body
from payments.tests.factories import make_push
from subscriptions.gate import check_in
from subscriptions.models import Fact, Subscription
from subscriptions.services import purchases
from subscriptions.tests.factories import NOON, TODAY, MemberFactory, PlanFactory, buy
from subscriptions.tests.test_invariants import broken

pytestmark = [pytest.mark.django_db, pytest.mark.server]


@pytest.fixture
def parent():
    return MemberFactory()


@pytest.fixture
def children():
    return MemberFactory.create_batch(3, phone_number=None)


@pytest.fixture
def plan():
    return PlanFactory(price=1000)


@pytest.fixture
def bought(parent, children, plan):
    return buy(*children, plan=plan, payer=parent).subscriptions


def pay_by_push(client, payment, amount, code="TKN1FAM1LY"):
    """Send the callback of a successful push for this payment."""
    push = make_push(payment, amount=amount)
    client.post(
        reverse("payments:stk-callback", args=[push.raw_token]),
        stk_body(push, code=code),
        content_type="application/json",
    )


def pay_by_paybill(client, amount, account, code="TKN1FAM1LY"):
    client.post(
        reverse("payments:c2b-confirmation", args=[settings.C2B_SECRET]),
        c2b_body(amount=amount, account=account, code=code, moved_at=NOON),
        content_type="application/json",
    )


def recorded_states(bought):
    return [Subscription.objects.get(pk=each.pk).fact for each in bought]


def owed(bought):
    return [Payment.objects.get(pk=each.payment_id).amount_owed for each in bought]


def test_one_code_pays_all_children(client, bought, parent):
    pay_by_push(client, bought[0].payment, amount=3000)

    receipt = Receipt.objects.get()
    assert (receipt.code, receipt.amount, receipt.member) == ("TKN1FAM1LY", 3000, parent)
    assert sorted(receipt.allocations.values_list("payment", "amount")) == [(each.payment_id, 1000) for each in bought]
    assert recorded_states(bought) == ["granted"] * 3
    assert {Subscription.objects.get(pk=each.pk).starts_on for each in bought} == {TODAY}
    assert broken() == []


@pytest.mark.parametrize("account", ["reference", "member number"])
def test_partial_money_grants_one_child_after_the_other(client, bought, parent, account):
    account = bought[0].payment.reference if account == "reference" else parent.member_number

    pay_by_paybill(client, 1500, account)
    assert (recorded_states(bought), owed(bought)) == (["granted", "pending", "pending"], [0, 500, 1000])
    pay_by_paybill(client, 1500, account, code="TKN1FAM2LY")

    assert (recorded_states(bought), owed(bought)) == (["granted"] * 3, [0, 0, 0])
    assert broken() == []


def test_one_push_asks_for_the_amount_owed(client, bought):
    first = bought[0].payment
    pay_by_paybill(client, 1500, first.reference)

    push = push_requests.request_push(payment_id=first.pk, phone="254712345678", created_by_id=None, now=NOON)

    assert push.amount == 1500


def test_gate_shows_the_amount_owed_for_each_child(client, bought):
    pay_by_paybill(client, 1500, bought[0].payment.reference)

    answers = [
        check_in(member_number=each.member.member_number, recorded_by_id=None, now=NOON + timedelta(minutes=5))
        for each in bought
    ]

    assert [(answer.decision, answer.amount_to_pay, answer.reference) for answer in answers] == [
        ("allow", None, None),
        ("deny", 500, bought[1].payment.reference),
        ("deny", 1000, bought[2].payment.reference),
    ]


def test_overpayment_becomes_the_credit_of_the_parent(client, bought, parent):
    pay_by_paybill(client, 3200, bought[0].payment.reference)

    assert recorded_states(bought) == ["granted"] * 3
    assert -ledger.balance(Account.MEMBER_CREDIT, member_id=parent.pk) == 200


def test_reversal_revokes_only_the_periods_it_paid(client, bought, parent, plan):
    pay_by_push(client, bought[0].payment, amount=3000)
    earlier = Receipt.objects.get()
    [ahead] = buy(bought[1].member, plan=plan, payer=parent).subscriptions
    pay_by_push(client, ahead.payment, amount=1000, code="TKN1FAM2LY")
    dates = Subscription.objects.filter(pk=ahead.pk).values("starts_on", "ends_on").get()

    reverse_receipt(receipt_id=earlier.pk, reason="reversed", by_id=None, now=NOON)

    assert recorded_states([*bought, ahead]) == ["revoked", "revoked", "revoked", "granted"]
    assert Subscription.objects.filter(pk=ahead.pk).values("starts_on", "ends_on").get() == dates
    assert broken() == []


def test_reversal_of_one_of_two_receipts_revokes_what_it_paid(client, bought):
    first = bought[0].payment
    pay_by_paybill(client, 1500, first.reference)
    pay_by_paybill(client, 1500, first.reference, code="TKN1FAM2LY")

    reverse_receipt(
        receipt_id=Receipt.objects.get(code="TKN1FAM2LY").pk,
        reason="typed twice",
        by_id=None,
        now=NOON,
        returned_to_payer=False,
    )

    assert (recorded_states(bought), owed(bought)) == (["granted", "revoked", "revoked"], [0, 500, 1000])
    assert broken() == []


def test_one_child_is_cancelled_and_the_others_paid(client, bought, parent):
    purchases.cancel(subscription_id=bought[0].pk, by_id=parent.pk, now=NOON)

    pay_by_paybill(client, 2000, bought[0].payment.reference)

    assert recorded_states(bought) == [Fact.CANCELLED, Fact.GRANTED, Fact.GRANTED]
    assert broken() == []


def test_purchase_is_refused_if_one_child_has_no_consent(parent, children, plan):
    children[2].consented_at = None
    children[2].save()

    with pytest.raises(purchases.ConsentMissing):
        buy(*children, plan=plan, payer=parent)

    assert not Payment.objects.exists()
