"""Money in, access given; money back, access gone. Never more, never less."""

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
    granted,
    noon_on,
    pay,
    pay_part,
    pending,
)

pytestmark = [pytest.mark.django_db, pytest.mark.server]


def dates(*subscriptions):
    """Return (fact, starts_on, ends_on) of each, as the table has it."""
    for subscription in subscriptions:
        subscription.refresh_from_db()
    return [(each.fact, each.starts_on, each.ends_on) for each in subscriptions]


def take_money_back(subscription, now=NOON, returned_to_payer=True):
    """Reverse the receipts that paid a period; payments tell memberships."""
    live = Allocation.objects.filter(payment_id=subscription.payment_id, undone_at=None)
    for receipt_id in live.values_list("receipt_id", flat=True):
        reverse_receipt(
            receipt_id=receipt_id, reason="reversed", by_id=None, now=now, returned_to_payer=returned_to_payer
        )


def test_a_paid_payment_grants_what_it_bought():
    subscription = pending()

    pay(subscription.payment, at=NOON)

    assert dates(subscription) == [("granted", date(2026, 11, 2), date(2026, 12, 2))]
    assert subscription.granted_at == NOON


def test_granting_twice_changes_nothing():
    subscription = granted()
    before = Subscription.objects.filter(pk=subscription.pk).values().get()

    grant_for_payment(payment_id=subscription.payment_id, now=NOON + timedelta(days=9))

    assert Subscription.objects.filter(pk=subscription.pk).values().get() == before


def test_a_payment_that_is_not_paid_grants_nothing():
    subscription = pending()

    grant_for_payment(payment_id=subscription.payment_id, now=NOON)

    assert dates(subscription) == [("pending", None, None)]


def test_a_payment_that_bought_no_period_is_left_alone():
    payment = pending().payment
    Subscription.objects.all().delete()

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
def test_it_runs_from_the_nairobi_day_on_which_the_money_moved(moved_at, first_day):
    subscription = pending()

    pay(subscription.payment, at=moved_at)

    assert dates(subscription)[0][1] == first_day


def test_a_second_period_starts_where_the_first_ends():
    member, plan = MemberFactory(), PlanFactory()

    first, second = granted(plan, member), granted(plan, member, TODAY + timedelta(days=3))

    assert dates(first, second) == [
        ("granted", date(2026, 11, 2), date(2026, 12, 2)),
        ("granted", date(2026, 12, 2), date(2027, 1, 2)),
    ]


def test_periods_of_different_groups_run_side_by_side():
    member = MemberFactory()

    gym, locker = granted(PlanFactory(), member), granted(PlanFactory(group__name="Locker"), member)

    assert gym.starts_on == locker.starts_on == TODAY


def test_the_grace_of_the_period_that_ended_decides_what_is_late():
    member, plan = MemberFactory(), PlanFactory(grace_days=5, late_renewal="from_expiry")
    granted(plan, member)

    within = granted(plan, member, date(2026, 12, 6))

    assert within.starts_on == date(2026, 12, 2)


def test_money_that_goes_back_revokes_that_period_only():
    member, plan = MemberFactory(), PlanFactory()
    first, second, third = (granted(plan, member) for _ in range(3))

    take_money_back(second)

    assert dates(first, second, third) == [
        ("granted", date(2026, 11, 2), date(2026, 12, 2)),
        ("revoked", date(2026, 12, 2), date(2027, 1, 2)),
        ("granted", date(2027, 1, 2), date(2027, 2, 2)),
    ]


def test_revoking_twice_changes_nothing():
    subscription = granted()
    take_money_back(subscription)
    before = Subscription.objects.filter(pk=subscription.pk).values().get()

    revoke_for_payment(payment_id=subscription.payment_id, now=NOON + timedelta(days=1))

    assert Subscription.objects.filter(pk=subscription.pk).values().get() == before


def test_stale_news_of_money_gone_back_revokes_nothing_that_is_paid():
    subscription = granted()

    revoke_for_payment(payment_id=subscription.payment_id, now=NOON)

    assert dates(subscription)[0][0] == "granted"


def test_a_revoked_period_that_is_paid_again_is_granted_again():
    subscription = granted()
    take_money_back(subscription, returned_to_payer=False)
    subscription.payment.refresh_from_db()

    pay(subscription.payment, at=noon_on(date(2026, 11, 9)))

    assert dates(subscription) == [("granted", date(2026, 11, 9), date(2026, 12, 9))]
    assert subscription.ended_at is None


def test_a_withdrawn_payment_cancels_what_it_would_have_bought():
    subscription = pending()
    Payment.objects.filter(pk=subscription.payment_id).update(status="cancelled")

    for _ in range(2):
        cancel_for_payment(payment_id=subscription.payment_id, now=NOON)

    assert dates(subscription) == [("cancelled", None, None)]
    assert subscription.ended_at == NOON


def test_the_database_itself_refuses_periods_that_overlap():
    first = granted()
    second = granted(first.plan, first.member)

    with pytest.raises(IntegrityError, match="subscription_periods_do_not_overlap"), transaction.atomic():
        Subscription.objects.filter(pk=second.pk).update(
            starts_on=first.starts_on, not_before=first.starts_on, base_ends_on=first.ends_on, ends_on=first.ends_on
        )


@pytest.mark.parametrize("missing", ["not_before", "starts_on", "base_ends_on", "ends_on", "granted_at", "anchor_on"])
def test_the_database_itself_refuses_a_granted_period_without_its_dates(missing):
    subscription = granted()

    with pytest.raises(IntegrityError, match="subscription_granted_has_dates"), transaction.atomic():
        Subscription.objects.filter(pk=subscription.pk).update(**{missing: None})


def test_an_upgrade_taken_back_gives_the_replaced_period_its_time_again():
    first = granted(PlanFactory(grace_days=0))
    gold = PlanFactory(price=3000)
    upgrade = granted(gold, first.member, date(2026, 11, 12), replaces=first)
    assert dates(first, upgrade) == [
        ("granted", date(2026, 11, 2), date(2026, 11, 12)),
        ("granted", date(2026, 11, 12), date(2026, 12, 12)),
    ]

    take_money_back(upgrade)

    assert dates(first, upgrade)[0] == ("granted", date(2026, 11, 2), date(2026, 12, 2))
    assert upgrade.fact == Fact.REVOKED


def test_an_upgrade_loses_the_money_it_was_paid_with():
    first = granted()
    upgrade = granted(PlanFactory(price=3000), first.member, date(2026, 11, 12), replaces=first)

    take_money_back(first)

    assert [row[0] for row in dates(first, upgrade)] == ["revoked", "revoked"]
    assert upgrade.payment.review_items.get().reason == "contradiction"


def do_the_jobs(now=NOON):
    for job in ProcrastinateJob.objects.filter(task_name="payments.retry_listeners"):
        retry_listeners(**job.args, now=now)


def test_an_upgrade_is_granted_again_when_what_it_was_paid_with_is_there_again():
    first = granted()
    upgrade = granted(PlanFactory(price=3000), first.member, date(2026, 11, 12), replaces=first, value_carried=1)
    before = dates(first, upgrade)
    take_money_back(first, returned_to_payer=False)

    pay(first.payment, at=NOON)
    do_the_jobs()

    assert dates(first, upgrade) == before
    assert upgrade.payment.review_items.get().status == "resolved"


def test_an_upgrade_is_granted_again_when_the_rest_of_what_it_was_paid_with_is_there_again():
    first = pending(PlanFactory(deposit_percent=40))
    pay_part(first.payment, 600, at=NOON)
    rest = pay_part(first.payment, 900, at=NOON)
    upgrade = granted(PlanFactory(price=3000), first.member, date(2026, 11, 12), replaces=first, value_carried=1)
    reverse_receipt(receipt_id=rest.pk, reason="void", by_id=None, now=NOON, returned_to_payer=False)
    assert [row[0] for row in dates(first, upgrade)] == ["granted", "revoked"]

    pay(first.payment, at=NOON)
    do_the_jobs()

    assert [row[0] for row in dates(first, upgrade)] == ["granted", "granted"]


def test_an_upgrade_is_not_granted_again_beside_one_that_was_bought_meanwhile():
    first = granted()
    old = granted(PlanFactory(price=3000), first.member, replaces=first)
    take_money_back(old, returned_to_payer=False)
    new = granted(PlanFactory(price=5000), first.member, replaces=first)

    pay(old.payment, at=NOON)
    do_the_jobs()

    assert [row[0] for row in dates(first, old, new)] == ["granted", "revoked", "granted"]
    assert [item.reason for item in old.payment.review_items.all()] == ["contradiction"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_renewal", [False, True])
def test_from_the_callback_to_access_it_is_thirteen_statements_in_one_transaction(
    client, is_renewal, django_assert_num_queries
):
    bought = pending()
    if is_renewal:
        granted(member=bought.member)
    push = make_push(bought.payment)
    url = reverse("payments:stk-callback", args=[push.raw_token])

    with django_assert_num_queries(13 + 2):  # and BEGIN, COMMIT
        client.post(url, stk_body(push, code="TKB4ACCESS"), content_type="application/json")

    assert dates(bought)[0][0] == "granted"
