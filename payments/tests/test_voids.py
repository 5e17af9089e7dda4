"""Voids of desk receipts: one person requests, another confirms or declines."""

import threading

import pytest
from django.db import IntegrityError, connection, transaction

from payments.desk import cash_sessions, desk_receipts, refunds, voids
from payments.models import Account, Channel, ReviewItem, VoidRequest
from payments.services import ledger
from payments.services.ownership import OwnMoney, ReasonNeeded
from payments.tests.factories import NOON, MemberFactory, create_payment

pytestmark = [pytest.mark.django_db, pytest.mark.server]


@pytest.fixture
def cashier():
    return MemberFactory()


@pytest.fixture
def other():
    return MemberFactory()


@pytest.fixture
def receipt(cashier):
    """A receipt of KES 1,500 in the cashier's session."""
    cash_sessions.open_session(cashier_id=cashier.pk, opening_float=0, now=NOON)
    payment = create_payment(amount=1500)
    return desk_receipts.record_receipt(
        channel=Channel.CASH, amount=1500, by_id=cashier.pk, payment_id=payment.pk, now=NOON
    )


def ask(receipt, by, reason="typed twice"):
    return voids.ask_void(receipt_id=receipt.pk, reason=reason, by_id=by.pk, now=NOON)


def confirm(request, by):
    return voids.confirm_void(request_id=request.pk, by_id=by.pk, now=NOON)


def decline(request, by):
    return voids.decline_void(request_id=request.pk, by_id=by.pk, now=NOON)


def test_void_request_moves_no_money_until_it_is_confirmed(receipt, cashier, other):
    request = ask(receipt, cashier)
    assert ledger.balance(Account.CASH) == 1500

    confirm(request, other)

    request.refresh_from_db()
    receipt.refresh_from_db()
    assert (request.decided_by, request.is_confirmed) == (other, True)
    assert (receipt.reversed_by, receipt.reversal_reason) == (other, "void: typed twice")
    assert ledger.balance(Account.CASH) == 0


def test_repeated_request_and_confirmation_change_nothing(receipt, cashier, other):
    request = ask(receipt, cashier)

    assert ask(receipt, cashier) == request
    assert confirm(request, other) == confirm(request, other) == receipt
    assert VoidRequest.objects.count() == 1


def test_cashier_cannot_confirm_the_void(receipt, cashier, other):
    request = ask(receipt, other)

    with pytest.raises(voids.SecondPersonNeeded):
        confirm(request, cashier)


def test_requester_cannot_confirm_or_void_the_receipt(receipt, other):
    request = ask(receipt, other)

    with pytest.raises(voids.SecondPersonNeeded):
        confirm(request, other)
    with pytest.raises(voids.SecondPersonNeeded):
        voids.void_receipt(receipt_id=receipt.pk, reason="mine", by_id=other.pk, now=NOON)


def test_staff_cannot_decide_a_void_of_their_own_money(receipt, cashier):
    own = receipt.member

    with pytest.raises(OwnMoney):
        ask(receipt, own)
    request = ask(receipt, cashier)
    for decide in (confirm, decline):
        with pytest.raises(OwnMoney):
            decide(request, own)
    with pytest.raises(OwnMoney):
        voids.void_receipt(receipt_id=receipt.pk, reason="mine", by_id=own.pk, now=NOON)

    assert ledger.balance(Account.CASH) == 1500


def test_database_refuses_a_confirmation_by_the_requester(receipt, other):
    request = ask(receipt, other)

    with pytest.raises(IntegrityError, match="second_person"), transaction.atomic():
        VoidRequest.objects.filter(pk=request.pk).update(decided_by=other, decided_at=NOON, is_confirmed=True)


def test_declined_void_can_be_requested_again(receipt, cashier, other):
    request = ask(receipt, cashier)
    decline(request, other)
    decline(request, other)

    with pytest.raises(voids.VoidAlreadyDecided):
        confirm(request, MemberFactory())
    assert ledger.balance(Account.CASH) == 1500
    assert ask(receipt, cashier) != request


def test_confirmed_void_cannot_be_declined(receipt, cashier, other):
    request = ask(receipt, cashier)
    confirm(request, other)

    with pytest.raises(voids.VoidAlreadyDecided):
        decline(request, other)


def test_receipt_has_one_open_void_request(receipt, cashier, other):
    ask(receipt, cashier)

    with pytest.raises(voids.VoidAlreadyAsked):
        ask(receipt, other)
    with pytest.raises(IntegrityError, match="waits_once"), transaction.atomic():
        VoidRequest.objects.create(receipt=receipt, reason="again", asked_by=other, asked_at=NOON)


def test_direct_void_closes_the_open_request(receipt, cashier, other):
    request = ask(receipt, cashier)

    voids.void_receipt(receipt_id=receipt.pk, reason="typed twice", by_id=other.pk, now=NOON)

    request.refresh_from_db()
    assert (request.decided_by, request.is_confirmed) == (other, True)


def test_void_request_needs_a_reason_and_a_live_receipt(receipt, cashier, other):
    with pytest.raises(ReasonNeeded):
        ask(receipt, cashier, reason="  ")
    refunds.record_refund(
        receipt_id=receipt.pk, amount=100, paid_from=Account.BANK, reason="asked", by_id=other.pk, now=NOON
    )
    with pytest.raises(voids.NotVoidable):
        ask(receipt, cashier)


def test_unknown_void_request_is_refused(cashier):
    with pytest.raises(voids.VoidRequestNotFound):
        voids.confirm_void(request_id=404, by_id=cashier.pk, now=NOON)
    with pytest.raises(voids.VoidRequestNotFound):
        voids.decline_void(request_id=404, by_id=cashier.pk, now=NOON)


def test_cash_session_is_counted_once(receipt, cashier):
    session = receipt.cash_session
    cash_sessions.close_session(cashier_id=cashier.pk, counted=1500, session_id=session.pk, now=NOON)
    cash_sessions.open_session(cashier_id=cashier.pk, opening_float=0, now=NOON)

    with pytest.raises(cash_sessions.SessionCounted):
        cash_sessions.close_session(cashier_id=cashier.pk, counted=1500, session_id=session.pk, now=NOON)
    assert not ReviewItem.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_concurrent_confirmation_and_decline_have_one_winner(receipt, cashier, other):
    request, third, told = ask(receipt, cashier), MemberFactory(), []
    start = threading.Barrier(2)

    def decide(act, by):
        start.wait()
        try:
            act(request, by)
        except voids.VoidAlreadyDecided:
            told.append("decided")
        finally:
            connection.close()

    threads = [threading.Thread(target=decide, args=pair) for pair in [(confirm, other), (decline, third)]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    request.refresh_from_db()
    receipt.refresh_from_db()
    assert told == ["decided"]
    assert request.is_confirmed == (receipt.reversed_at is not None)
