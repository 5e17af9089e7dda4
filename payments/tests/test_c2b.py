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


def stk(client, push, **result):
    url = reverse("payments:stk-callback", args=[push.raw_token])
    return client.post(url, stk_body(push, **result), content_type="application/json")


def by_query(push, now=LATER):
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


def expired(payment):
    cancellation.expire_due(now=payment.expires_at)
    return payment


def rules():
    return list(Allocation.objects.order_by("pk").values_list("amount", "rule"))


# --- Who paid ---


def test_money_with_a_payments_reference_pays_it(client):
    payment = create_payment(amount=1500)

    answer = confirm(client, amount=1500, account=f" {payment.reference.lower()} ")

    assert (answer.status_code, answer.json()) == (200, {"ResultCode": 0, "ResultDesc": "Accepted"})
    assert statuses(payment) == [("paid", 1500)]
    assert rules() == [(1500, "reference")]
    receipt = Receipt.objects.get()
    assert (receipt.member, receipt.payer_name) == (payment.payer, "JANE WANJIRU")


def test_short_money_pays_in_part_and_the_rest_pays_in_full(client):
    payment = create_payment(amount=1500)

    confirm(client, amount=1000, account=payment.reference, code="TKN0000001")
    assert statuses(payment) == [("partially_paid", 1000)]
    confirm(client, amount=500, account=payment.reference, code="TKN0000002", moved_at=NOON + timedelta(seconds=20))

    assert statuses(payment) == [("paid", 1500)]
    assert payment.paid_at == NOON + timedelta(seconds=20)


def test_a_payment_is_paid_when_the_last_of_its_money_moved_in_whatever_order_we_learn_of_it(client):
    payment = create_payment(amount=1500)

    confirm(client, amount=500, account=payment.reference, code="TKN0000002", moved_at=NOON + timedelta(seconds=20))
    confirm(client, amount=1000, account=payment.reference, code="TKN0000001", moved_at=NOON + timedelta(seconds=5))

    assert statuses(payment) == [("paid", 1500)]
    assert payment.paid_at == NOON + timedelta(seconds=20)


def test_surplus_becomes_credit_and_is_spent_by_itself_on_the_next_payment(client):
    payment = create_payment(amount=1500)

    confirm(client, amount=2000, account=payment.reference)

    assert ledger.balance(Account.MEMBER_CREDIT, member_id=payment.payer_id) == -500
    following = create_payment(payment.payer, amount=400, now=LATER)
    assert (following.status, following.paid_at) == (PaymentStatus.PAID, LATER)
    assert ledger.balance(Account.MEMBER_CREDIT, member_id=payment.payer_id) == -100


def test_money_with_a_member_number_pays_the_payment_that_needs_exactly_it(client):
    member = MemberFactory()
    older, exact = create_payment(member, amount=1000), create_payment(member, amount=1500, now=LATER)

    confirm(client, amount=1500, account=member.member_number)

    assert statuses(older, exact) == [("pending", 0), ("paid", 1500)]
    assert rules() == [(1500, "exact")]


def test_money_that_fits_nothing_exactly_pays_the_oldest_first(client):
    member = MemberFactory()
    older, newer = create_payment(member, amount=1000), create_payment(member, amount=1500, now=LATER)

    confirm(client, amount=1200, account=member.member_number)

    assert statuses(older, newer) == [("paid", 1000), ("partially_paid", 200)]
    assert rules() == [(1000, "oldest"), (200, "oldest")]


def test_a_forgotten_order_swallows_no_money_that_does_not_name_it(client):
    forgotten = expired(create_payment(amount=30_000))

    confirm(client, amount=1500, account=forgotten.payer.member_number)

    assert statuses(forgotten) == [("expired", 0)]
    assert ledger.balance(Account.MEMBER_CREDIT, member_id=forgotten.payer_id) == -1500


def test_what_is_waited_for_is_paid_before_an_expired_order_that_fits_exactly(client):
    forgotten = expired(create_payment(amount=1500))
    waited_for = create_payment(forgotten.payer, amount=1000, now=LATER)

    confirm(client, amount=1500, account=forgotten.payer.member_number)

    assert statuses(forgotten, waited_for) == [("expired", 0), ("paid", 1000)]


def test_late_money_of_exactly_what_the_one_expired_order_owes_pays_it(client):
    forgotten = expired(create_payment(amount=1500))

    confirm(client, amount=1500, account=forgotten.payer.member_number)

    assert statuses(forgotten) == [("paid", 1500)]
    assert rules() == [(1500, "exact")]


@pytest.mark.parametrize(
    ("long_after", "then"), [(timedelta(0), ("expired", 0)), (-timedelta(seconds=1), ("paid", 1500))]
)
def test_exact_money_pays_an_expired_order_for_as_long_again_as_it_was_waited_for(
    monkeypatch, client, long_after, then
):
    order = expired(create_payment(amount=1500))
    moved_at = NOON + 2 * settings.PAYMENT_LIFETIME + long_after
    monkeypatch.setattr("payments.views.callbacks.now", lambda: moved_at)

    confirm(client, amount=1500, account=order.payer.member_number, moved_at=moved_at)

    assert statuses(order) == [then]


def test_money_that_moved_in_time_pays_an_expired_order_however_late_we_learn_of_it(monkeypatch, client):
    order = expired(create_payment(amount=1500))
    monkeypatch.setattr("payments.views.callbacks.now", lambda: NOON + 9 * settings.PAYMENT_LIFETIME)

    confirm(client, amount=1500, account=order.payer.member_number, moved_at=NOON + settings.PAYMENT_LIFETIME)

    assert statuses(order) == [("paid", 1500)]


def test_a_forgotten_order_does_not_keep_a_late_one_from_its_money(monkeypatch, client):
    forgotten = expired(create_payment(amount=1500))
    long_after = forgotten.matches_until
    late = expired(create_payment(forgotten.payer, amount=1500, now=long_after))
    monkeypatch.setattr("payments.views.callbacks.now", lambda: late.expires_at)

    confirm(client, amount=1500, account=late.payer.member_number, moved_at=late.expires_at)

    assert statuses(forgotten, late) == [("expired", 0), ("paid", 1500)]


def test_late_money_that_fits_two_expired_orders_is_credit(client):
    one = expired(create_payment(amount=1500))
    other = expired(create_payment(one.payer, amount=1500))

    confirm(client, amount=1500, account=one.payer.member_number)

    assert statuses(one, other) == [("expired", 0), ("expired", 0)]


def test_any_amount_pays_an_expired_order_that_is_named(client):
    forgotten = expired(create_payment(amount=1500))

    confirm(client, amount=400, account=forgotten.reference)

    assert statuses(forgotten) == [("partially_paid", 400)]


@pytest.mark.parametrize("form", ["0{}", "254{}", "+254{}", "{}"])
def test_a_phone_typed_as_account_finds_its_member(client, form):
    member = MemberFactory(phone_number="254712345678")
    payment = create_payment(member, amount=100)

    confirm(client, amount=100, account=form.format("712345678"))

    assert statuses(payment) == [("paid", 100)]


def test_a_confirmation_that_comes_again_says_nothing_of_who_has_its_phone_since(client):
    message = {"amount": 100, "account": "gym", "sender": "254712345678"}
    confirm(client, **message)
    MemberFactory(phone_number="254712345678")

    confirm(client, **message)

    assert outcomes() == ["unmatched", "duplicate"]
    assert Receipt.objects.get().member is None


def test_the_senders_hash_finds_the_one_member_who_has_the_phone(client):
    payment = create_payment(MemberFactory(phone_number="254712345678"), amount=100)

    confirm(client, amount=100, account="gym", sender=hashlib.sha256(b"254712345678").hexdigest())

    assert statuses(payment) == [("paid", 100)]


@pytest.mark.parametrize("mask", ["2547 ***** 678", "25471****678"])
def test_a_masked_sender_only_suggests(client, mask):
    member = MemberFactory(phone_number="254712345678")
    payment = create_payment(member, amount=100)

    confirm(client, amount=100, account="gym", sender=mask)

    assert statuses(payment) == [("pending", 0)]
    assert (outcomes(), reviews()) == (["unmatched"], ["unmatched"])
    assert ReviewItem.objects.get().suggested_members == [member.pk]
    assert ledger.balance(Account.UNMATCHED) == -100


def test_a_member_number_with_a_slip_finds_nobody():
    number = MemberFactory().member_number
    slip = number[:3] + str((int(number[3]) + 1) % 10) + number[4:]

    assert owners.find_owner(account=slip, sender="").member_id is None


def test_money_for_a_cancelled_payment_becomes_credit_and_a_person_looks(client):
    payment = create_payment(amount=100)
    cancellation.cancel_payment(payment_id=payment.pk, by_id=payment.payer_id, now=NOON)

    confirm(client, amount=100, account=payment.reference)

    assert ledger.balance(Account.MEMBER_CREDIT, member_id=payment.payer_id) == -100
    assert reviews() == ["late_money"]


def test_money_to_another_shortcode_moves_nothing(client):
    confirm(client, amount=100, BusinessShortCode="600000")

    assert (outcomes(), reviews(), Receipt.objects.count()) == (["review"], ["amount_differs"], 0)


def test_an_unknown_secret_is_404_and_nothing_is_kept(client):
    assert confirm(client, secret="guess", amount=100).status_code == 404
    assert Callback.objects.count() == 0


# --- One money, told twice ---


def test_the_same_confirmation_twice_counts_once(client):
    payment = create_payment(amount=100)

    for _ in range(2):
        confirm(client, amount=100, account=payment.reference)

    assert (outcomes(), Receipt.objects.count()) == (["applied", "duplicate"], 1)


def test_the_same_code_with_another_amount_moves_nothing(client):
    payment = create_payment(amount=100)
    confirm(client, amount=100, account=payment.reference)

    confirm(client, amount=90, account=payment.reference)

    assert (outcomes(), reviews(), Receipt.objects.count()) == (["applied", "review"], ["code_used_twice"], 1)


def test_each_other_amount_that_is_told_of_one_code_is_looked_at(client):
    payment = create_payment(amount=100)
    for amount in (100, 90, 80, 80):
        confirm(client, amount=amount, account=payment.reference)

    assert list(ReviewItem.objects.order_by("pk").values_list("detail", flat=True)) == [
        "M-Pesa code TKN1AB2C3D is KES 100 in the books; now KES 90 is reported.",
        "M-Pesa code TKN1AB2C3D is KES 100 in the books; now KES 80 is reported.",
    ]


TWIN_ORDERS = ["sc", "cs", "qsc", "qcs", "csq", "cqs", "scq", "sqc", "ccss", "qcqs"]


@pytest.mark.parametrize("order", TWIN_ORDERS)
@pytest.mark.parametrize("to_till", [False, True], ids=["paybill", "till"])
def test_callback_query_and_confirmation_of_one_money_count_once_in_any_order(client, order, to_till):
    push = make_push(create_payment(amount=1500), phone="254712345678")
    account = "" if to_till else push.payment.reference

    for step in order:
        if step == "s":
            stk(client, push, moved_at=NOON + timedelta(seconds=10))
        elif step == "c":
            confirm(client, amount=1500, account=account, sender="2547 ***** 678")
        else:
            by_query(push)

    receipt = Receipt.objects.get()
    assert (receipt.code, receipt.push_id) == ("TKN1AB2C3D", push.pk)
    assert statuses(push.payment) == [("paid", 1500)]
    assert ledger.balance(Account.MPESA) == 1500
    assert not ReviewItem.objects.filter(status="open").exists()


def told_by(teller, client, push):
    return by_query(push) if teller == "query" else stk(client, push)


def hashed(phone):
    return hashlib.sha256(phone.encode()).hexdigest()


@pytest.mark.parametrize("teller", ["callback", "query"])
def test_a_prompts_money_that_a_till_gave_to_the_phones_owner_pays_what_was_prompted(client, teller):
    friend = MemberFactory()
    waiting = create_payment(friend, amount=1500)
    push = make_push(create_payment(amount=1500), phone=friend.phone_number)
    confirm(client, amount=1500, sender=hashed(friend.phone_number))
    assert statuses(waiting) == [("paid", 1500)]

    told_by(teller, client, push)

    assert statuses(push.payment, waiting) == [("paid", 1500), ("pending", 0)]
    assert Receipt.objects.get().member_id == push.payment.payer_id
    assert (reviews(), ledger.balance(Account.MPESA)) == ([], 1500)


@pytest.mark.parametrize("teller", ["callback", "query"])
def test_a_prompts_money_that_a_till_gave_to_an_older_payment_pays_what_was_prompted(client, teller):
    member = MemberFactory()
    older = create_payment(member, amount=1500, now=NOON - timedelta(hours=2))
    push = make_push(create_payment(member, amount=1500), phone=member.phone_number)
    confirm(client, amount=1500, sender=hashed(member.phone_number))

    told_by(teller, client, push)

    assert statuses(push.payment, older) == [("paid", 1500), ("pending", 0)]


def test_a_prompts_money_that_paid_it_only_in_part_pays_it_whole(client):
    member = MemberFactory()
    create_payment(member, amount=700, now=NOON - timedelta(hours=2))
    push = make_push(create_payment(member, amount=1000), phone=member.phone_number)
    Payment.objects.filter(pk=push.payment_id).update(amount_due=1200)  # so that no amount is exact
    confirm(client, amount=1000, sender=hashed(member.phone_number))
    assert statuses(push.payment) == [("partially_paid", 300)]

    stk(client, push)

    assert statuses(push.payment) == [("partially_paid", 1000)]


def test_a_prompts_money_stays_where_it_is_when_the_payer_owes_nothing_more_for_the_prompt(client):
    member = MemberFactory()
    push = make_push(create_payment(member, amount=1500), phone=member.phone_number)
    confirm(client, amount=1500, account=push.payment.reference, code="TKN0DEPOST")
    other = create_payment(member, amount=1500)
    confirm(client, amount=1500, sender=hashed(member.phone_number))

    stk(client, push)

    assert statuses(push.payment, other) == [("paid", 1500), ("paid", 1500)]


def test_a_prompts_money_that_was_given_away_by_hand_pays_what_was_prompted_and_a_person_looks(client):
    push, other = make_push(create_payment(amount=1500)), create_payment(amount=1500)
    confirm(client, amount=1500, account="gym fees", sender="")
    staff = MemberFactory()
    item_id = ReviewItem.objects.get().pk
    review_decisions.assign_money(item_id=item_id, payment_id=other.pk, by_id=staff.pk, now=LATER)

    stk(client, push)

    assert statuses(push.payment, other) == [("paid", 1500), ("pending", 0)]
    assert reviews() == ["unmatched", "contradiction"]


def test_a_deposit_that_was_taken_for_the_prompts_money_goes_back_to_who_sent_it(client):
    friend = MemberFactory()
    push = make_push(create_payment(amount=1500), phone=friend.phone_number)
    confirm(client, amount=1500, sender=hashed(friend.phone_number), code="TKN0DEPOST")
    by_query(push)
    assert Receipt.objects.get().member_id == push.payment.payer_id

    stk(client, push, code="TKN0PROMPT", moved_at=NOON + timedelta(seconds=12))

    assert statuses(push.payment) == [("paid", 1500)]
    assert Receipt.objects.get(push=push).code == "TKN0PROMPT"
    assert ledger.balance(Account.MEMBER_CREDIT, member_id=friend.pk) == -1500
    assert (ledger.balance(Account.MPESA), reviews()) == (3000, [])


def test_a_deposit_of_nobody_that_was_taken_for_the_prompts_money_is_unmatched_again(client):
    push = make_push(create_payment(amount=1500), phone="254712345678")
    confirm(client, amount=1500, sender="2547 ***** 678", code="TKN0DEPOST")
    by_query(push)

    stk(client, push, code="TKN0PROMPT", moved_at=NOON + timedelta(seconds=12))

    assert statuses(push.payment) == [("paid", 1500)]
    assert ledger.balance(Account.UNMATCHED) == -1500
    assert list(ReviewItem.objects.values_list("reason", "status")) == [
        ("unmatched", "resolved"),
        ("unmatched", "open"),
    ]


def test_a_deposit_that_was_taken_for_the_prompts_money_is_money_of_its_own_when_the_code_says_so(client):
    push = make_push(create_payment(amount=1500))
    confirm(client, amount=1500, account=push.payment.reference, code="TKN0DEPOST")
    by_query(push)
    assert Receipt.objects.get().push_guessed

    stk(client, push, code="TKN0PROMPT", moved_at=NOON + timedelta(seconds=12))

    assert set(Receipt.objects.values_list("code", "push")) == {("TKN0DEPOST", None), ("TKN0PROMPT", push.pk)}
    assert ledger.balance(Account.MEMBER_CREDIT, member_id=push.payment.payer_id) == -1500
    assert ledger.balance(Account.MPESA) == 3000


@pytest.fixture
def two_prompts():
    """Two prompts of one phone and amount, one after the other; of the first a query tells that it succeeded."""
    member = MemberFactory(phone_number="254712345678")
    one, other = create_payment(member), create_payment(member)
    first = make_push(one, phone=member.phone_number)
    by_query(first)
    return first, make_push(other, phone=member.phone_number)


def till(client, code):
    confirm(client, amount=1500, account="", sender="2547 ***** 678", code=code)


def codes():
    return set(Receipt.objects.values_list("code", "push", "push_guessed", "sender"))


def test_a_guess_yields_to_the_prompt_that_proves_the_code(client, two_prompts):
    first, second = two_prompts
    till(client, "TKN0SECOND")
    assert codes() == {("TKN0SECOND", first.pk, True, "2547 ***** 678")}

    stk(client, second, code="TKN0SECOND")

    assert statuses(first.payment, second.payment) == [("paid", 1500), ("paid", 1500)]
    assert codes() == {(None, first.pk, False, ""), ("TKN0SECOND", second.pk, False, "2547 ***** 678")}
    assert (ledger.balance(Account.MPESA), reviews()) == (3000, [])


def test_a_guess_yields_to_a_prompt_whose_own_code_was_still_to_come(client, two_prompts):
    first, second = two_prompts
    till(client, "TKN0SECOND")
    by_query(second)

    stk(client, second, code="TKN0SECOND")
    stk(client, first, code="TKN0FIRST")

    assert codes() == {("TKN0FIRST", first.pk, False, ""), ("TKN0SECOND", second.pk, False, "2547 ***** 678")}
    assert (ledger.balance(Account.MPESA), reviews()) == (3000, [])


def test_the_confirmation_that_came_while_a_wrong_guess_stood_is_not_counted_beside_it(client, two_prompts):
    first, second = two_prompts
    till(client, "TKN0SECOND")
    till(client, "TKN00FIRST")

    stk(client, second, code="TKN0SECOND")

    live = Receipt.objects.filter(reversed_at=None).values_list("code", "push", "push_guessed")
    assert set(live) == {("TKN00FIRST", first.pk, True), ("TKN0SECOND", second.pk, False)}
    assert ledger.balance(Account.MPESA) == 3000
    assert list(ReviewItem.objects.filter(status="open").values_list("reason", flat=True)) == ["contradiction"]


def test_two_guesses_that_crossed_change_places_and_no_money_moves(client, two_prompts):
    first, second = two_prompts
    by_query(second)
    till(client, "TKN0SECOND")
    till(client, "TKN0FIRST")
    before = Allocation.objects.count()

    stk(client, second, code="TKN0SECOND")

    assert {(code, push) for code, push, *_ in codes()} == {("TKN0FIRST", first.pk), ("TKN0SECOND", second.pk)}
    assert list(Receipt.objects.filter(push_guessed=True).values_list("code", flat=True)) == ["TKN0FIRST"]
    assert (ledger.balance(Account.MPESA), reviews(), Allocation.objects.count()) == (3000, [], before)


def test_a_guess_that_was_another_persons_money_is_theirs_when_another_prompt_proves_its_code(client, two_prompts):
    first, _ = two_prompts
    till(client, "TKN0SECOND")
    friends = make_push(phone="254799999678")
    by_query(friends)
    confirm(client, amount=1500, account="", sender="254799999678", code="TKN0FRIEND")

    stk(client, friends, code="TKN0SECOND")

    assert {(code, push) for code, push, *_ in codes()} == {
        (None, first.pk),
        ("TKN0SECOND", friends.pk),
        ("TKN0FRIEND", None),
    }
    assert ledger.balance(Account.MPESA) == 4500


def test_second_code_of_a_proved_push_moves_no_money(client, two_prompts):
    _, second = two_prompts
    till(client, "TKN0GUESSED")
    till(client, "TKN00OTHER")
    stk(client, second, code="TKN0PROVED")
    before = codes()

    stk(client, second, code="TKN0GUESSED")

    assert codes() == before
    assert (ledger.balance(Account.MPESA), outcomes()[-1]) == (4500, "review")
    assert list(ReviewItem.objects.values_list("reason", "status")) == [
        ("unmatched", "open"),
        ("code_used_twice", "open"),
    ]


def test_a_confirmation_that_gave_its_code_to_the_wrong_prompt_is_put_right_by_the_callback(client):
    push = make_push(create_payment(amount=1500))
    by_query(push)
    confirm(client, amount=1500, account=push.payment.reference, code="TKN0DEPOST")
    assert Receipt.objects.get().push_guessed

    stk(client, push, code="TKN0PROMPT", moved_at=NOON + timedelta(seconds=12))

    assert set(Receipt.objects.values_list("code", "push")) == {("TKN0DEPOST", None), ("TKN0PROMPT", push.pk)}
    assert ledger.balance(Account.MPESA) == 3000


def test_money_counted_twice_by_query_and_an_unrecognised_confirmation_is_taken_back_by_the_code(client):
    push = make_push(create_payment(amount=1500))
    by_query(push)
    confirm(client, amount=1500, account="gym fees", sender="")
    assert ledger.balance(Account.MPESA) == 3000

    stk(client, push)

    assert ledger.balance(Account.MPESA) == 1500
    assert Receipt.objects.get(push=push).code == "TKN1AB2C3D"
    assert Receipt.objects.exclude(push=push).get().reversed_at == LATER
    assert "contradiction" in reviews()


@pytest.mark.parametrize("is_confirmed_first", [False, True])
def test_a_prompts_money_is_called_that_whichever_report_comes_first(client, is_confirmed_first):
    push = make_push(create_payment(amount=1500))
    reports = [lambda: stk(client, push), lambda: confirm(client, amount=1500, account=push.payment.reference)]

    for report in reversed(reports) if is_confirmed_first else reports:
        report()

    assert list(Receipt.objects.values_list("channel", "push")) == [("mpesa_stk", push.pk)]


def test_what_money_counted_twice_had_paid_is_payable_again(client):
    push, other = make_push(create_payment(amount=1500)), create_payment(amount=1500)
    by_query(push)
    confirm(client, amount=1500, account=other.reference)
    assert statuses(other) == [("paid", 1500)]

    stk(client, push)

    assert statuses(push.payment, other) == [("paid", 1500), ("pending", 0)]
    assert ledger.balance(Account.MPESA) == 1500


def test_a_hashed_sender_is_looked_up_by_an_index(client):
    MemberFactory.create_batch(3)
    with connection.cursor() as cursor, CaptureQueriesContext(connection) as captured:
        owners.find_by_sender(hashed("254712345678"))
        [asked] = captured.captured_queries
        cursor.execute("SET LOCAL enable_seqscan = off")  # three rows are read faster without an index
        cursor.execute(f"EXPLAIN {asked['sql']}")
        plan = "\n".join(row[0] for row in cursor.fetchall())

    assert "user_by_phone_sha256" in plan
    assert "Seq Scan" not in plan


def test_the_hash_in_the_database_is_safaricoms(client):
    members = MemberFactory.create_batch(2)

    assert [owners.find_by_sender(hashed(each.phone_number)) for each in members] == [each.pk for each in members]
    assert owners.find_by_sender(hashed(members[0].phone_number).upper()) == members[0].pk


def test_a_hash_of_nobodys_phone_matches_nobody(client):
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


def test_validation_accepts_everything_unless_it_is_switched_on(client):
    assert validate(client, amount=999_999, account="K0000001") == ACCEPT


@pytest.mark.parametrize("account", ["anything", "", "KARANJA", "0712345678", "Kamau254"])
def test_validation_accepts_what_it_does_not_know(client, validation_on, account):
    assert validate(client, amount=10, account=account) == ACCEPT


def test_validation_accepts_a_right_member_number_and_a_right_reference(client, validation_on):
    member = MemberFactory()

    assert validate(client, amount=10, account=member.member_number) == ACCEPT
    assert validate(client, amount=10, account=create_payment(member).reference.lower()) == ACCEPT


def test_validation_refuses_a_wrong_check_character_a_wrong_amount_and_a_foreign_shortcode(client, validation_on):
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
def test_validation_asks_no_database(client, validation_on, django_assert_num_queries, account, verdict):
    with django_assert_num_queries(0):
        assert validate(client, amount=10, account=account) == verdict


@pytest.mark.django_db(transaction=True)
def test_validation_answers_while_every_table_it_could_ask_is_locked(client, validation_on):
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
        told = validate(client, amount=10, account=with_check_digit("572400"))
        seconds = time.monotonic() - began
    finally:
        done.set()
        holder.join()

    assert (told, seconds < 2) == (ACCEPT, True)


def test_payments_keep_their_books_through_all_of_this(client):
    confirm(client, amount=10, account="nobody")

    assert Payment.objects.count() == 0
    assert ledger.balance(Account.UNMATCHED) == -10
