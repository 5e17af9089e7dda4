"""Money with cents: its whole shillings are held, checked with Safaricom, and taken once."""

from datetime import timedelta

import pytest
from rest_framework.test import APIClient

from payments.daraja.messages import StkResult, parse_c2b, parse_status_result
from payments.desk import code_checks, refunds, reported_codes, review_decisions
from payments.evidence import c2b_confirmations, stk_results
from payments.evidence.outcomes import EvidenceOutcome
from payments.models import Account, CallbackOutcome, CodeCheck, Receipt, ReviewItem
from payments.services import ledger
from payments.tests.bodies import c2b_body, status_body
from payments.tests.factories import NOON, MemberFactory, create_payment, make_push
from payments.tests.invariants import broken_invariants

pytestmark = [pytest.mark.django_db, pytest.mark.server]

CODE, LATER = "TKN1AB2C3D", NOON + timedelta(minutes=1)
HELD = EvidenceOutcome(CallbackOutcome.UNMATCHED, "The amount has cents. Its whole shillings are held.")


@pytest.fixture
def manager():
    return MemberFactory(role="Manager", is_staff=True)


@pytest.fixture(autouse=True)
def checks_are_set_up(settings):
    settings.DARAJA_INITIATOR, settings.DARAJA_SECURITY_CREDENTIAL = "api", "secret"


@pytest.fixture(autouse=True)
def books_hold():
    yield
    assert broken_invariants() == {}


def confirm(amount="1079.65", account="gym", code=CODE, **fields):
    body = c2b_body(amount=0, account=account, code=code, moved_at=NOON, TransAmount=amount, **fields)
    return c2b_confirmations.apply_c2b(message=parse_c2b(body), now=LATER)


def find(amount=1079.65, code=CODE, **fields):
    """Apply the answer of a code check."""
    check, _ = CodeCheck.objects.get_or_create(code=code, ended_at=None, defaults={"created_at": LATER})
    result = parse_status_result(status_body(code=code, amount=amount, moved_at=NOON, **fields))
    return code_checks.apply_result(check_id=check.pk, result=result, now=LATER)


def take(manager):
    item_id = ReviewItem.objects.get(reason="amount_with_cents").pk
    return review_decisions.take_whole_shillings(item_id=item_id, by_id=manager.pk, now=LATER)


def items():
    return list(ReviewItem.objects.order_by("pk").values_list("reason", "status"))


def booked():
    return [(each.code, each.amount, each.cents, each.member_id) for each in Receipt.objects.order_by("pk")]


@pytest.mark.parametrize("amount", ["1079.65", 1079.65, "1079.650"])
def test_confirmation_with_cents_is_held_in_whole_shillings(amount):
    member = MemberFactory()

    assert confirm(amount, account=member.member_number) == HELD

    assert booked() == [(CODE, 1079, 65, None)]
    assert (ledger.balance(Account.MPESA), ledger.balance(Account.UNMATCHED)) == (1079, -1079)
    assert [(item.reason, item.detail) for item in ReviewItem.objects.all()] == [
        (
            "amount_with_cents",
            f"KES 1,079.65 was paid with code {CODE}. When the code was checked, take KES 1,079; 65 cents are left.",
        )
    ]


def test_amount_under_one_shilling_or_with_half_cents_is_no_message():
    for amount in ("0.65", "10.005"):
        with pytest.raises(Exception, match="not in whole cents, less than a shilling"):
            confirm(amount)


def test_money_with_cents_is_refused_before_its_code_was_checked(manager):
    confirm()

    with pytest.raises(review_decisions.CodeNotChecked):
        take(manager)
    with pytest.raises(review_decisions.NotAssignable):
        review_decisions.assign_money(
            item_id=ReviewItem.objects.get().pk, member_id=MemberFactory().pk, by_id=manager.pk, now=LATER
        )
    with pytest.raises(review_decisions.MoneyIsHeld):
        refunds.record_refund(
            receipt_id=Receipt.objects.get().pk, paid_from=Account.MPESA, reason="back", by_id=manager.pk, now=LATER
        )


def test_checked_money_with_cents_pays_the_payment_that_it_names(manager):
    payment = create_payment(amount=1079)
    confirm(account=payment.reference)

    assert find().outcome == CallbackOutcome.DUPLICATE
    item = take(manager)

    payment.refresh_from_db()
    assert (payment.status, payment.amount_paid, booked()) == ("paid", 1079, [(CODE, 1079, 65, payment.payer_id)])
    assert (item.status, item.resolution, item.resolved_by) == (
        "resolved",
        "KES 1,079 was taken. 65 cents are in no book.",
        manager,
    )
    assert ledger.balance(Account.UNMATCHED) == 0


def test_checked_money_with_cents_and_no_owner_becomes_unmatched(manager):
    confirm()
    find()

    take(manager)

    assert items() == [("amount_with_cents", "resolved"), ("unmatched", "open")]
    item = ReviewItem.objects.latest("pk")
    payment = create_payment(amount=1079)
    review_decisions.assign_money(item_id=item.pk, payment_id=payment.pk, by_id=manager.pk, now=LATER)
    payment.refresh_from_db()
    assert payment.status == "paid"


def test_money_with_cents_is_taken_once(manager):
    confirm()
    find()
    take(manager)

    with pytest.raises(review_decisions.NotTakeable):
        take(manager)
    assert confirm().outcome == CallbackOutcome.DUPLICATE
    assert find().outcome == CallbackOutcome.DUPLICATE
    assert (booked(), ledger.balance(Account.MPESA)) == ([(CODE, 1079, 65, None)], 1079)


def test_lost_confirmation_with_cents_is_found_by_a_code_check(manager):
    payment = create_payment(amount=1079)
    reported_codes.report_code(code=CODE, payment_id=payment.pk, by_id=manager.pk, now=NOON)

    assert find() == HELD
    take(manager)

    payment.refresh_from_db()
    assert (payment.status, booked()) == ("paid", [(CODE, 1079, 65, payment.payer_id)])
    assert CodeCheck.objects.get().status == "found"


def test_confirmation_after_the_money_was_taken_names_its_owner(manager):
    payment = create_payment(amount=1079)
    find()
    take(manager)

    assert confirm(account=payment.reference).outcome == CallbackOutcome.APPLIED

    payment.refresh_from_db()
    assert (payment.status, booked()) == ("paid", [(CODE, 1079, 65, payment.payer_id)])


@pytest.mark.parametrize("amount", [1079, 1079.64, 1080])
def test_check_that_finds_another_amount_allows_nothing(manager, amount):
    confirm()

    assert find(amount).outcome == CallbackOutcome.REVIEW

    with pytest.raises(review_decisions.CodeNotChecked):
        take(manager)
    assert items() == [("amount_with_cents", "open"), ("code_used_twice", "open")]
    assert f"is KES 1,079.65 in the books; now KES {amount:,} is reported." in ReviewItem.objects.latest("pk").detail


def test_money_with_cents_is_never_the_money_of_a_push(manager):
    push = make_push(create_payment(amount=1079), phone="254712345678")
    confirm(account="", MSISDN="254712345678")

    query = StkResult(push.merchant_request_id, push.checkout_request_id, "0", "")
    stk_results.apply_stk_result(push_id=push.pk, result=query, source="query", now=LATER)

    assert booked() == [(CODE, 1079, 65, None), (None, 1079, 0, push.payment.payer_id)]


def test_dismissed_money_with_cents_stays_held_and_can_be_taken(manager):
    confirm()
    item_id = ReviewItem.objects.get().pk
    review_decisions.dismiss_item(item_id=item_id, reason="not in the portal", by_id=manager.pk, now=LATER)
    with pytest.raises(review_decisions.CodeNotChecked):
        take(manager)

    find()
    take(manager)

    assert items() == [("amount_with_cents", "resolved"), ("unmatched", "open")]


def test_manager_does_not_take_their_own_money(manager):
    confirm(account=manager.member_number)
    find()

    with pytest.raises(Exception, match="for yourself"):
        take(manager)


def test_code_of_money_with_cents_is_checked_until_answered(settings):
    confirm()

    requested = []
    for after in (0, 1, 59, 61, 60 * 23, 60 * 25, 60 * 26):
        now = LATER + timedelta(minutes=after)
        requested.append(code_checks.check_held_codes(now=now))
        code_checks.end_unanswered(now=now + timedelta(minutes=15))

    assert requested == [1, 0, 0, 1, 0, 1, 0]
    find()
    assert code_checks.check_held_codes(now=LATER + timedelta(days=3)) == 0


def test_manager_takes_money_with_cents_over_the_api(manager):
    confirm()
    client = APIClient()
    client.force_authenticate(manager)
    url = f"/api/v1/review-items/{ReviewItem.objects.get().pk}/take/"

    answer = client.post(url)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "code_not_checked")
    find()
    answer = client.post(url)

    assert (answer.status_code, answer.json()["data"]["status"]) == (200, "resolved")
    again = client.post(url)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "not_takeable")


def test_manager_takes_money_with_cents_in_the_admin(client, manager):
    confirm()
    find()
    client.force_login(manager)
    item = ReviewItem.objects.get()
    page = f"/admin/payments/reviewitem/{item.pk}"

    answer = client.get(f"{page}/change/", secure=True)
    assert [form.name for form in answer.context["actions"]] == ["take", "dismiss"]
    client.post(f"{page}/take/", secure=True)

    item.refresh_from_db()
    assert (item.status, item.resolved_by) == ("resolved", manager)
