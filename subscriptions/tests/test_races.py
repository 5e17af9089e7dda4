"""Two things happen at once to one member, or to the whole club, with real threads on PostgreSQL."""

import contextlib
import functools
import threading

import pytest
from django.db import connection, transaction

from api.errors import Conflict
from payments.daraja.messages import C2bMessage
from payments.evidence import c2b_confirmations
from payments.models import Payment, Receipt
from payments.services.cancellation import expire_due
from payments.services.reversals import reverse_receipt
from subscriptions.gate import check_in
from subscriptions.models import Freeze, Subscription, Visit
from subscriptions.services import free_periods, freezes, grants, plan_changes, purchases
from subscriptions.tests.factories import (
    NOON,
    MemberFactory,
    PlanFactory,
    create_payment,
    granted,
    noon_on,
    pay,
    pending,
    record_paybill_payment,
)
from subscriptions.tests.test_freezing import day, freeze, spans

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.server]


def close(by_id):
    return freezes.create_closure(starts_on=day(10), ends_on=day(20), reason="Repairs", by_id=by_id, now=NOON)


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


def meanwhile(first, second):
    """Do the first, and the second in a thread before that is committed; the second must wait for it."""
    with transaction.atomic():
        first()
        waiting = in_thread(second)
        waiting.join(timeout=0.5)
        assert waiting.is_alive()
    waiting.join(timeout=10)


def test_a_period_granted_while_a_closure_is_taken_back_gets_none_of_its_days():
    bought, closure = pending(), close(MemberFactory().pk)

    meanwhile(lambda: freezes.delete_closure(closure_id=closure.pk), lambda: pay(bought.payment, at=noon_on(day(0))))

    assert spans(bought)[0][1:] == (day(30), day(30))


def then_meanwhile(call):
    meanwhile(call, call)


def meet_at(monkeypatch, *places):
    """Let each of two threads that reaches its place wait there, a moment, for the other to reach the other."""
    both = threading.Barrier(2)
    for module, name in places:
        monkeypatch.setattr(module, name, waiting_for_the_other(both, getattr(module, name)))


def waiting_for_the_other(both, act):
    def met(*args, **kwargs):
        found = act(*args, **kwargs)
        with contextlib.suppress(threading.BrokenBarrierError):  # where one waits for the other's lock, nobody comes
            both.wait(timeout=0.5)
        return found

    return met


def both(*calls):
    """Make the calls at once; return what each raised."""
    raised = [None] * len(calls)

    def make(place, call):
        try:
            call()
        except Exception as error:
            raised[place] = error

    for thread in [in_thread(functools.partial(make, *each)) for each in enumerate(calls)]:
        thread.join(timeout=20)
    return raised


def test_a_period_is_voided_while_another_payer_pays_for_its_upgrade(monkeypatch):
    silver, gold = granted(PlanFactory(price=1000)), PlanFactory(price=3000)
    uncle = MemberFactory()
    bought = plan_changes.upgrade(
        subscription_id=silver.pk, plan_code=gold.code, phone=None, by_id=uncle.pk, payer_id=uncle.pk, now=NOON
    ).subscription
    receipt = Receipt.objects.get(member=silver.member)
    message = C2bMessage("TKN1AB2C3D", NOON, 2000, "174379", bought.payment.reference, "", "", "Pay Bill", "")
    # The one has the periods and the other its payer before either goes on.
    meet_at(monkeypatch, (grants, "lock_chain_of_payment"), (c2b_confirmations, "lock_candidates"))

    raised = both(
        lambda: reverse_receipt(receipt_id=receipt.pk, reason="void", by_id=None, now=NOON, returned_to_payer=False),
        lambda: c2b_confirmations.apply_c2b(message=message, now=NOON),
    )

    assert raised == [None, None]
    assert Subscription.objects.get(pk=silver.pk).fact == "revoked"


def test_two_buy_for_one_another_while_what_each_let_expire_is_in_the_way(monkeypatch):
    """Each has an expired purchase with a deposit, which the other pays for."""
    one, other = MemberFactory(), MemberFactory()
    plan = PlanFactory(price=1000, deposit_percent=50)
    for member, payer in ((one, other), (other, one)):
        pending(plan, member, payment=create_payment(payer, amount=1000, deposit=500))
    later = Payment.objects.first().expires_at
    expire_due(now=later)
    meet_at(monkeypatch, (purchases, "find_repeated_purchase"))

    def buy(member):
        return lambda: purchases.subscribe(
            member_ids=[member.pk],
            plan_code=plan.code,
            payer_id=member.pk,
            phone=None,
            created_by_id=member.pk,
            now=later,
        )

    assert both(buy(one), buy(other)) == [None, None]


def test_two_upgrade_again_while_the_upgrade_each_let_expire_was_the_others_to_pay(monkeypatch):
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

    assert both(*(upgrade(period, period.member, later) for period in periods)) == [None, None]


def test_the_club_closes_while_credit_buys_what_had_expired(monkeypatch):
    staff, expired = MemberFactory(), pending()
    granted(PlanFactory(), expired.member)  # to be laid out, so the closing locks what the member ever bought
    later = expired.payment.expires_at
    expire_due(now=later)
    record_paybill_payment(expired.member, 1500, at=later)
    meet_at(monkeypatch, (purchases, "joining_fee_due"), (freezes, "lock_closures"))

    def buy():
        purchases.subscribe(
            member_ids=[expired.member_id],
            plan_code=expired.plan.code,
            payer_id=expired.member_id,
            phone=None,
            created_by_id=expired.member_id,
            now=later,
        )

    assert both(buy, lambda: close(staff.pk)) == [None, None]


@pytest.fixture
def upgrade_by_a_parent():
    """A child's upgrade that waits for its parent's money."""
    silver, gold, parent = granted(PlanFactory(price=1000)), PlanFactory(price=3000), MemberFactory()
    return plan_changes.upgrade(
        subscription_id=silver.pk, plan_code=gold.code, phone=None, by_id=parent.pk, payer_id=parent.pk, now=NOON
    ).subscription


def enter(member):
    check_in(member_number=member.member_number, recorded_by_id=None, now=NOON)


def test_a_child_that_enters_while_a_parent_pays_its_upgrade_enters_on_the_upgrade(upgrade_by_a_parent):
    child, payment = upgrade_by_a_parent.member, upgrade_by_a_parent.payment

    meanwhile(lambda: pay(payment, at=NOON), lambda: enter(child))

    assert Visit.objects.get().subscription == upgrade_by_a_parent


def test_an_upgrade_that_a_parent_pays_while_the_child_enters_takes_the_visit(upgrade_by_a_parent):
    child, payment = upgrade_by_a_parent.member, upgrade_by_a_parent.payment

    meanwhile(lambda: enter(child), lambda: pay(payment, at=NOON))

    assert Visit.objects.get().subscription == upgrade_by_a_parent


def test_an_upgrade_asked_for_while_the_member_enters_reckons_the_visit_as_used():
    silver = granted(PlanFactory(price=1000, visits=2))
    gold = PlanFactory(price=3000)

    def upgrade():
        plan_changes.upgrade(
            subscription_id=silver.pk, plan_code=gold.code, phone=None, by_id=silver.member_id, now=NOON
        )

    meanwhile(lambda: enter(silver.member), upgrade)

    assert Subscription.objects.get(replaces=silver).value_carried == 500


@pytest.mark.parametrize("enters_first", [True, False])
def test_who_enters_and_freezes_the_day_at_once_has_one_of_them(enters_first):
    member = granted(PlanFactory(max_freezes=1, max_freeze_days=9)).member

    def freeze_today():
        with contextlib.suppress(freezes.FreezeAfterVisit):
            freeze(member.subscriptions.get(), 0, 5)

    deeds = [lambda: enter(member), freeze_today]
    meanwhile(*(deeds if enters_first else reversed(deeds)))

    assert [Visit.objects.get().decision, Freeze.objects.count()] == (["allow", 0] if enters_first else ["deny", 1])


@pytest.mark.parametrize(
    ("say", "refusal"),
    [(purchases.cancel, purchases.NothingToCancel), (plan_changes.undo_changes, plan_changes.NotRunning)],
)
def test_what_is_said_of_a_period_whose_money_goes_back_meanwhile_is_refused(say, refusal):
    period, refused = granted(), []

    def take_back():
        reverse_receipt(
            receipt_id=Receipt.objects.get().pk, reason="void", by_id=None, now=NOON, returned_to_payer=False
        )

    def speak():
        try:
            say(subscription_id=period.pk, by_id=period.member_id, now=NOON)
        except Conflict as error:
            refused.append(type(error))

    meanwhile(take_back, speak)

    assert refused == [refusal]


def test_one_upgrade_asked_for_twice_at_once_is_one():
    silver, gold = granted(PlanFactory(price=1000)), PlanFactory(price=3000)

    then_meanwhile(
        lambda: plan_changes.upgrade(
            subscription_id=silver.pk, plan_code=gold.code, phone=None, by_id=silver.member_id, now=NOON
        )
    )

    assert Subscription.objects.filter(replaces=silver).count() == 1


def test_one_gift_sent_twice_at_once_is_one():
    member, staff, plan = MemberFactory(), MemberFactory(), PlanFactory()

    then_meanwhile(
        lambda: free_periods.grant_free_period(
            member_id=member.pk,
            plan_code=plan.code,
            reason="raffle",
            by_id=staff.pk,
            now=NOON,
            idempotency_key="k",
        )
    )

    assert member.subscriptions.count() == 1


def test_two_people_who_pay_for_one_member_at_once_both_give_their_month():
    member = MemberFactory()
    mothers, fathers = (pending(member=member, payment=create_payment(MemberFactory())) for _ in range(2))

    with transaction.atomic():
        pay(mothers.payment, at=noon_on(day(0)))
        paying = in_thread(lambda: pay(fathers.payment, at=noon_on(day(0))))
        paying.join(timeout=0.5)
        assert paying.is_alive()
    paying.join(timeout=10)

    assert [span[:2] for span in spans(mothers, fathers)] == [(day(0), day(30)), (day(30), day(61))]
