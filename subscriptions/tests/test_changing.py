"""Changing the plan: value is carried to the shilling, and nothing changes before it is paid."""

from datetime import date, timedelta

import pytest

from api.idempotency import IdempotencyKeyReused
from payments.daraja.messages import C2bMessage
from payments.evidence import c2b_confirmations
from payments.models import Account, Receipt, ReviewItem
from payments.services import cancellation, ledger, reversals
from payments.tests.conftest import broken_invariants
from subscriptions.gate import check_in
from subscriptions.models import FreezeKind, Subscription
from subscriptions.services import free_periods, freezes, plan_changes, purchases
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
from subscriptions.tests.test_invariants import broken

pytestmark = [pytest.mark.django_db, pytest.mark.server]

DAY_TEN = TODAY + timedelta(days=10)  # 20 of November's 30 days are unused

HOUR = timedelta(hours=1)


@pytest.fixture
def silver():
    return granted(PlanFactory(price=1000, grace_days=3))


@pytest.fixture
def gold():
    return PlanFactory(price=3000)


def upgrade(subscription, plan, on=DAY_TEN, **asked):
    return plan_changes.upgrade(
        subscription_id=subscription.pk,
        plan_code=plan.code,
        phone=None,
        by_id=subscription.member_id,
        now=noon_on(on),
        **asked,
    ).subscription


def spans(*subscriptions):
    for each in subscriptions:
        each.refresh_from_db()
    return [(each.fact, each.starts_on, each.ends_on) for each in subscriptions]


def test_an_upgrade_costs_the_new_price_less_what_is_unused(silver, gold):
    bought = upgrade(silver, gold)

    assert (bought.price, bought.value_carried, bought.payment.amount_due) == (3000, 666, 2334)


def test_an_upgrade_to_a_plan_with_a_joining_fee_asks_for_it_once(silver):
    day_pass, gold = PlanFactory(price=300, interval="days"), PlanFactory(price=6000, joining_fee=1000)

    bought = upgrade(granted(day_pass, silver.member, silver.ends_on), gold, silver.ends_on)

    assert (bought.joining_fee, bought.payment.amount_due) == (1000, 6000 + 1000 - 300)
    pay(bought.payment, at=noon_on(silver.ends_on))
    assert broken() == []
    assert upgrade(bought, PlanFactory(price=9000, joining_fee=1000), silver.ends_on).joining_fee == 0


def test_an_upgrade_is_sold_to_no_one_who_may_not_buy(silver, gold):
    silver.member.consented_at = None
    silver.member.save()
    with pytest.raises(purchases.ConsentMissing):
        upgrade(silver, gold)

    silver.member.consented_at, silver.member.is_active = NOON, False
    silver.member.save()
    with pytest.raises(purchases.MemberInactive):
        upgrade(silver, gold)


def test_nothing_changes_until_the_upgrade_is_paid(silver, gold):
    bought = upgrade(silver, gold)
    assert spans(silver, bought) == [("granted", date(2026, 11, 2), date(2026, 12, 2)), ("pending", None, None)]

    pay(bought.payment, at=noon_on(DAY_TEN + timedelta(days=2)))

    assert spans(silver, bought) == [
        ("granted", date(2026, 11, 2), date(2026, 11, 12)),
        ("granted", date(2026, 11, 12), date(2026, 12, 12)),
    ]


def test_the_replaced_period_has_no_grace(silver, gold):
    pay(upgrade(silver, gold).payment, at=noon_on(DAY_TEN))

    assert Subscription.objects.with_status(DAY_TEN).get(pk=silver.pk).status == "expired"


def test_an_upgrade_on_the_first_day_carries_all_that_was_paid(silver, gold):
    bought = upgrade(silver, gold, TODAY)
    pay(bought.payment, at=noon_on(TODAY))

    assert bought.value_carried == 1000
    assert spans(silver, bought) == [
        ("granted", date(2026, 11, 2), date(2026, 11, 2)),
        ("granted", date(2026, 11, 2), date(2026, 12, 2)),
    ]


def test_credit_that_covers_an_upgrade_makes_it_at_once(silver, gold):
    record_paybill_payment(silver.member, 5000)

    bought = upgrade(silver, gold)

    assert spans(silver, bought)[1] == ("granted", date(2026, 11, 12), date(2026, 12, 12))


def test_what_was_given_has_no_value_to_carry(gold, silver):
    gift = free_periods.grant_free_period(
        member_id=granted(PlanFactory(group__name="Locker")).member_id,
        plan_code=silver.plan.code,
        reason="raffle",
        by_id=silver.member_id,
        now=NOON,
    )

    assert upgrade(gift, gold, on=TODAY).value_carried == 0


def test_the_same_key_gives_once(silver):
    staff = MemberFactory()

    def give(**changed):
        asked = {"member_id": silver.member_id, "plan_code": silver.plan.code, "reason": "raffle"} | changed
        return free_periods.grant_free_period(by_id=staff.pk, now=NOON, idempotency_key="k", **asked)

    first = give(body_fingerprint="a")

    assert give(body_fingerprint="a") == first
    assert silver.member.subscriptions.count() == 2
    with pytest.raises(IdempotencyKeyReused):
        give(body_fingerprint="b", reason="another")


def test_periods_bought_ahead_follow_the_upgrade(silver, gold):
    ahead = granted(silver.plan, silver.member)

    pay(upgrade(silver, gold).payment, at=noon_on(DAY_TEN))

    assert spans(ahead) == [("granted", date(2026, 12, 12), date(2027, 1, 12))]


def test_asking_again_answers_with_the_pending_upgrade(silver, gold):
    assert upgrade(silver, gold) == upgrade(silver, gold, DAY_TEN + timedelta(days=1))


def test_a_key_that_was_answered_with_the_pending_upgrade_is_so_again_once_that_is_paid(silver, gold):
    bought = upgrade(silver, gold)
    assert upgrade(silver, gold, idempotency_key="k2") == bought
    pay(bought.payment, at=noon_on(DAY_TEN))

    assert upgrade(silver, gold, idempotency_key="k2") == bought


def test_an_upgrade_that_expired_makes_room_for_a_new_reckoning(silver, gold):
    old = upgrade(silver, gold)
    cancellation.expire_due(now=noon_on(DAY_TEN + timedelta(days=5)))

    new = upgrade(silver, gold, DAY_TEN + timedelta(days=5))

    assert (new.value_carried, spans(old)[0][0]) == (500, "cancelled")


def test_money_that_comes_late_for_the_upgrade_that_made_room_is_credit(silver, gold):
    old = upgrade(silver, gold)
    cancellation.expire_due(now=noon_on(DAY_TEN + timedelta(days=5)))
    new = upgrade(silver, gold, DAY_TEN + timedelta(days=5))
    pay(new.payment, at=noon_on(DAY_TEN + timedelta(days=5)))

    message = C2bMessage("TKNLATE001", None, 2334, "174379", old.payment.reference, "", "", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=noon_on(DAY_TEN + timedelta(days=6)))

    assert -ledger.balance(Account.MEMBER_CREDIT, member_id=silver.member_id) == 2334
    assert [(item.reason, item.receipt.code) for item in ReviewItem.objects.all()] == [("late_money", "TKNLATE001")]


def test_money_for_an_upgrade_that_was_taken_back_goes_to_the_one_that_followed_it(silver, gold):
    """A period is replaced once: what paid the first could grant neither."""
    old = upgrade(silver, gold)
    mistyped = record_paybill_payment(silver.member, 2334, noon_on(DAY_TEN), payments=[old.payment])
    reversals.reverse_receipt(
        receipt_id=mistyped.pk, reason="void", by_id=None, now=noon_on(DAY_TEN), returned_to_payer=False
    )
    new = upgrade(silver, gold)

    message = C2bMessage("TKNLATE001", None, 2334, "174379", silver.member.member_number, "", "", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=noon_on(DAY_TEN))

    assert [span[0] for span in spans(silver, old, new)] == ["granted", "revoked", "granted"]
    assert not ReviewItem.objects.exists()


def test_money_for_an_expired_upgrade_that_a_purchase_made_room_for_is_credit_after_a_new_one(silver, gold):
    later = DAY_TEN + timedelta(days=5)
    old = upgrade(silver, gold)
    cancellation.expire_due(now=noon_on(later))
    purchases.subscribe(
        member_ids=[silver.member_id],
        plan_code=gold.code,
        payer_id=silver.member_id,
        phone=None,
        created_by_id=silver.member_id,
        now=noon_on(later),
    )
    new = upgrade(silver, PlanFactory(price=4000), later)
    pay(new.payment, at=noon_on(later))

    message = C2bMessage("TKNLATE001", None, 2334, "174379", old.payment.reference, "", "", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=noon_on(later))

    assert [span[0] for span in spans(silver, old, new)] == ["granted", "cancelled", "granted"]
    assert [item.reason for item in ReviewItem.objects.all()] == ["late_money"]


@pytest.mark.parametrize("days", [31, 60])
def test_an_upgrade_paid_when_its_time_is_over_buys_nothing_and_its_money_is_credit(silver, gold, days):
    late = noon_on(TODAY + timedelta(days=days))
    bought = upgrade(silver, gold)
    cancellation.expire_due(now=late)

    message = C2bMessage("TKNLATE001", late, 2334, "174379", bought.payment.reference, "", "", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=late)

    assert spans(silver, bought) == [
        ("granted", date(2026, 11, 2), date(2026, 12, 2)),
        ("cancelled", None, None),
    ]
    assert -ledger.balance(Account.MEMBER_CREDIT, member_id=silver.member_id) == 2334
    assert [(item.reason, item.payment) for item in ReviewItem.objects.all()] == [("late_money", bought.payment)]
    assert (broken_invariants(), broken()) == ({}, [])
    renewed = purchases.renew(
        subscription_id=silver.pk, payer_id=silver.member_id, phone=None, created_by_id=silver.member_id, now=late
    )
    assert renewed.subscription.fact == "granted"


def test_an_upgrade_of_one_day_paid_on_the_next_buys_nothing():
    day_pass = granted(PlanFactory(price=300, interval="days"))
    bought = upgrade(day_pass, PlanFactory(price=500, interval="days"), TODAY)

    pay(bought.payment, at=noon_on(TODAY + timedelta(days=1)))

    bought.payment.refresh_from_db()
    assert (spans(bought)[0][0], bought.payment.status) == ("cancelled", "cancelled")
    assert -ledger.balance(Account.MEMBER_CREDIT, member_id=day_pass.member_id) == 200


def test_an_upgrade_that_expired_still_counts_from_its_reckoning_while_the_replaced_period_runs(silver, gold):
    bought = upgrade(silver, gold)
    cancellation.expire_due(now=noon_on(DAY_TEN + timedelta(days=9)))

    pay(bought.payment, at=noon_on(DAY_TEN + timedelta(days=9)))

    assert spans(bought) == [("granted", date(2026, 11, 12), date(2026, 12, 12))]


def test_an_upgrade_of_the_last_day_may_be_paid_on_the_next(silver, gold):
    bought = upgrade(silver, gold, date(2026, 12, 1))

    pay(bought.payment, at=noon_on(date(2026, 12, 2)))

    assert spans(bought) == [("granted", date(2026, 12, 1), date(2027, 1, 1))]


def test_an_upgrade_that_was_paid_in_full_begins_when_it_is_paid_although_the_rest_is_over(silver, gold):
    gift = free_periods.grant_free_period(
        member_id=MemberFactory().pk, plan_code=silver.plan.code, reason="raffle", by_id=silver.member_id, now=NOON
    )
    late = TODAY + timedelta(days=60)
    bought = upgrade(gift, gold)

    pay(bought.payment, at=noon_on(late))

    assert spans(bought) == [("granted", late, date(2027, 2, 1))]


def test_of_a_used_up_pack_nothing_is_carried(gold):
    pack = granted(PlanFactory(price=1000, visits=2))
    for day in (0, 1):
        check_in(member_number=pack.member.member_number, recorded_by_id=None, now=noon_on(TODAY + timedelta(days=day)))

    assert upgrade(pack, gold).value_carried == 0


def enter(member, times, at):
    """Go in so often, an hour apart; return how often the gate opened."""
    taps = [check_in(member_number=member.member_number, recorded_by_id=None, now=at + n * HOUR) for n in range(times)]
    return [tap.decision for tap in taps].count("allow")


@pytest.fixture
def ten():
    return granted(PlanFactory(price=1000, visits=10))


def test_what_others_entered_lowers_nobodys_value(ten, gold):
    enter(granted(ten.plan).member, 5, noon_on(TODAY))

    assert upgrade(ten, gold, TODAY).value_carried == 1000


def test_visits_made_while_an_upgrade_waits_are_not_had_twice(ten):
    bought = upgrade(ten, PlanFactory(price=1800, visits=20), TODAY)
    assert bought.payment.amount_due == 800

    while_it_waits = enter(ten.member, 10, noon_on(TODAY) + HOUR)
    pay(bought.payment, at=noon_on(TODAY) + 11 * HOUR)

    assert while_it_waits + enter(ten.member, 12, noon_on(TODAY + timedelta(days=1))) == 20
    assert broken() == []


def test_a_visit_made_before_the_upgrade_was_asked_for_lowered_its_value_and_is_not_counted_again(ten):
    enter(ten.member, 1, noon_on(TODAY) - HOUR)

    bought = upgrade(ten, PlanFactory(price=1800, visits=20), TODAY)
    pay(bought.payment, at=noon_on(TODAY))

    assert bought.payment.amount_due == 900
    assert enter(ten.member, 25, noon_on(TODAY) + HOUR) == 20


def test_a_smaller_pack_takes_of_the_visits_made_while_it_waited_as_many_as_it_has(ten):
    bought = upgrade(ten, PlanFactory(price=1800, visits=2), TODAY)

    enter(ten.member, 3, noon_on(TODAY) + HOUR)
    pay(bought.payment, at=noon_on(TODAY) + 4 * HOUR)

    assert enter(ten.member, 2, noon_on(TODAY) + 5 * HOUR) == 0
    assert broken() == []


def test_visits_made_in_an_upgrade_that_is_taken_back_count_for_the_replaced_pack(ten):
    bought = upgrade(ten, PlanFactory(price=1800), TODAY)
    pay(bought.payment, at=noon_on(TODAY))
    enter(ten.member, 7, noon_on(TODAY) + HOUR)

    receipt = Receipt.objects.get(allocations__payment=bought.payment)
    reversals.reverse_receipt(
        receipt_id=receipt.pk, reason="void", by_id=None, now=noon_on(TODAY) + 8 * HOUR, returned_to_payer=False
    )

    assert enter(ten.member, 5, noon_on(TODAY) + 9 * HOUR) == 3


def test_an_upgrade_is_refused_where_it_makes_no_sense(silver, gold):
    with pytest.raises(plan_changes.SamePlan):
        upgrade(silver, silver.plan)
    with pytest.raises(plan_changes.OtherGroup):
        upgrade(silver, PlanFactory(group__name="Locker"))
    with pytest.raises(purchases.PlanNotOnSale):
        upgrade(silver, PlanFactory(is_on_sale=False))
    with pytest.raises(plan_changes.WorthAsMuch):
        upgrade(silver, PlanFactory(price=666))
    with pytest.raises(plan_changes.NotRunning):
        upgrade(silver, gold, silver.ends_on)
    upgrade(silver, gold)
    with pytest.raises(purchases.AlreadyPending):
        upgrade(silver, PlanFactory(price=9000))

    assert Subscription.objects.pending().count() == 1


def test_a_frozen_period_is_not_upgraded(silver, gold):
    freezes.freeze(
        subscription_id=silver.pk,
        starts_on=DAY_TEN,
        ends_on=DAY_TEN + timedelta(days=3),
        kind=FreezeKind.STAFF,
        by_id=silver.member_id,
        now=NOON,
    )

    with pytest.raises(plan_changes.FrozenNow):
        upgrade(silver, gold)


def test_a_change_at_the_end_leaves_the_running_period_alone(silver):
    bronze = PlanFactory(price=500)

    changed = plan_changes.change_at_end(subscription_id=silver.pk, plan_code=bronze.code, now=NOON)

    assert (changed.next_plan, changed.plan, changed.ends_on) == (bronze, silver.plan, date(2026, 12, 2))


def test_everything_that_has_not_taken_effect_can_be_taken_back(silver, gold):
    plan_changes.change_at_end(subscription_id=silver.pk, plan_code=gold.code, now=NOON)
    purchases.cancel(subscription_id=silver.pk, by_id=silver.member_id, now=NOON)
    bought = upgrade(silver, gold)

    for _ in range(2):
        plan_changes.undo_changes(subscription_id=silver.pk, by_id=silver.member_id, now=noon_on(DAY_TEN))

    silver.refresh_from_db()
    assert (silver.next_plan, silver.leaving_at, spans(bought)[0][0]) == (None, None, "cancelled")


def test_nothing_is_taken_back_after_the_end(silver):
    with pytest.raises(plan_changes.NotRunning):
        plan_changes.undo_changes(subscription_id=silver.pk, by_id=silver.member_id, now=noon_on(silver.ends_on))
    with pytest.raises(plan_changes.NotRunning):
        plan_changes.change_at_end(subscription_id=silver.pk, plan_code=PlanFactory().code, now=noon_on(silver.ends_on))
