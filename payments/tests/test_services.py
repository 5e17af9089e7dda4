"""Creation, cancellation and expiry of payments, and the effect of pushes on their status."""

import pytest

from payments.models import PaymentEvent, PaymentStatus, PushStatus
from payments.services import cancellation, creation, push_progress, transitions
from payments.tests.factories import NOON, MemberFactory, create_payment, make_push

pytestmark = [pytest.mark.django_db, pytest.mark.server]


def history(payment):
    events = PaymentEvent.objects.filter(payment=payment).order_by("pk")
    return list(events.values_list("from_status", "to_status"))


def test_new_payment_is_pending_and_has_a_history_row():
    payment = create_payment(amount=1500)

    assert (payment.status, payment.amount_owed) == (PaymentStatus.PENDING, 1500)
    assert history(payment) == [("", "pending")]


@pytest.mark.parametrize("amount", [-1, 1.5, True, "1500", None])
def test_amount_must_be_whole_shillings_zero_or_more(amount):
    with pytest.raises(creation.InvalidAmount):
        create_payment(amount=amount)


def test_payment_of_zero_is_paid_at_once():
    assert create_payment(amount=0).status == PaymentStatus.PAID


def test_free_payment_is_paid_and_records_its_reason():
    member, manager = MemberFactory.create_batch(2)

    payment = creation.record_free_payment(
        payer_id=member.pk, description="Guest week", reason="lost a bet", by_id=manager.pk, now=NOON
    )

    assert (payment.status, payment.amount_due, payment.paid_at) == (PaymentStatus.PAID, 0, NOON)
    assert payment.events.last().evidence == "free: lost a bet"
    assert payment.events.last().by == manager


def test_push_and_its_end_change_the_status_of_the_group():
    payer = MemberFactory()
    group_payment = create_payment(payer)
    grouped = create_payment(payer, group_payment_id=group_payment.pk)
    push = make_push(group_payment)
    push.status, push.result_code = PushStatus.CANCELLED, "1032"
    push.save()
    group_payment.refresh_from_db()

    for _ in range(2):
        push_progress.mark_push_ended(group_payment, push, NOON)

    expected = [("", "pending"), ("pending", "processing"), ("processing", "failed")]
    assert [history(group_payment), history(grouped)] == [expected, expected]


def test_second_cancellation_changes_nothing():
    payment = create_payment()

    for _ in range(2):
        cancellation.cancel_payment(payment_id=payment.pk, by_id=payment.payer_id, now=NOON)

    assert history(payment) == [("", "pending"), ("pending", "cancelled")]


def test_paid_payment_cannot_be_cancelled():
    payment = create_payment(amount=0)

    with pytest.raises(transitions.InvalidTransition):
        cancellation.cancel_payment(payment_id=payment.pk, by_id=payment.payer_id, now=NOON)


def test_due_payment_expires_unless_a_push_is_open():
    due, pushed = create_payment(), make_push().payment

    expired = cancellation.expire_due(now=due.expires_at)

    assert expired == 1
    due.refresh_from_db()
    pushed.refresh_from_db()
    assert (due.status, pushed.status) == (PaymentStatus.EXPIRED, PaymentStatus.PROCESSING)


def test_expiry_costs_one_statement_per_payment_and_six_per_batch(django_assert_num_queries):
    last = [create_payment() for _ in range(3)][-1]

    with django_assert_num_queries(1 + 5 + 3):  # the due ids; savepoint, three selects, release; each payment
        assert cancellation.expire_due(now=last.expires_at) == 3


def test_one_run_expires_several_batches(monkeypatch):
    monkeypatch.setattr(cancellation, "EXPIRY_BATCH", 2)
    last = [create_payment() for _ in range(5)][-1]

    assert [cancellation.expire_due(now=last.expires_at, limit=4) for _ in range(3)] == [4, 1, 0]


def test_failed_expiry_of_one_payment_does_not_stop_the_others(monkeypatch, caplog):
    one, broken, other = (create_payment() for _ in range(3))
    change_status = cancellation.change_status

    def fail_for_one(payment, **fields):
        if payment.pk == broken.pk:
            raise RuntimeError
        change_status(payment, **fields)

    monkeypatch.setattr(cancellation, "change_status", fail_for_one)

    assert cancellation.expire_due(now=one.expires_at) == 2
    assert [history(each)[-1][1] for each in (one, broken, other)] == ["expired", "pending", "expired"]
    assert f"Payment {broken.pk} could not be expired" in caplog.text


def test_payment_that_is_no_longer_due_does_not_expire():
    cancelled, pushed = create_payment(), make_push().payment
    cancellation.cancel_payment(payment_id=cancelled.pk, by_id=cancelled.payer_id, now=NOON)

    assert cancellation._expire([cancelled.pk, pushed.pk], now=pushed.expires_at) == 0
