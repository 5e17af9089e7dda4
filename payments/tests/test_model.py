"""A model of the truth beside the books: whatever happens, in whatever order, they agree in the end."""

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
from payments.tests.conftest import broken_invariants
from payments.tests.factories import NOON, MemberFactory, create_payment, make_push

pytestmark = pytest.mark.server

AMOUNTS = st.sampled_from([500, 1000, 1500])
pick = st.integers(0, 1_000)


class Club(RuleBasedStateMachine):
    """Two members, a cashier and a manager; `truth` is what M-Pesa really moved, by its code."""

    def __init__(self):
        super().__init__()
        self.savepoint = transaction.atomic()
        self.savepoint.__enter__()
        self.now = NOON
        self.members = MemberFactory.create_batch(2)
        self.cashier, self.manager = MemberFactory.create_batch(2)
        self.payments, self.pushes, self.deposits, self.cash = [], [], [], []
        self.truth, self.moved = {}, {}  # code -> amount; push -> its code
        self.given_back = 0  # KES sent back over M-Pesa
        cash_sessions.open_session(cashier_id=self.cashier.pk, opening_float=0, now=NOON)

    def teardown(self):
        try:
            # In the end Safaricom has told of every prompt that moved money.
            for push, code in list(self.moved.items()):
                self.tell(push, code)
            commit_time_checks()
            assert broken_invariants() == {}
            assert ledger.balance(Account.MPESA) == sum(self.truth.values()) - self.given_back
            assert set(Receipt.objects.exclude(code=None).values_list("code", flat=True)) == set(self.truth)
        finally:
            transaction.set_rollback(True)
            self.savepoint.__exit__(None, None, None)

    # --- What people do ---

    @rule(who=st.integers(0, 1), amount=AMOUNTS)
    def open(self, who, amount):
        self.payments.append(create_payment(self.members[who], amount=amount, now=self.now).pk)

    @precondition(lambda self: self.payments)
    @rule(n=pick)
    def prompt(self, n):
        payment = Payment.objects.get(pk=self.payments[n % len(self.payments)])
        is_asked = StkPush.objects.filter(payment=payment, status__in=OPEN_PUSH).exists()
        if payment.status in transitions.ACCEPTS_PUSH and payment.amount_owed and not is_asked:
            self.pushes.append(make_push(payment, sent_at=self.now).pk)

    @precondition(lambda self: self.payments)
    @rule(n=pick)
    def cancel(self, n):
        payment_id = self.payments[n % len(self.payments)]
        with contextlib.suppress(transitions.InvalidTransition):
            cancellation.cancel_payment(payment_id=payment_id, by_id=self.manager.pk, now=self.now)

    @rule(hours=st.sampled_from([0.01, 1, 80]))
    def wait(self, hours):
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

    # --- What Safaricom tells ---

    @precondition(lambda self: self.pushes)
    @rule(n=pick)
    def callback_of_success(self, n):
        push = self.money_of(n)
        self.tell(push, self.moved[push])

    @precondition(lambda self: self.pushes)
    @rule(n=pick, code=st.sampled_from(["1032", "1037", "1", "4999"]))
    def callback_of_failure(self, n, code):
        push = StkPush.objects.get(pk=self.pushes[n % len(self.pushes)])
        result = StkResult(push.merchant_request_id, push.checkout_request_id, code, "")
        stk_results.apply_stk_result(push_id=push.pk, result=result, source="callback", now=self.now)

    @precondition(lambda self: self.pushes)
    @rule(n=pick)
    def query_of_success(self, n):
        push = StkPush.objects.get(pk=self.money_of(n))
        result = StkResult(push.merchant_request_id, push.checkout_request_id, "0", "")
        stk_results.apply_stk_result(push_id=push.pk, result=result, source="query", now=self.now)

    @precondition(lambda self: self.pushes)
    @rule(n=pick)
    def confirmation_of_a_prompt(self, n):
        push = StkPush.objects.select_related("payment").get(pk=self.money_of(n))
        self.confirm(self.moved[push.pk], push.amount, push.payment.reference, push.sent_at)

    @rule(n=pick, amount=AMOUNTS, account=st.sampled_from(["reference", "member", "nobody"]))
    def deposit(self, n, amount, account):
        if account == "reference" and self.payments:
            typed = Payment.objects.get(pk=self.payments[n % len(self.payments)]).reference
        else:
            typed = self.members[n % 2].member_number if account == "member" else "gym"
        code = f"TKNDEP{len(self.deposits):04d}"
        self.deposits.append((code, amount, typed, self.now))
        self.truth[code] = amount
        self.confirm(*self.deposits[-1])

    @precondition(lambda self: self.deposits)
    @rule(n=pick)
    def deposit_told_again(self, n):
        self.confirm(*self.deposits[n % len(self.deposits)])

    # --- What managers decide ---

    @rule(n=pick, who=st.integers(0, 1))
    def assign(self, n, who):
        items = ReviewItem.objects.filter(reason="unmatched", status="open").order_by("pk")
        if items:
            review_decisions.assign_money(
                item_id=items[n % len(items)].pk, member_id=self.members[who].pk, by_id=self.manager.pk, now=self.now
            )

    @precondition(lambda self: self.payments and (self.deposits or self.moved))
    @rule(n=pick, which=pick)
    def claim(self, n, which):
        """A payer shows a code at the desk, of money that was told of or not yet."""
        codes = [*(code for code, *_ in self.deposits), *self.moved.values()]
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
                self.given_back += amount

    @rule(n=pick)
    def undo(self, n):
        items = ReviewItem.objects.filter(reason="unmatched", status="resolved").order_by("pk")
        if items:
            with contextlib.suppress(review_decisions.NotUndoable):  # it turned out to be a prompt's money
                review_decisions.undo_assignment(item_id=items[n % len(items)].pk, by_id=self.manager.pk, now=self.now)

    # --- What must hold at every moment ---

    @invariant()
    def the_books_are_whole(self):
        commit_time_checks()
        assert broken_invariants() == {}

    @invariant()
    def nothing_is_counted_that_did_not_move(self):
        assert ledger.balance(Account.MPESA) <= sum(self.truth.values()) - self.given_back
        live_cash = Receipt.objects.filter(pk__in=self.cash)
        assert ledger.balance(Account.CASH) == sum(live_cash.values_list("amount", flat=True))

    # --- Helpers ---

    def money_of(self, n):
        """Let a prompt's money move, once, and return the prompt."""
        push = self.pushes[n % len(self.pushes)]
        if push not in self.moved:
            self.moved[push] = f"TKNSTK{len(self.moved):04d}"
            self.truth[self.moved[push]] = StkPush.objects.get(pk=push).amount
        return push

    def tell(self, push_id, code):
        push = StkPush.objects.get(pk=push_id)
        result = StkResult(push.merchant_request_id, push.checkout_request_id, "0", "", push.amount, code, push.sent_at)
        stk_results.apply_stk_result(push_id=push_id, result=result, source="callback", now=self.now)

    def confirm(self, code, amount, account, moved_at):
        message = C2bMessage(code, moved_at, amount, "174379", account, "", "JANE", "Pay Bill", "")
        c2b_confirmations.apply_c2b(message=message, now=self.now)


def commit_time_checks():
    """Run what the database would check at the commit."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")


def explore(examples, steps):
    run_state_machine_as_test(
        Club,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.django_db
def test_whatever_happens_in_any_order_the_books_agree_with_the_truth():
    explore(examples=5, steps=15)


@pytest.mark.long
@pytest.mark.django_db
def test_whatever_happens_at_length_the_books_agree_with_the_truth():
    explore(examples=100, steps=50)
