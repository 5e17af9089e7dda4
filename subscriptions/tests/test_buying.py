"""Buying: one request, one payment of money, and never the same thing twice."""

import threading
from datetime import timedelta

import pytest
from django.db import connection

from api.idempotency import IdempotencyKeyReused
from payments.models import Payment, PaymentStatus, Receipt, ReviewItem
from payments.services import cancellation, reversals
from subscriptions.models import Fact, Subscription
from subscriptions.services import catalog, plan_changes, purchases
from subscriptions.tests.factories import (
    NOON,
    TODAY,
    MemberFactory,
    PlanFactory,
    granted,
    noon_on,
    pay,
    record_paybill_payment,
)

pytestmark = [pytest.mark.django_db, pytest.mark.server]


def subscribe(*members, plan, payer=None, now=NOON, phone=None, **fields):
    payer = payer or members[0]
    fields.setdefault("created_by_id", payer.pk)
    return purchases.subscribe(
        member_ids=[member.pk for member in members],
        plan_code=plan.code,
        payer_id=payer.pk,
        phone=phone,
        now=now,
        **fields,
    )


def test_buying_opens_a_payment_of_the_plans_price_and_prompts_the_phone(prompts):
    member, plan = MemberFactory(first_name="Wanjiru", last_name="Kamau"), PlanFactory(price=2500)

    purchase = subscribe(member, plan=plan, phone="254712345678")

    bought = purchase.subscription
    assert purchase.is_new
    assert (bought.fact, bought.price, bought.payment.amount_due, bought.payment.status) == (
        "pending",
        2500,
        2500,
        "pending",
    )
    assert bought.payment.description == "Monthly for Wanjiru Kamau"
    assert prompts == [(bought.payment_id, "254712345678")]


def test_without_a_phone_nobody_is_prompted(prompts):
    subscribe(MemberFactory(), plan=PlanFactory())

    assert prompts == []


def test_what_was_bought_keeps_the_plan_as_it_was():
    plan = PlanFactory(price=1500, grace_days=3)
    bought = subscribe(MemberFactory(), plan=plan).subscription

    catalog.edit_plan(plan_id=plan.pk, price=9000, grace_days=0, interval="days")

    bought.refresh_from_db()
    assert (bought.price, bought.grace_days, bought.interval, bought.payment.amount_due) == (1500, 3, "months", 1500)


def test_a_second_request_while_one_is_pending_answers_with_that_one(prompts):
    member, plan = MemberFactory(), PlanFactory()
    first = subscribe(member, plan=plan, phone="254712345678")

    second = subscribe(member, plan=plan, phone="254712345678")

    assert not second.is_new
    assert second.subscription == first.subscription
    assert Payment.objects.count() == len(prompts) == 1


def test_once_it_is_paid_the_next_one_can_be_bought():
    member, plan = MemberFactory(), PlanFactory()
    pay(subscribe(member, plan=plan).subscription.payment, at=NOON)

    assert subscribe(member, plan=plan).is_new


def test_an_expired_purchase_makes_room_and_its_late_money_still_grants_it():
    member, plan = MemberFactory(), PlanFactory()
    old = subscribe(member, plan=plan).subscription
    later = NOON + timedelta(days=5)
    cancellation.expire_due(now=later)

    new = subscribe(member, plan=plan, now=later)
    old.refresh_from_db()
    assert (new.is_new, old.fact) == (True, Fact.CANCELLED)
    pay(old.payment, at=later)

    old.refresh_from_db()
    assert old.fact == Fact.GRANTED


def test_what_was_taken_back_stays_so_when_the_plan_is_bought_again():
    taken_back = granted()
    later = taken_back.payment.expires_at
    receipt = Receipt.objects.get()
    reversals.reverse_receipt(receipt_id=receipt.pk, reason="void", by_id=None, now=later, returned_to_payer=False)

    assert subscribe(taken_back.member, plan=taken_back.plan, now=later).is_new
    taken_back.refresh_from_db()

    assert (taken_back.fact, taken_back.payment.status) == (Fact.REVOKED, "expired")


def test_the_same_key_answers_with_what_it_bought():
    member, plan = MemberFactory(), PlanFactory()
    first = subscribe(member, plan=plan, idempotency_key="k1", body_fingerprint="a" * 64)
    pay(first.subscription.payment, at=NOON)

    again = subscribe(member, plan=plan, idempotency_key="k1", body_fingerprint="a" * 64)

    assert (again.is_new, again.subscription) == (False, first.subscription)


def test_a_key_that_was_answered_with_a_waiting_purchase_is_so_again_once_that_is_paid():
    member, plan = MemberFactory(), PlanFactory()
    first = subscribe(member, plan=plan).subscription
    asked = {"plan": plan, "idempotency_key": "k2", "body_fingerprint": "a" * 64}
    assert subscribe(member, **asked).subscription == first
    pay(first.payment, at=NOON)

    again = subscribe(member, **asked)

    assert (again.subscription, again.is_new) == (first, False)
    assert Subscription.objects.count() == 1
    with pytest.raises(IdempotencyKeyReused):
        subscribe(member, **asked | {"body_fingerprint": "b" * 64})


def test_the_same_key_for_another_body_is_refused():
    member = MemberFactory()
    subscribe(member, plan=PlanFactory(), idempotency_key="k1", body_fingerprint="a" * 64)

    with pytest.raises(IdempotencyKeyReused):
        subscribe(member, plan=PlanFactory(), idempotency_key="k1", body_fingerprint="b" * 64)

    assert Subscription.objects.count() == 1


def test_a_parent_pays_for_three_children_with_one_prompt(prompts):
    parent, plan = MemberFactory(), PlanFactory(price=1000)
    children = MemberFactory.create_batch(3, phone_number=None)

    purchase = subscribe(*children, plan=plan, payer=parent, phone="254712345678")

    head, *others = [each.payment for each in purchase.subscriptions]
    assert [each.member for each in purchase.subscriptions] == children
    assert {each.head_id for each in others} == {head.pk}
    assert {each.payer for each in [head, *others]} == {parent}
    assert prompts == [(head.pk, "254712345678")]
    assert subscribe(*children, plan=plan, payer=parent).subscriptions == purchase.subscriptions


def test_a_familys_credit_lowers_the_sum_of_its_one_prompt(prompts):
    parent, plan = MemberFactory(), PlanFactory(price=1000)
    children = MemberFactory.create_batch(3, phone_number=None)
    record_paybill_payment(parent, 1500)
    asked = {"plan": plan, "payer": parent, "idempotency_key": "k"}

    purchase = subscribe(*children, **asked, phone="254712345678")

    payments = [each.payment for each in purchase.subscriptions]
    assert [(each.status, each.amount_owed) for each in payments] == [
        ("pending", 1000),
        ("partially_paid", 500),
        ("paid", 0),
    ]
    assert {each.head_id for each in payments[1:]} == {payments[0].pk}
    assert prompts == [(payments[0].pk, "254712345678")]
    assert subscribe(*children, **asked).subscriptions == purchase.subscriptions
    assert subscribe(*children, plan=plan, payer=parent).subscriptions == purchase.subscriptions


def test_what_costs_nothing_is_given_once_for_one_key():
    plan, members = PlanFactory(price=0), MemberFactory.create_batch(2)

    bought = [subscribe(*members, plan=plan, payer=members[0], idempotency_key="k") for _ in range(2)]

    assert [each.fact for each in bought[0].subscriptions] == ["granted", "granted"]
    assert bought[1].subscriptions == bought[0].subscriptions


def test_who_owes_the_joining_fee_of_a_free_plan_is_prompted_for_it(prompts):
    plan = PlanFactory(price=0, joining_fee=500)
    known, new = MemberFactory.create_batch(2)
    granted(PlanFactory(joining_fee=500), known)

    purchase = subscribe(known, new, plan=plan, payer=known, phone="254712345678")

    owed = {each.member: each.payment.amount_owed for each in purchase.subscriptions}
    assert owed == {known: 0, new: 500}
    assert [payment for payment, _ in prompts] == [
        each.payment_id for each in purchase.subscriptions if each.member == new
    ]


def test_a_child_who_is_already_buying_is_not_put_into_another_payment():
    parent, plan = MemberFactory(), PlanFactory()
    first, second = MemberFactory.create_batch(2)
    subscribe(first, plan=plan)

    with pytest.raises(purchases.AlreadyPending):
        subscribe(first, second, plan=plan, payer=parent)

    assert Subscription.objects.count() == 1


def test_the_joining_fee_is_charged_once_per_member_and_group():
    member, plan = MemberFactory(), PlanFactory(price=1500, joining_fee=500)
    first = subscribe(member, plan=plan).subscription
    pay(first.payment, at=NOON)

    second = subscribe(member, plan=plan).subscription

    assert [(each.joining_fee, each.payment.amount_due) for each in (first, second)] == [(500, 2000), (0, 1500)]


def test_a_day_pass_is_no_joining_and_a_period_brought_along_is():
    gym = PlanFactory(price=1500, joining_fee=500)
    visitor, old = MemberFactory(), MemberFactory()
    granted(PlanFactory(price=300, interval="days"), visitor)
    granted(PlanFactory(), old, origin="migrated")

    assert [subscribe(each, plan=gym).subscription.joining_fee for each in (visitor, old)] == [500, 0]


def test_the_fee_cannot_be_left_behind_in_a_purchase_that_is_cancelled():
    member, gym, gold = MemberFactory(), PlanFactory(joining_fee=500), PlanFactory(joining_fee=500)
    first = subscribe(member, plan=gym).subscription

    with pytest.raises(purchases.JoiningFeePending):
        subscribe(member, plan=gold)
    purchases.cancel(subscription_id=first.pk, by_id=member.pk, now=NOON)

    assert subscribe(member, plan=gold).subscription.joining_fee == 500


def test_a_fee_that_late_money_pays_a_second_time_is_told_to_staff():
    member, gym, gold = MemberFactory(), PlanFactory(joining_fee=500), PlanFactory(joining_fee=500)
    first = subscribe(member, plan=gym).subscription
    later = NOON + timedelta(days=9)
    cancellation.expire_due(now=later)
    second = subscribe(member, plan=gold, now=later).subscription
    pay(second.payment, at=later)
    assert not ReviewItem.objects.exists()

    pay(first.payment, at=later)

    item = ReviewItem.objects.get()
    assert (item.payment, item.detail) == (first.payment, "The joining fee of KES 500 was paid twice. Refund it once.")


def test_credit_is_spent_first_and_what_it_covers_is_granted_at_once(prompts):
    member, plan = MemberFactory(), PlanFactory(price=1000)
    record_paybill_payment(member, 1000)

    bought = subscribe(member, plan=plan, phone="254712345678").subscription

    assert (bought.fact, bought.starts_on, bought.payment.status) == (Fact.GRANTED, TODAY, PaymentStatus.PAID)
    assert prompts == []


def test_a_free_plan_is_granted_at_once_on_a_comp_payment():
    bought = subscribe(MemberFactory(), plan=PlanFactory(price=0)).subscription

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
def test_a_refusal_writes_nothing(plan, member, error):
    with pytest.raises(error):
        subscribe(MemberFactory(**member), plan=PlanFactory(**plan))

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
def test_no_more_periods_are_bought_ahead_than_the_plan_allows(limit):
    member, plan = MemberFactory(), PlanFactory(stacking_limit=limit)
    for _ in range(limit + 1):  # the first runs, the others are ahead of it
        pay(subscribe(member, plan=plan).subscription.payment, at=NOON)

    with pytest.raises(purchases.StackingLimit):
        subscribe(member, plan=plan)


def test_what_waits_for_money_counts_as_bought_ahead_until_nobody_waits():
    member, plan, other = MemberFactory(), PlanFactory(stacking_limit=0), PlanFactory()
    subscribe(member, plan=other)

    with pytest.raises(purchases.StackingLimit):
        subscribe(member, plan=plan)
    later = NOON + timedelta(days=9)
    cancellation.expire_due(now=later)

    assert subscribe(member, plan=plan, now=later).is_new


def test_what_was_bought_ahead_of_another_group_does_not_count():
    member, plan = MemberFactory(), PlanFactory(stacking_limit=0)
    granted(PlanFactory(group__name="Locker"), member)

    assert subscribe(member, plan=plan).is_new


def test_once_it_is_over_another_can_be_bought_where_nothing_is_sold_ahead():
    member, plan = MemberFactory(), PlanFactory(stacking_limit=0)
    ended = granted(plan, member)

    assert subscribe(member, plan=plan, now=noon_on(ended.ends_on)).is_new


def test_cancelling_a_pending_period_withdraws_its_payment():
    member = MemberFactory()
    bought = subscribe(member, plan=PlanFactory()).subscription

    for _ in range(2):
        purchases.cancel(subscription_id=bought.pk, by_id=member.pk, now=NOON)

    bought = Subscription.objects.select_related("payment").get()
    assert (bought.fact, bought.payment.status) == ("cancelled", "cancelled")


def test_cancelling_a_paid_period_lets_it_run_to_its_end():
    bought = granted(PlanFactory(grace_days=3))

    for hours in (1, 2):
        purchases.cancel(subscription_id=bought.pk, by_id=bought.member_id, now=NOON + timedelta(hours=hours))

    bought.refresh_from_db()
    assert (bought.fact, bought.leaving_at) == ("granted", NOON + timedelta(hours=1))


def test_what_is_over_cannot_be_cancelled():
    bought = granted()

    with pytest.raises(purchases.NothingToCancel):
        purchases.cancel(subscription_id=bought.pk, by_id=bought.member_id, now=noon_on(bought.ends_on))


def test_renewal_buys_the_plan_chosen_for_the_end():
    silver, bronze = PlanFactory(), PlanFactory()
    running = granted(silver)
    plan_changes.change_at_end(subscription_id=running.pk, plan_code=bronze.code, now=NOON)

    next_one = purchases.renew(
        subscription_id=running.pk, payer_id=running.member_id, phone=None, created_by_id=running.member_id, now=NOON
    ).subscription

    assert next_one.plan == bronze


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_ten_requests_at_once_buy_once(prompts):
    member, plan = MemberFactory(), PlanFactory()
    barrier, found, errors = threading.Barrier(10), [], []

    def ask():
        barrier.wait()
        try:
            found.append(subscribe(member, plan=plan, phone="254712345678"))
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert [purchase.is_new for purchase in found].count(True) == 1
    assert len({purchase.subscription for purchase in found}) == 1
    assert Payment.objects.count() == Subscription.objects.count() == len(prompts) == 1
