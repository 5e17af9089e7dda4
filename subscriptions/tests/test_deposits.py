"""A plan that asks for a share first: access for the deposit, a debt for the rest."""

from datetime import date, timedelta

import pytest

from payments.models import Allocation
from payments.services import InvalidTransition, cancel_payment, retry_listeners, reverse_receipt
from subscriptions import services
from subscriptions.gate import check_in
from subscriptions.services.changing import OwesFirst
from subscriptions.tests.factories import (
    NOON,
    TODAY,
    MemberFactory,
    PlanFactory,
    granted,
    noon_on,
    pay,
    pay_some,
    pending,
    put_money_down,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def plan():
    """Half of KES 3,001, rounded up, lets a member in."""
    return PlanFactory(price=3001, deposit_percent=50)


def spans(*subscriptions):
    for each in subscriptions:
        each.refresh_from_db()
    return [(each.fact, each.starts_on, each.ends_on) for each in subscriptions]


def tap(member, now=NOON):
    answer = check_in(member_number=member.member_number, recorded_by_id=None, now=now)
    return answer.decision, answer.reason, answer.amount_to_pay, answer.reference


def test_access_is_given_on_the_day_the_share_was_reached_and_later_money_moves_no_date(plan):
    bought = pending(plan)

    pay_some(bought.payment, 1500, at=NOON)
    assert spans(bought) == [("pending", None, None)]
    pay_some(bought.payment, 1, at=NOON + timedelta(days=2))
    half = spans(bought)
    pay(bought.payment, at=NOON + timedelta(days=9))

    assert half == spans(bought) == [("granted", date(2026, 11, 4), date(2026, 12, 4))]
    assert (bought.payment.status, bought.payment.amount_owed) == ("paid", 0)


def test_the_gate_lets_in_who_owes_the_rest_and_tells_what_to_pay(plan):
    bought = pending(plan)
    pay_some(bought.payment, 2000, at=NOON)

    assert tap(bought.member) == ("allow", "active", 1001, bought.payment.reference)
    assert tap(bought.member, NOON + timedelta(days=60)) == ("deny", "expired", 1001, bought.payment.reference)


def test_credit_counts_towards_the_share(plan):
    member = MemberFactory()
    put_money_down(member, 1600)

    bought = services.subscribe(
        member_ids=[member.pk], plan_code=plan.code, payer_id=member.pk, phone=None, created_by_id=member.pk, now=NOON
    ).subscription

    assert (bought.fact, bought.payment.status, bought.payment.amount_owed) == ("granted", "partially_paid", 1401)


def test_money_that_goes_back_below_the_share_takes_the_access_with_it(plan):
    bought = pending(plan)
    first, second = (pay_some(bought.payment, amount, at=NOON) for amount in (1400, 1600))

    reverse_receipt(receipt_id=first.pk, why="reversed", by_id=None, now=NOON)
    assert spans(bought)[0][0] == "granted"  # 1,600 are left
    reverse_receipt(receipt_id=second.pk, why="reversed", by_id=None, now=NOON)

    assert spans(bought)[0][0] == "revoked"


def test_what_was_given_for_a_deposit_cannot_be_cancelled_for_the_money(plan):
    bought = pending(plan)
    pay_some(bought.payment, 2000, at=NOON)

    with pytest.raises(InvalidTransition):
        cancel_payment(payment_id=bought.payment_id, by_id=bought.member_id, now=NOON)

    assert Allocation.objects.filter(undone_at=None).count() == 1


def test_who_still_owes_pays_before_they_upgrade(plan):
    bought = pending(plan)
    pay_some(bought.payment, 2000, at=NOON)

    with pytest.raises(OwesFirst):
        services.upgrade(
            subscription_id=bought.pk,
            plan_code=PlanFactory(price=9000).code,
            phone=None,
            by_id=bought.member_id,
            now=noon_on(TODAY),
        )


def test_telling_the_listeners_again_gives_for_the_deposit(plan, monkeypatch):
    bought = pending(plan)
    monkeypatch.setattr(services, "grant_for_payment", lambda **said: 1 / 0)
    pay_some(bought.payment, 2000, at=NOON)
    monkeypatch.undo()
    assert spans(bought)[0][0] == "pending"

    assert retry_listeners(payment_id=bought.payment_id, now=NOON)

    assert spans(bought)[0][0] == "granted"


def test_a_plan_that_asks_for_all_gives_nothing_for_most_of_it():
    bought = pending(PlanFactory(price=1000))
    pay_some(bought.payment, 999, at=NOON)

    assert spans(bought) == [("pending", None, None)]
    assert spans(granted(PlanFactory(price=1000)))[0][0] == "granted"
