"""The gate: allow or deny, why, until when, and what to pay."""

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


def seen(member, now=NOON):
    answer = tap(member, now)
    return (answer.decision, answer.reason, answer.until, answer.amount_to_pay, answer.reference)


def test_a_running_period_opens_the_gate_until_its_last_day():
    member = granted(member=MemberFactory(first_name="Achieng", last_name="Otieno")).member

    assert tap(member) == Answer("allow", "active", date(2026, 12, 1), None, None, member.pk, "Achieng Otieno")


def test_who_has_paid_is_not_asked_for_what_they_only_think_of_buying():
    member = granted().member
    pending(PlanFactory(), member)

    assert seen(member)[3:] == (None, None)


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

    assert seen(subscription.member) == ("deny", "not_started", TODAY + timedelta(days=4), None, None)


def test_who_has_paid_for_later_is_told_of_the_purchase_that_would_let_them_in_now():
    subscription = granted(on=TODAY + timedelta(days=5))
    day_pass = pending(PlanFactory(price=300, interval="days"), subscription.member)

    assert seen(subscription.member)[3:] == (300, day_pass.payment.reference)


def freeze(subscription, days):
    freezes.freeze(
        subscription_id=subscription.pk,
        starts_on=TODAY,
        ends_on=TODAY + timedelta(days=days),
        kind=FreezeKind.STAFF,
        by_id=subscription.member_id,
        now=NOON,
    )


def test_a_frozen_member_stays_out_until_the_last_frozen_day_and_has_nothing_to_pay():
    subscription = granted()
    freeze(subscription, days=2)

    assert seen(subscription.member) == ("deny", "frozen", TODAY + timedelta(days=1), None, None)


def test_a_closed_club_keeps_everybody_out_until_it_opens():
    subscription = granted()
    freeze(subscription, days=2)
    freezes.create_closure(
        starts_on=TODAY, ends_on=TODAY + timedelta(days=5), reason="Repairs", by_id=subscription.member_id, now=NOON
    )

    assert seen(subscription.member)[1:3] == ("frozen", TODAY + timedelta(days=4))
    assert seen(granted().member)[1:3] == ("frozen", TODAY + timedelta(days=4))


def test_money_that_went_back_to_its_payer_closes_it_until_the_renewal_is_paid():
    subscription = granted()
    reverse_receipt(receipt_id=Receipt.objects.get().pk, reason="reversed", by_id=None, now=NOON)

    assert seen(subscription.member) == ("deny", "debt", None, 1500, subscription.member.member_number)


def test_money_that_had_never_come_is_to_be_paid_to_the_same_payment():
    subscription = pending()
    first, _ = (pay_part(subscription.payment, amount, at=NOON) for amount in (1000, 500))
    reverse_receipt(receipt_id=first.pk, reason="typed twice", by_id=None, now=NOON, returned_to_payer=False)

    assert seen(subscription.member) == ("deny", "debt", None, 1000, subscription.payment.reference)


def test_a_month_that_was_taken_back_long_ago_is_not_asked_for_again():
    subscription = granted()
    reverse_receipt(
        receipt_id=Receipt.objects.get().pk, reason="typed twice", by_id=None, now=NOON, returned_to_payer=False
    )

    assert seen(subscription.member, noon_on(subscription.ends_on))[1:] == (
        "expired", None, 1500, subscription.member.member_number,
    )  # fmt: skip


def test_a_purchase_that_nobody_waits_for_any_more_is_not_asked_for():
    ended, later = granted(PlanFactory(price=2000)), NOON + timedelta(days=60)
    pending(PlanFactory(price=9000), ended.member)
    expire_due(now=later)

    assert seen(ended.member, later)[1:] == ("expired", None, 2000, ended.member.member_number)


def test_a_renewal_that_cannot_be_bought_has_no_price():
    subscription = granted(PlanFactory(price=2000))
    catalog.edit_plan(plan_id=subscription.plan_id, is_on_sale=False)

    assert seen(subscription.member, noon_on(subscription.ends_on))[3:] == (None, subscription.member.member_number)


@pytest.mark.parametrize(
    ("at", "decision"), [(time(5, 59), "deny"), (time(6), "allow"), (time(13, 59), "allow"), (time(14), "deny")]
)
def test_an_off_peak_plan_opens_it_in_its_hours_only(at, decision):
    member = granted(PlanFactory(opens_at=time(6), closes_at=time(14)), on=TODAY - timedelta(days=1)).member

    answer = tap(member, datetime.combine(TODAY, at, NAIROBI))

    assert (answer.decision, answer.reason == "wrong_time") == (decision, decision == "deny")
    assert answer.amount_to_pay is None


def test_a_lockers_period_does_not_open_it():
    plan = PlanFactory(group__name="Locker", group__opens_gate=False)

    assert seen(granted(plan).member)[:2] == ("deny", "no_subscription")


def test_a_pack_lets_in_as_often_as_it_says():
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

    catalog.edit_plan(plan_id=bought.plan_id, opens_at=time(6), closes_at=time(9))

    assert check_in(member_number=bought.member.member_number, recorded_by_id=None, now=NOON).reason == "active"
