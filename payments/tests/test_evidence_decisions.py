"""Each row of the decision tables in payments.evidence.stk_results, one case a row.

The letters and numbers are those of the rows. The tests in test_c2b and test_stk_callback show what each row is for.
"""

from datetime import timedelta

import pytest
from django.conf import settings

from payments.daraja.messages import C2bMessage, StkResult
from payments.evidence import c2b_confirmations, stk_results
from payments.models import Account, PushStatus, Receipt, ReviewItem
from payments.services import ledger
from payments.tests.factories import NOON, MemberFactory, create_payment, make_push

pytestmark = pytest.mark.django_db

LATER = NOON + timedelta(seconds=30)
CODE, GUESSED, PROVED = "TKN00000CODE", "TKN0GUESSED", "TKN0PROVED"
AMOUNT, PHONE = 1500, "254712345678"


def apply_callback(push, code=CODE, amount=AMOUNT, result_code="0"):
    result = StkResult(push.merchant_request_id, push.checkout_request_id, result_code, "", amount, code, NOON)
    return stk_results.apply_stk_result(push_id=push.pk, result=result, source="callback", now=LATER)


def apply_query(push, result_code="0"):
    result = StkResult(push.merchant_request_id, push.checkout_request_id, result_code, "")
    return stk_results.apply_stk_result(push_id=push.pk, result=result, source="query", now=LATER)


def apply_confirmation(code, *, account, sender=""):
    shortcode = settings.DARAJA_SHORTCODE
    message = C2bMessage(code, NOON, AMOUNT, shortcode, account, sender, "JANE", "Pay Bill", "")
    return c2b_confirmations.apply_c2b(message=message, now=LATER)


def guess_code(push, code):
    """Give a push a receipt whose code is a guess: a query reports its success, a confirmation names it."""
    apply_query(push)
    apply_confirmation(code, account=push.payment.reference)


def guess_codes_crosswise(push, other):
    """Give both pushes, which are on one phone and of which `other` has succeeded, each other's code as a guess."""
    apply_query(push)
    apply_confirmation(CODE, account="", sender=PHONE)
    apply_confirmation(GUESSED, account="", sender=PHONE)


RECEIPT_OF_PUSH = {
    "none": lambda push: None,
    "without a code": apply_query,
    "guessed": lambda push: guess_code(push, GUESSED),
    "proved": lambda push: apply_callback(push, PROVED),
    "the same, guessed": lambda push: guess_code(push, CODE),
    "the same, proved": apply_callback,
}
RECEIPT_OF_CODE = {
    "none": lambda other: None,
    "free confirmation": lambda other: apply_confirmation(CODE, account="gym"),
    "guessed for another push": lambda other: guess_code(other, CODE),
    "proved for another push": apply_callback,
}
OWN = {(CODE, "push", "proved")}
OTHERS_GUESS, OTHERS = {(CODE, "other", "guessed")}, {(CODE, "other", "proved")}
OTHERS_WITHOUT_CODE = {(None, "other", "proved")}
FREE_GUESS, FREE_CODE = {(GUESSED, None, "proved")}, {(CODE, None, "proved")}


def receipts(push, other):
    """Return code, push and state of each receipt."""
    pushes = {push.pk: "push", other.pk: "other", None: None}
    return {
        (
            each.code,
            pushes[each.push_id],
            "reversed" if each.reversed_at else "guessed" if each.push_guessed else "proved",
        )
        for each in Receipt.objects.all()
    }


@pytest.mark.parametrize(
    ("row", "of_push", "of_code", "outcome", "after"),
    [
        ("A", "none", "none", "applied", OWN),
        ("B", "the same, guessed", "none", "applied", OWN),
        ("C", "the same, proved", "none", "duplicate", OWN),
        ("E, G", "none", "guessed for another push", "applied", OWN | OTHERS_WITHOUT_CODE),
        ("E, I", "without a code", "guessed for another push", "applied", OWN | OTHERS_WITHOUT_CODE),
        ("E, L", "guessed", "guessed for another push", "applied", OWN | OTHERS_WITHOUT_CODE | FREE_GUESS),
        ("F", "none", "proved for another push", "code_used_twice", OTHERS),
        ("F", "without a code", "proved for another push", "code_used_twice", OTHERS | {(None, "push", "proved")}),
        ("F", "guessed", "proved for another push", "code_used_twice", OTHERS | {(GUESSED, "push", "guessed")}),
        ("F", "proved", "proved for another push", "code_used_twice", OTHERS | {(PROVED, "push", "proved")}),
        ("F", "proved", "guessed for another push", "code_used_twice", OTHERS_GUESS | {(PROVED, "push", "proved")}),
        ("H", "none", "free confirmation", "applied", OWN),
        ("I", "without a code", "none", "applied", OWN),
        ("J", "without a code", "free confirmation", "applied", OWN | {(None, None, "reversed")}),
        ("K", "proved", "none", "contradiction", {(PROVED, "push", "proved")}),
        ("K", "proved", "free confirmation", "contradiction", FREE_CODE | {(PROVED, "push", "proved")}),
        ("L", "guessed", "none", "applied", OWN | FREE_GUESS),
        ("M", "guessed", "free confirmation", "applied", OWN | FREE_GUESS),
    ],
)
def test_success_with_code_is_decided_by_both_receipts(row, of_push, of_code, outcome, after):
    push, other = make_push(), make_push()
    RECEIPT_OF_CODE[of_code](other)
    RECEIPT_OF_PUSH[of_push](push)

    found = apply_callback(push)

    if outcome in ("applied", "duplicate"):
        assert found.outcome == outcome
    else:
        assert (found.outcome, ReviewItem.objects.latest("pk").reason) == ("review", outcome)
    assert receipts(push, other) == after
    assert ledger.balance(Account.MPESA) == AMOUNT * sum(state != "reversed" for _, _, state in after)


def test_crossed_guesses_are_swapped():
    """Row D."""
    member = MemberFactory(phone_number=PHONE)
    other = make_push(create_payment(member), phone=PHONE)
    apply_query(other)
    push = make_push(create_payment(member), phone=PHONE)
    guess_codes_crosswise(push, other)
    assert receipts(push, other) == {(CODE, "other", "guessed"), (GUESSED, "push", "guessed")}

    assert apply_callback(push).outcome == "applied"

    assert receipts(push, other) == {(CODE, "push", "proved"), (GUESSED, "other", "guessed")}


def test_repeated_failure_is_a_duplicate():
    """Row 4."""
    push = make_push()
    apply_callback(push, result_code="1032")

    assert apply_callback(push, result_code="1037").outcome == "duplicate"

    push.refresh_from_db()
    assert (push.status, push.result_code) == (PushStatus.CANCELLED, "1032")


def test_query_with_a_code_that_is_not_final_changes_nothing():
    """Row 6."""
    push = make_push()

    assert apply_query(push, result_code="4999").outcome == "duplicate"

    push.refresh_from_db()
    assert (push.status, ReviewItem.objects.count()) == (PushStatus.SENT, 0)


@pytest.mark.parametrize("missing", [{"amount": None}, {"code": None}, {"code": "TKN-1"}])
def test_success_without_amount_or_code_is_held(missing):
    """Row 11."""
    push = make_push()

    assert apply_callback(push, **missing).outcome == "review"

    assert (ReviewItem.objects.get().reason, Receipt.objects.count()) == ("unreadable", 0)
