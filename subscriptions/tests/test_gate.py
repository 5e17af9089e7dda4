"""The gate: allow or deny, why, until when, and what to pay."""

import threading
from datetime import date, datetime, time, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from payments.models import Receipt
from payments.services import reverse_receipt
from subscriptions import services
from subscriptions.gate import Answer, MemberNotFound, check_in
from subscriptions.models import FreezeKind, Visit
from subscriptions.periods import NAIROBI
from subscriptions.tests.factories import NOON, TODAY, MemberFactory, PlanFactory, granted, noon_on, pending

pytestmark = pytest.mark.django_db


def tap(member, now=NOON):
    return check_in(member_number=member.member_number, recorded_by_id=None, now=now)


def seen(member, now=NOON):
    answer = tap(member, now)
    return (answer.decision, answer.reason, answer.until, answer.amount_to_pay, answer.reference)


def test_a_running_period_opens_the_gate_until_its_last_day():
    member = granted(member=MemberFactory(first_name="Achieng", last_name="Otieno")).member

    assert tap(member) == Answer("allow", "active", date(2026, 12, 1), None, None, member.pk, "Achieng Otieno")


def test_grace_opens_it_with_the_price_of_the_renewal():
    subscription = granted(PlanFactory(grace_days=3, price=2000))

    assert seen(subscription.member, noon_on(subscription.ends_on)) == (
        "allow", "grace", date(2026, 12, 4), 2000, subscription.member.member_number,
    )  # fmt: skip


def test_after_grace_it_says_what_to_pay_to_the_member_number():
    subscription = granted(PlanFactory(price=2000))

    assert seen(subscription.member, noon_on(subscription.ends_on)) == (
        "deny", "expired", None, 2000, subscription.member.member_number,
    )  # fmt: skip


def test_a_purchase_that_waits_for_money_names_its_reference():
    subscription = pending()

    assert seen(subscription.member) == ("deny", "unpaid", None, 1500, subscription.payment.reference)


def test_who_never_bought_is_told_to_pay_under_the_member_number():
    member = MemberFactory()

    assert seen(member) == ("deny", "no_subscription", None, None, member.member_number)


def test_a_period_that_starts_later_does_not_open_it_yet():
    subscription = granted(on=TODAY + timedelta(days=5))

    assert seen(subscription.member)[:2] == ("deny", "not_started")


def test_a_frozen_member_stays_out():
    subscription = granted()
    services.freeze(
        subscription_id=subscription.pk,
        starts_on=TODAY,
        ends_on=TODAY + timedelta(days=2),
        kind=FreezeKind.STAFF,
        by_id=subscription.member_id,
        now=NOON,
    )

    assert seen(subscription.member)[:2] == ("deny", "frozen")


def test_money_that_went_back_closes_it():
    subscription = granted()
    reverse_receipt(receipt_id=Receipt.objects.get().pk, why="reversed", by_id=None, now=NOON)

    assert seen(subscription.member)[:2] == ("deny", "debt")


@pytest.mark.parametrize(
    ("at", "decision"), [(time(5, 59), "deny"), (time(6), "allow"), (time(13, 59), "allow"), (time(14), "deny")]
)
def test_an_off_peak_plan_opens_it_in_its_hours_only(at, decision):
    member = granted(PlanFactory(opens_at=time(6), closes_at=time(14)), on=TODAY - timedelta(days=1)).member

    answer = tap(member, datetime.combine(TODAY, at, NAIROBI))

    assert (answer.decision, answer.reason == "wrong_time") == (decision, decision == "deny")


def test_a_lockers_period_does_not_open_it():
    plan = PlanFactory(group__name="Locker", group__opens_gate=False)

    assert seen(granted(plan).member)[:2] == ("deny", "no_subscription")


def test_a_pack_lets_in_as_often_as_it_says():
    member = granted(PlanFactory(visits=2)).member

    answers = [tap(member, NOON + timedelta(hours=n)).reason for n in range(1, 4)]

    assert answers == ["active", "active", "visits_used_up"]
    assert list(Visit.objects.order_by("at").values_list("decision", flat=True)) == ["allow", "allow", "deny"]


def test_two_taps_within_a_minute_are_one_visit():
    member = granted(PlanFactory(visits=1)).member

    answers = [tap(member, NOON + timedelta(seconds=n)).decision for n in (60, 119, 121)]

    assert answers == ["allow", "allow", "deny"]
    assert Visit.objects.filter(decision="allow").count() == 1


def test_a_pack_is_not_spent_while_another_period_opens_it():
    pack = granted(PlanFactory(visits=5))
    granted(PlanFactory(group__name="Classes"), pack.member)

    tap(pack.member)

    assert Visit.objects.get().subscription != pack


def test_an_unknown_or_closed_number_is_not_found():
    with pytest.raises(MemberNotFound):
        check_in(member_number="0000000", recorded_by_id=None, now=NOON)
    with pytest.raises(MemberNotFound):
        tap(MemberFactory(is_active=False))


@pytest.mark.django_db(transaction=True)
def test_an_answer_costs_three_statements():
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
def test_taps_at_once_spend_one_visit_of_a_pack():
    member = granted(PlanFactory(visits=1)).member
    barrier, decisions = threading.Barrier(8), []

    def go():
        barrier.wait()
        try:
            decisions.append(tap(member).decision)
        finally:
            connection.close()

    threads = [threading.Thread(target=go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert decisions == ["allow"] * 8
    assert Visit.objects.filter(decision="allow").count() == 1


def test_new_hours_of_a_plan_are_not_those_of_a_period_bought_before():
    bought = granted(PlanFactory())

    services.edit_plan(plan_id=bought.plan_id, opens_at=time(6), closes_at=time(9))

    assert check_in(member_number=bought.member.member_number, recorded_by_id=None, now=NOON).reason == "active"
