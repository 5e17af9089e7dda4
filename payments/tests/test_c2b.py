"""Paybill and till payments: their owner, the same money reported more than once, and C2B validation."""

import hashlib
import threading
import time
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from api.member_numbers import with_check_digit
from payments.daraja.messages import StkResult
from payments.desk import review_decisions
from payments.evidence import stk_results
from payments.matching import owners
from payments.matching.references import with_check_character
from payments.models import Account, Allocation, Callback, Payment, PaymentStatus, Receipt, ReviewItem
from payments.services import cancellation, ledger
from payments.tests.bodies import c2b_body, stk_body
from payments.tests.factories import NOON, MemberFactory, create_payment, make_push

pytestmark = [pytest.mark.django_db, pytest.mark.server]

LATER = NOON + timedelta(seconds=30)


@pytest.fixture(autouse=True)
def noon(monkeypatch):
    monkeypatch.setattr("payments.views.callbacks.now", lambda: LATER)


def confirm(client, secret=settings.C2B_SECRET, **message):
    message.setdefault("moved_at", NOON + timedelta(seconds=10))
    url = reverse("payments:c2b-confirmation", args=[secret])
    return client.post(url, c2b_body(**message), content_type="application/json")


def validate(client, **message):
    url = reverse("payments:c2b-validation", args=[settings.C2B_SECRET])
    return client.post(url, c2b_body(moved_at=NOON, **message), content_type="application/json").json()


def deliver_result(client, push, **result):
    url = reverse("payments:stk-callback", args=[push.raw_token])
    return client.post(url, stk_body(push, **result), content_type="application/json")


def succeed_by_query(push, now=LATER):
    result = StkResult(push.merchant_request_id, push.checkout_request_id, "0", "")
    return stk_results.apply_stk_result(push_id=push.pk, result=result, source="query", now=now)


def outcomes():
    return list(Callback.objects.order_by("pk").values_list("outcome", flat=True))


def reviews():
    return list(ReviewItem.objects.order_by("pk").values_list("reason", flat=True))


def statuses(*payments):
    for payment in payments:
        payment.refresh_from_db()
    return [(payment.status, payment.amount_paid) for payment in payments]


def expire(payment):
    cancellation.expire_due(now=payment.expires_at)
    return payment


def rules():
    return list(Allocation.objects.order_by("pk").values_list("amount", "rule"))


# --- Owners ---


def test_payment_reference_pays_its_payment(client):
    payment = create_payment(amount=1500)

    answer = confirm(client, amount=1500, account=f" {payment.reference.lower()} ")

    assert (answer.status_code, answer.json()) == (200, {"ResultCode": 0, "ResultDesc": "Accepted"})
    assert statuses(payment) == [("paid", 1500)]
    assert rules() == [(1500, "reference")]
    receipt = Receipt.objects.get()
    assert (receipt.member, receipt.payer_name) == (payment.payer, "JANE WANJIRU")


def test_partial_payment_and_rest_pay_in_full(client):
    payment = create_payment(amount=1500)

    confirm(client, amount=1000, account=payment.reference, code="TKN0000001")
    assert statuses(payment) == [("partially_paid", 1000)]
    confirm(client, amount=500, account=payment.reference, code="TKN0000002", moved_at=NOON + timedelta(seconds=20))

    assert statuses(payment) == [("paid", 1500)]
    assert payment.paid_at == NOON + timedelta(seconds=20)


def test_paid_at_is_the_latest_transaction_time_in_any_order(client):
    payment = create_payment(amount=1500)

    confirm(client, amount=500, account=payment.reference, code="TKN0000002", moved_at=NOON + timedelta(seconds=20))
    confirm(client, amount=1000, account=payment.reference, code="TKN0000001", moved_at=NOON + timedelta(seconds=5))

    assert statuses(payment) == [("paid", 1500)]
    assert payment.paid_at == NOON + timedelta(seconds=20)


def test_overpayment_becomes_credit_for_the_next_payment(client):
    payment = create_payment(amount=1500)

    confirm(client, amount=2000, account=payment.reference)

    assert ledger.balance(Account.MEMBER_CREDIT, member_id=payment.payer_id) == -500
    following = create_payment(payment.payer, amount=400, now=LATER)
    assert (following.status, following.paid_at) == (PaymentStatus.PAID, LATER)
    assert ledger.balance(Account.MEMBER_CREDIT, member_id=payment.payer_id) == -100


def test_member_number_pays_the_payment_of_exactly_that_amount(client):
    member = MemberFactory()
    older, exact = create_payment(member, amount=1000), create_payment(member, amount=1500, now=LATER)

    confirm(client, amount=1500, account=member.member_number)

    assert statuses(older, exact) == [("pending", 0), ("paid", 1500)]
    assert rules() == [(1500, "exact")]


def test_amount_without_exact_match_pays_oldest_payment_first(client):
    member = MemberFactory()
    older, newer = create_payment(member, amount=1000), create_payment(member, amount=1500, now=LATER)

    confirm(client, amount=1200, account=member.member_number)

    assert statuses(older, newer) == [("paid", 1000), ("partially_paid", 200)]
    assert rules() == [(1000, "oldest"), (200, "oldest")]


def test_expired_payment_takes_no_partial_amount(client):
    overdue = expire(create_payment(amount=30_000))

    confirm(client, amount=1500, account=overdue.payer.member_number)

    assert statuses(overdue) == [("expired", 0)]
    assert ledger.balance(Account.MEMBER_CREDIT, member_id=overdue.payer_id) == -1500


def test_open_payment_comes_before_exact_expired_payment(client):
    overdue = expire(create_payment(amount=1500))
    still_open = create_payment(overdue.payer, amount=1000, now=LATER)

    confirm(client, amount=1500, account=overdue.payer.member_number)

    assert statuses(overdue, still_open) == [("expired", 0), ("paid", 1000)]


def test_exact_late_money_pays_the_only_expired_payment(client):
    overdue = expire(create_payment(amount=1500))

    confirm(client, amount=1500, account=overdue.payer.member_number)

    assert statuses(overdue) == [("paid", 1500)]
    assert rules() == [(1500, "exact")]


@pytest.mark.parametrize(
    ("time_after", "status"), [(timedelta(0), ("expired", 0)), (-timedelta(seconds=1), ("paid", 1500))]
)
def test_exact_money_pays_expired_payment_for_one_more_lifetime(monkeypatch, client, time_after, status):
    order = expire(create_payment(amount=1500))
    moved_at = NOON + 2 * settings.PAYMENT_LIFETIME + time_after
    monkeypatch.setattr("payments.views.callbacks.now", lambda: moved_at)

    confirm(client, amount=1500, account=order.payer.member_number, moved_at=moved_at)

    assert statuses(order) == [status]


def test_late_report_of_timely_money_pays_expired_payment(monkeypatch, client):
    order = expire(create_payment(amount=1500))
    monkeypatch.setattr("payments.views.callbacks.now", lambda: NOON + 9 * settings.PAYMENT_LIFETIME)

    confirm(client, amount=1500, account=order.payer.member_number, moved_at=NOON + settings.PAYMENT_LIFETIME)

    assert statuses(order) == [("paid", 1500)]


def test_older_expired_payment_does_not_block_a_later_one(monkeypatch, client):
    overdue = expire(create_payment(amount=1500))
    end_of_matching = overdue.matches_until
    late = expire(create_payment(overdue.payer, amount=1500, now=end_of_matching))
    monkeypatch.setattr("payments.views.callbacks.now", lambda: late.expires_at)

    confirm(client, amount=1500, account=late.payer.member_number, moved_at=late.expires_at)

    assert statuses(overdue, late) == [("expired", 0), ("paid", 1500)]


def test_late_money_that_fits_two_expired_payments_is_credit(client):
    one = expire(create_payment(amount=1500))
    other = expire(create_payment(one.payer, amount=1500))

    confirm(client, amount=1500, account=one.payer.member_number)

    assert statuses(one, other) == [("expired", 0), ("expired", 0)]


def test_reference_pays_expired_payment_with_any_amount(client):
    overdue = expire(create_payment(amount=1500))

    confirm(client, amount=400, account=overdue.reference)

    assert statuses(overdue) == [("partially_paid", 400)]


@pytest.mark.parametrize("form", ["0{}", "254{}", "+254{}", "{}"])
def test_phone_typed_as_account_finds_its_member(client, form):
    member = MemberFactory(phone_number="254712345678")
    payment = create_payment(member, amount=100)

    confirm(client, amount=100, account=form.format("712345678"))

    assert statuses(payment) == [("paid", 100)]


def test_repeated_confirmation_does_not_match_a_newer_member(client):
    message = {"amount": 100, "account": "gym", "sender": "254712345678"}
    confirm(client, **message)
    MemberFactory(phone_number="254712345678")

    confirm(client, **message)

    assert outcomes() == ["unmatched", "duplicate"]
    assert Receipt.objects.get().member is None


def test_hashed_sender_finds_the_only_member_with_that_phone(client):
    payment = create_payment(MemberFactory(phone_number="254712345678"), amount=100)

    confirm(client, amount=100, account="gym", sender=hashlib.sha256(b"254712345678").hexdigest())

    assert statuses(payment) == [("paid", 100)]


@pytest.mark.parametrize("mask", ["2547 ***** 678", "25471****678"])
def test_masked_sender_only_suggests_members(client, mask):
    member = MemberFactory(phone_number="254712345678")
    payment = create_payment(member, amount=100)

    confirm(client, amount=100, account="gym", sender=mask)

    assert statuses(payment) == [("pending", 0)]
    assert (outcomes(), reviews()) == (["unmatched"], ["unmatched"])
    assert ReviewItem.objects.get().suggested_members == [member.pk]
    assert ledger.balance(Account.UNMATCHED) == -100


def test_invoice_number_stays_with_the_money_that_is_found_to_be_a_push(client):
    push = make_push(create_payment(amount=1500))
    succeed_by_query(push)

    confirm(client, amount=1500, account="", sender="", InvoiceNumber="JANE WANJIRU")
    deliver_result(client, push, code="TKN1AB2C3D")

    receipt = Receipt.objects.get(code="TKN1AB2C3D")
    assert (receipt.push_id, receipt.payer_name, receipt.invoice_typed) == (push.pk, "JANE WANJIRU", "JANE WANJIRU")


@pytest.mark.parametrize("text", ["#{}", "{}.", "{} ASHA", "MEMBER {}", "acc no: {}, asha", "{} {}", "ASHA{}", "{}É"])
def test_member_number_inside_text_finds_its_owner(client, text):
    member = MemberFactory()
    payment = create_payment(member, amount=100)

    confirm(client, amount=100, account=text.format(member.member_number, member.member_number))

    assert statuses(payment) == [("paid", 100)]


@pytest.mark.parametrize("text", ["{} JOHN", "REF {}", "gym-{}-john", "ref. {}", "{}john", "é {}"])
def test_reference_inside_text_pays_its_payment(client, text):
    payment = create_payment(amount=100)

    confirm(client, amount=100, account=text.format(payment.reference.lower()))

    assert (statuses(payment), rules()) == ([("paid", 100)], [(100, "reference")])


def test_text_that_names_two_members_only_suggests_them(client):
    one, other = MemberFactory.create_batch(2)

    confirm(client, amount=100, account=f"{one.member_number} {other.member_number}", sender=one.phone_number)

    assert (Receipt.objects.get().member, reviews()) == (None, ["unmatched"])
    assert ReviewItem.objects.get().suggested_members == [one.pk, other.pk]


def test_divided_reference_inside_text_pays_its_payment(client):
    payment = create_payment(amount=100)

    confirm(client, amount=100, account=f"{payment.reference[:4]} {payment.reference[4:]} John")

    assert (statuses(payment), rules()) == ([("paid", 100)], [(100, "reference")])


@pytest.mark.parametrize("text", ["{}", "{} JOHN", "ref{}"])
def test_reference_of_an_earlier_version_pays_its_payment(client, validation_on, text, monkeypatch):
    monkeypatch.setattr("payments.matching.references.generate", lambda: with_check_character("KAMCW9F"))
    payment = create_payment(amount=100)

    assert validate(client, amount=100, account=text.format(with_check_character("KAMCW9F"))) == ACCEPT
    confirm(client, amount=100, account=text.format(with_check_character("KAMCW9F").lower()))

    assert (statuses(payment), rules()) == ([("paid", 100)], [(100, "reference")])


def test_wrong_check_digit_inside_text_finds_no_member():
    number = MemberFactory().member_number
    slip = number[:3] + str((int(number[3]) + 1) % 10) + number[4:]

    assert owners.find_owner(account=f"MEMBER {slip}", sender="").member_id is None


def test_wrong_check_digit_finds_no_member():
    number = MemberFactory().member_number
    slip = number[:3] + str((int(number[3]) + 1) % 10) + number[4:]

    assert owners.find_owner(account=slip, sender="").member_id is None


def test_money_for_cancelled_payment_becomes_credit_and_review_item(client):
    payment = create_payment(amount=100)
    cancellation.cancel_payment(payment_id=payment.pk, by_id=payment.payer_id, now=NOON)

    confirm(client, amount=100, account=payment.reference)

    assert ledger.balance(Account.MEMBER_CREDIT, member_id=payment.payer_id) == -100
    assert reviews() == ["late_money"]


def test_money_to_another_shortcode_moves_nothing(client):
    confirm(client, amount=100, BusinessShortCode="600000")

    assert (outcomes(), reviews(), Receipt.objects.count()) == (["review"], ["amount_differs"], 0)


def test_unknown_secret_is_404_and_nothing_is_stored(client):
    assert confirm(client, secret="guess", amount=100).status_code == 404
    assert Callback.objects.count() == 0


# --- The same money, reported more than once ---


def test_repeated_confirmation_counts_once(client):
    payment = create_payment(amount=100)

    for _ in range(2):
        confirm(client, amount=100, account=payment.reference)

    assert (outcomes(), Receipt.objects.count()) == (["applied", "duplicate"], 1)


def test_same_code_with_another_amount_moves_nothing(client):
    payment = create_payment(amount=100)
    confirm(client, amount=100, account=payment.reference)

    confirm(client, amount=90, account=payment.reference)

    assert (outcomes(), reviews(), Receipt.objects.count()) == (["applied", "review"], ["code_used_twice"], 1)


def test_each_different_amount_of_one_code_has_its_review_item(client):
    payment = create_payment(amount=100)
    for amount in (100, 90, 80, 80):
        confirm(client, amount=amount, account=payment.reference)

    assert list(ReviewItem.objects.order_by("pk").values_list("detail", flat=True)) == [
        "M-Pesa code TKN1AB2C3D is KES 100 in the books; now KES 90 is reported.",
        "M-Pesa code TKN1AB2C3D is KES 100 in the books; now KES 80 is reported.",
    ]


REPORT_ORDERS = ["sc", "cs", "qsc", "qcs", "csq", "cqs", "scq", "sqc", "ccss", "qcqs"]


@pytest.mark.parametrize("order", REPORT_ORDERS)
@pytest.mark.parametrize("to_till", [False, True], ids=["paybill", "till"])
def test_callback_query_and_confirmation_count_once_in_any_order(client, order, to_till):
    push = make_push(create_payment(amount=1500), phone="254712345678")
    account = "" if to_till else push.payment.reference

    for step in order:
        if step == "s":
            deliver_result(client, push, moved_at=NOON + timedelta(seconds=10))
        elif step == "c":
            confirm(client, amount=1500, account=account, sender="2547 ***** 678")
        else:
            succeed_by_query(push)

    receipt = Receipt.objects.get()
    assert (receipt.code, receipt.push_id) == ("TKN1AB2C3D", push.pk)
    assert statuses(push.payment) == [("paid", 1500)]
    assert ledger.balance(Account.MPESA) == 1500
    assert not ReviewItem.objects.filter(status="open").exists()


def report_success(source, client, push):
    return succeed_by_query(push) if source == "query" else deliver_result(client, push)


def hashed(phone):
    return hashlib.sha256(phone.encode()).hexdigest()


@pytest.mark.parametrize("source", ["callback", "query"])
def test_push_takes_its_money_from_the_phone_owners_payment(client, source):
    friend = MemberFactory()
    waiting = create_payment(friend, amount=1500)
    push = make_push(create_payment(amount=1500), phone=friend.phone_number)
    confirm(client, amount=1500, sender=hashed(friend.phone_number))
    assert statuses(waiting) == [("paid", 1500)]

    report_success(source, client, push)

    assert statuses(push.payment, waiting) == [("paid", 1500), ("pending", 0)]
    assert Receipt.objects.get().member_id == push.payment.payer_id
    assert (reviews(), ledger.balance(Account.MPESA)) == ([], 1500)


@pytest.mark.parametrize("source", ["callback", "query"])
def test_push_takes_its_money_from_an_older_payment(client, source):
    member = MemberFactory()
    older = create_payment(member, amount=1500, now=NOON - timedelta(hours=2))
    push = make_push(create_payment(member, amount=1500), phone=member.phone_number)
    confirm(client, amount=1500, sender=hashed(member.phone_number))

    report_success(source, client, push)

    assert statuses(push.payment, older) == [("paid", 1500), ("pending", 0)]


def test_push_takes_all_of_its_money_from_other_payments(client):
    member = MemberFactory()
    create_payment(member, amount=700, now=NOON - timedelta(hours=2))
    # The push asks for a part, so that no amount is exact.
    push = make_push(create_payment(member, amount=1200), phone=member.phone_number, amount=1000)
    confirm(client, amount=1000, sender=hashed(member.phone_number))
    assert statuses(push.payment) == [("partially_paid", 300)]

    deliver_result(client, push)

    assert statuses(push.payment) == [("partially_paid", 1000)]


def test_push_money_stays_when_its_payment_owes_nothing(client):
    member = MemberFactory()
    push = make_push(create_payment(member, amount=1500), phone=member.phone_number)
    confirm(client, amount=1500, account=push.payment.reference, code="TKN0DEPOST")
    other = create_payment(member, amount=1500)
    confirm(client, amount=1500, sender=hashed(member.phone_number))

    deliver_result(client, push)

    assert statuses(push.payment, other) == [("paid", 1500), ("paid", 1500)]


def test_push_takes_its_money_from_a_manual_assignment_with_review(client):
    push, other = make_push(create_payment(amount=1500)), create_payment(amount=1500)
    confirm(client, amount=1500, account="gym fees", sender="")
    staff = MemberFactory()
    item_id = ReviewItem.objects.get().pk
    review_decisions.assign_money(item_id=item_id, payment_id=other.pk, by_id=staff.pk, now=LATER)

    deliver_result(client, push)

    assert statuses(push.payment, other) == [("paid", 1500), ("pending", 0)]
    assert reviews() == ["unmatched", "contradiction"]


def test_wrongly_paired_paybill_payment_returns_to_its_sender(client):
    friend = MemberFactory()
    push = make_push(create_payment(amount=1500), phone=friend.phone_number)
    confirm(client, amount=1500, sender=hashed(friend.phone_number), code="TKN0DEPOST")
    succeed_by_query(push)
    assert Receipt.objects.get().member_id == push.payment.payer_id

    deliver_result(client, push, code="TKN0PROMPT", moved_at=NOON + timedelta(seconds=12))

    assert statuses(push.payment) == [("paid", 1500)]
    assert Receipt.objects.get(push=push).code == "TKN0PROMPT"
    assert ledger.balance(Account.MEMBER_CREDIT, member_id=friend.pk) == -1500
    assert (ledger.balance(Account.MPESA), reviews()) == (3000, [])


def test_wrongly_paired_payment_of_unknown_owner_is_unmatched_again(client):
    push = make_push(create_payment(amount=1500), phone="254712345678")
    confirm(client, amount=1500, sender="2547 ***** 678", code="TKN0DEPOST")
    succeed_by_query(push)

    deliver_result(client, push, code="TKN0PROMPT", moved_at=NOON + timedelta(seconds=12))

    assert statuses(push.payment) == [("paid", 1500)]
    assert ledger.balance(Account.UNMATCHED) == -1500
    assert list(ReviewItem.objects.values_list("reason", "status")) == [
        ("unmatched", "resolved"),
        ("unmatched", "open"),
    ]


def test_wrongly_paired_payment_of_same_member_becomes_credit(client):
    push = make_push(create_payment(amount=1500))
    confirm(client, amount=1500, account=push.payment.reference, code="TKN0DEPOST")
    succeed_by_query(push)
    assert Receipt.objects.get().push_guessed

    deliver_result(client, push, code="TKN0PROMPT", moved_at=NOON + timedelta(seconds=12))

    assert set(Receipt.objects.values_list("code", "push")) == {("TKN0DEPOST", None), ("TKN0PROMPT", push.pk)}
    assert ledger.balance(Account.MEMBER_CREDIT, member_id=push.payment.payer_id) == -1500
    assert ledger.balance(Account.MPESA) == 3000


@pytest.fixture
def two_pushes():
    """Two pushes to one phone, of one amount. A query has reported the success of the first."""
    member = MemberFactory(phone_number="254712345678")
    one, other = create_payment(member), create_payment(member)
    first = make_push(one, phone=member.phone_number)
    succeed_by_query(first)
    return first, make_push(other, phone=member.phone_number)


def confirm_at_till(client, code):
    confirm(client, amount=1500, account="", sender="2547 ***** 678", code=code)


def codes():
    return set(Receipt.objects.values_list("code", "push", "push_guessed", "sender"))


def test_proved_push_takes_a_guessed_code(client, two_pushes):
    first, second = two_pushes
    confirm_at_till(client, "TKN0SECOND")
    assert codes() == {("TKN0SECOND", first.pk, True, "2547 ***** 678")}

    deliver_result(client, second, code="TKN0SECOND")

    assert statuses(first.payment, second.payment) == [("paid", 1500), ("paid", 1500)]
    assert codes() == {(None, first.pk, False, ""), ("TKN0SECOND", second.pk, False, "2547 ***** 678")}
    assert (ledger.balance(Account.MPESA), reviews()) == (3000, [])


def test_push_without_code_takes_a_guessed_code(client, two_pushes):
    first, second = two_pushes
    confirm_at_till(client, "TKN0SECOND")
    succeed_by_query(second)

    deliver_result(client, second, code="TKN0SECOND")
    deliver_result(client, first, code="TKN0FIRST")

    assert codes() == {("TKN0FIRST", first.pk, False, ""), ("TKN0SECOND", second.pk, False, "2547 ***** 678")}
    assert (ledger.balance(Account.MPESA), reviews()) == (3000, [])


def test_rematched_confirmation_is_not_counted_twice(client, two_pushes):
    first, second = two_pushes
    confirm_at_till(client, "TKN0SECOND")
    confirm_at_till(client, "TKN00FIRST")

    deliver_result(client, second, code="TKN0SECOND")

    live = Receipt.objects.filter(reversed_at=None).values_list("code", "push", "push_guessed")
    assert set(live) == {("TKN00FIRST", first.pk, True), ("TKN0SECOND", second.pk, False)}
    assert ledger.balance(Account.MPESA) == 3000
    assert list(ReviewItem.objects.filter(status="open").values_list("reason", flat=True)) == ["contradiction"]


def test_crossed_guesses_are_swapped_without_moving_money(client, two_pushes):
    first, second = two_pushes
    succeed_by_query(second)
    confirm_at_till(client, "TKN0SECOND")
    confirm_at_till(client, "TKN0FIRST")
    before = Allocation.objects.count()

    deliver_result(client, second, code="TKN0SECOND")

    assert {(code, push) for code, push, *_ in codes()} == {("TKN0FIRST", first.pk), ("TKN0SECOND", second.pk)}
    assert list(Receipt.objects.filter(push_guessed=True).values_list("code", flat=True)) == ["TKN0FIRST"]
    assert (ledger.balance(Account.MPESA), reviews(), Allocation.objects.count()) == (3000, [], before)


def test_guessed_code_of_another_member_goes_to_proved_push(client, two_pushes):
    first, _ = two_pushes
    confirm_at_till(client, "TKN0SECOND")
    friends = make_push(phone="254799999678")
    succeed_by_query(friends)
    confirm(client, amount=1500, account="", sender="254799999678", code="TKN0FRIEND")

    deliver_result(client, friends, code="TKN0SECOND")

    assert {(code, push) for code, push, *_ in codes()} == {
        (None, first.pk),
        ("TKN0SECOND", friends.pk),
        ("TKN0FRIEND", None),
    }
    assert ledger.balance(Account.MPESA) == 4500


def test_second_code_of_a_proved_push_moves_no_money(client, two_pushes):
    _, second = two_pushes
    confirm_at_till(client, "TKN0GUESSED")
    confirm_at_till(client, "TKN00OTHER")
    deliver_result(client, second, code="TKN0PROVED")
    before = codes()

    deliver_result(client, second, code="TKN0GUESSED")

    assert codes() == before
    assert (ledger.balance(Account.MPESA), outcomes()[-1]) == (4500, "review")
    assert list(ReviewItem.objects.values_list("reason", "status")) == [
        ("unmatched", "open"),
        ("code_used_twice", "open"),
    ]


def test_callback_separates_a_wrongly_guessed_confirmation(client):
    push = make_push(create_payment(amount=1500))
    succeed_by_query(push)
    confirm(client, amount=1500, account=push.payment.reference, code="TKN0DEPOST")
    assert Receipt.objects.get().push_guessed

    deliver_result(client, push, code="TKN0PROMPT", moved_at=NOON + timedelta(seconds=12))

    assert set(Receipt.objects.values_list("code", "push")) == {("TKN0DEPOST", None), ("TKN0PROMPT", push.pk)}
    assert ledger.balance(Account.MPESA) == 3000


def test_code_reverses_money_counted_twice(client):
    push = make_push(create_payment(amount=1500))
    succeed_by_query(push)
    confirm(client, amount=1500, account="gym fees", sender="")
    assert ledger.balance(Account.MPESA) == 3000

    deliver_result(client, push)

    assert ledger.balance(Account.MPESA) == 1500
    assert Receipt.objects.get(push=push).code == "TKN1AB2C3D"
    assert Receipt.objects.exclude(push=push).get().reversed_at == LATER
    assert "contradiction" in reviews()


@pytest.mark.parametrize("is_confirmed_first", [False, True])
def test_channel_is_stk_whichever_report_arrives_first(client, is_confirmed_first):
    push = make_push(create_payment(amount=1500))
    reports = [
        lambda: deliver_result(client, push),
        lambda: confirm(client, amount=1500, account=push.payment.reference),
    ]

    for report in reversed(reports) if is_confirmed_first else reports:
        report()

    assert list(Receipt.objects.values_list("channel", "push")) == [("mpesa_stk", push.pk)]


def test_payment_of_reversed_duplicate_is_payable_again(client):
    push, other = make_push(create_payment(amount=1500)), create_payment(amount=1500)
    succeed_by_query(push)
    confirm(client, amount=1500, account=other.reference)
    assert statuses(other) == [("paid", 1500)]

    deliver_result(client, push)

    assert statuses(push.payment, other) == [("paid", 1500), ("pending", 0)]
    assert ledger.balance(Account.MPESA) == 1500


def test_hashed_sender_is_found_by_index(client):
    MemberFactory.create_batch(3)
    with connection.cursor() as cursor, CaptureQueriesContext(connection) as captured:
        owners.find_by_sender(hashed("254712345678"))
        [asked] = captured.captured_queries
        cursor.execute("SET LOCAL enable_seqscan = off")  # three rows are read faster without an index
        cursor.execute(f"EXPLAIN {asked['sql']}")
        plan = "\n".join(row[0] for row in cursor.fetchall())

    assert "user_by_phone_sha256" in plan
    assert "Seq Scan" not in plan


def test_database_hash_equals_safaricoms_hash(client):
    members = MemberFactory.create_batch(2)

    assert [owners.find_by_sender(hashed(each.phone_number)) for each in members] == [each.pk for each in members]
    assert owners.find_by_sender(hashed(members[0].phone_number).upper()) == members[0].pk


def test_unknown_phone_hash_matches_no_member(client):
    MemberFactory(phone_number=None)

    match = owners.find_owner(account="gym", sender=hashed("254712345678"))

    assert (match.member_id, match.suggestions) == (None, [])


# --- Validation ---


@pytest.fixture
def validation_on(settings):
    settings.C2B_VALIDATION = True


ACCEPT = {"ResultCode": "0", "ResultDesc": "Accepted"}


def refusal(code):
    return {"ResultCode": code, "ResultDesc": "Rejected"}


def test_validation_accepts_everything_when_switched_off(client):
    assert validate(client, amount=999_999, account="K0000001") == ACCEPT


@pytest.mark.parametrize("account", ["anything", "", "KARANJA", "0712345678", "Kamau254"])
def test_validation_accepts_unknown_account_texts(client, validation_on, account):
    assert validate(client, amount=10, account=account) == ACCEPT


def test_validation_accepts_correct_member_number_and_reference(client, validation_on):
    member = MemberFactory()

    assert validate(client, amount=10, account=member.member_number) == ACCEPT
    assert validate(client, amount=10, account=create_payment(member).reference.lower()) == ACCEPT


def test_validation_refuses_wrong_check_character_amount_and_shortcode(client, validation_on):
    right = with_check_character("K7F3QW9")
    wrong = right[:-1] + ("0" if right[-1] != "0" else "1")

    assert validate(client, amount=10, account=wrong) == refusal("C2B00012")
    assert validate(client, amount=10, account="9999999") == refusal("C2B00012")
    assert validate(client, amount=250_001, account=right) == refusal("C2B00013")
    assert validate(client, amount=10, account=right, BusinessShortCode="600000") == refusal("C2B00015")


@pytest.mark.parametrize(
    ("account", "verdict"),
    [("5724001", refusal("C2B00012")), (with_check_digit("572400"), ACCEPT), ("KARANJA", ACCEPT)],
)
def test_validation_runs_no_query(client, validation_on, django_assert_num_queries, account, verdict):
    with django_assert_num_queries(0):
        assert validate(client, amount=10, account=account) == verdict


@pytest.mark.django_db(transaction=True)
def test_validation_answers_while_tables_are_locked(client, validation_on):
    locked, done = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("LOCK TABLE accounts_customuser, payments_payment, payments_callback")
            locked.set()
            done.wait(10)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    locked.wait(10)
    try:
        began = time.monotonic()
        answer = validate(client, amount=10, account=with_check_digit("572400"))
        seconds = time.monotonic() - began
    finally:
        done.set()
        holder.join()

    assert (answer, seconds < 2) == (ACCEPT, True)


def test_unmatched_money_is_in_the_ledger(client):
    confirm(client, amount=10, account="nobody")

    assert Payment.objects.count() == 0
    assert ledger.balance(Account.UNMATCHED) == -10
