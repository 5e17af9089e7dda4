import pytest

from api.idempotency import IdempotencyKeyReused
from payments.models import PaymentEvent, PaymentStatus, PushStatus
from payments.services import cancellation, creation, push_progress, transitions
from payments.tests.factories import NOON, MemberFactory, create_payment, make_push

pytestmark = [pytest.mark.django_db, pytest.mark.server]


def history(payment):
    events = PaymentEvent.objects.filter(payment=payment).order_by("pk")
    return list(events.values_list("from_status", "to_status"))


def test_a_payment_opens_pending_with_its_birth_in_the_history():
    payment = create_payment(amount=1500)

    assert (payment.status, payment.amount_owed) == (PaymentStatus.PENDING, 1500)
    assert history(payment) == [("", "pending")]


@pytest.mark.parametrize("amount", [-1, 1.5, True, "1500", None])
def test_an_amount_that_is_no_whole_number_of_shillings_is_refused(amount):
    with pytest.raises(creation.InvalidAmount):
        create_payment(amount=amount)


def test_a_payment_of_nothing_is_paid_at_once():
    assert create_payment(amount=0).status == PaymentStatus.PAID


def test_the_same_key_and_body_return_the_first_payment():
    payer = MemberFactory()

    first, second = (create_payment(payer, idempotency_key="once", body_fingerprint="a", amount=100) for _ in range(2))

    assert first.pk == second.pk


def test_the_same_key_with_another_body_is_refused():
    payer = MemberFactory()
    create_payment(payer, idempotency_key="once", body_fingerprint="a")

    with pytest.raises(IdempotencyKeyReused):
        create_payment(payer, idempotency_key="once", body_fingerprint="b")


def test_a_comp_is_a_paid_payment_of_nothing_with_its_reason():
    member, manager = MemberFactory.create_batch(2)

    payment = creation.record_free_payment(
        payer_id=member.pk, description="Guest week", reason="lost a bet", by_id=manager.pk, now=NOON
    )

    assert (payment.status, payment.amount_due, payment.paid_at) == (PaymentStatus.PAID, 0, NOON)
    assert payment.events.last().evidence == "free: lost a bet"
    assert payment.events.last().by == manager


def test_a_prompt_and_its_end_move_the_payment_and_its_companions():
    payer = MemberFactory()
    head = create_payment(payer)
    child = create_payment(payer, group_payment_id=head.pk)
    push = make_push(head)
    push.status, push.result_code = PushStatus.CANCELLED, "1032"
    push.save()
    head.refresh_from_db()

    for _ in range(2):
        push_progress.mark_push_ended(head, push, NOON)

    assert history(head) == history(child) == [("", "pending"), ("pending", "processing"), ("processing", "failed")]


def test_cancelling_twice_cancels_once():
    payment = create_payment()

    for _ in range(2):
        cancellation.cancel_payment(payment_id=payment.pk, by_id=payment.payer_id, now=NOON)

    assert history(payment) == [("", "pending"), ("pending", "cancelled")]


def test_a_paid_payment_cannot_be_cancelled():
    payment = create_payment(amount=0)

    with pytest.raises(transitions.InvalidTransition):
        cancellation.cancel_payment(payment_id=payment.pk, by_id=payment.payer_id, now=NOON)


def test_a_payment_that_waited_too_long_expires_unless_a_prompt_is_open():
    silent, asked = create_payment(), make_push().payment

    expired = cancellation.expire_due(now=silent.expires_at)

    assert expired == 1
    silent.refresh_from_db()
    asked.refresh_from_db()
    assert (silent.status, asked.status) == (PaymentStatus.EXPIRED, PaymentStatus.PROCESSING)


def test_expiring_costs_one_statement_a_payment_beside_those_of_its_batch(django_assert_num_queries):
    last = [create_payment() for _ in range(3)][-1]

    with django_assert_num_queries(1 + 5 + 3):  # the due; savepoint, three looks, release; each payment
        assert cancellation.expire_due(now=last.expires_at) == 3


def test_more_than_a_batch_expires_in_one_run(monkeypatch):
    monkeypatch.setattr(cancellation, "EXPIRY_BATCH", 2)
    last = [create_payment() for _ in range(5)][-1]

    assert [cancellation.expire_due(now=last.expires_at, limit=4) for _ in range(3)] == [4, 1, 0]


def test_one_that_cannot_be_expired_does_not_stop_the_others(monkeypatch, caplog):
    one, broken, other = (create_payment() for _ in range(3))
    move = cancellation.change_status

    def breaking_move(payment, **moved):
        if payment.pk == broken.pk:
            raise RuntimeError
        move(payment, **moved)

    monkeypatch.setattr(cancellation, "change_status", breaking_move)

    assert cancellation.expire_due(now=one.expires_at) == 2
    assert [history(each)[-1][1] for each in (one, broken, other)] == ["expired", "pending", "expired"]
    assert f"Payment {broken.pk} could not be expired" in caplog.text


def test_what_changed_since_it_was_seen_to_be_due_does_not_expire():
    cancelled, asked = create_payment(), make_push().payment
    cancellation.cancel_payment(payment_id=cancelled.pk, by_id=cancelled.payer_id, now=NOON)

    assert cancellation._expire([cancelled.pk, asked.pk], now=asked.expires_at) == 0
