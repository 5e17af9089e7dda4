"""Opening balances: debts and credit that members had before the club used this system."""

from datetime import timedelta

import pytest
from django.test import Client

from accounts.tests.factories import UserFactory
from api.errors import DomainError
from api.tests.clients import logged_in_as
from config.desk.dashboard import MONEY
from payments.desk import cash_sessions, desk_receipts, opening_balances, receipt_pdf, refunds, voids
from payments.models import Account, Channel, Payment, Receipt, VoidRequest
from payments.services import cancellation, credit, ledger
from payments.tests.factories import NOON, create_payment

pytestmark = [pytest.mark.django_db, pytest.mark.server]


@pytest.fixture
def member():
    return UserFactory(role="Member")


@pytest.fixture
def cashier():
    cashier = UserFactory(role="Receptionist")
    cash_sessions.open_session(cashier_id=cashier.pk, opening_float=5000, now=NOON)
    return cashier


@pytest.fixture
def manager():
    return UserFactory(role="Manager")


def owe(member, amount, by, now=NOON):
    return opening_balances.record_debt(member_id=member.pk, amount=amount, by_id=by.pk, now=now)


def give_credit(member, amount, by):
    return opening_balances.record_credit(member_id=member.pk, amount=amount, by_id=by.pk, now=NOON)


def take_cash(member, amount, by):
    return desk_receipts.record_receipt(channel=Channel.CASH, amount=amount, by_id=by.pk, now=NOON, member_id=member.pk)


def cash_desk_of(user):
    client = Client()
    client.force_login(user)
    return client


def state_of(payment):
    payment.refresh_from_db()
    return payment.status, payment.amount_paid


class TestDebts:
    def test_debt_is_an_open_payment_with_its_author(self, member, manager):
        debt = owe(member, 1200, manager)

        assert (state_of(debt), debt.amount_due, debt.description) == (("pending", 0), 1200, "Owed from before")
        assert list(debt.events.values_list("evidence", "by")) == [("created", manager.pk)]

    def test_debt_never_expires(self, member, manager):
        debt = owe(member, 1200, manager)

        cancellation.expire_due(now=NOON + timedelta(days=400))

        assert state_of(debt) == ("pending", 0)

    def test_money_of_the_member_pays_the_debt(self, member, manager, cashier):
        debt = owe(member, 1200, manager)

        take_cash(member, 700, cashier)
        assert state_of(debt) == ("partially_paid", 700)
        take_cash(member, 700, cashier)

        assert (state_of(debt), credit.available(member.pk)) == (("paid", 1200), 200)

    def test_any_credit_of_the_member_pays_the_debt(self, member, manager, cashier):
        take_cash(member, 300, cashier)

        debt = owe(member, 1200, manager)

        assert (state_of(debt), credit.available(member.pk)) == (("partially_paid", 300), 0)

    @pytest.mark.parametrize("amount", [700, 1200])
    def test_debt_is_owed_again_after_its_money_was_voided(self, member, manager, cashier, amount):
        debt = owe(member, 1200, manager)
        receipt = take_cash(member, amount, cashier)

        voids.void_receipt(receipt_id=receipt.pk, reason="wrong member", by_id=manager.pk, now=NOON)

        assert state_of(debt) == ("pending", 0)

    def test_same_debt_is_recorded_once(self, member, manager):
        owe(member, 1200, manager)

        assert owe(member, 1200, manager) is None
        with pytest.raises(opening_balances.OtherBalance, match="KES 1,200"):
            owe(member, 900, manager)
        assert Payment.objects.count() == 1

    def test_manager_cancels_a_wrong_debt(self, member, manager):
        debt = owe(member, 1200, manager)
        path = f"/api/v1/payments/{debt.reference}/cancel/"

        by_member = logged_in_as(member).post(path)
        by_receptionist = logged_in_as(UserFactory(role="Receptionist")).post(path)
        assert (by_member.status_code, by_receptionist.status_code, state_of(debt)) == (403, 403, ("pending", 0))

        assert logged_in_as(UserFactory(role="Manager")).post(path).status_code == 200
        assert state_of(debt) == ("cancelled", 0)
        assert owe(member, 900, manager).amount_due == 900

    def test_manager_cannot_cancel_a_debt_of_their_own(self, manager):
        debt = owe(manager, 1200, UserFactory(role="Manager"))

        answer = logged_in_as(manager).post(f"/api/v1/payments/{debt.reference}/cancel/")

        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "own_money")

    def test_partly_paid_debt_that_is_cancelled_becomes_credit(self, member, manager, cashier):
        debt = owe(member, 1200, manager)
        take_cash(member, 700, cashier)

        cancellation.cancel_payment(payment_id=debt.pk, by_id=manager.pk, now=NOON)

        assert (state_of(debt), credit.available(member.pk)) == (("cancelled", 0), 700)


class TestCredit:
    def test_credit_is_on_its_own_account_and_in_no_takings(self, member, manager):
        receipt = give_credit(member, 500, manager)

        assert (receipt.channel, receipt.amount, receipt.recorded_by) == ("opening", 500, manager)
        assert (credit.available(member.pk), ledger.balance(Account.OPENING)) == (500, 500)
        assert Channel.OPENING not in MONEY

    def test_credit_pays_what_the_member_owes(self, member, manager):
        payment = create_payment(payer=member, amount=1500)
        debt = owe(member, 400, manager)

        give_credit(member, 2000, manager)

        assert (state_of(payment), state_of(debt)) == (("paid", 1500), ("paid", 400))
        assert credit.available(member.pk) == 100

    def test_same_credit_is_recorded_once(self, member, manager):
        give_credit(member, 500, manager)

        assert give_credit(member, 500, manager) is None
        with pytest.raises(opening_balances.OtherBalance, match="KES 500"):
            give_credit(member, 600, manager)
        assert Receipt.objects.count() == 1

    def test_wrong_credit_is_voided_by_a_second_person(self, member, manager):
        receipt = give_credit(member, 500, manager)
        desk = cash_desk_of(UserFactory(role="Receptionist", is_staff=True))

        with pytest.raises(voids.SecondPersonNeeded):
            voids.void_receipt(receipt_id=receipt.pk, reason="wrong", by_id=manager.pk, now=NOON)
        desk.post("/admin/cash-desk/ask/", {"number": f"OB-{member.pk}-1", "reason": "wrong"}, secure=True)
        request = VoidRequest.objects.get()
        voids.confirm_void(request_id=request.pk, by_id=UserFactory(role="Manager").pk, now=NOON)

        assert (credit.available(member.pk), ledger.balance(Account.OPENING)) == (0, 0)
        assert give_credit(member, 50, manager).number == f"OB-{member.pk}-2"

    def test_credit_is_refunded_from_the_drawer(self, member, manager, cashier):
        give_credit(member, 500, manager)

        refunds.record_refund(
            member_id=member.pk, amount=200, paid_from=Account.CASH, reason="left", by_id=cashier.pk, now=NOON
        )

        assert (credit.available(member.pk), ledger.balance(Account.CASH)) == (300, -200)

    def test_pdf_says_where_the_credit_came_from(self, member, manager):
        receipt = give_credit(member, 500, manager)

        assert ("Paid by", "Credit from earlier records") in list(receipt_pdf._rows(receipt))
        answer = logged_in_as(member).get(f"/api/v1/receipts/{receipt.pk}/pdf/", secure=True)
        assert answer.status_code == 200


@pytest.mark.parametrize("record", [owe, give_credit])
def test_nobody_records_a_balance_of_their_own(manager, record):
    with pytest.raises(DomainError) as refused:
        record(manager, 500, manager)

    assert refused.value.code == "own_money"
