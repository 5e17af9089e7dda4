"""The gate: its decision, reason, last day and amount to pay."""

import threading
from datetime import date, datetime, time, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from api.business_days import NAIROBI
from payments.models import Receipt
from payments.services.cancellation import expire_due
from payments.services.reversals import reverse_receipt
from subscriptions.gate import Answer, MemberNotFound, check_in
from subscriptions.models import FreezeKind, Visit
from subscriptions.services import catalog, freezes
from subscriptions.tests.factories import NOON, TODAY, MemberFactory, PlanFactory, granted, noon_on, pay_part, pending

pytestmark = [pytest.mark.django_db, pytest.mark.server]


def tap(member, now=NOON):
    return check_in(member_number=member.member_number, recorded_by_id=None, now=now)


def answer_of(member, now=NOON):
    answer = tap(member, now)
    return (answer.decision, answer.reason, answer.until, answer.amount_to_pay, answer.reference)


def test_running_period_opens_the_gate_until_its_last_day():
    member = granted(member=MemberFactory(first_name="Achieng", last_name="Otieno")).member

    assert tap(member) == Answer("allow", "active", date(2026, 12, 1), None, None, member.pk, "Achieng Otieno")


def test_pending_purchase_is_not_shown_to_an_active_member():
    member = granted().member
    pending(PlanFactory(), member)

    assert answer_of(member)[3:] == (None, None)


def test_grace_opens_the_gate_and_shows_the_renewal_price():
    subscription = granted(PlanFactory(grace_days=3, price=2000))

    assert answer_of(subscription.member, noon_on(subscription.ends_on)) == (
        "allow", "grace", date(2026, 12, 4), 2000, subscription.member.member_number,
    )  # fmt: skip


def test_expired_member_sees_the_price_and_member_number():
    subscription = granted(PlanFactory(price=2000))

    assert answer_of(subscription.member, noon_on(subscription.ends_on)) == (
        "deny", "expired", None, 2000, subscription.member.member_number,
    )  # fmt: skip


def test_unpaid_member_sees_the_payment_reference():
    subscription = pending()

    assert answer_of(subscription.member) == ("deny", "unpaid", None, 1500, subscription.payment.reference)


def test_member_without_subscription_sees_the_member_number():
    member = MemberFactory()

    assert answer_of(member) == ("deny", "no_subscription", None, None, member.member_number)


def test_scheduled_period_does_not_open_the_gate():
    subscription = granted(on=TODAY + timedelta(days=5))

    assert answer_of(subscription.member) == ("deny", "not_started", TODAY + timedelta(days=4), None, None)


def test_member_with_scheduled_period_sees_the_pending_purchase():
    subscription = granted(on=TODAY + timedelta(days=5))
    day_pass = pending(PlanFactory(price=300, interval="days"), subscription.member)

    assert answer_of(subscription.member)[3:] == (300, day_pass.payment.reference)


def freeze(subscription, days):
    freezes.freeze(
        subscription_id=subscription.pk,
        starts_on=TODAY,
        ends_on=TODAY + timedelta(days=days),
        kind=FreezeKind.STAFF,
        by_id=subscription.member_id,
        now=NOON,
    )


def test_frozen_member_is_refused_without_an_amount():
    subscription = granted()
    freeze(subscription, days=2)

    assert answer_of(subscription.member) == ("deny", "frozen", TODAY + timedelta(days=1), None, None)


def test_closure_refuses_every_member_until_its_end():
    subscription = granted()
    freeze(subscription, days=2)
    freezes.create_closure(
        starts_on=TODAY, ends_on=TODAY + timedelta(days=5), reason="Repairs", by_id=subscription.member_id, now=NOON
    )

    assert answer_of(subscription.member)[1:3] == ("frozen", TODAY + timedelta(days=4))
    assert answer_of(granted().member)[1:3] == ("frozen", TODAY + timedelta(days=4))


def test_returned_money_is_debt_paid_by_a_renewal():
    subscription = granted()
    reverse_receipt(receipt_id=Receipt.objects.get().pk, reason="reversed", by_id=None, now=NOON)

    assert answer_of(subscription.member) == ("deny", "debt", None, 1500, subscription.member.member_number)


def test_voided_money_is_debt_of_the_same_payment():
    subscription = pending()
    first, _ = (pay_part(subscription.payment, amount, at=NOON) for amount in (1000, 500))
    reverse_receipt(receipt_id=first.pk, reason="typed twice", by_id=None, now=NOON, returned_to_payer=False)

    assert answer_of(subscription.member) == ("deny", "debt", None, 1000, subscription.payment.reference)


def test_debt_of_an_ended_period_is_not_shown():
    subscription = granted()
    reverse_receipt(
        receipt_id=Receipt.objects.get().pk, reason="typed twice", by_id=None, now=NOON, returned_to_payer=False
    )

    assert answer_of(subscription.member, noon_on(subscription.ends_on))[1:] == (
        "expired", None, 1500, subscription.member.member_number,
    )  # fmt: skip


def test_expired_purchase_is_not_shown():
    ended, later = granted(PlanFactory(price=2000)), NOON + timedelta(days=60)
    pending(PlanFactory(price=9000), ended.member)
    expire_due(now=later)

    assert answer_of(ended.member, later)[1:] == ("expired", None, 2000, ended.member.member_number)


def test_plan_not_on_sale_has_no_renewal_price():
    subscription = granted(PlanFactory(price=2000))
    catalog.edit_plan(plan_id=subscription.plan_id, is_on_sale=False, by_id=None, now=NOON)

    assert answer_of(subscription.member, noon_on(subscription.ends_on))[3:] == (
        None,
        subscription.member.member_number,
    )


@pytest.mark.parametrize(
    ("at", "decision"), [(time(5, 59), "deny"), (time(6), "allow"), (time(13, 59), "allow"), (time(14), "deny")]
)
def test_off_peak_plan_opens_the_gate_in_its_hours(at, decision):
    member = granted(PlanFactory(opens_at=time(6), closes_at=time(14)), on=TODAY - timedelta(days=1)).member

    answer = tap(member, datetime.combine(TODAY, at, NAIROBI))

    assert (answer.decision, answer.reason == "wrong_time") == (decision, decision == "deny")
    assert answer.amount_to_pay is None


def test_locker_period_does_not_open_the_gate():
    plan = PlanFactory(group__name="Locker", group__opens_gate=False)

    assert answer_of(granted(plan).member)[:2] == ("deny", "no_subscription")


def test_pack_allows_its_number_of_visits():
    member = granted(PlanFactory(visits=2)).member

    answers = [tap(member, NOON + timedelta(hours=n)).reason for n in range(1, 4)]

    assert answers == ["active", "active", "visits_used_up"]
    pack = member.subscriptions.get().pk
    assert list(Visit.objects.order_by("at").values_list("decision", "subscription")) == [
        ("allow", pack),
        ("allow", pack),
        ("deny", None),
    ]


def test_two_taps_within_a_minute_are_one_visit():
    member = granted(PlanFactory(visits=1)).member

    answers = [tap(member, NOON + timedelta(seconds=n)).decision for n in (60, 119, 121)]

    assert answers == ["allow", "allow", "deny"]
    assert Visit.objects.filter(decision="allow").count() == 1


def test_pack_is_not_used_while_another_period_opens_the_gate():
    pack = granted(PlanFactory(visits=5))
    granted(PlanFactory(group__name="Classes"), pack.member)

    tap(pack.member)

    assert Visit.objects.get().subscription != pack


def test_unknown_or_inactive_member_number_is_not_found():
    with pytest.raises(MemberNotFound):
        check_in(member_number="0000000", recorded_by_id=None, now=NOON)
    with pytest.raises(MemberNotFound):
        tap(MemberFactory(is_active=False))


@pytest.mark.django_db(transaction=True)
def test_check_in_takes_three_statements():
    plan = PlanFactory(visits=9, grace_days=3)
    member = granted(plan).member
    granted(plan, member)
    pending(plan, member)

    with CaptureQueriesContext(connection) as captured:
        assert tap(member).decision == "allow"

    statements = [query["sql"] for query in captured if query["sql"] not in ("BEGIN", "COMMIT")]
    assert len(statements) == 3


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_concurrent_taps_use_one_visit_of_a_pack():
    member = granted(PlanFactory(visits=1)).member
    barrier, decisions = threading.Barrier(8), []

    def tap_once():
        barrier.wait()
        try:
            decisions.append(tap(member).decision)
        finally:
            connection.close()

    threads = [threading.Thread(target=tap_once) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert decisions == ["allow"] * 8
    assert Visit.objects.filter(decision="allow").count() == 1


def test_changed_plan_hours_do_not_affect_older_periods():
    bought = granted(PlanFactory())

    catalog.edit_plan(plan_id=bought.plan_id, opens_at=time(6), closes_at=time(9), by_id=None, now=NOON)

    assert check_in(member_number=bought.member.member_number, recorded_by_id=None, now=NOON).reason == "active"
