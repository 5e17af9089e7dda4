"""Orders that got no money for a long time: they end, their money becomes credit, and late money buys anew."""

from datetime import timedelta

import pytest
from procrastinate.contrib.django.models import ProcrastinateJob

from accounts.models import Notice
from accounts.services import notices
from payments.daraja.messages import C2bMessage, StkResult
from payments.evidence import c2b_confirmations, stk_results
from payments.models import Account, PaymentEvent, Receipt, ReviewItem
from payments.services import credit, ledger
from payments.services.cancellation import cancel_payment, expire_due, expire_orders
from payments.services.reversals import reverse_receipt
from payments.tests.factories import make_push
from subscriptions.models import Plan, Subscription
from subscriptions.services import catalog, expired_orders, freezes
from subscriptions.tests.factories import (
    NOON,
    TODAY,
    MemberFactory,
    PlanFactory,
    buy,
    granted,
    pay,
    pay_part,
    pending,
    record_paybill_payment,
)

pytestmark = [pytest.mark.django_db, pytest.mark.server]

DAY = timedelta(days=1)
LATER = NOON + 31 * DAY


def state(*payments):
    """Return the status and the amount paid of each payment, read again from the database."""
    for each in payments:
        each.refresh_from_db()
    return [(each.status, each.amount_paid) for each in payments]


def confirm(account, amount, *, code="TKN1AB2C3D", at=LATER):
    """Apply a paybill payment to an account number, and then the job that it queues."""
    message = C2bMessage(code, at, amount, "174379", account, "", "JANE", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=at)
    buy_again(at=at)
    return Receipt.objects.get(code=code)


def credit_of(member_id):
    """Return the member's credit, also the part that a review item reserves."""
    return -ledger.balance(Account.MEMBER_CREDIT, member_id=member_id)


def change_plans(**fields):
    for plan in Plan.objects.all():
        catalog.edit_plan(plan_id=plan.pk, by_id=None, now=NOON, **fields)


def buy_again(*, at):
    """Do the queued jobs that buy expired orders again, as the worker does."""
    for job in ProcrastinateJob.objects.filter(status="todo", task_name="subscriptions.buy_again"):
        expired_orders.buy_again(**job.args, now=at)


def periods(member):
    """Return the recorded state and the amount due of each of the member's periods, oldest first."""
    return list(Subscription.objects.filter(member=member).order_by("pk").values_list("fact", "payment__amount_due"))


@pytest.fixture
def plan():
    return PlanFactory(code="monthly", price=1500)


@pytest.fixture
def part_paid(plan):
    """An order of KES 1,500 that got one shilling on the first day."""
    order = pending(plan)
    pay_part(order.payment, 1, at=NOON)
    return order


def test_order_with_one_shilling_becomes_credit_after_thirty_days(part_paid):
    payment, member = part_paid.payment, part_paid.member

    assert expire_orders(now=NOON + 30 * DAY - timedelta(seconds=1)) == 0
    assert expire_orders(now=NOON + 30 * DAY) == 1
    assert expire_orders(now=NOON + 30 * DAY) == 0

    assert (state(payment), credit_of(member.pk), periods(member)) == (
        [("cancelled", 0)],
        1,
        [("cancelled", 1500)],
    )
    assert list(PaymentEvent.objects.filter(payment=payment).order_by("pk").values_list("to_status", "evidence", "by"))[
        -1
    ] == ("cancelled", "order expired", None)


def test_order_lifetime_is_a_setting(part_paid, settings):
    settings.ORDER_LIFETIME = 3 * DAY

    assert expire_orders(now=NOON + 3 * DAY) == 1


def test_payer_of_expired_order_gets_one_message(part_paid):
    member, reference = part_paid.member, part_paid.payment.reference
    expire_orders(now=LATER)
    expire_orders(now=LATER)

    notice = Notice.objects.get()
    assert (notice.user, notice.kind, notice.address) == (member, "order_expired", member.phone_number)
    assert notices.text_of(notice) == (
        f"Kilabu Fitness: your order {reference} (Gym, one month) has expired, because no money came for 30 days."
        " The KES 1 that you paid is not lost: your credit is now KES 1."
        " Order again at today's price; your credit is used first."
    )


def test_expired_order_without_money_sends_no_message(plan):
    order = pending(plan)
    expire_due(now=NOON + 4 * DAY)

    assert (expire_orders(now=LATER), state(order.payment), Notice.objects.count()) == (1, [("cancelled", 0)], 0)


def test_self_declared_phone_gets_no_message(part_paid):
    type(part_paid.member).objects.update(phone_is_self_declared=True)

    assert (expire_orders(now=LATER), Notice.objects.count()) == (1, 0)


def test_new_money_gives_the_order_thirty_more_days(part_paid):
    pay_part(part_paid.payment, 1, at=NOON + 20 * DAY)

    assert expire_orders(now=NOON + 49 * DAY) == 0
    assert expire_orders(now=NOON + 50 * DAY) == 1
    assert credit_of(part_paid.member_id) == 2


def test_reversed_money_gives_the_order_thirty_more_days(plan):
    paid = granted(plan)
    receipt = Receipt.objects.get()
    reverse_receipt(receipt_id=receipt.pk, reason="entered twice", by_id=None, now=LATER, returned_to_payer=False)

    assert expire_orders(now=LATER + 29 * DAY) == 0
    assert expire_orders(now=LATER + 30 * DAY) == 1
    assert state(paid.payment) == [("cancelled", 0)]


def test_order_whose_minimum_payment_was_reached_never_expires():
    order = pending(PlanFactory(price=2000, deposit_percent=50))
    pay_part(order.payment, 1000, at=NOON)

    assert expire_orders(now=NOON + 3650 * DAY) == 0
    assert state(order.payment) == [("partially_paid", 1000)]


def test_order_with_an_open_push_does_not_expire(part_paid):
    make_push(part_paid.payment, sent_at=LATER)

    assert expire_orders(now=LATER) == 0


def test_closure_and_freeze_do_not_stop_the_time_of_an_order(part_paid):
    running = granted(PlanFactory(group__name="Locker"), part_paid.member)
    closed = {"starts_on": TODAY + DAY, "ends_on": TODAY + 8 * DAY, "by_id": part_paid.member_id, "now": NOON}
    freezes.create_closure(reason="Holidays", **closed)
    freezes.freeze(
        subscription_id=running.pk,
        starts_on=TODAY + 10 * DAY,
        ends_on=TODAY + 20 * DAY,
        kind="staff",
        by_id=part_paid.member_id,
        now=NOON,
    )

    assert expire_orders(now=NOON + 30 * DAY) == 1
    assert state(part_paid.payment) == [("cancelled", 0)]


def test_order_made_at_the_desk_expires_and_tells_its_payer(plan):
    receptionist, member = MemberFactory(role="Receptionist"), MemberFactory()
    order = buy(member, plan=plan, created_by_id=receptionist.pk).subscription
    pay_part(order.payment, 700, at=NOON)

    assert (expire_orders(now=LATER), credit_of(member.pk)) == (1, 700)
    assert list(Notice.objects.values_list("user", flat=True)) == [member.pk]


# --- Group payments -------------------------------------------------------------------------------


def family_order(plan):
    """A parent orders for two children, and pays for the first and a part of the second."""
    parent = MemberFactory()
    children = [MemberFactory(), MemberFactory()]
    bought = buy(*children, plan=plan, payer=parent).subscriptions
    pay(bought[0].payment, at=NOON)
    pay_part(bought[1].payment, 500, at=NOON)
    return parent, children, [each.payment for each in bought]


def test_paid_member_of_a_group_payment_stays_when_the_other_expires(plan):
    parent, children, payments = family_order(plan)

    assert expire_orders(now=LATER) == 1

    assert state(*payments) == [("paid", 1500), ("cancelled", 0)]
    assert [periods(each)[0][0] for each in children] == ["granted", "cancelled"]
    assert credit_of(parent.pk) == 500


def test_money_for_one_payment_of_a_group_keeps_the_whole_group(plan):
    parent = MemberFactory()
    bought = buy(MemberFactory(), MemberFactory(), plan=plan, payer=parent).subscriptions
    pay_part(bought[0].payment, 1, at=NOON + 10 * DAY)

    assert expire_orders(now=NOON + 39 * DAY) == 0
    assert expire_orders(now=NOON + 40 * DAY) == 2


def test_late_money_for_a_group_buys_for_its_expired_member(plan):
    parent, children, payments = family_order(plan)
    expire_orders(now=LATER)
    change_plans(price=2000)

    confirm(payments[0].reference, 1500)

    assert [periods(each) for each in children] == [[("granted", 1500)], [("cancelled", 1500), ("granted", 2000)]]
    assert credit_of(parent.pk) == 0


# --- Late money -----------------------------------------------------------------------------------


def test_late_money_buys_at_the_price_of_its_day(part_paid):
    member = part_paid.member
    expire_orders(now=LATER)
    change_plans(price=2000)

    receipt = confirm(part_paid.payment.reference, 1999)

    assert periods(member) == [("cancelled", 1500), ("granted", 2000)]
    assert credit_of(member.pk) == 0
    item = ReviewItem.objects.get()
    assert (item.receipt, item.status, item.detail, item.resolution) == (
        receipt,
        "resolved",
        f"KES 1,999 was paid for the order {part_paid.payment.reference}, which has expired."
        " It is now the member's credit.",
        "The money became credit, and the credit was used.",
    )


def test_late_money_below_the_price_of_its_day_is_credit(part_paid):
    member = part_paid.member
    expire_orders(now=LATER)
    change_plans(price=2000)

    confirm(part_paid.payment.reference, 1499)

    assert (periods(member), credit_of(member.pk)) == ([("cancelled", 1500)], 1500)
    assert ReviewItem.objects.get().status == "open"


def test_late_money_buys_once(part_paid):
    member = part_paid.member
    expire_orders(now=LATER)
    confirm(part_paid.payment.reference, 3001)
    expired_orders.buy_again(payment_id=part_paid.payment_id, now=LATER)
    confirm(part_paid.payment.reference, 1500, code="TKN1AB2C3E")

    assert periods(member) == [("cancelled", 1500), ("granted", 1500)]
    assert credit_of(member.pk) == 3002


def test_late_money_pays_the_newer_order_of_the_member(part_paid, plan):
    member = part_paid.member
    expire_orders(now=LATER)
    change_plans(price=2000)
    newer = buy(member, plan=plan, now=LATER).subscription

    confirm(part_paid.payment.reference, 1999)

    assert (state(newer.payment), credit_of(member.pk)) == ([("paid", 2000)], 0)


@pytest.mark.parametrize("change", [{"is_on_sale": False}, {"price": 9000}])
def test_plan_that_cannot_be_bought_leaves_late_money_as_credit(part_paid, change):
    expire_orders(now=LATER)
    change_plans(**change)

    confirm(part_paid.payment.reference, 1500)

    assert (periods(part_paid.member), credit_of(part_paid.member_id)) == ([("cancelled", 1500)], 1501)


def test_order_that_a_person_cancelled_is_not_bought_again(part_paid):
    cancel_payment(payment_id=part_paid.payment_id, by_id=part_paid.member_id, now=NOON)

    confirm(part_paid.payment.reference, 1500)

    assert (periods(part_paid.member), credit_of(part_paid.member_id)) == ([("cancelled", 1500)], 1501)


def test_late_result_of_a_push_buys_at_the_price_of_its_day(part_paid, plan):
    push = make_push(part_paid.payment)
    failed = StkResult(push.merchant_request_id, push.checkout_request_id, "1032", "")
    stk_results.apply_stk_result(push_id=push.pk, result=failed, source="callback", now=NOON)
    expire_orders(now=LATER)
    change_plans(price=1400)
    paid = StkResult(push.merchant_request_id, push.checkout_request_id, "0", "", 1499, "TKN1AB2C3D", LATER)

    stk_results.apply_stk_result(push_id=push.pk, result=paid, source="callback", now=LATER)
    buy_again(at=LATER)

    assert periods(part_paid.member) == [("cancelled", 1500), ("granted", 1400)]
    assert credit_of(part_paid.member_id) == 100


def test_two_expired_orders_do_not_pay_each_other(plan):
    member = MemberFactory()
    first = pending(plan, member)
    second = pending(PlanFactory(group__name="Locker", price=1000), member)
    pay_part(first.payment, 500, at=NOON)
    pay_part(second.payment, 600, at=NOON)

    assert expire_orders(now=LATER) == 2
    assert (state(first.payment, second.payment), credit_of(member.pk)) == ([("cancelled", 0)] * 2, 1100)


def test_money_of_an_expired_order_pays_a_debt(plan):
    member = MemberFactory()
    owed = pending(PlanFactory(group__name="Locker", price=1000, deposit_percent=50), member)
    pay_part(owed.payment, 600, at=NOON)
    order = pending(plan, member)
    pay_part(order.payment, 500, at=NOON)

    assert expire_orders(now=LATER) == 1
    assert (state(order.payment, owed.payment), credit_of(member.pk)) == (
        [("cancelled", 0), ("paid", 1000)],
        100,
    )
    assert "your credit is now KES 100." in Notice.objects.get().text


def test_one_failing_payer_does_not_stop_the_others(plan, monkeypatch):
    orders = [pending(plan), pending(plan)]
    real = credit.complete_open

    def fail(member_id, *, now):
        if member_id == orders[0].member_id:
            raise ZeroDivisionError
        real(member_id, now=now)

    monkeypatch.setattr(credit, "complete_open", fail)

    assert expire_orders(now=LATER) == 1
    assert state(*(each.payment for each in orders)) == [("pending", 0), ("cancelled", 0)]


def test_unexpired_order_of_an_expired_purchase_keeps_credit_of_the_member(plan):
    member = MemberFactory()
    record_paybill_payment(member, 100)
    order = buy(member, plan=plan).subscription

    assert state(order.payment) == [("partially_paid", 100)]
    assert (expire_orders(now=LATER), credit_of(member.pk)) == (1, 100)
