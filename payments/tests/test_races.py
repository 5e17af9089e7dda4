"""Races: concurrent events on real connections still count once."""

import itertools
import threading
import time
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import transaction
from django.test import Client
from django.urls import reverse

from api.clock import now
from payments.callbacks import inbox, spool
from payments.daraja import callback_tokens
from payments.daraja.messages import C2bMessage, StkResult
from payments.desk import desk_receipts, reported_codes, review_decisions, voids
from payments.evidence import c2b_confirmations, receipts, stk_results
from payments.jobs import apply_left
from payments.matching import owners
from payments.models import Account, Callback, CodeCheck, CodeClaim, Payment, PaymentEvent, Receipt, ReviewItem
from payments.services import cancellation, ledger, locks, transitions
from payments.tests.bodies import c2b_body, status_body, stk_body
from payments.tests.factories import NOON, MemberFactory, create_payment, make_push
from payments.tests.invariants import broken_invariants
from payments.tests.threads import run_together

pytestmark = pytest.mark.server


# Real commits on real connections. Emptying every table afterwards makes these tests slow.
def concurrent(test):
    """Mark a test whose threads commit."""
    return pytest.mark.slow(pytest.mark.django_db(transaction=True)(test))


def callback(push, **result):
    url, body = reverse("payments:stk-callback", args=[push.raw_token]), stk_body(push, **result)
    return lambda: Client().post(url, body, content_type="application/json").status_code


def confirmation(push, code="TKN1AB2C3D"):
    url = reverse("payments:c2b-confirmation", args=[settings.C2B_SECRET])
    body = c2b_body(amount=push.amount, account=push.payment.reference, code=code, moved_at=NOON)
    return lambda: Client().post(url, body, content_type="application/json").status_code


def query(push):
    result = StkResult(push.merchant_request_id, push.checkout_request_id, "0", "")
    return lambda: stk_results.apply_stk_result(push_id=push.pk, result=result, source="query", now=NOON).outcome


@pytest.fixture(autouse=True)
def enough_apply_slots(free_apply_slots):
    """Let all callbacks be applied in their own requests; a worker would apply them one after another."""


@concurrent
@pytest.mark.parametrize("room", [2, 100])
def test_hundred_identical_callbacks_apply_once_and_all_get_200(room, monkeypatch):
    monkeypatch.setattr(inbox, "APPLY_SLOT", threading.BoundedSemaphore(room))
    push = make_push()
    jobs = [callback(push) for _ in range(100)]

    answers = run_together(*jobs)
    apply_left()

    assert answers == [200] * 100
    outcomes = sorted(Callback.objects.values_list("outcome", flat=True))
    assert outcomes == ["applied"] + ["duplicate"] * (len(outcomes) - 1)
    counted = sum(Callback.objects.values_list("not_stored", flat=True))
    assert len(outcomes) + counted == 100
    assert len(outcomes) >= inbox.MOST_OF_A_URL  # those under way do not see each other
    assert (callback(push)(), Callback.objects.count()) == (200, len(outcomes))  # it sees them
    assert Receipt.objects.count() == 1
    assert broken_invariants() == {}


@concurrent
def test_query_and_till_confirmation_make_one_receipt():
    """Try several times: the fault shows only if the two meet at the right moment."""
    for n in range(5):
        push = make_push(phone=f"25471234567{n}")
        body = c2b_body(amount=push.amount, code=f"TKN000000{n}", moved_at=NOON, sender=f"2547 ***** 67{n}")
        url = reverse("payments:c2b-confirmation", args=[settings.C2B_SECRET])

        run_together(query(push), lambda url=url, body=body: Client().post(url, body, content_type="application/json"))

        assert Receipt.objects.filter(code=f"TKN000000{n}", push=push).exists()
    assert Receipt.objects.count() == 5


@concurrent
def test_callback_applied_by_request_and_two_workers_counts_once():
    push = make_push()
    message = spool.Message("stk", stk_body(push), {}, None, NOON, push.token_hash)
    kept = inbox._store(message, next_try_at=NOON)  # as after a request that was too slow

    run_together(
        lambda: inbox._try_to_apply(kept, now=NOON), *[lambda: inbox.apply_waiting(now=NOON) for _ in range(2)]
    )

    assert Callback.objects.get().outcome == "applied"
    assert Receipt.objects.count() == 1


def expire(push):
    return lambda: cancellation.expire_due(now=push.payment.expires_at)


def cancel(push):
    return lambda: cancellation.cancel_payment(payment_id=push.payment_id, by_id=push.payment.payer_id, now=NOON).status


@concurrent
@pytest.mark.parametrize("held", ["payer", "payment"])
def test_expiry_skips_locked_rows_and_expires_them_later(held, caplog):
    busy, idle = create_payment(), create_payment()
    rows = {"payer": type(busy.payer).objects.filter(pk=busy.payer_id), "payment": Payment.objects.filter(pk=busy.pk)}

    with transaction.atomic():
        list(rows[held].select_for_update(no_key=True))
        [while_held] = run_together(lambda: cancellation.expire_due(now=busy.expires_at))
    after = cancellation.expire_due(now=busy.expires_at)

    assert (while_held, after, caplog.messages) == (1, 1, [])  # the run neither waited nor failed
    idle_event, busy_event = PaymentEvent.objects.filter(to_status="expired").order_by("pk")
    assert (idle_event.payment_id, busy_event.payment_id) == (idle.pk, busy.pk)


RIVALS = {
    "callback": callback,
    "failure": lambda push: callback(push, result_code=1032),
    "query": query,
    "confirmation": confirmation,
    "expiry": expire,
    "cancel": cancel,
}


@concurrent
@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(RIVALS, 2)])
def test_any_two_concurrent_events_break_no_invariant(one, other):
    push = make_push()

    run_together(RIVALS[one](push), RIVALS[other](push))

    assert broken_invariants() == {}
    money = {"callback", "query", "confirmation"} & {one, other}
    assert Receipt.objects.count() == (1 if money else 0)
    if money and "cancel" not in (one, other):
        assert Payment.objects.get().status == "paid"
    if money:
        credit = -ledger.balance(Account.MEMBER_CREDIT, member_id=push.payment.payer_id)
        assert credit + Payment.objects.get().amount_paid == push.amount


@pytest.mark.django_db
@pytest.mark.parametrize(("one", "other"), [*itertools.permutations(RIVALS, 2)])
def test_any_two_events_in_either_order_break_no_invariant(one, other):
    push = make_push()

    for each in (one, other):
        try:
            RIVALS[each](push)()
        except transitions.InvalidTransition:
            assert each == "cancel"

    assert broken_invariants() == {}
    assert Receipt.objects.count() == (1 if {"callback", "query", "confirmation"} & {one, other} else 0)


@concurrent
def test_callback_query_and_confirmation_make_one_receipt():
    push = make_push()

    run_together(callback(push), query(push), confirmation(push), callback(push), confirmation(push))

    assert Receipt.objects.get().code == "TKN1AB2C3D"
    assert Payment.objects.get().status == "paid"
    assert broken_invariants() == {}


@concurrent
def test_concurrent_callbacks_of_one_member_all_settle():
    payer = MemberFactory()
    pushes = [make_push(create_payment(payer)) for _ in range(10)]

    answers = run_together(*(callback(push, code=f"TKN000000{n}") for n, push in enumerate(pushes)))

    assert answers == [200] * 10
    assert set(Payment.objects.values_list("status", flat=True)) == {"paid"}


@concurrent
def test_concurrent_new_payments_spend_one_credit_once():
    payer = MemberFactory()
    message = C2bMessage("TKN1AB2C3D", NOON, 1000, "174379", payer.member_number, "", "", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=NOON)

    run_together(*[lambda: create_payment(payer, amount=1000) for _ in range(5)])

    assert sorted(Payment.objects.values_list("status", flat=True)) == ["paid"] + ["pending"] * 4
    assert broken_invariants() == {}


def status_answer(token="s" * 43, code="TKN1AB2C3D"):
    """Create a code check that waits for an answer; return the call that posts Safaricom's answer."""
    CodeCheck.objects.create(code=code, status="asked", created_at=NOON, token_hash=callback_tokens.hash_of(token))
    url, body = reverse("payments:code-check-result", args=[token]), status_body(code=code, moved_at=NOON)
    return lambda: Client().post(url, body, content_type="application/json").status_code


@concurrent
@pytest.mark.parametrize("attempt", range(3))
def test_code_check_confirmation_and_push_make_one_receipt(attempt):
    push = make_push(phone="254712345126")
    answer = status_answer()

    answers = run_together(answer, answer, confirmation(push), callback(push), query(push))

    assert answers[:4] == [200] * 4
    inbox.apply_waiting(now=now() + inbox.RETRY_DELAY)  # callbacks whose locks clashed too often
    receipt = Receipt.objects.get(reversed_at=None)
    assert (receipt.code, receipt.push) == ("TKN1AB2C3D", push)
    assert (Payment.objects.get().status, CodeCheck.objects.get().status) == ("paid", "found")
    assert (ledger.balance(Account.MPESA), ledger.balance(Account.UNMATCHED)) == (push.amount, 0)
    assert broken_invariants() == {}


@concurrent
def test_two_managers_assign_unmatched_money_once():
    one, other, manager = create_payment(), create_payment(), MemberFactory()
    message = C2bMessage("TKN1AB2C3D", NOON, 1500, "174379", "gym", "", "", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=NOON)
    item = ReviewItem.objects.get()

    def assign(payment):
        return lambda: review_decisions.assign_money(item_id=item.pk, payment_id=payment.pk, by_id=manager.pk, now=NOON)

    results = run_together(assign(one), assign(other))

    assert sum(isinstance(result, review_decisions.NotAssignable) for result in results) == 1
    assert sorted(Payment.objects.values_list("status", flat=True)) == ["paid", "pending"]
    assert broken_invariants() == {}


@concurrent
def test_concurrent_receipt_numbers_have_no_gap_and_no_duplicate():
    cashiers = MemberFactory.create_batch(6)
    payments = [create_payment() for _ in cashiers]

    def take(cashier, payment):
        return lambda: (
            desk_receipts.record_receipt(
                channel="bank",
                amount=1500,
                by_id=cashier.pk,
                payment_id=payment.pk,
                now=NOON + timedelta(hours=1),
                note="FT2630",
            ).number
        )

    numbers = run_together(*(take(cashier, payment) for cashier, payment in zip(cashiers, payments, strict=True)))

    assert sorted(numbers) == [f"2026-00000{n}" for n in range(1, 7)]
    assert broken_invariants() == {}


@concurrent
def test_two_people_void_a_receipt_once():
    cashier, *others = MemberFactory.create_batch(3)
    payment = create_payment(amount=1500)
    receipt = desk_receipts.record_receipt(
        channel="bank", amount=1500, by_id=cashier.pk, payment_id=payment.pk, now=NOON, note="FT2630"
    )

    results = run_together(
        *[
            lambda person=person: voids.void_receipt(
                receipt_id=receipt.pk, reason="typed twice", by_id=person.pk, now=NOON
            )
            for person in others
        ]
    )

    assert sum(isinstance(result, voids.NotVoidable) for result in results) == 1
    assert broken_invariants() == {}


def unmatched(code="TKN1AB2C3D"):
    message = C2bMessage(code, NOON, 1500, "174379", "gym", "", "", "Pay Bill", "")
    return lambda: c2b_confirmations.apply_c2b(message=message, now=NOON)


def report(payment, code="TKN1AB2C3D"):
    cashier = MemberFactory()
    return lambda: reported_codes.report_code(code=code, payment_id=payment.pk, by_id=cashier.pk, now=NOON)


@concurrent
def test_code_reported_while_its_confirmation_is_matched_pays(monkeypatch):
    payment, matching, reported = create_payment(amount=1500), threading.Event(), threading.Event()
    find_owner = owners.find_owner

    def slowly(**message):
        match = find_owner(**message)
        matching.set()
        reported.wait(timeout=10)
        return match

    monkeypatch.setattr(owners, "find_owner", slowly)

    run_together(unmatched(), lambda: (matching.wait(timeout=10), report(payment)(), reported.set()))

    payment.refresh_from_db()
    assert (payment.status, CodeClaim.objects.get().receipt) == ("paid", Receipt.objects.get())


@concurrent
def test_code_reported_while_its_confirmation_is_written_pays(monkeypatch):
    payment, matching = create_payment(amount=1500), threading.Event()
    insert = receipts.insert

    def slowly(receipt):
        matching.set()
        time.sleep(0.5)  # a report that did not wait would be finished by then
        return insert(receipt)

    monkeypatch.setattr(receipts, "insert", slowly)

    run_together(unmatched(), lambda: (matching.wait(timeout=10), report(payment)()))

    payment.refresh_from_db()
    assert (payment.status, CodeClaim.objects.get().receipt) == ("paid", Receipt.objects.get())
    assert broken_invariants() == {}


@concurrent
def test_owner_assigned_while_a_receipt_is_locked_is_locked_too(monkeypatch):
    unmatched()()
    item, receipt, payment = ReviewItem.objects.get(), Receipt.objects.get(), create_payment()
    manager = MemberFactory()
    lock_members, calls = locks.lock_members, []

    def assign_first(members):
        calls.append(set(members))
        if len(calls) == 1:
            monkeypatch.setattr(locks, "lock_members", lock_members)
            run_together(
                lambda: review_decisions.assign_money(
                    item_id=item.pk, payment_id=payment.pk, by_id=manager.pk, now=NOON
                )
            )
            monkeypatch.setattr(locks, "lock_members", assign_first)
        lock_members(members)

    monkeypatch.setattr(locks, "lock_members", assign_first)

    with transaction.atomic():
        locked = locks.lock_receipt(receipt.pk)

    assert calls == [set(), {payment.payer_id}]
    assert locked.member_id == payment.payer_id
