"""What happens at once, on real connections: everything still counts once."""

import itertools
import threading
import time
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection, transaction
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
from payments.tests.conftest import broken_invariants
from payments.tests.factories import NOON, MemberFactory, create_payment, make_push

pytestmark = pytest.mark.server


# Real commits on real connections; emptying every table afterwards is what makes these slow.
def together(test):
    """Mark a test whose threads commit for real."""
    return pytest.mark.slow(pytest.mark.django_db(transaction=True)(test))


def at_once(*jobs):
    """Run the jobs in threads released together; return what each returned or raised."""
    barrier, results = threading.Barrier(len(jobs)), [None] * len(jobs)

    def run(place, job):
        try:
            connection.ensure_connection()
            barrier.wait(timeout=30)
            results[place] = job()
        except Exception as error:
            results[place] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=each) for each in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return results


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
def everybody_has_room(free_apply_slots):
    """Rivals meet in their own requests; else most would wait for a worker, which takes one after another."""


@together
@pytest.mark.parametrize("room", [2, 100])
def test_a_hundred_identical_callbacks_apply_once_and_are_all_answered_200(room, monkeypatch):
    monkeypatch.setattr(inbox, "APPLY_SLOT", threading.BoundedSemaphore(room))
    push = make_push()
    jobs = [callback(push) for _ in range(100)]

    answers = at_once(*jobs)
    apply_left()

    assert answers == [200] * 100
    outcomes = sorted(Callback.objects.values_list("outcome", flat=True))
    assert outcomes == ["applied"] + ["duplicate"] * 99
    assert Receipt.objects.count() == 1
    assert broken_invariants() == {}


@together
def test_a_query_and_a_tills_confirmation_at_once_count_once():
    """Several rounds: the two must meet at the right moment for the fault to show."""
    for n in range(5):
        push = make_push(phone=f"25471234567{n}")
        body = c2b_body(amount=push.amount, code=f"TKN000000{n}", moved_at=NOON, sender=f"2547 ***** 67{n}")
        url = reverse("payments:c2b-confirmation", args=[settings.C2B_SECRET])

        at_once(query(push), lambda url=url, body=body: Client().post(url, body, content_type="application/json"))

        assert Receipt.objects.filter(code=f"TKN000000{n}", push=push).exists()
    assert Receipt.objects.count() == 5


@together
def test_one_callback_in_the_hands_of_its_request_and_of_two_workers_counts_once():
    push = make_push()
    message = spool.Message("stk", stk_body(push), {}, None, NOON, push.token_hash)
    kept = inbox._store(message, next_try_at=NOON)  # as after a request so slow that its turn is over

    at_once(lambda: inbox._try_to_apply(kept, now=NOON), *[lambda: inbox.apply_waiting(now=NOON) for _ in range(2)])

    assert Callback.objects.get().outcome == "applied"
    assert Receipt.objects.count() == 1


def expire(push):
    return lambda: cancellation.expire_due(now=push.payment.expires_at)


def cancel(push):
    return lambda: cancellation.cancel_payment(payment_id=push.payment_id, by_id=push.payment.payer_id, now=NOON).status


@together
@pytest.mark.parametrize("held", ["payer", "payment"])
def test_expiry_passes_by_what_is_held_and_comes_back_for_it(held, caplog):
    busy, idle = create_payment(), create_payment()
    rows = {"payer": type(busy.payer).objects.filter(pk=busy.payer_id), "payment": Payment.objects.filter(pk=busy.pk)}

    with transaction.atomic():
        list(rows[held].select_for_update(no_key=True))
        [while_held] = at_once(lambda: cancellation.expire_due(now=busy.expires_at))
    after = cancellation.expire_due(now=busy.expires_at)

    assert (while_held, after, caplog.messages) == (1, 1, [])  # it neither waited nor failed
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


@together
@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(RIVALS, 2)])
def test_any_two_at_once_leave_the_books_whole(one, other):
    push = make_push()

    at_once(RIVALS[one](push), RIVALS[other](push))

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
def test_any_two_in_either_order_leave_the_books_whole(one, other):
    push = make_push()

    for each in (one, other):
        try:
            RIVALS[each](push)()
        except transitions.InvalidTransition:
            assert each == "cancel"

    assert broken_invariants() == {}
    assert Receipt.objects.count() == (1 if {"callback", "query", "confirmation"} & {one, other} else 0)


@together
def test_callback_query_and_confirmation_of_one_money_at_once_count_once():
    push = make_push()

    at_once(callback(push), query(push), confirmation(push), callback(push), confirmation(push))

    assert Receipt.objects.get().code == "TKN1AB2C3D"
    assert Payment.objects.get().status == "paid"
    assert broken_invariants() == {}


@together
def test_different_callbacks_of_one_member_at_once_all_settle():
    payer = MemberFactory()
    pushes = [make_push(create_payment(payer)) for _ in range(10)]

    answers = at_once(*(callback(push, code=f"TKN000000{n}") for n, push in enumerate(pushes)))

    assert answers == [200] * 10
    assert set(Payment.objects.values_list("status", flat=True)) == {"paid"}


@together
def test_one_credit_is_spent_once_by_payments_opened_at_once():
    payer = MemberFactory()
    message = C2bMessage("TKN1AB2C3D", NOON, 1000, "174379", payer.member_number, "", "", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=NOON)

    at_once(*[lambda: create_payment(payer, amount=1000) for _ in range(5)])

    assert sorted(Payment.objects.values_list("status", flat=True)) == ["paid"] + ["pending"] * 4
    assert broken_invariants() == {}


@together
def test_one_key_opens_one_payment_however_often_it_is_sent_at_once():
    payer = MemberFactory()

    opened = at_once(
        *[lambda: create_payment(payer, idempotency_key="once", body_fingerprint="a").pk for _ in range(10)]
    )

    assert opened == [Payment.objects.get().pk] * 10


def status_answer(token="s" * 43, code="TKN1AB2C3D"):
    """What Safaricom answers when it was asked about a code, on its way to a check that waits for it."""
    CodeCheck.objects.create(code=code, status="asked", created_at=NOON, token_hash=callback_tokens.hash_of(token))
    url, body = reverse("payments:code-check-result", args=[token]), status_body(code=code, moved_at=NOON)
    return lambda: Client().post(url, body, content_type="application/json").status_code


@together
@pytest.mark.parametrize("round_", range(3))
def test_an_answer_about_a_code_its_confirmation_and_its_prompt_at_once_count_once(round_):
    push = make_push(phone="254712345126")
    answer = status_answer()

    answers = at_once(answer, answer, confirmation(push), callback(push), query(push))

    assert answers[:4] == [200] * 4
    inbox.apply_waiting(now=now() + inbox.RETRY_DELAY)  # those whose locks clashed too often
    receipt = Receipt.objects.get(reversed_at=None)
    assert (receipt.code, receipt.push) == ("TKN1AB2C3D", push)
    assert (Payment.objects.get().status, CodeCheck.objects.get().status) == ("paid", "found")
    assert (ledger.balance(Account.MPESA), ledger.balance(Account.UNMATCHED)) == (push.amount, 0)
    assert broken_invariants() == {}


@together
def test_unmatched_money_is_assigned_once_by_two_managers_at_once():
    one, other, manager = create_payment(), create_payment(), MemberFactory()
    message = C2bMessage("TKN1AB2C3D", NOON, 1500, "174379", "gym", "", "", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=NOON)
    item = ReviewItem.objects.get()

    def assign(payment):
        return lambda: review_decisions.assign_money(item_id=item.pk, payment_id=payment.pk, by_id=manager.pk, now=NOON)

    results = at_once(assign(one), assign(other))

    assert sum(isinstance(result, review_decisions.NotAssignable) for result in results) == 1
    assert sorted(Payment.objects.values_list("status", flat=True)) == ["paid", "pending"]
    assert broken_invariants() == {}


@together
def test_receipt_numbers_given_at_once_have_no_gap_and_no_twin():
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

    numbers = at_once(*(take(cashier, payment) for cashier, payment in zip(cashiers, payments, strict=True)))

    assert sorted(numbers) == [f"2026-00000{n}" for n in range(1, 7)]
    assert broken_invariants() == {}


@together
def test_a_receipt_is_voided_once_by_two_people_at_once():
    cashier, *others = MemberFactory.create_batch(3)
    payment = create_payment(amount=1500)
    receipt = desk_receipts.record_receipt(
        channel="bank", amount=1500, by_id=cashier.pk, payment_id=payment.pk, now=NOON, note="FT2630"
    )

    results = at_once(
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


def claim(payment, code="TKN1AB2C3D"):
    cashier = MemberFactory()
    return lambda: reported_codes.report_code(code=code, payment_id=payment.pk, by_id=cashier.pk, now=NOON)


@together
def test_a_code_that_is_claimed_while_its_confirmation_looks_for_an_owner_pays(monkeypatch):
    payment, looked, claimed = create_payment(amount=1500), threading.Event(), threading.Event()
    find_owner = owners.find_owner

    def slowly(**message):
        match = find_owner(**message)
        looked.set()
        claimed.wait(timeout=10)
        return match

    monkeypatch.setattr(owners, "find_owner", slowly)

    at_once(unmatched(), lambda: (looked.wait(timeout=10), claim(payment)(), claimed.set()))

    payment.refresh_from_db()
    assert (payment.status, CodeClaim.objects.get().receipt) == ("paid", Receipt.objects.get())


@together
def test_a_code_that_is_claimed_while_its_confirmation_is_written_pays(monkeypatch):
    payment, looked = create_payment(amount=1500), threading.Event()
    insert = receipts.insert

    def slowly(receipt):
        looked.set()
        time.sleep(0.5)  # a claim that did not wait would be through by then
        return insert(receipt)

    monkeypatch.setattr(receipts, "insert", slowly)

    at_once(unmatched(), lambda: (looked.wait(timeout=10), claim(payment)()))

    payment.refresh_from_db()
    assert (payment.status, CodeClaim.objects.get().receipt) == ("paid", Receipt.objects.get())
    assert broken_invariants() == {}


@together
def test_an_owner_who_comes_while_a_receipt_is_being_locked_is_locked_too(monkeypatch):
    unmatched()()
    item, receipt, payment = ReviewItem.objects.get(), Receipt.objects.get(), create_payment()
    manager = MemberFactory()
    lock_members, calls = locks.lock_members, []

    def late(members):
        calls.append(set(members))
        if len(calls) == 1:
            monkeypatch.setattr(locks, "lock_members", lock_members)
            at_once(
                lambda: review_decisions.assign_money(
                    item_id=item.pk, payment_id=payment.pk, by_id=manager.pk, now=NOON
                )
            )
            monkeypatch.setattr(locks, "lock_members", late)
        lock_members(members)

    monkeypatch.setattr(locks, "lock_members", late)

    with transaction.atomic():
        locked = locks.lock_receipt(receipt.pk)

    assert calls == [set(), {payment.payer_id}]
    assert locked.member_id == payment.payer_id
