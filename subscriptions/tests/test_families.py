"""A parent pays three children: one purchase, one M-Pesa code, three periods."""

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
from subscriptions.tests.factories import NOON, TODAY, MemberFactory, PlanFactory
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
    return ask(parent, children, plan).subscriptions


def ask(parent, children, plan, **fields):
    return purchases.subscribe(
        member_ids=[child.pk for child in children],
        plan_code=plan.code,
        payer_id=parent.pk,
        phone=None,
        created_by_id=parent.pk,
        now=NOON,
        **fields,
    )


def answer_prompt(client, payment, amount, code="TKN1FAM1LY"):
    """Let the payer answer a prompt for this payment."""
    push = make_push(payment, amount=amount)
    client.post(
        reverse("payments:stk-callback", args=[push.raw_token]),
        stk_body(push, code=code),
        content_type="application/json",
    )


def put_on_the_paybill(client, amount, account, code="TKN1FAM1LY"):
    client.post(
        reverse("payments:c2b-confirmation", args=[settings.C2B_SECRET]),
        c2b_body(amount=amount, account=account, code=code, moved_at=NOON),
        content_type="application/json",
    )


def facts(bought):
    return [Subscription.objects.get(pk=each.pk).fact for each in bought]


def owed(bought):
    return [Payment.objects.get(pk=each.payment_id).amount_owed for each in bought]


def test_one_code_pays_all_of_them(client, bought, parent):
    answer_prompt(client, bought[0].payment, amount=3000)

    receipt = Receipt.objects.get()
    assert (receipt.code, receipt.amount, receipt.member) == ("TKN1FAM1LY", 3000, parent)
    assert sorted(receipt.allocations.values_list("payment", "amount")) == [(each.payment_id, 1000) for each in bought]
    assert facts(bought) == ["granted"] * 3
    assert {Subscription.objects.get(pk=each.pk).starts_on for each in bought} == {TODAY}
    assert broken() == []


@pytest.mark.parametrize("account", ["head", "member number"])
def test_too_little_lets_in_as_many_as_it_pays_for_and_the_rest_lets_in_the_others(client, bought, parent, account):
    account = bought[0].payment.reference if account == "head" else parent.member_number

    put_on_the_paybill(client, 1500, account)
    assert (facts(bought), owed(bought)) == (["granted", "pending", "pending"], [0, 500, 1000])
    put_on_the_paybill(client, 1500, account, code="TKN1FAM2LY")

    assert (facts(bought), owed(bought)) == (["granted"] * 3, [0, 0, 0])
    assert broken() == []


def test_one_prompt_asks_for_what_is_missing(client, bought):
    head = bought[0].payment
    put_on_the_paybill(client, 1500, head.reference)

    push = push_requests.request_push(payment_id=head.pk, phone="254712345678", created_by_id=None, now=NOON)

    assert push.amount == 1500


def test_each_child_is_told_at_the_gate_what_is_to_be_paid_for_it(client, bought):
    put_on_the_paybill(client, 1500, bought[0].payment.reference)

    answers = [
        check_in(member_number=each.member.member_number, recorded_by_id=None, now=NOON + timedelta(minutes=5))
        for each in bought
    ]

    assert [(answer.decision, answer.amount_to_pay, answer.reference) for answer in answers] == [
        ("allow", None, None),
        ("deny", 500, bought[1].payment.reference),
        ("deny", 1000, bought[2].payment.reference),
    ]


def test_too_much_is_the_parents_credit(client, bought, parent):
    put_on_the_paybill(client, 3200, bought[0].payment.reference)

    assert facts(bought) == ["granted"] * 3
    assert -ledger.balance(Account.MEMBER_CREDIT, member_id=parent.pk) == 200


def test_money_that_goes_back_takes_all_of_them_with_it_and_nothing_else(client, bought, parent, plan):
    answer_prompt(client, bought[0].payment, amount=3000)
    earlier = Receipt.objects.get()
    [ahead] = ask(parent, [bought[1].member], plan).subscriptions
    answer_prompt(client, ahead.payment, amount=1000, code="TKN1FAM2LY")
    dates = Subscription.objects.filter(pk=ahead.pk).values("starts_on", "ends_on").get()

    reverse_receipt(receipt_id=earlier.pk, reason="reversed", by_id=None, now=NOON)

    assert facts([*bought, ahead]) == ["revoked", "revoked", "revoked", "granted"]
    assert Subscription.objects.filter(pk=ahead.pk).values("starts_on", "ends_on").get() == dates
    assert broken() == []


def test_of_two_receipts_the_one_that_goes_back_takes_what_it_paid_for(client, bought):
    head = bought[0].payment
    put_on_the_paybill(client, 1500, head.reference)
    put_on_the_paybill(client, 1500, head.reference, code="TKN1FAM2LY")

    reverse_receipt(
        receipt_id=Receipt.objects.get(code="TKN1FAM2LY").pk,
        reason="typed twice",
        by_id=None,
        now=NOON,
        returned_to_payer=False,
    )

    assert (facts(bought), owed(bought)) == (["granted", "revoked", "revoked"], [0, 500, 1000])
    assert broken() == []


def test_one_child_is_withdrawn_and_the_others_are_paid_for(client, bought, parent):
    purchases.cancel(subscription_id=bought[0].pk, by_id=parent.pk, now=NOON)

    put_on_the_paybill(client, 2000, bought[0].payment.reference)

    assert facts(bought) == [Fact.CANCELLED, Fact.GRANTED, Fact.GRANTED]
    assert broken() == []


def test_one_child_without_consent_keeps_the_whole_purchase_back(parent, children, plan):
    children[2].consented_at = None
    children[2].save()

    with pytest.raises(purchases.ConsentMissing):
        ask(parent, children, plan)

    assert not Payment.objects.exists()
