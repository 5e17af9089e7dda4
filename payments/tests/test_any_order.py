"""Random events in any order: the books always agree with a simple model of the money that moved."""

import contextlib
from datetime import timedelta

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from payments.daraja.messages import C2bMessage, StkResult
from payments.desk import cash_sessions, desk_receipts, refunds, reported_codes, review_decisions, voids
from payments.evidence import c2b_confirmations, stk_results
from payments.models import OPEN_PUSH, Account, Payment, Receipt, ReviewItem, StkPush
from payments.services import cancellation, ledger, ownership, transitions
from payments.tests.factories import NOON, MemberFactory, create_payment, make_push
from payments.tests.invariants import broken_invariants

pytestmark = pytest.mark.server

AMOUNTS = st.sampled_from([500, 1000, 1500])
pick = st.integers(0, 1_000)


class PaymentMachine(RuleBasedStateMachine):
    """Two members, a cashier and a manager. `moved_by_code` has the amounts that M-Pesa moved, by code."""

    def __init__(self):
        super().__init__()
        self.savepoint = transaction.atomic()
        self.savepoint.__enter__()
        self.now = NOON
        self.members = MemberFactory.create_batch(2)
        self.cashier, self.manager = MemberFactory.create_batch(2)
        self.payments, self.pushes, self.paybill_payments, self.cash = [], [], [], []
        self.moved_by_code, self.code_of_push = {}, {}  # code -> amount; push -> its code
        self.refunded = 0  # KES refunded over M-Pesa
        cash_sessions.open_session(cashier_id=self.cashier.pk, opening_float=0, now=NOON)

    def teardown(self):
        try:
            # In the end Safaricom has reported every push that moved money.
            for push, code in list(self.code_of_push.items()):
                self.send_callback(push, code)
            commit_time_checks()
            assert broken_invariants() == {}
            assert ledger.balance(Account.MPESA) == sum(self.moved_by_code.values()) - self.refunded
            assert set(Receipt.objects.exclude(code=None).values_list("code", flat=True)) == set(self.moved_by_code)
        finally:
            transaction.set_rollback(True)
            self.savepoint.__exit__(None, None, None)

    # --- Actions of people ---

    @rule(member=st.integers(0, 1), amount=AMOUNTS)
    def create(self, member, amount):
        self.payments.append(create_payment(self.members[member], amount=amount, now=self.now).pk)

    @precondition(lambda self: self.payments)
    @rule(n=pick)
    def push(self, n):
        payment = Payment.objects.get(pk=self.payments[n % len(self.payments)])
        has_open_push = StkPush.objects.filter(payment=payment, status__in=OPEN_PUSH).exists()
        if payment.status in transitions.ACCEPTS_PUSH and payment.amount_owed and not has_open_push:
            self.pushes.append(make_push(payment, sent_at=self.now).pk)

    @precondition(lambda self: self.payments)
    @rule(n=pick)
    def cancel(self, n):
        payment_id = self.payments[n % len(self.payments)]
        with contextlib.suppress(transitions.InvalidTransition):
            cancellation.cancel_payment(payment_id=payment_id, by_id=self.manager.pk, now=self.now)

    @rule(hours=st.sampled_from([0.01, 1, 80]))
    def pass_time(self, hours):
        self.now += timedelta(hours=hours)
        cancellation.expire_due(now=self.now)

    @precondition(lambda self: self.payments)
    @rule(n=pick, amount=AMOUNTS)
    def pay_cash(self, n, amount):
        with contextlib.suppress(ownership.PaymentTakesNoMoney):
            receipt = desk_receipts.record_receipt(
                channel="cash",
                amount=amount,
                payment_id=self.payments[n % len(self.payments)],
                by_id=self.cashier.pk,
                now=self.now,
            )
            self.cash.append(receipt.pk)

    @precondition(lambda self: self.cash)
    @rule(n=pick)
    def void(self, n):
        receipt_id = self.cash.pop(n % len(self.cash))
        voids.void_receipt(receipt_id=receipt_id, reason="mistake", by_id=self.manager.pk, now=self.now)

    # --- Evidence from Safaricom ---

    @precondition(lambda self: self.pushes)
    @rule(n=pick)
    def callback_success(self, n):
        push = self.move_money(n)
        self.send_callback(push, self.code_of_push[push])

    @precondition(lambda self: self.pushes)
    @rule(n=pick, code=st.sampled_from(["1032", "1037", "1", "4999"]))
    def callback_failure(self, n, code):
        push = StkPush.objects.get(pk=self.pushes[n % len(self.pushes)])
        result = StkResult(push.merchant_request_id, push.checkout_request_id, code, "")
        stk_results.apply_stk_result(push_id=push.pk, result=result, source="callback", now=self.now)

    @precondition(lambda self: self.pushes)
    @rule(n=pick)
    def query_success(self, n):
        push = StkPush.objects.get(pk=self.move_money(n))
        result = StkResult(push.merchant_request_id, push.checkout_request_id, "0", "")
        stk_results.apply_stk_result(push_id=push.pk, result=result, source="query", now=self.now)

    @precondition(lambda self: self.pushes)
    @rule(n=pick)
    def confirm_push(self, n):
        push = StkPush.objects.select_related("payment").get(pk=self.move_money(n))
        self.send_confirmation(self.code_of_push[push.pk], push.amount, push.payment.reference, push.sent_at)

    @rule(n=pick, amount=AMOUNTS, account=st.sampled_from(["reference", "member", "nobody"]))
    def pay_paybill(self, n, amount, account):
        if account == "reference" and self.payments:
            typed = Payment.objects.get(pk=self.payments[n % len(self.payments)]).reference
        else:
            typed = self.members[n % 2].member_number if account == "member" else "gym"
        code = f"TKNDEP{len(self.paybill_payments):04d}"
        self.paybill_payments.append((code, amount, typed, self.now))
        self.moved_by_code[code] = amount
        self.send_confirmation(*self.paybill_payments[-1])

    @precondition(lambda self: self.paybill_payments)
    @rule(n=pick)
    def repeat_confirmation(self, n):
        self.send_confirmation(*self.paybill_payments[n % len(self.paybill_payments)])

    # --- Decisions of managers ---

    @rule(n=pick, member=st.integers(0, 1))
    def assign_money(self, n, member):
        items = ReviewItem.objects.filter(reason="unmatched", status="open").order_by("pk")
        if items:
            review_decisions.assign_money(
                item_id=items[n % len(items)].pk, member_id=self.members[member].pk, by_id=self.manager.pk, now=self.now
            )

    @precondition(lambda self: self.payments and (self.paybill_payments or self.code_of_push))
    @rule(n=pick, which=pick)
    def report_code(self, n, which):
        """Report a code at the desk, of money that Safaricom has confirmed or not."""
        codes = [*(code for code, *_ in self.paybill_payments), *self.code_of_push.values()]
        with contextlib.suppress(reported_codes.CodeAlreadyUsed, ownership.PaymentTakesNoMoney):
            reported_codes.report_code(
                code=codes[which % len(codes)],
                payment_id=self.payments[n % len(self.payments)],
                by_id=self.cashier.pk,
                now=self.now,
            )

    @rule(n=pick, amount=st.sampled_from([100, 500]))
    def refund_money(self, n, amount):
        receipts = Receipt.objects.filter(channel__in=("mpesa_stk", "mpesa_c2b")).order_by("pk")
        if receipts:
            with contextlib.suppress(refunds.MoreThanHeld):
                refunds.record_refund(
                    receipt_id=receipts[n % len(receipts)].pk,
                    amount=amount,
                    paid_from="mpesa",
                    reason="moved away",
                    by_id=self.manager.pk,
                    now=self.now,
                )
                self.refunded += amount

    @rule(n=pick)
    def undo_assignment(self, n):
        items = ReviewItem.objects.filter(reason="unmatched", status="resolved").order_by("pk")
        if items:
            with contextlib.suppress(review_decisions.NotUndoable):  # it is the money of a push now
                review_decisions.undo_assignment(item_id=items[n % len(items)].pk, by_id=self.manager.pk, now=self.now)

    # --- Invariants ---

    @invariant()
    def no_invariant_is_broken(self):
        commit_time_checks()
        assert broken_invariants() == {}

    @invariant()
    def ledger_holds_no_more_than_moved(self):
        assert ledger.balance(Account.MPESA) <= sum(self.moved_by_code.values()) - self.refunded
        live_cash = Receipt.objects.filter(pk__in=self.cash)
        assert ledger.balance(Account.CASH) == sum(live_cash.values_list("amount", flat=True))

    # --- Helpers ---

    def move_money(self, n):
        """Move the money of a push, once, and return the push."""
        push = self.pushes[n % len(self.pushes)]
        if push not in self.code_of_push:
            self.code_of_push[push] = f"TKNSTK{len(self.code_of_push):04d}"
            self.moved_by_code[self.code_of_push[push]] = StkPush.objects.get(pk=push).amount
        return push

    def send_callback(self, push_id, code):
        push = StkPush.objects.get(pk=push_id)
        result = StkResult(push.merchant_request_id, push.checkout_request_id, "0", "", push.amount, code, push.sent_at)
        stk_results.apply_stk_result(push_id=push_id, result=result, source="callback", now=self.now)

    def send_confirmation(self, code, amount, account, moved_at):
        message = C2bMessage(code, moved_at, amount, "174379", account, "", "JANE", "Pay Bill", "")
        c2b_confirmations.apply_c2b(message=message, now=self.now)


def commit_time_checks():
    """Run the checks that the database makes at the commit."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")


def run_machine(examples, steps):
    run_state_machine_as_test(
        PaymentMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.django_db
def test_books_agree_with_moved_money_in_any_order():
    run_machine(examples=5, steps=15)


@pytest.mark.long
@pytest.mark.django_db
def test_books_agree_with_moved_money_in_long_runs():
    run_machine(examples=100, steps=50)
