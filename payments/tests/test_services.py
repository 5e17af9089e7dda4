import pytest

from payments import services
from payments.models import PaymentEvent, PaymentStatus, PushStatus
from payments.tests.factories import NOON, MemberFactory, make_push, open_payment

pytestmark = pytest.mark.django_db


def history(payment):
    events = PaymentEvent.objects.filter(payment=payment).order_by("pk")
    return list(events.values_list("from_status", "to_status"))


def test_a_payment_opens_pending_with_its_birth_in_the_history():
    payment = open_payment(amount=1500)

    assert (payment.status, payment.amount_owed) == (PaymentStatus.PENDING, 1500)
    assert history(payment) == [("", "pending")]


@pytest.mark.parametrize("amount", [-1, 1.5, True, "1500", None])
def test_an_amount_that_is_no_whole_number_of_shillings_is_refused(amount):
    with pytest.raises(services.InvalidAmount):
        open_payment(amount=amount)


def test_a_payment_of_nothing_is_paid_at_once():
    assert open_payment(amount=0).status == PaymentStatus.PAID


def test_the_same_key_and_body_return_the_first_payment():
    payer = MemberFactory()

    first, second = (open_payment(payer, idempotency_key="once", body_fingerprint="a", amount=100) for _ in range(2))

    assert first.pk == second.pk


def test_the_same_key_with_another_body_is_refused():
    payer = MemberFactory()
    open_payment(payer, idempotency_key="once", body_fingerprint="a")

    with pytest.raises(services.IdempotencyKeyReused):
        open_payment(payer, idempotency_key="once", body_fingerprint="b")


def test_a_comp_is_a_paid_payment_of_nothing_with_its_reason():
    member, manager = MemberFactory.create_batch(2)

    payment = services.record_comp(
        payer_id=member.pk, description="Guest week", reason="lost a bet", by_id=manager.pk, now=NOON
    )

    assert (payment.status, payment.amount_due, payment.paid_at) == (PaymentStatus.PAID, 0, NOON)
    assert payment.events.last().evidence == "comp: lost a bet"
    assert payment.events.last().by == manager


def test_a_prompt_and_its_end_move_the_payment_and_its_companions():
    payer = MemberFactory()
    head = open_payment(payer)
    child = open_payment(payer, head_id=head.pk)
    push = make_push(head)
    push.status, push.result_code = PushStatus.CANCELLED, "1032"
    push.save()
    head.refresh_from_db()

    for _ in range(2):
        services.note_prompt_ended(head, push, NOON)

    assert history(head) == history(child) == [("", "pending"), ("pending", "processing"), ("processing", "failed")]


def test_cancelling_twice_cancels_once():
    payment = open_payment()

    for _ in range(2):
        services.cancel_payment(payment_id=payment.pk, by_id=payment.payer_id, now=NOON)

    assert history(payment) == [("", "pending"), ("pending", "cancelled")]


def test_a_paid_payment_cannot_be_cancelled():
    payment = open_payment(amount=0)

    with pytest.raises(services.InvalidTransition):
        services.cancel_payment(payment_id=payment.pk, by_id=payment.payer_id, now=NOON)


def test_a_payment_that_waited_too_long_expires_unless_a_prompt_is_open():
    silent, asked = open_payment(), make_push().payment

    expired = services.expire_due(now=silent.expires_at)

    assert expired == 1
    silent.refresh_from_db()
    asked.refresh_from_db()
    assert (silent.status, asked.status) == (PaymentStatus.EXPIRED, PaymentStatus.PROCESSING)
