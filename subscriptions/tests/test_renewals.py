"""Renewals by money: each case goes through the paybill or the desk, and is checked at the gate."""

from datetime import date, time, timedelta

import pytest

from payments.daraja.messages import C2bMessage
from payments.desk import cash_sessions, desk_receipts, review_decisions
from payments.evidence import c2b_confirmations
from payments.models import Account, Channel, Receipt, ReviewItem
from payments.services import ledger
from payments.services.reversals import reverse_receipt
from payments.tests.invariants import broken_invariants
from payments.tests.threads import run_together
from payments.tests.triggers import triggers_off
from subscriptions.gate import Reason, check_in
from subscriptions.invariants import INVARIANTS
from subscriptions.models import Interval, Subscription
from subscriptions.services import freezes, plan_changes, purchases
from subscriptions.services.free_periods import grant_free_period
from subscriptions.tests.factories import (
    TODAY,
    MemberFactory,
    PlanFactory,
    PlanGroupFactory,
    buy,
    granted,
    noon_on,
    record_paybill_payment,
)

pytestmark = [pytest.mark.django_db, pytest.mark.server]

ENDED = TODAY - timedelta(days=60)  # a monthly period of this day has ended
NOW = noon_on(TODAY)


def paybill(account, amount, *, now=NOW, moved_at=None, code="TKN1AB2C3D", sender=""):
    """Report money that was paid to the paybill under an account."""
    message = C2bMessage(code, moved_at or now, amount, "174379", account, sender, "JANE", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=now)


def periods(member):
    """Return the plan and dates of the member's granted periods, oldest first."""
    found = Subscription.objects.granted().filter(member=member).order_by("starts_on", "pk")
    return [(each.plan.code, each.starts_on, each.ends_on) for each in found.select_related("plan")]


def credit_of(member):
    return -ledger.balance(Account.MEMBER_CREDIT, member_id=member.pk)


def tap(member, now=NOW):
    """Return the gate's decision, its reason, and the amount and account that it asks for."""
    answer = check_in(member_number=member.member_number, recorded_by_id=None, now=now)
    return answer.decision, answer.reason, answer.amount_to_pay, answer.reference


@pytest.fixture
def monthly():
    return PlanFactory(code="monthly", price=1500)


@pytest.fixture
def expired(monthly):
    """A member whose monthly period has ended."""
    member = MemberFactory()
    granted(monthly, member, on=ENDED)
    return member


THIS_MONTH = ("monthly", date(2026, 11, 2), date(2026, 12, 2))


def test_asked_amount_paid_to_the_member_number_opens_the_gate(expired):
    assert tap(expired) == ("deny", Reason.EXPIRED, 1500, expired.member_number)

    paybill(expired.member_number, 1500)

    assert periods(expired)[1:] == [THIS_MONTH]
    assert tap(expired, NOW + timedelta(minutes=2))[:2] == ("allow", Reason.ACTIVE)


def test_less_than_the_price_is_credit_and_the_gate_asks_for_the_rest(expired):
    paybill(expired.member_number, 1000)

    assert tap(expired) == ("deny", Reason.EXPIRED, 500, expired.member_number)
    paybill(expired.member_number, 500, code="TKN1AB2C3E")
    assert tap(expired, NOW + timedelta(minutes=2))[:2] == ("allow", Reason.ACTIVE)
    assert credit_of(expired) == 0


@pytest.mark.parametrize(("amount", "count", "credit"), [(1700, 1, 200), (4500, 3, 0), (3100, 1, 1600)])
def test_exact_multiples_of_the_price_renew_several_periods(expired, amount, count, credit):
    paybill(expired.member_number, amount)

    assert (len(periods(expired)) - 1, credit_of(expired)) == (count, credit)


def test_multiples_stop_at_the_stacking_limit(expired, monthly):
    monthly.stacking_limit = 1
    with triggers_off():
        monthly.save()

    paybill(expired.member_number, 4500)

    assert (len(periods(expired)) - 1, credit_of(expired)) == (2, 1500)


def test_money_before_the_end_is_stacked_after_the_running_period(monthly):
    member = MemberFactory()
    granted(monthly, member)

    paybill(member.member_number, 1500, now=noon_on(TODAY + timedelta(days=5)))

    assert periods(member) == [THIS_MONTH, ("monthly", date(2026, 12, 2), date(2027, 1, 2))]


def test_exact_price_of_another_plan_of_the_group_buys_that_plan(expired):
    PlanFactory(code="quarter", price=4000, interval_count=3)

    paybill(expired.member_number, 4000)

    assert periods(expired)[1:] == [("quarter", date(2026, 11, 2), date(2027, 2, 2))]


def test_exact_price_of_a_day_pass_buys_no_day_pass(expired):
    PlanFactory(code="day", price=300, interval=Interval.DAYS)

    paybill(expired.member_number, 300)

    assert (len(periods(expired)), credit_of(expired)) == (1, 300)


def test_plan_chosen_for_the_renewal_is_renewed(monthly):
    member, gold = MemberFactory(), PlanFactory(code="gold", price=3000)
    running = granted(monthly, member)
    plan_changes.change_at_end(subscription_id=running.pk, plan_code=gold.code, by_id=running.member_id, now=NOW)

    paybill(member.member_number, 3000, now=noon_on(date(2026, 12, 5)))

    assert periods(member)[1:] == [("gold", date(2026, 12, 5), date(2027, 1, 5))]


def test_todays_price_counts(expired, monthly):
    monthly.price = 1800
    with triggers_off():
        monthly.save()

    paybill(expired.member_number, 1500)

    assert tap(expired) == ("deny", Reason.EXPIRED, 300, expired.member_number)


@pytest.mark.parametrize("change", [{"price": 0}, {"is_on_sale": False}, {"interval": "days", "interval_count": 6}])
def test_free_unsold_and_short_plans_are_not_renewed(expired, monthly, change):
    for name, value in change.items():
        setattr(monthly, name, value)
    with triggers_off():
        monthly.save()

    paybill(expired.member_number, 1500)

    assert (len(periods(expired)), credit_of(expired)) == (1, 1500)


def test_gift_is_not_renewed(monthly):
    member, manager = MemberFactory(), MemberFactory(role="Manager")
    grant_free_period(member_id=member.pk, plan_code="monthly", reason="guest", by_id=manager.pk, now=NOW)

    paybill(member.member_number, 1500, now=noon_on(date(2027, 1, 5)))

    assert (len(periods(member)), credit_of(member)) == (1, 1500)


def test_member_who_leaves_is_not_renewed(monthly):
    member = MemberFactory()
    running = granted(monthly, member)
    purchases.cancel(subscription_id=running.pk, by_id=member.pk, now=NOW)

    paybill(member.member_number, 1500, now=noon_on(date(2026, 12, 5)))

    assert (len(periods(member)), credit_of(member)) == (1, 1500)


def test_member_who_withdrew_consent_is_not_renewed_and_not_asked_again(expired):
    expired.consented_at = None
    expired.save()

    paybill(expired.member_number, 1500)

    assert (len(periods(expired)), credit_of(expired)) == (1, 1500)
    assert tap(expired) == ("deny", Reason.EXPIRED, None, expired.member_number)


def test_period_of_a_locker_is_not_renewed():
    member = MemberFactory()
    granted(PlanFactory(group=PlanGroupFactory(name="Locker", opens_gate=False)), member, on=ENDED)

    paybill(member.member_number, 1500)

    assert (len(periods(member)), credit_of(member)) == (1, 1500)


def test_money_pays_an_open_order_before_it_renews(expired):
    order = buy(expired, plan=PlanFactory(code="gold", price=1500), now=NOW).subscription

    paybill(expired.member_number, 1500, now=NOW + timedelta(minutes=1))

    order.refresh_from_db()
    assert (order.fact, len(periods(expired)), credit_of(expired)) == ("granted", 2, 0)


def test_frozen_members_money_is_stacked_after_the_freeze(monthly):
    monthly.max_freezes, monthly.max_freeze_days = 1, 10
    with triggers_off():
        monthly.save()
    member = MemberFactory()
    running = granted(monthly, member)
    freezes.freeze(
        subscription_id=running.pk,
        starts_on=TODAY + timedelta(days=1),
        ends_on=TODAY + timedelta(days=11),
        kind="member",
        by_id=member.pk,
        now=NOW,
    )

    paybill(member.member_number, 1500, now=noon_on(TODAY + timedelta(days=3)))

    assert periods(member)[1:] == [("monthly", date(2026, 12, 12), date(2027, 1, 12))]


def test_money_reported_within_a_day_counts_from_the_day_it_moved(expired):
    paybill(expired.member_number, 1500, now=NOW, moved_at=NOW - timedelta(hours=20))

    assert periods(expired)[1:] == [("monthly", date(2026, 11, 1), date(2026, 12, 1))]


def test_money_reported_days_later_counts_from_today(expired):
    paybill(expired.member_number, 1500, now=NOW, moved_at=NOW - timedelta(days=9))

    assert periods(expired)[1:] == [THIS_MONTH]


def test_surplus_renews_at_the_first_tap_after_the_end(expired, monthly):
    order = buy(expired, plan=monthly, now=NOW).subscription
    paybill(order.payment.reference, 3000, now=NOW + timedelta(minutes=1))
    assert (len(periods(expired)), credit_of(expired)) == (2, 1500)
    later = noon_on(date(2026, 12, 10))

    assert tap(expired, later)[:2] == ("allow", Reason.ACTIVE)

    assert periods(expired)[2:] == [("monthly", date(2026, 12, 10), date(2027, 1, 10))]
    assert credit_of(expired) == 0


def test_tap_of_a_member_inside_spends_no_credit(monthly):
    member = MemberFactory()
    granted(monthly, member)
    record_paybill_payment(member, 1500)

    assert tap(member)[:2] == ("allow", Reason.ACTIVE)

    assert (len(periods(member)), credit_of(member)) == (1, 1500)


def test_tap_outside_the_hours_spends_no_credit():
    member = MemberFactory()
    plan = PlanFactory(price=1500, grace_days=5, opens_at=time(14), closes_at=time(16))
    granted(plan, member, on=TODAY - timedelta(days=33))  # ended on the day before, now in grace
    record_paybill_payment(member, 1500)

    assert tap(member) == ("deny", Reason.WRONG_TIME, None, None)

    assert (len(periods(member)), credit_of(member)) == (1, 1500)


def test_money_reserved_by_a_review_item_does_not_renew(expired):
    record_paybill_payment(expired, 1500)
    ReviewItem.objects.create(
        reason="late_money", detail="", receipt=Receipt.objects.latest("pk"), status="open", created_at=NOW
    )

    assert tap(expired) == ("deny", Reason.EXPIRED, 1500, expired.member_number)


def test_money_that_staff_assign_to_the_member_renews(expired):
    paybill("gym", 1500)
    manager = MemberFactory(role="Manager")

    review_decisions.assign_money(item_id=ReviewItem.objects.get().pk, member_id=expired.pk, by_id=manager.pk, now=NOW)

    assert periods(expired)[1:] == [THIS_MONTH]


def test_cash_for_the_member_renews(expired):
    cashier = MemberFactory(role="Receptionist")
    cash_sessions.open_session(cashier_id=cashier.pk, opening_float=0, now=NOW)

    desk_receipts.record_receipt(
        channel=Channel.CASH, amount=1500, member_id=expired.pk, by_id=cashier.pk, now=NOW + timedelta(minutes=1)
    )

    assert periods(expired)[1:] == [THIS_MONTH]


def test_money_is_kept_when_the_renewal_fails(expired, monkeypatch):
    def fail(**kwargs):
        raise RuntimeError

    monkeypatch.setattr("subscriptions.services.renewals.purchases.subscribe", fail)

    paybill(expired.member_number, 1500)

    assert (len(periods(expired)), credit_of(expired)) == (1, 1500)


@pytest.mark.django_db(transaction=True)
def test_two_taps_at_once_renew_once(monthly):
    member = MemberFactory()
    granted(monthly, member, on=ENDED)
    record_paybill_payment(member, 3000)

    answers = run_together(*[lambda: tap(member)[:2]] * 2)

    assert answers == [("allow", Reason.ACTIVE)] * 2
    assert (len(periods(member)), credit_of(member)) == (2, 1500)


# --- Visit packs ----------------------------------------------------------------------------------


@pytest.fixture
def used_up():
    """A member with a pack of two visits for two weeks, bought and used up on the first two days."""
    member = MemberFactory()
    granted(PlanFactory(code="pack", price=900, interval=Interval.WEEKS, interval_count=2, visits=2), member)
    for day in range(2):
        assert tap(member, NOW + timedelta(days=day, hours=1))[0] == "allow"
    return member


DAY_3 = NOW + timedelta(days=2)


def test_paid_successor_of_a_used_up_pack_begins_at_once(used_up):
    assert tap(used_up, DAY_3) == ("deny", Reason.VISITS_USED_UP, 900, used_up.member_number)

    paybill(used_up.member_number, 900, now=DAY_3)

    assert periods(used_up) == [
        ("pack", date(2026, 11, 2), date(2026, 11, 4)),
        ("pack", date(2026, 11, 4), date(2026, 11, 18)),
    ]
    assert tap(used_up, DAY_3 + timedelta(minutes=2))[:2] == ("allow", Reason.ACTIVE)


def test_credit_renews_a_used_up_pack_at_the_gate(used_up):
    record_paybill_payment(used_up, 900)

    assert tap(used_up, DAY_3)[:2] == ("allow", Reason.ACTIVE)
    assert credit_of(used_up) == 0


def test_period_paid_before_the_pack_was_used_up_begins_at_the_next_tap(monthly):
    member = MemberFactory()
    granted(PlanFactory(code="pack", price=900, interval=Interval.WEEKS, interval_count=2, visits=2), member)
    granted(monthly, member)
    for day in range(2):
        tap(member, NOW + timedelta(days=day, hours=1))

    assert tap(member, DAY_3)[:2] == ("allow", Reason.ACTIVE)

    assert periods(member) == [
        ("pack", date(2026, 11, 2), date(2026, 11, 4)),
        ("monthly", date(2026, 11, 4), date(2026, 12, 4)),
    ]


def test_pack_with_a_visit_left_is_not_ended(monthly):
    member = MemberFactory()
    granted(PlanFactory(code="pack", price=900, interval=Interval.WEEKS, interval_count=2, visits=2), member)
    tap(member, NOW + timedelta(hours=1))

    granted(monthly, member, on=TODAY + timedelta(days=1))

    assert periods(member) == [
        ("pack", date(2026, 11, 2), date(2026, 11, 16)),
        ("monthly", date(2026, 11, 16), date(2026, 12, 16)),
    ]


def test_last_visit_on_the_day_of_the_payment_leaves_no_day_unused(monthly):
    member = MemberFactory()
    granted(PlanFactory(code="pack", price=900, interval=Interval.WEEKS, interval_count=2, visits=1), member)
    tap(member, NOW + timedelta(hours=1))

    granted(monthly, member)

    assert periods(member) == [
        ("pack", date(2026, 11, 2), date(2026, 11, 2)),
        ("monthly", date(2026, 11, 2), date(2026, 12, 2)),
    ]


def test_revoked_successor_leaves_the_pack_ended(used_up):
    paybill(used_up.member_number, 900, now=DAY_3)

    reverse_receipt(receipt_id=Receipt.objects.latest("pk").pk, reason="reversed", by_id=None, now=DAY_3)

    assert tap(used_up, DAY_3 + timedelta(minutes=2))[:3] == ("deny", Reason.DEBT, 900)
    assert broken_invariants(INVARIANTS) == {}
