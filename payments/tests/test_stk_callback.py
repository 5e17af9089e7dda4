"""STK callbacks: each result of a push and its effect on the payment."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from payments.callbacks import inbox, spool
from payments.daraja.messages import StkResult
from payments.evidence import stk_results
from payments.models import (
    Account,
    Allocation,
    Callback,
    LedgerEntry,
    Payment,
    PaymentStatus,
    PushStatus,
    Receipt,
    ReviewItem,
)
from payments.services import cancellation, ledger, listeners
from payments.signals import payment_paid, payment_unpaid
from payments.tests.bodies import stk_body
from payments.tests.factories import NOON, MemberFactory, create_payment, make_push
from payments.views import callbacks

pytestmark = [pytest.mark.django_db, pytest.mark.server]


@pytest.fixture(autouse=True)
def noon(monkeypatch):
    monkeypatch.setattr("payments.views.callbacks.now", lambda: NOON + timedelta(seconds=30))


def deliver(client, push, body, **headers):
    url = reverse("payments:stk-callback", args=[push.raw_token])
    return client.post(url, body, content_type="application/json", headers=headers)


def outcomes():
    return list(Callback.objects.order_by("pk").values_list("outcome", flat=True))


def reviews():
    return list(ReviewItem.objects.order_by("pk").values_list("reason", flat=True))


def query_success(push):
    return StkResult(push.merchant_request_id, push.checkout_request_id, "0", "The service request is processed.")


def test_success_pays_the_payment_and_posts_the_ledger(client):
    push = make_push(create_payment(amount=1500))

    answer = deliver(client, push, stk_body(push, moved_at=NOON + timedelta(seconds=20)))

    assert (answer.status_code, answer.json()) == (200, {"ResultCode": 0, "ResultDesc": "Accepted"})
    payment = Payment.objects.get()
    assert (payment.status, payment.amount_paid) == (PaymentStatus.PAID, 1500)
    assert payment.paid_at == NOON + timedelta(seconds=20)
    receipt = Receipt.objects.get()
    assert (receipt.code, receipt.amount, receipt.member) == ("TKN1AB2C3D", 1500, payment.payer)
    assert list(Allocation.objects.values_list("amount", "rule")) == [(1500, "prompt")]
    assert list(LedgerEntry.objects.order_by("pk").values_list("account", "amount")) == [
        ("mpesa", 1500),
        ("sales", -1500),
    ]
    push.refresh_from_db()
    assert (push.status, push.result_code) == (PushStatus.SUCCEEDED, "0")
    assert outcomes() == ["applied"]


def test_repeated_callback_pays_once(client):
    push = make_push()

    answers = [deliver(client, push, stk_body(push)) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert Receipt.objects.count() == 1
    assert outcomes() == ["applied", "duplicate"]


def test_unknown_tokens_are_404_with_one_log_line_and_nothing_stored(client, caplog, monkeypatch):
    monkeypatch.setattr(callbacks.unknown_urls, "_due", 0.0)
    monkeypatch.setattr(callbacks.unknown_urls, "_count", 0)  # other tests of this process may have counted
    url = reverse("payments:stk-callback", args=["guess"])

    answers = [client.post(url, b"{}", content_type="application/json") for _ in range(50)]

    assert {(answer.status_code, answer.content) for answer in answers} == {(404, b"")}
    assert Callback.objects.count() == 0
    assert [record.message for record in caplog.records] == ["Callbacks to unknown URLs: 1 since the last such line."]
    monkeypatch.setattr(callbacks.unknown_urls, "_due", 0.0)
    callbacks.unknown_urls.log_due()
    assert caplog.records[-1].message == "Callbacks to unknown URLs: 49 since the last such line."


def test_junk_to_a_known_token_is_counted_and_hides_no_result(client):
    push = make_push()

    answers = [deliver(client, push, b'{"junk": %d}' % number) for number in range(100)]

    assert {answer.status_code for answer in answers} == {200}
    assert (Callback.objects.count(), Callback.objects.last().not_stored) == (20, 80)
    assert Payment.objects.get().status == PaymentStatus.PROCESSING
    assert deliver(client, push, stk_body(push)).status_code == 200
    assert (Callback.objects.count(), Payment.objects.get().status) == (21, PaymentStatus.PAID)
    for body in (stk_body(push), b"{}", stk_body(push, code="TKN0000009")):
        deliver(client, push, body)
    assert (Callback.objects.count(), sum(Callback.objects.values_list("not_stored", flat=True))) == (22, 82)


def test_spooled_junk_over_the_limit_is_counted_and_removed(client, settings, tmp_path):
    settings.STATE_DIR = tmp_path
    push = make_push()
    for number in range(inbox.MOST_OF_A_URL + 3):
        spool.append(spool.Message("stk", b"[%d]" % number, {}, None, NOON, push.token_hash))
    spool.append(spool.Message("stk", stk_body(push), {}, None, NOON + timedelta(seconds=9), push.token_hash))

    assert inbox.drain_spool(now=NOON) == inbox.MOST_OF_A_URL + 1
    inbox.apply_waiting(now=NOON + timedelta(seconds=30))

    assert (spool.status().waiting, Payment.objects.get().status) == (0, PaymentStatus.PAID)


def test_body_over_16_kilobytes_is_refused_unread(client):
    push = make_push()

    assert deliver(client, push, b"x" * (16 * 1024 + 1)).status_code == 413
    assert Callback.objects.count() == 0


def test_unreadable_body_is_stored_and_becomes_review_item(client):
    push = make_push()

    answer = deliver(client, push, b"\x00\xff not json")

    assert answer.status_code == 200
    assert bytes(Callback.objects.get().body) == b"\x00\xff not json"
    assert (outcomes(), reviews(), Receipt.objects.count()) == (["rejected"], ["unreadable"], 0)


@pytest.mark.parametrize("amount", [1499, 1501])
def test_different_amount_pays_nothing_and_becomes_review_item(client, amount):
    push = make_push(create_payment(amount=1500))

    deliver(client, push, stk_body(push, amount=amount))

    assert (outcomes(), reviews(), Receipt.objects.count()) == (["review"], ["amount_differs"], 0)
    assert Payment.objects.get().status == PaymentStatus.PROCESSING


def test_each_different_report_has_its_review_item(client):
    push = make_push(create_payment(amount=1500))

    for amount, code in [(1, "TKN1AB2C3D"), (999, "TKN1AB2C3D"), (999, "TKN0000002"), (999, "TKN0000002")]:
        deliver(client, push, stk_body(push, amount=amount, code=code))

    assert list(ReviewItem.objects.order_by("pk").values_list("detail", flat=True)) == [
        "The STK push asked for KES 1,500; TKN1AB2C3D is reported with KES 1.",
        "The STK push asked for KES 1,500; TKN1AB2C3D is reported with KES 999.",
        "The STK push asked for KES 1,500; TKN0000002 is reported with KES 999.",
    ]


def test_foreign_shortcode_pays_nothing_and_becomes_review_item(client):
    push = make_push()

    deliver(client, push, stk_body(push), Businessshortcode="600000")

    assert (outcomes(), reviews(), Receipt.objects.count()) == (["review"], ["amount_differs"], 0)


def test_ids_of_another_push_pay_neither(client):
    push, other = make_push(), make_push()

    deliver(client, push, stk_body(other))

    assert (outcomes(), reviews(), Receipt.objects.count()) == (["review"], ["amount_differs"], 0)


def test_callback_before_the_answer_to_the_push_pays(client):
    push = make_push(status=PushStatus.UNKNOWN, checkout_request_id=None)

    deliver(client, push, stk_body(push))

    assert Payment.objects.get().status == PaymentStatus.PAID


def test_early_callback_with_ids_of_another_push_pays_neither(client):
    push, other = make_push(status=PushStatus.UNKNOWN, checkout_request_id=None), make_push()

    deliver(client, push, stk_body(other, amount=push.amount))

    assert (reviews(), Receipt.objects.count()) == (["amount_differs"], 0)


@pytest.mark.parametrize(
    ("code", "status"),
    [(1032, PushStatus.CANCELLED), (1037, PushStatus.TIMED_OUT), (1, PushStatus.FAILED), ("2001", PushStatus.FAILED)],
)
def test_failure_ends_the_push_and_payment_is_payable(client, code, status):
    push = make_push()

    deliver(client, push, stk_body(push, result_code=code))

    push.refresh_from_db()
    assert (push.status, push.payment.status, outcomes()) == (status, PaymentStatus.FAILED, ["applied"])


@pytest.mark.parametrize("code", [4999, 7, "SFC_NEW", 2026])
def test_unlisted_result_code_keeps_the_push_open(client, code):
    push = make_push()

    deliver(client, push, stk_body(push, result_code=code))

    push.refresh_from_db()
    assert (push.status, push.payment.status) == (PushStatus.SENT, PaymentStatus.PROCESSING)
    assert (outcomes(), reviews()) == (["review"], ["unreadable"])


def test_failure_never_replaces_a_success(client):
    push = make_push()
    deliver(client, push, stk_body(push))

    deliver(client, push, stk_body(push, result_code=1032))

    push.refresh_from_db()
    assert (push.status, push.payment.status) == (PushStatus.SUCCEEDED, PaymentStatus.PAID)
    assert (outcomes(), reviews()) == (["applied", "review"], ["contradiction"])


def test_success_after_failure_pays(client):
    push = make_push()
    deliver(client, push, stk_body(push, result_code=1032))

    deliver(client, push, stk_body(push))

    push.refresh_from_db()
    assert (push.status, push.payment.status) == (PushStatus.SUCCEEDED, PaymentStatus.PAID)


def test_late_success_settles_an_expired_payment(client):
    push = make_push()
    deliver(client, push, stk_body(push, result_code=1037))
    cancellation.expire_due(now=push.payment.expires_at)
    assert Payment.objects.get().status == PaymentStatus.EXPIRED

    deliver(client, push, stk_body(push))

    assert Payment.objects.get().status == PaymentStatus.PAID


def test_money_for_cancelled_payment_becomes_credit_and_review_item(client):
    push = make_push(create_payment(amount=1500))
    payer = push.payment.payer_id
    bystander = create_payment(push.payment.payer, amount=1500)
    cancellation.cancel_payment(payment_id=push.payment_id, by_id=payer, now=NOON)

    deliver(client, push, stk_body(push))

    assert ledger.balance(Account.MEMBER_CREDIT, member_id=payer) == -1500
    assert (reviews(), outcomes()) == (["late_money"], ["applied"])
    bystander.refresh_from_db()
    assert bystander.status == PaymentStatus.PENDING


def test_money_of_second_push_becomes_credit(client):
    payment = create_payment(amount=1500)
    first = make_push(payment)
    deliver(client, first, stk_body(first, result_code=1037))
    second = make_push(payment)
    deliver(client, second, stk_body(second, code="TKN0000002"))

    deliver(client, first, stk_body(first, code="TKN0000001"))

    assert ledger.balance(Account.MEMBER_CREDIT, member_id=payment.payer_id) == -1500
    following = create_payment(payment.payer, amount=2000)
    assert (following.status, following.amount_owed) == (PaymentStatus.PARTIALLY_PAID, 500)
    assert ledger.balance(Account.MEMBER_CREDIT, member_id=payment.payer_id) == 0


def test_one_push_pays_all_grouped_payments(client):
    payer = MemberFactory()
    head = create_payment(payer, amount=1000)
    child = create_payment(payer, amount=500, group_payment_id=head.pk)
    push = make_push(head, amount=1500)

    deliver(client, push, stk_body(push))

    head.refresh_from_db()
    child.refresh_from_db()
    assert (head.status, child.status) == (PaymentStatus.PAID, PaymentStatus.PAID)
    assert list(LedgerEntry.objects.order_by("pk").values_list("account", "amount", "payment")) == [
        ("mpesa", 1500, None),
        ("sales", -1000, head.pk),
        ("sales", -500, child.pk),
    ]


def test_success_by_query_gets_its_code_later(client):
    push = make_push()
    stk_results.apply_stk_result(push_id=push.pk, result=query_success(push), source="query", now=NOON)
    assert Payment.objects.get().status == PaymentStatus.PAID
    assert Receipt.objects.get().code is None

    deliver(client, push, stk_body(push))

    assert Receipt.objects.get().code == "TKN1AB2C3D"
    assert (outcomes(), LedgerEntry.objects.count()) == (["applied"], 2)


def test_query_after_callback_changes_nothing(client):
    push = make_push()
    deliver(client, push, stk_body(push))

    applied = stk_results.apply_stk_result(push_id=push.pk, result=query_success(push), source="query", now=NOON)

    assert (applied.outcome, Receipt.objects.count()) == ("duplicate", 1)


def test_one_code_never_pays_two_pushes(client):
    first, second = make_push(), make_push()
    deliver(client, first, stk_body(first))

    deliver(client, second, stk_body(second))

    second.refresh_from_db()
    assert (second.status, second.payment.status) == (PushStatus.SENT, PaymentStatus.PROCESSING)
    assert (reviews(), Receipt.objects.count()) == (["code_used_twice"], 1)


def test_two_codes_for_one_push_pay_once(client):
    push = make_push()
    deliver(client, push, stk_body(push))

    deliver(client, push, stk_body(push, code="TKN9999999"))

    assert (reviews(), Receipt.objects.count()) == (["contradiction"], 1)


def test_impossible_transaction_time_is_replaced_by_now(client):
    push = make_push()

    deliver(client, push, stk_body(push, moved_at=NOON + timedelta(days=40)))

    assert Receipt.objects.get().paid_at == NOON + timedelta(seconds=30)


@pytest.fixture
def listener():
    """Return a function that connects a listener to a signal for the time of one test."""
    connected = []

    def connect(function, signal=payment_paid):
        signal.connect(function, weak=False)
        connected.append((signal, function))

    yield connect
    for signal, function in connected:
        signal.disconnect(function)


def test_failing_listener_is_rolled_back_alone_and_retried(client, listener):
    heard, broken = [], [True]
    half_done = NOON + timedelta(days=99)

    def fails(*, payment_id, now, **kwargs):
        Payment.objects.filter(pk=payment_id).update(expires_at=half_done)
        if broken[0]:
            raise ValueError("a bug in access")

    listener(fails)
    listener(lambda *, payment_id, **kwargs: heard.append(payment_id))
    push = make_push()

    deliver(client, push, stk_body(push))

    payment = Payment.objects.get()
    assert (payment.status, payment.expires_at < half_done) == (PaymentStatus.PAID, True)
    assert heard == [payment.pk]
    assert reviews() == ["listener_failed"]
    assert retry_jobs() == [{"payment_id": payment.pk}]

    broken[0] = False
    assert listeners.retry_listeners(payment_id=payment.pk, now=timezone.now())
    payment.refresh_from_db()
    assert payment.expires_at == half_done
    assert ReviewItem.objects.get().status == "resolved"


def test_retry_sends_the_signals_that_fit_the_minimum_payment(listener):
    heard = []
    listener(lambda **signal: heard.append("paid"))
    listener(lambda **signal: heard.append("unpaid"), payment_unpaid)
    payment = create_payment(amount=3000, deposit=1500)

    def told_again(amount_paid, **fields):
        Payment.objects.filter(pk=payment.pk).update(amount_paid=amount_paid, **fields)
        heard.clear()
        assert listeners.retry_listeners(payment_id=payment.pk, now=NOON)
        Payment.objects.filter(pk=payment.pk).update(amount_paid=0, **nothing)  # as in the ledger
        return list(heard)

    nothing = {"deposit_paid_at": None, "status": "pending", "paid_at": None}
    assert told_again(0) == ["unpaid"]
    assert told_again(2600, deposit_paid_at=NOON, status="partially_paid") == ["paid", "unpaid"]
    assert told_again(3000, deposit_paid_at=NOON, status="paid", paid_at=NOON) == ["paid"]


def retry_jobs():
    from procrastinate.contrib.django.models import ProcrastinateJob

    jobs = ProcrastinateJob.objects.filter(task_name="payments.retry_listeners")
    return list(jobs.values_list("args", flat=True))
