"""Purchases: one request creates one payment, however often it is repeated."""

import threading
from datetime import timedelta

import pytest
from django.db import connection

from api.idempotency import IdempotencyKey, IdempotencyKeyReused
from payments.models import Payment, PaymentStatus, Receipt, ReviewItem
from payments.services import cancellation, reversals
from subscriptions.models import Fact, Subscription
from subscriptions.services import catalog, plan_changes, purchases
from subscriptions.tests.factories import (
    NOON,
    TODAY,
    MemberFactory,
    PlanFactory,
    buy,
    granted,
    noon_on,
    pay,
    record_paybill_payment,
)

pytestmark = [pytest.mark.django_db, pytest.mark.server]

KEY, OTHER_BODY = IdempotencyKey("k", "a"), IdempotencyKey("k", "b")


def test_purchase_creates_a_payment_and_requests_a_push(pushes):
    member, plan = MemberFactory(first_name="Wanjiru", last_name="Kamau"), PlanFactory(price=2500)

    purchase = buy(member, plan=plan, phone="254712345678")

    bought = purchase.subscription
    assert purchase.is_new
    assert (bought.fact, bought.price, bought.payment.amount_due, bought.payment.status) == (
        "pending",
        2500,
        2500,
        "pending",
    )
    assert bought.payment.description == "Monthly for Wanjiru Kamau"
    assert pushes == [(bought.payment_id, "254712345678")]


def test_purchase_without_a_phone_requests_no_push(pushes):
    buy(MemberFactory(), plan=PlanFactory())

    assert pushes == []


def test_subscription_keeps_the_terms_of_its_purchase():
    plan = PlanFactory(price=1500, grace_days=3)
    bought = buy(MemberFactory(), plan=plan).subscription

    catalog.edit_plan(plan_id=plan.pk, price=9000, grace_days=0, interval="days", by_id=None, now=NOON)

    bought.refresh_from_db()
    assert (bought.price, bought.grace_days, bought.interval, bought.payment.amount_due) == (1500, 3, "months", 1500)


def test_second_request_returns_the_pending_purchase(pushes):
    member, plan = MemberFactory(), PlanFactory()
    first = buy(member, plan=plan, phone="254712345678")

    second = buy(member, plan=plan, phone="254712345678")

    assert not second.is_new
    assert second.subscription == first.subscription
    assert Payment.objects.count() == len(pushes) == 1


def test_next_period_can_be_bought_after_payment():
    member, plan = MemberFactory(), PlanFactory()
    pay(buy(member, plan=plan).subscription.payment, at=NOON)

    assert buy(member, plan=plan).is_new


def test_late_money_grants_an_expired_and_replaced_purchase():
    member, plan = MemberFactory(), PlanFactory()
    old = buy(member, plan=plan).subscription
    later = NOON + timedelta(days=5)
    cancellation.expire_due(now=later)

    new = buy(member, plan=plan, now=later)
    old.refresh_from_db()
    assert (new.is_new, old.fact) == (True, Fact.CANCELLED)
    pay(old.payment, at=later)

    old.refresh_from_db()
    assert old.fact == Fact.GRANTED


def test_revoked_period_stays_revoked_after_a_new_purchase():
    revoked = granted()
    later = revoked.payment.expires_at
    receipt = Receipt.objects.get()
    reversals.reverse_receipt(receipt_id=receipt.pk, reason="void", by_id=None, now=later, returned_to_payer=False)

    assert buy(revoked.member, plan=revoked.plan, now=later).is_new
    revoked.refresh_from_db()

    assert (revoked.fact, revoked.payment.status) == (Fact.REVOKED, "expired")


def test_same_idempotency_key_returns_the_same_purchase():
    member, plan = MemberFactory(), PlanFactory()
    first = buy(member, plan=plan, idempotency_key=KEY)
    pay(first.subscription.payment, at=NOON)

    again = buy(member, plan=plan, idempotency_key=KEY)

    assert (again.is_new, again.subscription) == (False, first.subscription)


def test_key_answered_with_pending_purchase_returns_it_after_payment():
    member, plan = MemberFactory(), PlanFactory()
    first = buy(member, plan=plan).subscription
    request = {"plan": plan, "idempotency_key": KEY}
    assert buy(member, **request).subscription == first
    pay(first.payment, at=NOON)

    again = buy(member, **request)

    assert (again.subscription, again.is_new) == (first, False)
    assert Subscription.objects.count() == 1
    with pytest.raises(IdempotencyKeyReused):
        buy(member, **request | {"idempotency_key": OTHER_BODY})


def test_same_key_with_another_body_is_refused():
    member = MemberFactory()
    buy(member, plan=PlanFactory(), idempotency_key=KEY)

    with pytest.raises(IdempotencyKeyReused):
        buy(member, plan=PlanFactory(), idempotency_key=OTHER_BODY)

    assert Subscription.objects.count() == 1


def test_parent_pays_for_three_children_with_one_push(pushes):
    parent, plan = MemberFactory(), PlanFactory(price=1000)
    children = MemberFactory.create_batch(3, phone_number=None)

    purchase = buy(*children, plan=plan, payer=parent, phone="254712345678")

    first, *others = [each.payment for each in purchase.subscriptions]
    assert [each.member for each in purchase.subscriptions] == children
    assert {each.head_id for each in others} == {first.pk}
    assert {each.payer for each in [first, *others]} == {parent}
    assert pushes == [(first.pk, "254712345678")]
    assert buy(*children, plan=plan, payer=parent).subscriptions == purchase.subscriptions


def test_credit_reduces_the_total_of_a_group_payment(pushes):
    parent, plan = MemberFactory(), PlanFactory(price=1000)
    children = MemberFactory.create_batch(3, phone_number=None)
    record_paybill_payment(parent, 1500)
    request = {"plan": plan, "payer": parent, "idempotency_key": KEY}

    purchase = buy(*children, **request, phone="254712345678")

    payments = [each.payment for each in purchase.subscriptions]
    assert [(each.status, each.amount_owed) for each in payments] == [
        ("pending", 1000),
        ("partially_paid", 500),
        ("paid", 0),
    ]
    assert {each.head_id for each in payments[1:]} == {payments[0].pk}
    assert pushes == [(payments[0].pk, "254712345678")]
    assert buy(*children, **request).subscriptions == purchase.subscriptions
    assert buy(*children, plan=plan, payer=parent).subscriptions == purchase.subscriptions


def test_free_plan_is_granted_once_for_one_key():
    plan, members = PlanFactory(price=0), MemberFactory.create_batch(2)

    bought = [buy(*members, plan=plan, payer=members[0], idempotency_key=KEY) for _ in range(2)]

    assert [each.fact for each in bought[0].subscriptions] == ["granted", "granted"]
    assert bought[1].subscriptions == bought[0].subscriptions


def test_push_of_a_free_plan_is_for_the_joining_fee(pushes):
    plan = PlanFactory(price=0, joining_fee=500)
    known, new = MemberFactory.create_batch(2)
    granted(PlanFactory(joining_fee=500), known)

    purchase = buy(known, new, plan=plan, payer=known, phone="254712345678")

    owed = {each.member: each.payment.amount_owed for each in purchase.subscriptions}
    assert owed == {known: 0, new: 500}
    assert [payment for payment, _ in pushes] == [
        each.payment_id for each in purchase.subscriptions if each.member == new
    ]


def test_pending_member_is_refused_in_another_group_purchase():
    parent, plan = MemberFactory(), PlanFactory()
    first, second = MemberFactory.create_batch(2)
    buy(first, plan=plan)

    with pytest.raises(purchases.AlreadyPending):
        buy(first, second, plan=plan, payer=parent)

    assert Subscription.objects.count() == 1


def test_joining_fee_is_charged_once_per_member_and_group():
    member, plan = MemberFactory(), PlanFactory(price=1500, joining_fee=500)
    first = buy(member, plan=plan).subscription
    pay(first.payment, at=NOON)

    second = buy(member, plan=plan).subscription

    assert [(each.joining_fee, each.payment.amount_due) for each in (first, second)] == [(500, 2000), (0, 1500)]


def test_imported_period_counts_as_joining_and_a_day_pass_does_not():
    gym = PlanFactory(price=1500, joining_fee=500)
    visitor, old = MemberFactory(), MemberFactory()
    granted(PlanFactory(price=300, interval="days"), visitor)
    granted(PlanFactory(), old, origin="migrated")

    assert [buy(each, plan=gym).subscription.joining_fee for each in (visitor, old)] == [500, 0]


def test_purchase_waits_while_another_with_the_joining_fee_is_pending():
    member, gym, gold = MemberFactory(), PlanFactory(joining_fee=500), PlanFactory(joining_fee=500)
    first = buy(member, plan=gym).subscription

    with pytest.raises(purchases.JoiningFeePending):
        buy(member, plan=gold)
    purchases.cancel(subscription_id=first.pk, by_id=member.pk, now=NOON)

    assert buy(member, plan=gold).subscription.joining_fee == 500


def test_joining_fee_paid_twice_opens_a_review_item():
    member, gym, gold = MemberFactory(), PlanFactory(joining_fee=500), PlanFactory(joining_fee=500)
    first = buy(member, plan=gym).subscription
    later = NOON + timedelta(days=9)
    cancellation.expire_due(now=later)
    second = buy(member, plan=gold, now=later).subscription
    pay(second.payment, at=later)
    assert not ReviewItem.objects.exists()

    pay(first.payment, at=later)

    item = ReviewItem.objects.get()
    assert (item.payment, item.detail) == (first.payment, "The joining fee of KES 500 was paid twice. Refund it once.")


def test_purchase_covered_by_credit_is_granted_at_once(pushes):
    member, plan = MemberFactory(), PlanFactory(price=1000)
    record_paybill_payment(member, 1000)

    bought = buy(member, plan=plan, phone="254712345678").subscription

    assert (bought.fact, bought.starts_on, bought.payment.status) == (Fact.GRANTED, TODAY, PaymentStatus.PAID)
    assert pushes == []


def test_free_plan_is_granted_at_once():
    bought = buy(MemberFactory(), plan=PlanFactory(price=0)).subscription

    assert (bought.fact, bought.payment.amount_due, bought.payment.status) == ("granted", 0, "paid")
    assert bought.payment.events.last().evidence == "free: free plan"


@pytest.mark.parametrize(
    ("plan", "member", "error"),
    [
        ({"is_on_sale": False}, {}, purchases.PlanNotOnSale),
        ({}, {"consented_at": None}, purchases.ConsentMissing),
        ({}, {"is_active": False}, purchases.MemberInactive),
    ],
)
def test_refused_purchase_creates_no_payment(plan, member, error):
    with pytest.raises(error):
        buy(MemberFactory(**member), plan=PlanFactory(**plan))

    assert not Payment.objects.exists()


def test_unknown_plans_and_members_are_not_found():
    member, plan = MemberFactory(), PlanFactory()

    with pytest.raises(purchases.PlanNotFound):
        purchases.subscribe(
            member_ids=[member.pk], plan_code="none", payer_id=member.pk, phone=None, created_by_id=member.pk, now=NOON
        )
    with pytest.raises(purchases.MemberNotFound):
        purchases.subscribe(
            member_ids=[0], plan_code=plan.code, payer_id=member.pk, phone=None, created_by_id=member.pk, now=NOON
        )


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_periods_beyond_the_stacking_limit_are_refused(limit):
    member, plan = MemberFactory(), PlanFactory(stacking_limit=limit)
    for _ in range(limit + 1):  # the first runs, the others are bought ahead
        pay(buy(member, plan=plan).subscription.payment, at=NOON)

    with pytest.raises(purchases.StackingLimit):
        buy(member, plan=plan)


def test_pending_purchase_counts_for_the_stacking_limit_until_it_expires():
    member, plan, other = MemberFactory(), PlanFactory(stacking_limit=0), PlanFactory()
    buy(member, plan=other)

    with pytest.raises(purchases.StackingLimit):
        buy(member, plan=plan)
    later = NOON + timedelta(days=9)
    cancellation.expire_due(now=later)

    assert buy(member, plan=plan, now=later).is_new


def test_other_groups_do_not_count_for_the_stacking_limit():
    member, plan = MemberFactory(), PlanFactory(stacking_limit=0)
    granted(PlanFactory(group__name="Locker"), member)

    assert buy(member, plan=plan).is_new


def test_stacking_limit_of_zero_allows_a_purchase_after_the_end():
    member, plan = MemberFactory(), PlanFactory(stacking_limit=0)
    ended = granted(plan, member)

    assert buy(member, plan=plan, now=noon_on(ended.ends_on)).is_new


def test_cancelling_a_pending_period_cancels_its_payment():
    member = MemberFactory()
    bought = buy(member, plan=PlanFactory()).subscription

    for _ in range(2):
        purchases.cancel(subscription_id=bought.pk, by_id=member.pk, now=NOON)

    bought = Subscription.objects.select_related("payment").get()
    assert (bought.fact, bought.payment.status) == ("cancelled", "cancelled")


def test_cancelled_paid_period_runs_to_its_end():
    bought = granted(PlanFactory(grace_days=3))

    for hours in (1, 2):
        purchases.cancel(subscription_id=bought.pk, by_id=bought.member_id, now=NOON + timedelta(hours=hours))

    bought.refresh_from_db()
    assert (bought.fact, bought.leaving_at) == ("granted", NOON + timedelta(hours=1))


def test_ended_period_cannot_be_cancelled():
    bought = granted()

    with pytest.raises(purchases.NothingToCancel):
        purchases.cancel(subscription_id=bought.pk, by_id=bought.member_id, now=noon_on(bought.ends_on))


def test_renewal_buys_the_plan_chosen_for_the_end():
    silver, bronze = PlanFactory(), PlanFactory()
    running = granted(silver)
    plan_changes.change_at_end(subscription_id=running.pk, plan_code=bronze.code, by_id=running.member_id, now=NOON)

    renewed = purchases.renew(
        subscription_id=running.pk, payer_id=running.member_id, phone=None, created_by_id=running.member_id, now=NOON
    ).subscription

    assert renewed.plan == bronze


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_ten_concurrent_requests_make_one_purchase(pushes):
    member, plan = MemberFactory(), PlanFactory()
    barrier, found, errors = threading.Barrier(10), [], []

    def request():
        barrier.wait()
        try:
            found.append(buy(member, plan=plan, phone="254712345678"))
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=request) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert [purchase.is_new for purchase in found].count(True) == 1
    assert len({purchase.subscription for purchase in found}) == 1
    assert Payment.objects.count() == Subscription.objects.count() == len(pushes) == 1
