"""Grants: payments grant periods, reversals revoke them, cancelled payments cancel them."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import IntegrityError, transaction
from django.urls import reverse
from procrastinate.contrib.django.models import ProcrastinateJob

from payments.models import Allocation, Payment
from payments.services.listeners import retry_listeners
from payments.services.reversals import reverse_receipt
from payments.tests.bodies import stk_body
from payments.tests.factories import make_push
from subscriptions.models import Fact, Subscription
from subscriptions.services.grants import cancel_for_payment, grant_for_payment, revoke_for_payment
from subscriptions.tests.factories import (
    NOON,
    TODAY,
    MemberFactory,
    PlanFactory,
    create_payment,
    granted,
    noon_on,
    pay,
    pay_part,
    pending,
    states_and_dates,
)

pytestmark = [pytest.mark.django_db, pytest.mark.server]


def reverse_payment(subscription, now=NOON, returned_to_payer=True):
    """Reverse the receipts that paid a period."""
    live = Allocation.objects.filter(payment_id=subscription.payment_id, undone_at=None)
    for receipt_id in live.values_list("receipt_id", flat=True):
        reverse_receipt(
            receipt_id=receipt_id, reason="reversed", by_id=None, now=now, returned_to_payer=returned_to_payer
        )


def test_paid_payment_grants_its_period():
    subscription = pending()

    pay(subscription.payment, at=NOON)

    assert states_and_dates(subscription) == [("granted", date(2026, 11, 2), date(2026, 12, 2))]
    assert subscription.granted_at == NOON


def test_granting_twice_changes_nothing():
    subscription = granted()
    before = Subscription.objects.filter(pk=subscription.pk).values().get()

    grant_for_payment(payment_id=subscription.payment_id, now=NOON + timedelta(days=9))

    assert Subscription.objects.filter(pk=subscription.pk).values().get() == before


def test_unpaid_payment_grants_no_period():
    subscription = pending()

    grant_for_payment(payment_id=subscription.payment_id, now=NOON)

    assert states_and_dates(subscription) == [("pending", None, None)]


def test_payment_without_a_period_is_ignored():
    payment = create_payment(MemberFactory())

    assert grant_for_payment(payment_id=payment.pk, now=NOON) is None
    assert revoke_for_payment(payment_id=payment.pk, now=NOON) is None
    assert cancel_for_payment(payment_id=payment.pk, now=NOON) is None


@pytest.mark.parametrize(
    ("moved_at", "first_day"),
    [
        (datetime(2026, 11, 5, 20, 59, 59, tzinfo=UTC), date(2026, 11, 5)),
        (datetime(2026, 11, 5, 21, 0, tzinfo=UTC), date(2026, 11, 6)),
    ],
)
def test_period_starts_on_the_nairobi_day_of_payment(moved_at, first_day):
    subscription = pending()

    pay(subscription.payment, at=moved_at)

    assert states_and_dates(subscription)[0][1] == first_day


def test_second_period_starts_on_the_end_of_the_first():
    member, plan = MemberFactory(), PlanFactory()

    first, second = granted(plan, member), granted(plan, member, TODAY + timedelta(days=3))

    assert states_and_dates(first, second) == [
        ("granted", date(2026, 11, 2), date(2026, 12, 2)),
        ("granted", date(2026, 12, 2), date(2027, 1, 2)),
    ]


def test_periods_of_different_groups_may_overlap():
    member = MemberFactory()

    gym, locker = granted(PlanFactory(), member), granted(PlanFactory(group__name="Locker"), member)

    assert gym.starts_on == locker.starts_on == TODAY


def test_grace_of_the_ended_period_decides_the_late_start():
    member, plan = MemberFactory(), PlanFactory(grace_days=5, late_renewal="from_expiry")
    granted(plan, member)

    within = granted(plan, member, date(2026, 12, 6))

    assert within.starts_on == date(2026, 12, 2)


def test_reversal_revokes_only_its_own_period():
    member, plan = MemberFactory(), PlanFactory()
    first, second, third = (granted(plan, member) for _ in range(3))

    reverse_payment(second)

    assert states_and_dates(first, second, third) == [
        ("granted", date(2026, 11, 2), date(2026, 12, 2)),
        ("revoked", date(2026, 12, 2), date(2027, 1, 2)),
        ("granted", date(2027, 1, 2), date(2027, 2, 2)),
    ]


def test_revoking_twice_changes_nothing():
    subscription = granted()
    reverse_payment(subscription)
    before = Subscription.objects.filter(pk=subscription.pk).values().get()

    revoke_for_payment(payment_id=subscription.payment_id, now=NOON + timedelta(days=1))

    assert Subscription.objects.filter(pk=subscription.pk).values().get() == before


def test_stale_unpaid_signal_does_not_revoke_a_paid_period():
    subscription = granted()

    revoke_for_payment(payment_id=subscription.payment_id, now=NOON)

    assert states_and_dates(subscription)[0][0] == "granted"


def test_revoked_period_is_granted_again_after_payment():
    subscription = granted()
    reverse_payment(subscription, returned_to_payer=False)
    subscription.payment.refresh_from_db()

    pay(subscription.payment, at=noon_on(date(2026, 11, 9)))

    assert states_and_dates(subscription) == [("granted", date(2026, 11, 9), date(2026, 12, 9))]
    assert subscription.ended_at is None


@pytest.mark.breaks_the_books
def test_cancelled_payment_cancels_its_period():
    subscription = pending()
    Payment.objects.filter(pk=subscription.payment_id).update(status="cancelled")

    for _ in range(2):
        cancel_for_payment(payment_id=subscription.payment_id, now=NOON)

    assert states_and_dates(subscription) == [("cancelled", None, None)]
    assert subscription.ended_at == NOON


def test_database_refuses_overlapping_periods():
    first = granted()
    second = granted(first.plan, first.member)

    with pytest.raises(IntegrityError, match="subscription_periods_do_not_overlap"), transaction.atomic():
        Subscription.objects.filter(pk=second.pk).update(
            starts_on=first.starts_on, not_before=first.starts_on, base_ends_on=first.ends_on, ends_on=first.ends_on
        )


@pytest.mark.parametrize("missing", ["not_before", "starts_on", "base_ends_on", "ends_on", "granted_at", "anchor_on"])
def test_database_refuses_a_granted_period_without_states_and_dates(missing):
    subscription = granted()

    with pytest.raises(IntegrityError, match="subscription_granted_has_dates"), transaction.atomic():
        Subscription.objects.filter(pk=subscription.pk).update(**{missing: None})


def test_replaced_period_runs_again_after_its_upgrade_is_revoked():
    first = granted(PlanFactory(grace_days=0))
    gold = PlanFactory(price=3000)
    upgrade = granted(gold, first.member, date(2026, 11, 12), replaces=first)
    assert states_and_dates(first, upgrade) == [
        ("granted", date(2026, 11, 2), date(2026, 11, 12)),
        ("granted", date(2026, 11, 12), date(2026, 12, 12)),
    ]

    reverse_payment(upgrade)

    assert states_and_dates(first, upgrade)[0] == ("granted", date(2026, 11, 2), date(2026, 12, 2))
    assert upgrade.fact == Fact.REVOKED


def test_upgrade_is_revoked_with_its_replaced_period():
    first = granted()
    upgrade = granted(PlanFactory(price=3000), first.member, date(2026, 11, 12), replaces=first)

    reverse_payment(first)

    assert [row[0] for row in states_and_dates(first, upgrade)] == ["revoked", "revoked"]
    assert upgrade.payment.review_items.get().reason == "contradiction"


def run_queued_jobs(now=NOON):
    for job in ProcrastinateJob.objects.filter(task_name="payments.retry_listeners"):
        retry_listeners(**job.args, now=now)


def test_upgrade_is_granted_again_with_its_replaced_period():
    first = granted()
    upgrade = granted(PlanFactory(price=3000), first.member, date(2026, 11, 12), replaces=first, value_carried=1)
    before = states_and_dates(first, upgrade)
    reverse_payment(first, returned_to_payer=False)

    pay(first.payment, at=NOON)
    run_queued_jobs()

    assert states_and_dates(first, upgrade) == before
    assert upgrade.payment.review_items.get().status == "resolved"


def test_upgrade_is_granted_again_when_the_amount_owed_is_paid():
    first = pending(PlanFactory(deposit_percent=40))
    pay_part(first.payment, 600, at=NOON)
    rest = pay_part(first.payment, 900, at=NOON)
    upgrade = granted(PlanFactory(price=3000), first.member, date(2026, 11, 12), replaces=first, value_carried=1)
    reverse_receipt(receipt_id=rest.pk, reason="void", by_id=None, now=NOON, returned_to_payer=False)
    assert [row[0] for row in states_and_dates(first, upgrade)] == ["granted", "revoked"]

    pay(first.payment, at=NOON)
    run_queued_jobs()

    assert [row[0] for row in states_and_dates(first, upgrade)] == ["granted", "granted"]


def test_revoked_upgrade_is_not_granted_beside_a_newer_one():
    first = granted()
    old = granted(PlanFactory(price=3000), first.member, replaces=first)
    reverse_payment(old, returned_to_payer=False)
    new = granted(PlanFactory(price=5000), first.member, replaces=first)

    pay(old.payment, at=NOON)
    run_queued_jobs()

    assert [row[0] for row in states_and_dates(first, old, new)] == ["granted", "revoked", "granted"]
    assert [item.reason for item in old.payment.review_items.all()] == ["contradiction"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_renewal", [False, True])
def test_callback_grants_access_in_thirteen_statements(client, is_renewal, django_assert_num_queries):
    bought = pending()
    if is_renewal:
        granted(member=bought.member)
    push = make_push(bought.payment)
    url = reverse("payments:stk-callback", args=[push.raw_token])

    with django_assert_num_queries(13 + 2):  # and BEGIN, COMMIT
        client.post(url, stk_body(push, code="TKB4ACCESS"), content_type="application/json")

    assert states_and_dates(bought)[0][0] == "granted"
