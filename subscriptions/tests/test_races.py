"""Concurrent changes of one member, or of the whole club, with threads on PostgreSQL."""

import contextlib
import functools
import threading

import pytest
from django.db import connection, transaction

from api.errors import Conflict
from api.idempotency import IdempotencyKey
from payments.daraja.messages import C2bMessage
from payments.evidence import c2b_confirmations, paybill_money
from payments.models import Payment, Receipt, StkPush
from payments.services.cancellation import expire_due
from payments.services.reversals import reverse_receipt
from payments.tests.threads import run_together
from subscriptions.gate import check_in
from subscriptions.models import Freeze, Subscription, Visit
from subscriptions.services import free_periods, freezes, grants, plan_changes, purchases
from subscriptions.tests.factories import (
    NOON,
    MemberFactory,
    PlanFactory,
    buy,
    create_payment,
    granted,
    noon_on,
    pay,
    pending,
    record_paybill_payment,
)
from subscriptions.tests.test_freezes import all_dates, day, freeze

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.server]


def close(by_id):
    return freezes.create_closure(starts_on=day(10), ends_on=day(20), reason="Repairs", by_id=by_id, now=NOON)


def in_thread(call):
    """Start the call in a thread, which has its own connection."""

    def run():
        try:
            call()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_closure_waits_for_a_concurrent_grant():
    staff, bought = MemberFactory(), pending()

    with transaction.atomic():
        pay(bought.payment, at=noon_on(day(0)))  # its dates do not have the closure, and are not committed yet
        closing = in_thread(lambda: close(staff.pk))
        closing.join(timeout=0.5)
        assert closing.is_alive()
    closing.join(timeout=10)

    assert all_dates(bought)[0][1:] == (day(30), day(40))


def test_grant_waits_for_a_concurrent_closure():
    staff, bought, running = MemberFactory(), pending(), granted()

    with transaction.atomic():
        close(staff.pk)
        paying = in_thread(lambda: pay(bought.payment, at=noon_on(day(0))))
        paying.join(timeout=0.5)
        assert paying.is_alive()
    paying.join(timeout=10)

    assert [span[1:] for span in all_dates(bought, running)] == [(day(30), day(40))] * 2


def meanwhile(first, second):
    """Call the first, and the second in a thread before the first is committed. Check that the second waits."""
    with transaction.atomic():
        first()
        waiting = in_thread(second)
        waiting.join(timeout=0.5)
        assert waiting.is_alive()
    waiting.join(timeout=10)


def test_grant_waits_for_a_concurrent_deletion_of_a_closure():
    bought, closure = pending(), close(MemberFactory().pk)

    meanwhile(
        lambda: freezes.delete_closure(closure_id=closure.pk, by_id=closure.made_by_id, now=NOON),
        lambda: pay(bought.payment, at=noon_on(day(0))),
    )

    assert all_dates(bought)[0][1:] == (day(30), day(30))


def meet_at(monkeypatch, *places):
    """Make two threads wait for each other, for a moment, after they have called their functions."""
    barrier = threading.Barrier(2)
    for module, name in places:
        monkeypatch.setattr(module, name, waiting_at(barrier, getattr(module, name)))


def waiting_at(barrier, function):
    def wrapper(*args, **kwargs):
        result = function(*args, **kwargs)
        with contextlib.suppress(threading.BrokenBarrierError):  # one thread may wait for a lock of the other instead
            barrier.wait(timeout=0.5)
        return result

    return wrapper


def concurrently(*calls):
    """Make the calls in threads at the same time. Return the exception of each, or None."""
    raised = [None] * len(calls)

    def run(number, call):
        try:
            call()
        except Exception as error:
            raised[number] = error

    for thread in [in_thread(functools.partial(run, *each)) for each in enumerate(calls)]:
        thread.join(timeout=20)
    return raised


def test_void_and_payment_of_an_upgrade_do_not_deadlock(monkeypatch):
    silver, gold = granted(PlanFactory(price=1000)), PlanFactory(price=3000)
    uncle = MemberFactory()
    bought = plan_changes.upgrade(
        subscription_id=silver.pk, plan_code=gold.code, phone=None, by_id=uncle.pk, payer_id=uncle.pk, now=NOON
    ).subscription
    receipt = Receipt.objects.get(member=silver.member)
    message = C2bMessage("TKN1AB2C3D", NOON, 2000, "174379", bought.payment.reference, "", "", "Pay Bill", "")
    # Each thread has its first lock, on the periods or on the payer, before either continues.
    meet_at(monkeypatch, (grants, "lock_chain_of_payment"), (paybill_money, "lock_candidates"))

    raised = concurrently(
        lambda: reverse_receipt(receipt_id=receipt.pk, reason="void", by_id=None, now=NOON, returned_to_payer=False),
        lambda: c2b_confirmations.apply_c2b(message=message, now=NOON),
    )

    assert raised == [None, None]
    assert Subscription.objects.get(pk=silver.pk).fact == "revoked"


def test_purchases_with_crossed_expired_payers_do_not_deadlock(monkeypatch):
    """Each member has an expired purchase with a minimum payment, whose payer is the other member."""
    one, other = MemberFactory(), MemberFactory()
    plan = PlanFactory(price=1000, deposit_percent=50)
    for member, payer in ((one, other), (other, one)):
        pending(plan, member, payment=create_payment(payer, amount=1000, deposit=500))
    later = Payment.objects.first().expires_at
    expire_due(now=later)
    meet_at(monkeypatch, (purchases, "find_repeated_purchase"))

    calls = [functools.partial(buy, member, plan=plan, now=later) for member in (one, other)]

    assert concurrently(*calls) == [None, None]


def test_upgrades_with_crossed_expired_payers_do_not_deadlock(monkeypatch):
    silver, gold = PlanFactory(price=1000), PlanFactory(price=3000)
    periods = [granted(silver), granted(silver)]

    def upgrade(period, payer, now):
        return lambda: plan_changes.upgrade(
            subscription_id=period.pk, plan_code=gold.code, phone=None, by_id=payer.pk, payer_id=payer.pk, now=now
        )

    for period, others in zip(periods, reversed(periods), strict=True):
        upgrade(period, others.member, NOON)()
    later = Payment.objects.last().expires_at
    expire_due(now=later)
    meet_at(monkeypatch, (plan_changes, "find_repeated_purchase"))

    assert concurrently(*(upgrade(period, period.member, later) for period in periods)) == [None, None]


def test_closure_and_purchase_from_credit_do_not_deadlock(monkeypatch):
    staff, expired = MemberFactory(), pending()
    granted(PlanFactory(), expired.member)  # so that the closure locks all periods of the member
    later = expired.payment.expires_at
    expire_due(now=later)
    record_paybill_payment(expired.member, 1500, at=later)
    meet_at(monkeypatch, (purchases, "joining_fee_due"), (freezes, "lock_closures"))

    purchase = functools.partial(buy, expired.member, plan=expired.plan, now=later)

    assert concurrently(purchase, lambda: close(staff.pk)) == [None, None]


@pytest.fixture
def upgrade_by_a_parent():
    """A child's pending upgrade, whose payer is a parent."""
    silver, gold, parent = granted(PlanFactory(price=1000)), PlanFactory(price=3000), MemberFactory()
    return plan_changes.upgrade(
        subscription_id=silver.pk, plan_code=gold.code, phone=None, by_id=parent.pk, payer_id=parent.pk, now=NOON
    ).subscription


def enter(member):
    check_in(member_number=member.member_number, recorded_by_id=None, now=NOON)


def test_visit_during_payment_of_an_upgrade_counts_for_it(upgrade_by_a_parent):
    child, payment = upgrade_by_a_parent.member, upgrade_by_a_parent.payment

    meanwhile(lambda: pay(payment, at=NOON), lambda: enter(child))

    assert Visit.objects.get().subscription == upgrade_by_a_parent


def test_payment_of_an_upgrade_takes_a_concurrent_visit(upgrade_by_a_parent):
    child, payment = upgrade_by_a_parent.member, upgrade_by_a_parent.payment

    meanwhile(lambda: enter(child), lambda: pay(payment, at=NOON))

    assert Visit.objects.get().subscription == upgrade_by_a_parent


def test_upgrade_request_counts_a_concurrent_visit():
    silver = granted(PlanFactory(price=1000, visits=2))
    gold = PlanFactory(price=3000)

    def upgrade():
        plan_changes.upgrade(
            subscription_id=silver.pk, plan_code=gold.code, phone=None, by_id=silver.member_id, now=NOON
        )

    meanwhile(lambda: enter(silver.member), upgrade)

    assert Subscription.objects.get(replaces=silver).value_carried == 500


@pytest.mark.parametrize("enters_first", [True, False])
def test_concurrent_visit_and_freeze_exclude_each_other(enters_first):
    member = granted(PlanFactory(max_freezes=1, max_freeze_days=9)).member

    def freeze_today():
        with contextlib.suppress(freezes.FreezeAfterVisit):
            freeze(member.subscriptions.get(), 0, 5)

    calls = [lambda: enter(member), freeze_today]
    meanwhile(*(calls if enters_first else reversed(calls)))

    assert [Visit.objects.get().decision, Freeze.objects.count()] == (["allow", 0] if enters_first else ["deny", 1])


@pytest.mark.parametrize(
    ("change", "refusal"),
    [(purchases.cancel, purchases.NothingToCancel), (plan_changes.undo_changes, plan_changes.NotRunning)],
)
def test_change_of_a_concurrently_revoked_period_is_refused(change, refusal):
    period, refused = granted(), []

    def void():
        reverse_receipt(
            receipt_id=Receipt.objects.get().pk, reason="void", by_id=None, now=NOON, returned_to_payer=False
        )

    def change_period():
        try:
            change(subscription_id=period.pk, by_id=period.member_id, now=NOON)
        except Conflict as error:
            refused.append(type(error))

    meanwhile(void, change_period)

    assert refused == [refusal]


def test_concurrent_upgrade_requests_create_one_upgrade():
    silver, gold = granted(PlanFactory(price=1000)), PlanFactory(price=3000)

    def upgrade():
        plan_changes.upgrade(
            subscription_id=silver.pk, plan_code=gold.code, phone=None, by_id=silver.member_id, now=NOON
        )

    meanwhile(upgrade, upgrade)

    assert Subscription.objects.filter(replaces=silver).count() == 1


KEY = IdempotencyKey("k", "a")


def test_concurrent_purchases_with_one_key_send_one_push():
    member, plan = MemberFactory(), PlanFactory()

    bought = run_together(*[lambda: buy(member, plan=plan, phone="254712345678", idempotency_key=KEY)] * 4)

    assert [each.subscription for each in bought] == [Subscription.objects.get()] * 4
    assert sorted(each.is_new for each in bought) == [False, False, False, True]
    assert StkPush.objects.get().payment == Payment.objects.get()


def test_concurrent_purchases_with_one_key_spend_credit_once():
    member, others, plan = MemberFactory(), MemberFactory.create_batch(4), PlanFactory(price=1000)
    record_paybill_payment(member, 4000)

    # Each request names another member: only the key says that they are one.
    purchase = functools.partial(buy, plan=plan, payer=member, idempotency_key=KEY)
    bought = run_together(*[functools.partial(purchase, each) for each in others])

    assert [each.subscription for each in bought] == [Subscription.objects.get(fact="granted")] * 4
    assert sum(Payment.objects.values_list("amount_paid", flat=True)) == 1000


def test_concurrent_upgrades_with_one_key_spend_credit_once():
    silver, gold = granted(PlanFactory(price=1000)), PlanFactory(price=3000)
    record_paybill_payment(silver.member, 9000)

    bought = run_together(
        *[
            lambda: (
                plan_changes.upgrade(
                    subscription_id=silver.pk,
                    plan_code=gold.code,
                    phone=None,
                    by_id=silver.member_id,
                    now=NOON,
                    idempotency_key=KEY,
                ).subscription
            )
        ]
        * 4
    )

    assert bought == [Subscription.objects.get(replaces=silver, fact="granted")] * 4


def test_concurrent_free_periods_with_one_key_grant_one():
    members, staff, plan = MemberFactory.create_batch(4), MemberFactory(), PlanFactory()

    given = run_together(
        *[
            functools.partial(
                free_periods.grant_free_period,
                member_id=member.pk,
                plan_code=plan.code,
                reason="raffle",
                by_id=staff.pk,
                now=NOON,
                idempotency_key=KEY,
            )
            for member in members
        ]
    )

    assert given == [Subscription.objects.get()] * 4


def test_two_concurrent_payers_grant_two_periods():
    member = MemberFactory()
    mothers, fathers = (pending(member=member, payment=create_payment(MemberFactory())) for _ in range(2))

    with transaction.atomic():
        pay(mothers.payment, at=noon_on(day(0)))
        paying = in_thread(lambda: pay(fathers.payment, at=noon_on(day(0))))
        paying.join(timeout=0.5)
        assert paying.is_alive()
    paying.join(timeout=10)

    assert [span[:2] for span in all_dates(mothers, fathers)] == [(day(0), day(30)), (day(30), day(61))]
