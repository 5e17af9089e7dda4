"""Plan changes: upgrades with the unused value of the replaced period, changes at the end, and undoing them."""

from datetime import date, timedelta

import pytest

from api.idempotency import IdempotencyKey, IdempotencyKeyReused
from payments.daraja.messages import C2bMessage
from payments.evidence import c2b_confirmations
from payments.models import Account, Receipt, ReviewItem
from payments.services import cancellation, ledger, reversals
from payments.tests.invariants import broken_invariants
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
    states_and_dates,
)
from subscriptions.tests.test_invariants import broken

pytestmark = [pytest.mark.django_db, pytest.mark.server]

KEY, OTHER_BODY = IdempotencyKey("k", "a"), IdempotencyKey("k", "b")

DAY_TEN = TODAY + timedelta(days=10)  # 20 of November's 30 days are unused

HOUR = timedelta(hours=1)


@pytest.fixture
def silver():
    return granted(PlanFactory(price=1000, grace_days=3))


@pytest.fixture
def gold():
    return PlanFactory(price=3000)


def upgrade(subscription, plan, on=DAY_TEN, **options):
    return plan_changes.upgrade(
        subscription_id=subscription.pk,
        plan_code=plan.code,
        phone=None,
        by_id=subscription.member_id,
        now=noon_on(on),
        **options,
    ).subscription


def test_upgrade_costs_the_price_less_the_unused_value(silver, gold):
    bought = upgrade(silver, gold)

    assert (bought.price, bought.value_carried, bought.payment.amount_due) == (3000, 666, 2334)


def test_upgrade_charges_the_joining_fee_once(silver):
    day_pass, gold = PlanFactory(price=300, interval="days"), PlanFactory(price=6000, joining_fee=1000)

    bought = upgrade(granted(day_pass, silver.member, silver.ends_on), gold, silver.ends_on)

    assert (bought.joining_fee, bought.payment.amount_due) == (1000, 6000 + 1000 - 300)
    pay(bought.payment, at=noon_on(silver.ends_on))
    assert broken() == []
    assert upgrade(bought, PlanFactory(price=9000, joining_fee=1000), silver.ends_on).joining_fee == 0


def test_upgrade_needs_consent_and_an_active_account(silver, gold):
    silver.member.consented_at = None
    silver.member.save()
    with pytest.raises(purchases.ConsentMissing):
        upgrade(silver, gold)

    silver.member.consented_at, silver.member.is_active = NOON, False
    silver.member.save()
    with pytest.raises(purchases.MemberInactive):
        upgrade(silver, gold)


def test_upgrade_replaces_the_period_only_after_payment(silver, gold):
    bought = upgrade(silver, gold)
    assert states_and_dates(silver, bought) == [
        ("granted", date(2026, 11, 2), date(2026, 12, 2)),
        ("pending", None, None),
    ]

    pay(bought.payment, at=noon_on(DAY_TEN + timedelta(days=2)))

    assert states_and_dates(silver, bought) == [
        ("granted", date(2026, 11, 2), date(2026, 11, 12)),
        ("granted", date(2026, 11, 12), date(2026, 12, 12)),
    ]


def test_replaced_period_has_no_grace(silver, gold):
    pay(upgrade(silver, gold).payment, at=noon_on(DAY_TEN))

    assert Subscription.objects.with_status(DAY_TEN).get(pk=silver.pk).status == "expired"


def test_upgrade_on_the_first_day_carries_the_full_price(silver, gold):
    bought = upgrade(silver, gold, TODAY)
    pay(bought.payment, at=noon_on(TODAY))

    assert bought.value_carried == 1000
    assert states_and_dates(silver, bought) == [
        ("granted", date(2026, 11, 2), date(2026, 11, 2)),
        ("granted", date(2026, 11, 2), date(2026, 12, 2)),
    ]


def test_upgrade_covered_by_credit_is_granted_at_once(silver, gold):
    record_paybill_payment(silver.member, 5000)

    bought = upgrade(silver, gold)

    assert states_and_dates(silver, bought)[1] == ("granted", date(2026, 11, 12), date(2026, 12, 12))


def test_free_period_has_no_unused_value(gold, silver):
    gift = free_periods.grant_free_period(
        member_id=granted(PlanFactory(group__name="Locker")).member_id,
        plan_code=silver.plan.code,
        reason="raffle",
        by_id=silver.member_id,
        now=NOON,
    )

    assert upgrade(gift, gold, on=TODAY).value_carried == 0


def test_same_key_grants_one_free_period(silver):
    staff = MemberFactory()

    def grant(key, reason="raffle"):
        return free_periods.grant_free_period(
            member_id=silver.member_id,
            plan_code=silver.plan.code,
            reason=reason,
            by_id=staff.pk,
            now=NOON,
            idempotency_key=key,
        )

    first = grant(KEY)

    assert grant(KEY) == first
    assert silver.member.subscriptions.count() == 2
    with pytest.raises(IdempotencyKeyReused):
        grant(OTHER_BODY, reason="another")


def test_periods_bought_ahead_move_after_the_upgrade(silver, gold):
    ahead = granted(silver.plan, silver.member)

    pay(upgrade(silver, gold).payment, at=noon_on(DAY_TEN))

    assert states_and_dates(ahead) == [("granted", date(2026, 12, 12), date(2027, 1, 12))]


def test_second_request_returns_the_pending_upgrade(silver, gold):
    assert upgrade(silver, gold) == upgrade(silver, gold, DAY_TEN + timedelta(days=1))


def test_key_answered_with_pending_upgrade_returns_it_after_payment(silver, gold):
    bought = upgrade(silver, gold)
    assert upgrade(silver, gold, idempotency_key=KEY) == bought
    pay(bought.payment, at=noon_on(DAY_TEN))

    assert upgrade(silver, gold, idempotency_key=KEY) == bought


def test_new_upgrade_after_expiry_recalculates_the_unused_value(silver, gold):
    old = upgrade(silver, gold)
    cancellation.expire_due(now=noon_on(DAY_TEN + timedelta(days=5)))

    new = upgrade(silver, gold, DAY_TEN + timedelta(days=5))

    assert (new.value_carried, states_and_dates(old)[0][0]) == (500, "cancelled")


def test_late_money_for_a_replaced_upgrade_becomes_credit(silver, gold):
    old = upgrade(silver, gold)
    cancellation.expire_due(now=noon_on(DAY_TEN + timedelta(days=5)))
    new = upgrade(silver, gold, DAY_TEN + timedelta(days=5))
    pay(new.payment, at=noon_on(DAY_TEN + timedelta(days=5)))

    message = C2bMessage("TKNLATE001", None, 2334, "174379", old.payment.reference, "", "", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=noon_on(DAY_TEN + timedelta(days=6)))

    assert -ledger.balance(Account.MEMBER_CREDIT, member_id=silver.member_id) == 2334
    assert [(item.reason, item.receipt.code) for item in ReviewItem.objects.all()] == [("late_money", "TKNLATE001")]


def test_money_after_a_voided_upgrade_pays_the_new_upgrade(silver, gold):
    """A period can be replaced only once, so money for the voided upgrade would grant neither of them."""
    old = upgrade(silver, gold)
    mistyped = record_paybill_payment(silver.member, 2334, noon_on(DAY_TEN), payments=[old.payment])
    reversals.reverse_receipt(
        receipt_id=mistyped.pk, reason="void", by_id=None, now=noon_on(DAY_TEN), returned_to_payer=False
    )
    new = upgrade(silver, gold)

    message = C2bMessage("TKNLATE001", None, 2334, "174379", silver.member.member_number, "", "", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=noon_on(DAY_TEN))

    assert [row[0] for row in states_and_dates(silver, old, new)] == ["granted", "revoked", "granted"]
    assert not ReviewItem.objects.exists()


def test_late_money_for_an_upgrade_cancelled_by_a_purchase_becomes_credit(silver, gold):
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

    assert [row[0] for row in states_and_dates(silver, old, new)] == ["granted", "cancelled", "granted"]
    assert [item.reason for item in ReviewItem.objects.all()] == ["late_money"]


@pytest.mark.parametrize("days", [31, 60])
def test_upgrade_paid_after_its_end_becomes_credit(silver, gold, days):
    late = noon_on(TODAY + timedelta(days=days))
    bought = upgrade(silver, gold)
    cancellation.expire_due(now=late)

    message = C2bMessage("TKNLATE001", late, 2334, "174379", bought.payment.reference, "", "", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=late)

    assert states_and_dates(silver, bought) == [
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


def test_one_day_upgrade_paid_the_next_day_is_not_granted():
    day_pass = granted(PlanFactory(price=300, interval="days"))
    bought = upgrade(day_pass, PlanFactory(price=500, interval="days"), TODAY)

    pay(bought.payment, at=noon_on(TODAY + timedelta(days=1)))

    bought.payment.refresh_from_db()
    assert (states_and_dates(bought)[0][0], bought.payment.status) == ("cancelled", "cancelled")
    assert -ledger.balance(Account.MEMBER_CREDIT, member_id=day_pass.member_id) == 200


def test_expired_upgrade_paid_in_time_starts_on_its_request_day(silver, gold):
    bought = upgrade(silver, gold)
    cancellation.expire_due(now=noon_on(DAY_TEN + timedelta(days=9)))

    pay(bought.payment, at=noon_on(DAY_TEN + timedelta(days=9)))

    assert states_and_dates(bought) == [("granted", date(2026, 11, 12), date(2026, 12, 12))]


def test_upgrade_requested_on_the_last_day_can_be_paid_next_day(silver, gold):
    bought = upgrade(silver, gold, date(2026, 12, 1))

    pay(bought.payment, at=noon_on(date(2026, 12, 2)))

    assert states_and_dates(bought) == [("granted", date(2026, 12, 1), date(2027, 1, 1))]


def test_full_price_upgrade_starts_on_its_payment_day(silver, gold):
    gift = free_periods.grant_free_period(
        member_id=MemberFactory().pk, plan_code=silver.plan.code, reason="raffle", by_id=silver.member_id, now=NOON
    )
    late = TODAY + timedelta(days=60)
    bought = upgrade(gift, gold)

    pay(bought.payment, at=noon_on(late))

    assert states_and_dates(bought) == [("granted", late, date(2027, 2, 1))]


def test_used_up_pack_has_no_unused_value(gold):
    pack = granted(PlanFactory(price=1000, visits=2))
    for day in (0, 1):
        check_in(member_number=pack.member.member_number, recorded_by_id=None, now=noon_on(TODAY + timedelta(days=day)))

    assert upgrade(pack, gold).value_carried == 0


def enter(member, times, at):
    """Check in `times` times, an hour apart. Return how often the gate allowed it."""
    taps = [check_in(member_number=member.member_number, recorded_by_id=None, now=at + n * HOUR) for n in range(times)]
    return [tap.decision for tap in taps].count("allow")


@pytest.fixture
def ten_visits():
    return granted(PlanFactory(price=1000, visits=10))


def test_visits_of_other_members_do_not_reduce_the_value(ten_visits, gold):
    enter(granted(ten_visits.plan).member, 5, noon_on(TODAY))

    assert upgrade(ten_visits, gold, TODAY).value_carried == 1000


def test_visits_before_payment_count_for_the_upgrade(ten_visits):
    bought = upgrade(ten_visits, PlanFactory(price=1800, visits=20), TODAY)
    assert bought.payment.amount_due == 800

    visits_before_payment = enter(ten_visits.member, 10, noon_on(TODAY) + HOUR)
    pay(bought.payment, at=noon_on(TODAY) + 11 * HOUR)

    assert visits_before_payment + enter(ten_visits.member, 12, noon_on(TODAY + timedelta(days=1))) == 20
    assert broken() == []


def test_visit_before_the_request_reduces_only_the_unused_value(ten_visits):
    enter(ten_visits.member, 1, noon_on(TODAY) - HOUR)

    bought = upgrade(ten_visits, PlanFactory(price=1800, visits=20), TODAY)
    pay(bought.payment, at=noon_on(TODAY))

    assert bought.payment.amount_due == 900
    assert enter(ten_visits.member, 25, noon_on(TODAY) + HOUR) == 20


def test_smaller_pack_takes_at_most_its_own_visits(ten_visits):
    bought = upgrade(ten_visits, PlanFactory(price=1800, visits=2), TODAY)

    enter(ten_visits.member, 3, noon_on(TODAY) + HOUR)
    pay(bought.payment, at=noon_on(TODAY) + 4 * HOUR)

    assert enter(ten_visits.member, 2, noon_on(TODAY) + 5 * HOUR) == 0
    assert broken() == []


def test_visits_of_a_revoked_upgrade_count_for_the_replaced_pack(ten_visits):
    bought = upgrade(ten_visits, PlanFactory(price=1800), TODAY)
    pay(bought.payment, at=noon_on(TODAY))
    enter(ten_visits.member, 7, noon_on(TODAY) + HOUR)

    receipt = Receipt.objects.get(allocations__payment=bought.payment)
    reversals.reverse_receipt(
        receipt_id=receipt.pk, reason="void", by_id=None, now=noon_on(TODAY) + 8 * HOUR, returned_to_payer=False
    )

    assert enter(ten_visits.member, 5, noon_on(TODAY) + 9 * HOUR) == 3


def test_invalid_upgrades_are_refused(silver, gold):
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


def test_frozen_period_cannot_be_upgraded(silver, gold):
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


def test_change_at_the_end_keeps_the_running_period(silver):
    bronze = PlanFactory(price=500)

    changed = plan_changes.change_at_end(
        subscription_id=silver.pk, plan_code=bronze.code, by_id=silver.member_id, now=NOON
    )

    assert (changed.next_plan, changed.plan, changed.ends_on) == (bronze, silver.plan, date(2026, 12, 2))


def test_undo_cancels_upgrade_plan_change_and_leaving(silver, gold):
    plan_changes.change_at_end(subscription_id=silver.pk, plan_code=gold.code, by_id=silver.member_id, now=NOON)
    purchases.cancel(subscription_id=silver.pk, by_id=silver.member_id, now=NOON)
    bought = upgrade(silver, gold)

    for _ in range(2):
        plan_changes.undo_changes(subscription_id=silver.pk, by_id=silver.member_id, now=noon_on(DAY_TEN))

    silver.refresh_from_db()
    assert (silver.next_plan, silver.leaving_at, states_and_dates(bought)[0][0]) == (None, None, "cancelled")


def test_ended_period_cannot_be_changed_or_undone(silver):
    with pytest.raises(plan_changes.NotRunning):
        plan_changes.undo_changes(subscription_id=silver.pk, by_id=silver.member_id, now=noon_on(silver.ends_on))
    with pytest.raises(plan_changes.NotRunning):
        plan_changes.change_at_end(
            subscription_id=silver.pk, plan_code=PlanFactory().code, by_id=silver.member_id, now=noon_on(silver.ends_on)
        )
