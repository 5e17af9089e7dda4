"""Member credit: it replaces money that a payment loses, and completes payments that it can complete."""

import pytest

from payments.daraja.messages import C2bMessage
from payments.desk import cash_sessions, desk_receipts, refunds, voids
from payments.evidence import c2b_confirmations
from payments.models import Account, Channel, Receipt
from payments.services import cancellation, ledger
from payments.services.reversals import reverse_receipt
from payments.tests.factories import NOON, MemberFactory, create_payment
from payments.tests.test_refunds import unpaid  # noqa: F401  a fixture

pytestmark = [pytest.mark.django_db, pytest.mark.server]


@pytest.fixture
def cashier():
    cashier = MemberFactory(role="Receptionist")
    cash_sessions.open_session(cashier_id=cashier.pk, opening_float=0, now=NOON)
    return cashier


@pytest.fixture
def manager():
    return MemberFactory(role="Manager")


def take_cash(payment, amount, cashier):
    return desk_receipts.record_receipt(
        channel=Channel.CASH, amount=amount, payment_id=payment.pk, by_id=cashier.pk, now=NOON
    )


def pay(account, amount, code):
    message = C2bMessage(code, NOON, amount, "174379", account, "", "JANE", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=NOON)
    return Receipt.objects.get(code=code)


def state(payment):
    """Return the payment's status and amount, and the payer's credit."""
    payment.refresh_from_db()
    return payment.status, payment.amount_paid, -ledger.balance(Account.MEMBER_CREDIT, member_id=payment.payer_id)


def test_voided_double_entry_is_replaced_by_credit(cashier, manager, unpaid):  # noqa: F811
    payment = create_payment(amount=2500)
    take_cash(payment, 1000, cashier)
    twice = take_cash(payment, 1000, cashier)
    pay(payment.reference, 1500, "TKN1AB2C3D")
    assert state(payment) == ("paid", 2500, 1000)

    voids.void_receipt(receipt_id=twice.pk, reason="entered twice", by_id=manager.pk, now=NOON)

    assert (state(payment), unpaid) == (("paid", 2500, 0), [])


def test_refund_of_the_first_of_two_payments_leaves_it_paid(manager, unpaid):  # noqa: F811
    payment = create_payment()
    first, _ = pay(payment.reference, 1500, "TKN1AB2C3D"), pay(payment.reference, 1500, "TKN1AB2C3E")
    moment = payment.paid_at

    refunds.record_refund(receipt_id=first.pk, paid_from=Account.MPESA, reason="twice", by_id=manager.pk, now=NOON)

    assert (state(payment), unpaid) == (("paid", 1500, 0), [])
    assert moment is None
    assert payment.paid_at == payment.deposit_paid_at == NOON


def test_refund_of_both_payments_leaves_it_refunded(manager, unpaid):  # noqa: F811
    payment = create_payment()
    for code in ("TKN1AB2C3D", "TKN1AB2C3E"):
        pay(payment.reference, 1500, code)

    for receipt in Receipt.objects.order_by("pk"):
        refunds.record_refund(receipt_id=receipt.pk, paid_from=Account.MPESA, reason="left", by_id=manager.pk, now=NOON)

    assert (state(payment), unpaid) == (("refunded", 0, 0), [payment.pk])


def test_credit_for_one_of_two_payments_replaces_the_money_of_one(manager, unpaid):  # noqa: F811
    payer = MemberFactory()
    first, second = create_payment(payer), create_payment(payer)
    both = pay(payer.member_number, 3000, "TKN1AB2C3D")
    pay(payer.member_number, 1500, "TKN1AB2C3E")

    refunds.record_refund(receipt_id=both.pk, paid_from=Account.MPESA, reason="left", by_id=manager.pk, now=NOON)

    assert sorted([state(first), state(second)]) == [("paid", 1500, 0), ("refunded", 0, 0)]
    assert len(unpaid) == 1


def test_credit_below_the_minimum_payment_replaces_nothing(unpaid):  # noqa: F811
    payment = create_payment()
    first = pay(payment.reference, 1500, "TKN1AB2C3D")
    pay(payment.reference, 1499, "TKN1AB2C3E")

    reverse_receipt(receipt_id=first.pk, reason="reversed", by_id=None, now=NOON)

    assert (state(payment), unpaid) == (("refunded", 0, 1499), [payment.pk])


def test_credit_that_reaches_the_minimum_payment_keeps_access_and_leaves_a_debt(unpaid):  # noqa: F811
    payment = create_payment(deposit=750)
    first = pay(payment.reference, 1500, "TKN1AB2C3D")
    pay(payment.reference, 800, "TKN1AB2C3E")

    reverse_receipt(receipt_id=first.pk, reason="reversed", by_id=None, now=NOON)

    assert state(payment) == ("partially_paid", 800, 0)
    assert payment.deposit_paid_at == NOON
    assert unpaid == [payment.pk]  # an upgrade that needs the whole amount must know


def test_new_money_and_credit_complete_a_payment_together():
    payment = create_payment()
    first = pay(payment.reference, 1500, "TKN1AB2C3D")
    pay(payment.reference, 1000, "TKN1AB2C3E")
    reverse_receipt(receipt_id=first.pk, reason="void", by_id=None, now=NOON, returned_to_payer=False)
    assert state(payment) == ("pending", 0, 1000)

    pay(payment.reference, 500, "TKN1AB2C3F")

    assert state(payment) == ("paid", 1500, 0)


def test_money_of_a_cancelled_payment_completes_another():
    payer = MemberFactory()
    first, second = create_payment(payer, amount=2000), create_payment(payer, amount=1500)
    pay(first.reference, 1600, "TKN1AB2C3D")

    cancellation.cancel_payment(payment_id=first.pk, by_id=payer.pk, now=NOON)

    assert state(second) == ("paid", 1500, 100)
