"""Two things happen at once to one member, or to the whole club, with real threads on PostgreSQL."""

import threading

import pytest
from django.db import connection, transaction

from subscriptions import services
from subscriptions.models import Subscription
from subscriptions.tests.factories import NOON, MemberFactory, PlanFactory, granted, noon_on, open_payment, pay, pending
from subscriptions.tests.test_freezing import day, spans

pytestmark = pytest.mark.django_db(transaction=True)


def close(by_id):
    services.close_club(starts_on=day(10), ends_on=day(20), reason="Repairs", by_id=by_id, now=NOON)


def in_thread(call):
    """Start the call in a thread with a connection of its own."""

    def run():
        try:
            call()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_period_granted_while_the_club_is_being_closed_gets_the_days_too():
    staff, bought = MemberFactory(), pending()

    with transaction.atomic():
        pay(bought.payment, at=noon_on(day(0)))  # laid out without the closure, and not committed yet
        closing = in_thread(lambda: close(staff.pk))
        closing.join(timeout=0.5)
        assert closing.is_alive()
    closing.join(timeout=10)

    assert spans(bought)[0][1:] == (day(30), day(40))


def test_a_period_granted_before_the_closing_is_committed_waits_and_gets_the_days():
    staff, bought, running = MemberFactory(), pending(), granted()

    with transaction.atomic():
        close(staff.pk)
        paying = in_thread(lambda: pay(bought.payment, at=noon_on(day(0))))
        paying.join(timeout=0.5)
        assert paying.is_alive()
    paying.join(timeout=10)

    assert [span[1:] for span in spans(bought, running)] == [(day(30), day(40))] * 2


def then_meanwhile(call):
    """Do it, and the same again in a thread before the first is committed; the second must wait for the first."""
    with transaction.atomic():
        call()
        second = in_thread(call)
        second.join(timeout=0.5)
        assert second.is_alive()
    second.join(timeout=10)


def test_one_upgrade_asked_for_twice_at_once_is_one():
    silver, gold = granted(PlanFactory(price=1000)), PlanFactory(price=3000)

    then_meanwhile(
        lambda: services.upgrade(
            subscription_id=silver.pk, plan_code=gold.code, phone=None, by_id=silver.member_id, now=NOON
        )
    )

    assert Subscription.objects.filter(replaces=silver).count() == 1


def test_one_gift_sent_twice_at_once_is_one():
    member, plan = MemberFactory(), PlanFactory()

    then_meanwhile(
        lambda: services.give(
            member_id=member.pk,
            plan_code=plan.code,
            reason="raffle",
            by_id=member.pk,
            now=NOON,
            idempotency_key="k",
        )
    )

    assert member.subscriptions.count() == 1


def test_two_people_who_pay_for_one_member_at_once_both_give_their_month():
    member = MemberFactory()
    mothers, fathers = (pending(member=member, payment=open_payment(MemberFactory())) for _ in range(2))

    with transaction.atomic():
        pay(mothers.payment, at=noon_on(day(0)))
        paying = in_thread(lambda: pay(fathers.payment, at=noon_on(day(0))))
        paying.join(timeout=0.5)
        assert paying.is_alive()
    paying.join(timeout=10)

    assert [span[:2] for span in spans(mothers, fathers)] == [(day(0), day(30)), (day(30), day(61))]
