"""Minimum payments: a part of the price gives access, and the rest stays owed."""

from datetime import date, timedelta

import pytest
from procrastinate.contrib.django.models import ProcrastinateJob

from payments.models import Allocation, ReviewItem
from payments.services.cancellation import cancel_payment, expire_due
from payments.services.listeners import retry_listeners
from payments.services.reversals import reverse_receipt
from payments.services.transitions import InvalidTransition
from payments.tests.invariants import broken_invariants
from subscriptions.gate import check_in
from subscriptions.services import grants, plan_changes
from subscriptions.services.plan_changes import OwesFirst
from subscriptions.tests.factories import (
    NOON,
    TODAY,
    MemberFactory,
    PlanFactory,
    buy,
    granted,
    noon_on,
    pay,
    pay_part,
    pending,
    record_paybill_payment,
    states_and_dates,
)
from subscriptions.tests.test_invariants import broken

pytestmark = [pytest.mark.django_db, pytest.mark.server]


@pytest.fixture
def plan():
    """A plan whose minimum payment is half of KES 3,001, rounded up: KES 1,501."""
    return PlanFactory(price=3001, deposit_percent=50)


def tap(member, now=NOON):
    answer = check_in(member_number=member.member_number, recorded_by_id=None, now=now)
    return answer.decision, answer.reason, answer.amount_to_pay, answer.reference


def test_period_starts_on_the_day_of_the_minimum_payment(plan):
    bought = pending(plan)

    pay_part(bought.payment, 1500, at=NOON)
    assert states_and_dates(bought) == [("pending", None, None)]
    pay_part(bought.payment, 1, at=NOON + timedelta(days=2))
    half = states_and_dates(bought)
    pay(bought.payment, at=NOON + timedelta(days=9))

    assert half == states_and_dates(bought) == [("granted", date(2026, 11, 4), date(2026, 12, 4))]
    assert (bought.payment.status, bought.payment.amount_owed) == ("paid", 0)


def test_gate_allows_a_member_who_owes_the_rest(plan):
    bought = pending(plan)
    pay_part(bought.payment, 2000, at=NOON)

    assert tap(bought.member) == ("allow", "active", 1001, bought.payment.reference)
    assert tap(bought.member, NOON + timedelta(days=60)) == ("deny", "expired", 1001, bought.payment.reference)


def test_credit_counts_towards_the_minimum_payment(plan):
    member = MemberFactory()
    record_paybill_payment(member, 1600)

    bought = buy(member, plan=plan).subscription

    assert (bought.fact, bought.payment.status, bought.payment.amount_owed) == ("granted", "partially_paid", 1401)


def test_reversal_below_the_minimum_payment_revokes_access(plan):
    bought = pending(plan)
    first, second = (pay_part(bought.payment, amount, at=NOON) for amount in (1400, 1600))

    reverse_receipt(receipt_id=first.pk, reason="reversed", by_id=None, now=NOON)
    assert states_and_dates(bought)[0][0] == "granted"  # 1,600 are left
    reverse_receipt(receipt_id=second.pk, reason="reversed", by_id=None, now=NOON)

    assert states_and_dates(bought)[0][0] == "revoked"


def test_payment_above_its_minimum_cannot_be_cancelled(plan):
    bought = pending(plan)
    pay_part(bought.payment, 2000, at=NOON)

    with pytest.raises(InvalidTransition):
        cancel_payment(payment_id=bought.payment_id, by_id=bought.member_id, now=NOON)

    assert Allocation.objects.filter(undone_at=None).count() == 1


def test_member_who_owes_money_cannot_upgrade(plan):
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


def test_retried_listener_grants_for_the_minimum_payment(plan, monkeypatch):
    bought = pending(plan)
    monkeypatch.setattr(grants, "grant_for_payment", lambda **arguments: 1 / 0)
    pay_part(bought.payment, 2000, at=NOON)
    monkeypatch.undo()
    assert states_and_dates(bought)[0][0] == "pending"

    assert retry_listeners(payment_id=bought.payment_id, now=NOON)

    assert states_and_dates(bought)[0][0] == "granted"


def test_partial_payment_of_a_full_price_plan_grants_no_period():
    bought = pending(PlanFactory(price=1000))
    pay_part(bought.payment, 999, at=NOON)

    assert states_and_dates(bought) == [("pending", None, None)]
    assert states_and_dates(granted(PlanFactory(price=1000)))[0][0] == "granted"


# --- A minimum payment is enough for one period at a time ---


def purchased(member, plan, now=NOON):
    return buy(member, plan=plan, now=now).subscription


def test_member_with_a_debt_pays_the_next_period_in_full(plan):
    first = purchased(MemberFactory(), plan)
    pay_part(first.payment, 1501, at=NOON)

    second = purchased(first.member, plan)
    pay_part(second.payment, 3000, at=NOON)
    assert states_and_dates(second)[0][0] == "pending"
    pay(second.payment, at=NOON)

    assert states_and_dates(first, second) == [
        ("granted", date(2026, 11, 2), date(2026, 12, 2)),
        ("granted", date(2026, 12, 2), date(2027, 1, 2)),
    ]


def test_minimum_payment_applies_again_after_the_debt_is_paid(plan):
    first = purchased(MemberFactory(), plan)
    pay_part(first.payment, 1501, at=NOON)
    pay(first.payment, at=NOON)

    assert purchased(first.member, plan).payment.deposit == 1501


def test_second_pending_purchase_needs_the_whole_amount(plan):
    member = MemberFactory()

    assert [
        purchased(member, each).payment.deposit for each in (plan, PlanFactory(price=1000, deposit_percent=50))
    ] == [
        1501,
        1000,
    ]


def test_expired_purchase_needs_the_whole_amount_after_a_newer_one(plan):
    first = purchased(MemberFactory(), plan)
    later = NOON + timedelta(days=9)
    expire_due(now=later)
    second = purchased(first.member, plan, now=later)

    pay_part(first.payment, 3000, at=later)
    assert states_and_dates(first)[0][0] == "cancelled"
    pay(first.payment, at=later)

    assert (states_and_dates(first)[0][0], second.payment.deposit) == ("granted", 1501)


def test_expired_purchase_keeps_its_minimum_when_others_buy(plan):
    bought = purchased(MemberFactory(), plan)
    later = NOON + timedelta(days=9)
    expire_due(now=later)
    purchased(MemberFactory(), plan, now=later)

    pay_part(bought.payment, 1501, at=later)

    assert states_and_dates(bought) == [("granted", date(2026, 11, 11), date(2026, 12, 11))]


# --- An upgrade needs the replaced period to be paid in full ---


def upgraded():
    """Return a period paid in two halves, the receipt of the second half, and a pending upgrade for KES 4,000."""
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


def reverse(receipt, **options):
    reverse_receipt(receipt_id=receipt.pk, reason="reversed", by_id=None, now=NOON, **options)


def end_upgrades():
    """Run the queued jobs that end upgrades."""
    for job in ProcrastinateJob.objects.filter(task_name="subscriptions.end_upgrade"):
        grants.end_upgrade(**job.args, now=NOON)


WHOLE = ("granted", date(2026, 11, 2), date(2026, 12, 2))


def test_pending_upgrade_ends_when_its_carried_money_goes_back():
    first, second_half, upgrade = upgraded()

    reverse(second_half)
    assert broken() == []
    end_upgrades()

    assert states_and_dates(first, upgrade) == [WHOLE, ("cancelled", None, None)]
    assert broken() == []


def test_pending_upgrade_stays_when_its_carried_money_returns():
    first, second_half, upgrade = upgraded()
    reverse(second_half, returned_to_payer=False)
    pay_part(first.payment, 1000, at=NOON)

    end_upgrades()

    assert states_and_dates(first, upgrade) == [WHOLE, ("pending", None, None)]


def test_upgrade_paid_after_losing_its_value_opens_a_review_item():
    first, second_half, upgrade = upgraded()
    reverse(second_half)
    pay(upgrade.payment, at=NOON)

    end_upgrades()

    assert states_and_dates(first, upgrade) == [WHOLE, ("pending", None, None)]
    assert upgrade.payment.review_items.get().reason == "contradiction"
    assert broken() == []


def test_running_upgrade_ends_when_its_carried_money_goes_back():
    first, second_half, upgrade = upgraded()
    pay(upgrade.payment, at=NOON)

    reverse(second_half)

    assert states_and_dates(first, upgrade) == [WHOLE, ("revoked", date(2026, 11, 2), date(2026, 12, 2))]
    assert upgrade.payment.review_items.get().reason == "contradiction"
    assert broken() == []


def test_stale_unpaid_signal_does_not_end_an_upgrade():
    first, _, upgrade = upgraded()
    pay(upgrade.payment, at=NOON)

    grants.revoke_for_payment(payment_id=first.payment_id, now=NOON)

    assert states_and_dates(upgrade)[0][0] == "granted"


def test_upgrade_without_its_carried_value_is_not_granted_again():
    first, second_half, upgrade = upgraded()
    receipt = pay_part(upgrade.payment, 4000, at=NOON)
    reverse(second_half)
    reverse(receipt, returned_to_payer=False)

    pay(upgrade.payment, at=NOON)

    assert [row[0] for row in states_and_dates(first, upgrade)] == ["granted", "revoked"]
    assert broken() == []


def test_receipt_of_a_period_and_its_upgrade_is_reversed_once():
    first = pending(PlanFactory(price=2000))
    receipt = record_paybill_payment(first.member, 2500, payments=[first.payment])
    upgrade = plan_changes.upgrade(
        subscription_id=first.pk, plan_code=PlanFactory(price=6000).code, phone=None, by_id=first.member_id, now=NOON
    ).subscription
    assert upgrade.payment.amount_owed == 3500

    reverse(receipt)

    assert [row[0] for row in states_and_dates(first, upgrade)] == ["revoked", "cancelled"]
    assert not ReviewItem.objects.exists()
    assert broken() == []
    assert broken_invariants() == {}


def test_refund_cancels_a_pending_period():
    bought = pending()
    receipt = pay_part(bought.payment, 100, at=NOON)

    reverse(receipt)

    assert states_and_dates(bought)[0][0] == "cancelled"
    assert broken() == []
