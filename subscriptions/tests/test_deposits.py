"""A plan that asks for a share first: access for the deposit, a debt for the rest."""

from datetime import date, timedelta

import pytest
from procrastinate.contrib.django.models import ProcrastinateJob

from payments.models import Allocation, ReviewItem
from payments.services.cancellation import cancel_payment, expire_due
from payments.services.listeners import retry_listeners
from payments.services.reversals import reverse_receipt
from payments.services.transitions import InvalidTransition
from payments.tests.conftest import broken_invariants
from subscriptions.gate import check_in
from subscriptions.services import grants, plan_changes, purchases
from subscriptions.services.plan_changes import OwesFirst
from subscriptions.tests.factories import (
    NOON,
    TODAY,
    MemberFactory,
    PlanFactory,
    granted,
    noon_on,
    pay,
    pay_part,
    pending,
    record_paybill_payment,
)
from subscriptions.tests.test_invariants import broken

pytestmark = [pytest.mark.django_db, pytest.mark.server]


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

    pay_part(bought.payment, 1500, at=NOON)
    assert spans(bought) == [("pending", None, None)]
    pay_part(bought.payment, 1, at=NOON + timedelta(days=2))
    half = spans(bought)
    pay(bought.payment, at=NOON + timedelta(days=9))

    assert half == spans(bought) == [("granted", date(2026, 11, 4), date(2026, 12, 4))]
    assert (bought.payment.status, bought.payment.amount_owed) == ("paid", 0)


def test_the_gate_lets_in_who_owes_the_rest_and_tells_what_to_pay(plan):
    bought = pending(plan)
    pay_part(bought.payment, 2000, at=NOON)

    assert tap(bought.member) == ("allow", "active", 1001, bought.payment.reference)
    assert tap(bought.member, NOON + timedelta(days=60)) == ("deny", "expired", 1001, bought.payment.reference)


def test_credit_counts_towards_the_share(plan):
    member = MemberFactory()
    record_paybill_payment(member, 1600)

    bought = purchases.subscribe(
        member_ids=[member.pk], plan_code=plan.code, payer_id=member.pk, phone=None, created_by_id=member.pk, now=NOON
    ).subscription

    assert (bought.fact, bought.payment.status, bought.payment.amount_owed) == ("granted", "partially_paid", 1401)


def test_money_that_goes_back_below_the_share_takes_the_access_with_it(plan):
    bought = pending(plan)
    first, second = (pay_part(bought.payment, amount, at=NOON) for amount in (1400, 1600))

    reverse_receipt(receipt_id=first.pk, reason="reversed", by_id=None, now=NOON)
    assert spans(bought)[0][0] == "granted"  # 1,600 are left
    reverse_receipt(receipt_id=second.pk, reason="reversed", by_id=None, now=NOON)

    assert spans(bought)[0][0] == "revoked"


def test_what_was_given_for_a_deposit_cannot_be_cancelled_for_the_money(plan):
    bought = pending(plan)
    pay_part(bought.payment, 2000, at=NOON)

    with pytest.raises(InvalidTransition):
        cancel_payment(payment_id=bought.payment_id, by_id=bought.member_id, now=NOON)

    assert Allocation.objects.filter(undone_at=None).count() == 1


def test_who_still_owes_pays_before_they_upgrade(plan):
    bought = pending(plan)
    pay_part(bought.payment, 2000, at=NOON)

    with pytest.raises(OwesFirst):
        plan_changes.upgrade(
            subscription_id=bought.pk,
            plan_code=PlanFactory(price=9000).code,
            phone=None,
            by_id=bought.member_id,
            now=noon_on(TODAY),
        )


def test_telling_the_listeners_again_gives_for_the_deposit(plan, monkeypatch):
    bought = pending(plan)
    monkeypatch.setattr(grants, "grant_for_payment", lambda **said: 1 / 0)
    pay_part(bought.payment, 2000, at=NOON)
    monkeypatch.undo()
    assert spans(bought)[0][0] == "pending"

    assert retry_listeners(payment_id=bought.payment_id, now=NOON)

    assert spans(bought)[0][0] == "granted"


def test_a_plan_that_asks_for_all_gives_nothing_for_most_of_it():
    bought = pending(PlanFactory(price=1000))
    pay_part(bought.payment, 999, at=NOON)

    assert spans(bought) == [("pending", None, None)]
    assert spans(granted(PlanFactory(price=1000)))[0][0] == "granted"


# --- Nobody lives on deposits ---


def buy(member, plan, now=NOON):
    return purchases.subscribe(
        member_ids=[member.pk], plan_code=plan.code, payer_id=member.pk, phone=None, created_by_id=member.pk, now=now
    ).subscription


def test_next_to_a_debt_the_next_period_is_given_for_all_of_its_money(plan):
    first = buy(MemberFactory(), plan)
    pay_part(first.payment, 1501, at=NOON)

    second = buy(first.member, plan)
    pay_part(second.payment, 3000, at=NOON)
    assert spans(second)[0][0] == "pending"
    pay(second.payment, at=NOON)

    assert spans(first, second) == [
        ("granted", date(2026, 11, 2), date(2026, 12, 2)),
        ("granted", date(2026, 12, 2), date(2027, 1, 2)),
    ]


def test_once_the_debt_is_paid_a_deposit_is_enough_again(plan):
    first = buy(MemberFactory(), plan)
    pay_part(first.payment, 1501, at=NOON)
    pay(first.payment, at=NOON)

    assert buy(first.member, plan).payment.deposit == 1501


def test_of_two_purchases_that_wait_one_alone_is_given_for_a_deposit(plan):
    member = MemberFactory()

    assert [buy(member, each).payment.deposit for each in (plan, PlanFactory(price=1000, deposit_percent=50))] == [
        1501,
        1000,
    ]


def test_what_expired_is_given_for_all_of_its_money_once_another_is_bought(plan):
    first = buy(MemberFactory(), plan)
    later = NOON + timedelta(days=9)
    expire_due(now=later)
    second = buy(first.member, plan, now=later)

    pay_part(first.payment, 3000, at=later)
    assert spans(first)[0][0] == "cancelled"
    pay(first.payment, at=later)

    assert (spans(first)[0][0], second.payment.deposit) == ("granted", 1501)


def test_what_expired_alone_is_still_given_for_its_deposit_whoever_else_buys_the_plan(plan):
    bought = buy(MemberFactory(), plan)
    later = NOON + timedelta(days=9)
    expire_due(now=later)
    buy(MemberFactory(), plan, now=later)

    pay_part(bought.payment, 1501, at=later)

    assert spans(bought) == [("granted", date(2026, 11, 11), date(2026, 12, 11))]


# --- An upgrade lives off what was paid in full ---


def upgraded():
    """A period paid by two halves, the second receipt, and an upgrade from it that asks for KES 4,000 more."""
    first = pending(PlanFactory(price=2000, deposit_percent=50))
    pay_part(first.payment, 1000, at=NOON)
    second_half = pay_part(first.payment, 1000, at=NOON)
    upgrade = plan_changes.upgrade(
        subscription_id=first.pk,
        plan_code=PlanFactory(price=6000).code,
        phone=None,
        by_id=first.member_id,
        now=NOON,
    ).subscription
    return first, second_half, upgrade


def take_back(receipt, **how):
    reverse_receipt(receipt_id=receipt.pk, reason="reversed", by_id=None, now=NOON, **how)


def end_upgrades():
    """Do as the worker does."""
    for job in ProcrastinateJob.objects.filter(task_name="subscriptions.end_upgrade"):
        grants.end_upgrade(**job.args, now=NOON)


WHOLE = ("granted", date(2026, 11, 2), date(2026, 12, 2))


def test_a_waiting_upgrade_ends_when_money_it_carries_goes_back():
    first, second_half, upgrade = upgraded()

    take_back(second_half)
    assert broken() == []
    end_upgrades()

    assert spans(first, upgrade) == [WHOLE, ("cancelled", None, None)]
    assert broken() == []


def test_a_waiting_upgrade_stays_when_the_money_it_carries_is_there_again():
    first, second_half, upgrade = upgraded()
    take_back(second_half, returned_to_payer=False)
    pay_part(first.payment, 1000, at=NOON)

    end_upgrades()

    assert spans(first, upgrade) == [WHOLE, ("pending", None, None)]


def test_money_that_overtakes_the_end_of_a_waiting_upgrade_grants_nothing_and_a_person_looks():
    first, second_half, upgrade = upgraded()
    take_back(second_half)
    pay(upgrade.payment, at=NOON)

    end_upgrades()

    assert spans(first, upgrade) == [WHOLE, ("pending", None, None)]
    assert upgrade.payment.review_items.get().reason == "contradiction"
    assert broken() == []


def test_a_running_upgrade_ends_when_money_it_carries_goes_back():
    first, second_half, upgrade = upgraded()
    pay(upgrade.payment, at=NOON)

    take_back(second_half)

    assert spans(first, upgrade) == [WHOLE, ("revoked", date(2026, 11, 2), date(2026, 12, 2))]
    assert upgrade.payment.review_items.get().reason == "contradiction"
    assert broken() == []


def test_a_running_upgrade_stays_when_the_loss_that_is_told_late_was_made_good():
    first, _, upgrade = upgraded()
    pay(upgrade.payment, at=NOON)

    grants.revoke_for_payment(payment_id=first.payment_id, now=NOON)

    assert spans(upgrade)[0][0] == "granted"


def test_an_upgrade_whose_carried_value_is_gone_is_not_given_again():
    first, second_half, upgrade = upgraded()
    receipt = pay_part(upgrade.payment, 4000, at=NOON)
    take_back(second_half)
    take_back(receipt, returned_to_payer=False)

    pay(upgrade.payment, at=NOON)

    assert [row[0] for row in spans(first, upgrade)] == ["granted", "revoked"]
    assert broken() == []


def test_one_receipt_in_a_period_and_in_its_waiting_upgrade_goes_back_once():
    first = pending(PlanFactory(price=2000))
    receipt = record_paybill_payment(first.member, 2500, payments=[first.payment])
    upgrade = plan_changes.upgrade(
        subscription_id=first.pk, plan_code=PlanFactory(price=6000).code, phone=None, by_id=first.member_id, now=NOON
    ).subscription
    assert upgrade.payment.amount_owed == 3500

    take_back(receipt)

    assert [row[0] for row in spans(first, upgrade)] == ["revoked", "cancelled"]
    assert not ReviewItem.objects.exists()
    assert broken() == []
    assert broken_invariants() == {}


def test_what_waited_for_money_that_was_refunded_waits_no_more():
    bought = pending()
    receipt = pay_part(bought.payment, 100, at=NOON)

    take_back(receipt)

    assert spans(bought)[0][0] == "cancelled"
    assert broken() == []
