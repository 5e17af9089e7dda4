"""All orders of all evidence for one money end in one receipt, the same payment and the same access.

Evidence is the push's callback, a query, the paybill's or till's confirmation, and a Transaction Status answer, each
once or twice, with every form in which Safaricom writes the sender. Before it, or in the middle of it, staff may have
matched the money by hand or by a reported code.
"""

import contextlib
import itertools
import random
from datetime import timedelta

import pytest
from django.db import transaction

from payments.daraja.messages import StkResult, parse_c2b, parse_status_result, parse_stk_callback
from payments.desk import code_checks, reported_codes, review_decisions
from payments.evidence import c2b_confirmations, holds, stk_results
from payments.matching.owners import sha256_of
from payments.models import Account, CodeCheck, Payment, Receipt, ReviewItem, ReviewReason, ReviewStatus
from payments.services import ledger
from payments.services.ownership import PaymentTakesNoMoney
from payments.tests.bodies import c2b_body, status_body, stk_body
from payments.tests.factories import NOON, make_push
from payments.tests.invariants import broken_invariants
from subscriptions.models import Subscription
from subscriptions.tests.factories import MemberFactory, PlanFactory, buy

pytestmark = [pytest.mark.django_db, pytest.mark.server]

CODE, PHONE = "TKN1AB2C3D", "254712345678"
MOVED_AT, LATER = NOON + timedelta(seconds=10), NOON + timedelta(seconds=30)
SENDERS = {
    "whole": PHONE,
    "masked": "2547 ***** 678",
    "hashed": sha256_of(PHONE),
    "masked hash": f"{sha256_of(PHONE)[:5]}********{sha256_of(PHONE)[-5:]}",
    "other form of hash": "9f86d081****0f00a08",
    "empty": "",
}
STEPS = ("callback", "query", "confirmation", "status")
MATCHED = ("not", "by hand", "by code")


class Money:
    """One STK push of KES 1,500 for a membership, and all that is reported about its money."""

    def __init__(self, sender, to_till):
        self.sender, self.to_till = SENDERS[sender], to_till
        self.staff, self.manager = MemberFactory(role="Receptionist"), MemberFactory(role="Manager")
        payer = MemberFactory(phone_number=PHONE)
        buy(payer, plan=PlanFactory())
        self.payment = Payment.objects.get(payer=payer)
        self.push = make_push(self.payment, phone=PHONE)
        self.is_reported = False

    def report(self, step):
        with transaction.atomic():
            getattr(self, step)()
        assert broken_invariants() == {}

    def callback(self):
        result = parse_stk_callback(stk_body(self.push, code=CODE, moved_at=MOVED_AT))
        stk_results.apply_stk_result(push_id=self.push.pk, result=result, source="callback", now=LATER)

    def query(self):
        result = StkResult(self.push.merchant_request_id, self.push.checkout_request_id, "0", "")
        stk_results.apply_stk_result(push_id=self.push.pk, result=result, source="query", now=LATER)

    def confirmation(self):
        account = "" if self.to_till else self.payment.reference
        body = c2b_body(amount=1500, account=account, code=CODE, moved_at=MOVED_AT, sender=self.sender)
        c2b_confirmations.apply_c2b(message=parse_c2b(body), now=LATER)

    def status(self):
        party = "JOHN DOE" if self.sender == "" else f"{self.sender} - JANE WANJIRU"
        body = status_body(code=CODE, moved_at=MOVED_AT, changes={"DebitPartyName": party})
        check = CodeCheck.objects.create(code=CODE, created_at=NOON)
        code_checks.apply_result(check_id=check.pk, result=parse_status_result(body), now=LATER)

    def match_by_hand(self):
        """Assign the money by hand to the payment, if it is unmatched now and the payment takes money."""
        item = ReviewItem.objects.filter(reason=ReviewReason.UNMATCHED, status=ReviewStatus.OPEN).first()
        if item is not None:
            with contextlib.suppress(PaymentTakesNoMoney):
                review_decisions.assign_money(
                    item_id=item.pk, payment_id=self.payment.pk, by_id=self.manager.pk, now=LATER
                )

    def match_by_code(self):
        if not self.is_reported:
            self.is_reported = True
            with contextlib.suppress(PaymentTakesNoMoney, reported_codes.CodeAlreadyUsed):
                reported_codes.report_code(code=CODE, payment_id=self.payment.pk, by_id=self.staff.pk, now=LATER)

    def run(self, order, matched):
        if matched == "by code":
            self.match_by_code()
        for step in order:
            self.report(step)
            if matched == "by hand":
                self.match_by_hand()
            assert broken_invariants() == {}

    def books(self):
        """Return what may be used, the payment's state and the access."""
        live = [each for each in Receipt.objects.filter(reversed_at=None) if not holds.is_held(each)]
        self.payment.refresh_from_db()
        [period] = Subscription.objects.all()
        return (
            [(each.amount, each.push_id == self.push.pk, each.member_id == self.payment.payer_id) for each in live],
            (self.payment.status, self.payment.amount_paid),
            (period.fact, period.starts_on.isoformat() if period.starts_on else None),
            ledger.balance(Account.MEMBER_CREDIT, member_id=self.payment.payer_id),
        )


PAID = ([(1500, True, True)], ("paid", 1500), ("granted", "2026-11-02"), 0)


def check(order, sender, to_till, matched):
    """Report the money in one order and compare the books; roll everything back."""
    case = f"{'-'.join(order)}, {sender}, {'till' if to_till else 'paybill'}, matched {matched}"
    with transaction.atomic():
        money = Money(sender, to_till)
        money.run(order, matched)
        assert money.books() == PAID, case
        held = [each for each in Receipt.objects.filter(reversed_at=None) if holds.is_held(each)]
        if "callback" in order:
            assert (held, Receipt.objects.get(code=CODE).push_guessed) == ([], False), case
            assert ledger.balance(Account.MPESA) == 1500, case
        transaction.set_rollback(True)


def cases(orders, senders=tuple(SENDERS), matched=MATCHED):
    """Return all combinations. A paybill's confirmation has the reference, so there the sender decides nothing."""
    return list(itertools.product(orders, senders, (False, True), matched))


# Only the push itself reports a success without fail. Orders without its callback and its query may find no owner.
WITHOUT_PUSH = sorted({order for size in (1, 2, 3, 4) for order in itertools.permutations(STEPS[2:] * 2, size)})
ONCE = [
    order for size in (2, 3, 4) for order in itertools.permutations(STEPS, size) if {"callback", "query"} & {*order}
]


@pytest.mark.parametrize("part", range(4))
def test_orders_of_evidence_end_in_the_same_books(part):
    sample = random.Random(part).sample(cases(ONCE), 60)

    for each in sample:
        check(*each)


@pytest.mark.long
@pytest.mark.parametrize("first", STEPS)
def test_orders_of_repeated_evidence_end_in_the_same_books(first, pytestconfig):
    """Of the 51,840 cases a sample is checked. All of them take about 160 minutes of CPU time."""
    twice = {order for order in itertools.permutations(STEPS * 2, 6) if {"callback", "query"} & {*order}}
    explores = pytestconfig.getoption("--hypothesis-profile") == "explore"
    draw = random.Random(None if explores else first)

    for each in draw.sample(cases(sorted(order for order in twice if order[0] == first)), 120):
        check(*each)


def expected_without_push(order, sender, to_till, matched):
    """Return the books: a confirmation names the owner by account, or by a phone that can be read; else staff do."""
    is_named = "confirmation" in order and (not to_till or sender in ("whole", "hashed"))
    if is_named or matched != "not":
        return ([(1500, False, True)], ("paid", 1500), ("granted", "2026-11-02"), 0)
    return ([(1500, False, False)], ("processing", 0), ("pending", None), 0)


def check_without_push(order, sender, to_till, matched):
    case = f"{'-'.join(order)}, {sender}, {'till' if to_till else 'paybill'}, matched {matched}"
    with transaction.atomic():
        money = Money(sender, to_till)
        money.run(order, matched)
        books = expected_without_push(order, sender, to_till, matched)
        assert money.books() == books, case
        assert list(Receipt.objects.values_list("code", "amount", "reversed_at")) == [(CODE, 1500, None)], case
        unmatched = 0 if books[0][0][2] else -1500
        assert (ledger.balance(Account.MPESA), ledger.balance(Account.UNMATCHED)) == (1500, unmatched), case
        is_open = ReviewItem.objects.filter(status=ReviewStatus.OPEN).values_list("reason", flat=True)
        assert list(is_open) == (["unmatched"] if unmatched else []), case
        transaction.set_rollback(True)


def test_orders_without_callback_and_query_end_in_one_receipt():
    for each in random.Random(0).sample(cases(WITHOUT_PUSH), 60):
        check_without_push(*each)


@pytest.mark.long
@pytest.mark.parametrize("matched", MATCHED)
def test_all_orders_without_callback_and_query_end_in_one_receipt(matched):
    for each in cases(WITHOUT_PUSH, matched=(matched,)):
        check_without_push(*each)


@pytest.mark.parametrize("order", [("query", "confirmation"), ("confirmation", "query"), ("query", "status")])
@pytest.mark.parametrize("sender", ["empty", "other form of hash"])
def test_money_of_a_push_in_doubt_is_held_and_paid_once(order, sender):
    money = Money(sender, to_till=True)

    money.run(order, "not")

    assert money.books() == PAID
    [held] = Receipt.objects.filter(push=None)
    assert (held.code, held.member_id, ledger.balance(Account.UNMATCHED)) == (CODE, None, -1500)
    assert list(ReviewItem.objects.filter(status="open").values_list("reason", "push")) == [
        ("possible_double", money.push.pk)
    ]


@pytest.mark.parametrize("matched", ["by hand", "by code"])
def test_access_stays_when_matched_money_is_proved_to_be_the_push(matched):
    money = Money("empty", to_till=True)

    money.run(("confirmation", "query", "callback"), matched)

    assert money.books() == PAID
    assert not Subscription.objects.filter(fact="revoked").exists()
