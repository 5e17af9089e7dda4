"""Code checks: asking Safaricom about an M-Pesa code, and its answers."""

import re
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.db import IntegrityError, transaction
from django.urls import reverse
from procrastinate.contrib.django.models import ProcrastinateJob

from payments.callbacks import inbox, spool
from payments.daraja import callback_tokens
from payments.daraja.errors import Busy
from payments.daraja.messages import StkResult
from payments.desk import code_checks, reported_codes
from payments.evidence import stk_results
from payments.models import (
    Account,
    Callback,
    CodeCheck,
    CodeCheckStatus,
    Receipt,
    ReviewItem,
)
from payments.services import ledger, reversals
from payments.tests.bodies import c2b_body, status_body, stk_body
from payments.tests.daraja_answers import STATUS, Wire, refusal
from payments.tests.factories import NOON, MemberFactory, create_payment, make_push

pytestmark = [pytest.mark.django_db, pytest.mark.server]

CODE = "TKN1AB2C3D"
LATER = NOON + timedelta(minutes=10)
PHONE = "254712345126"


@pytest.fixture(autouse=True)
def _club(monkeypatch, settings):
    monkeypatch.setattr("payments.views.callbacks.now", lambda: LATER)
    settings.DARAJA_INITIATOR, settings.DARAJA_SECURITY_CREDENTIAL = "testapi", "c2VjcmV0"


@pytest.fixture
def wire():
    with Wire() as wire:
        wire.token()
        yield wire


@pytest.fixture
def manager():
    return MemberFactory(role="Manager")


def send_check(wire, manager, code=CODE):
    """Return a check that was sent; `result` and `timeout` are the paths of its two callbacks."""
    wire.status()
    check = code_checks.request_check(code=code, by_id=manager.pk, now=LATER)
    code_checks.send(check_id=check.pk, now=LATER)
    body = wire.bodies(STATUS)[-1]
    check.refresh_from_db()
    check.result, check.timeout = urlsplit(body["ResultURL"]).path, urlsplit(body["QueueTimeOutURL"]).path
    return check


def answer(client, check, path=None, **changes):
    changes.setdefault("moved_at", NOON)
    body = changes.pop("body", None) or status_body(**changes)
    response = client.post(path or check.result, body, content_type="application/json")
    check.refresh_from_db()
    return response


def confirm(client, **message):
    url = reverse("payments:c2b-confirmation", args=["development-only-paybill-secret-xxxxxxxx"])
    return client.post(url, c2b_body(moved_at=NOON, **message), content_type="application/json")


def report_code(payment, by):
    return reported_codes.report_code(code=CODE, payment_id=payment.pk, by_id=by.pk, now=NOON)


def status(payment):
    payment.refresh_from_db()
    return payment.status, payment.amount_paid


def outcomes():
    return list(Callback.objects.order_by("pk").values_list("outcome", flat=True))


def reviews():
    return list(ReviewItem.objects.order_by("pk").values_list("reason", "status"))


# --- Asking ---------------------------------------------------------------------------------------


def test_requested_check_queues_a_job_with_its_id_only(manager):
    check = code_checks.request_check(code=" tkn1 ab2c3d", by_id=manager.pk, now=NOON)

    assert (check.code, check.status, check.asked_by) == (CODE, CodeCheckStatus.WAITING, manager)
    job = ProcrastinateJob.objects.get(task_name="payments.ask_about_code")
    assert job.args == {"check_id": check.pk}


def test_one_open_check_per_code(manager):
    first = code_checks.request_check(code=CODE, by_id=manager.pk, now=NOON)

    assert code_checks.request_check(code=CODE, by_id=manager.pk, now=NOON) == first
    assert ProcrastinateJob.objects.filter(task_name="payments.ask_about_code").count() == 1
    with pytest.raises(IntegrityError, match="code_check_open_once_per_code"), transaction.atomic():
        CodeCheck.objects.create(code=CODE, created_at=NOON)


@pytest.mark.parametrize("missing", ["DARAJA_INITIATOR", "DARAJA_SECURITY_CREDENTIAL"])
def test_check_without_operator_settings_is_refused(manager, settings, missing):
    setattr(settings, missing, "")

    with pytest.raises(code_checks.NotConfigured):
        code_checks.request_check(code=CODE, by_id=manager.pk, now=NOON)


def test_invalid_code_is_not_checked(manager):
    with pytest.raises(reported_codes.InvalidCode):
        code_checks.request_check(code="TKN-1", by_id=manager.pk, now=NOON)


def test_callback_urls_are_secret_and_without_barred_words(wire, manager):
    check = send_check(wire, manager)

    assert (check.status, check.conversation_id) == (CodeCheckStatus.ASKED, "AG_20261102_1")
    token = check.result.split("/")[-2]
    assert callback_tokens.is_ours(token)
    assert check.token_hash == callback_tokens.hash_of(token)
    assert (check.result, check.timeout) == (
        f"/api/v1/callbacks/result/{token}/",
        f"/api/v1/callbacks/result/{token}/late/",
    )
    words = (check.result + check.timeout).replace(token, "")
    assert not re.search("m-?pesa|safaricom|exe|cmd|sql|query", words, re.IGNORECASE)  # Safaricom bars them


def test_ended_check_is_not_sent_again(wire, manager, client):
    check = send_check(wire, manager)
    answer(client, check)

    code_checks.send(check_id=check.pk, now=LATER)

    assert len(wire.bodies(STATUS)) == 1


def test_check_stays_waiting_when_safaricom_is_busy(wire, manager):
    check = code_checks.request_check(code=CODE, by_id=manager.pk, now=NOON)
    wire.status(**refusal("500.003.02", "System is busy. Please try again in few minutes.", 500))

    with pytest.raises(Busy):
        code_checks.send(check_id=check.pk, now=NOON)

    check.refresh_from_db()
    assert check.status == CodeCheckStatus.WAITING


def test_refused_check_ends_as_unclear(wire, manager):
    check = code_checks.request_check(code=CODE, by_id=manager.pk, now=NOON)
    wire.status(**refusal("400.002.02", "Bad Request - Invalid Initiator", 400))

    code_checks.send(check_id=check.pk, now=NOON)

    check.refresh_from_db()
    assert (check.status, check.said) == ("unclear", "Safaricom refused the code check. Tell the operator.")


def test_check_with_unknown_send_outcome_accepts_its_answer(wire, manager, client):
    wire.status(body="<html>", status=502)
    check = code_checks.request_check(code=CODE, by_id=manager.pk, now=LATER)
    code_checks.send(check_id=check.pk, now=LATER)

    answer(client, check, path=urlsplit(wire.bodies(STATUS)[0]["ResultURL"]).path)

    assert check.status == CodeCheckStatus.FOUND


# --- Completed money for us -----------------------------------------------------------------------


def test_completed_money_pays_the_reported_code(wire, manager, client):
    payment = create_payment(amount=1500)
    reported = report_code(payment, manager)
    check = send_check(wire, manager)

    response = answer(client, check)

    assert (response.status_code, response.json()) == (200, {"ResultCode": 0, "ResultDesc": "Accepted"})
    receipt = Receipt.objects.get()
    assert (receipt.channel, receipt.code, receipt.amount, receipt.paid_at) == ("mpesa_c2b", CODE, 1500, NOON)
    assert (receipt.payer_name, receipt.sender) == ("JANE WANJIRU", PHONE)
    assert status(payment) == ("paid", 1500)
    reported.refresh_from_db()
    assert reported.receipt == receipt
    assert (check.status, check.receipt) == (CodeCheckStatus.FOUND, receipt)
    assert check.said == "KES 1,500 was paid with this code. It is in the books."
    assert outcomes() == ["applied"]


def test_completed_money_without_reported_code_is_unmatched_with_suggestion(wire, manager, client):
    member = MemberFactory(phone_number=PHONE)
    check = send_check(wire, manager)

    answer(client, check)

    assert ledger.balance(Account.UNMATCHED) == -1500
    assert ReviewItem.objects.get().suggested_members == [member.pk]
    assert check.status == CodeCheckStatus.FOUND


@pytest.mark.parametrize("amount", [1500, 1500.0, "1500", "1500.00"])
@pytest.mark.parametrize("result_code", [0, "0"])
def test_amount_and_result_code_may_be_number_or_text(wire, manager, client, amount, result_code):
    check = send_check(wire, manager)

    answer(client, check, amount=amount, result_code=result_code)

    assert Receipt.objects.get().amount == 1500


def test_till_number_counts_as_ours(wire, manager, client, settings):
    settings.DARAJA_TILL = "5123456"
    check = send_check(wire, manager)

    answer(client, check, paid_to="5123456")

    assert check.status == CodeCheckStatus.FOUND


def test_repeated_answer_makes_one_receipt(wire, manager, client):
    payment = create_payment(amount=1500)
    report_code(payment, manager)
    check = send_check(wire, manager)

    for _ in range(3):
        answer(client, check)

    assert Receipt.objects.count() == 1
    assert status(payment) == ("paid", 1500)
    assert outcomes() == ["applied", "duplicate", "duplicate"]


def test_check_ends_when_the_clock_was_set_back(wire, manager):
    check = send_check(wire, manager)

    code_checks.end_unanswered(now=LATER - timedelta(hours=3))

    check.refresh_from_db()
    assert (check.status, check.said) == ("unclear", "Safaricom did not answer. Ask again.")


def test_late_answer_counts_after_timeout(wire, manager, client):
    check = send_check(wire, manager)
    code_checks.end_unanswered(now=LATER + timedelta(minutes=15))
    check.refresh_from_db()
    assert (check.status, check.said) == ("unclear", "Safaricom did not answer. Ask again.")

    answer(client, check)

    assert check.status == CodeCheckStatus.FOUND


# --- The same money, reported in another way ------------------------------------------------------


def test_answer_after_confirmation_changes_nothing(wire, manager, client):
    payment = create_payment(amount=1500)
    confirm(client, amount=1500, account=payment.reference)
    check = send_check(wire, manager)

    answer(client, check)

    assert Receipt.objects.count() == 1
    assert status(payment) == ("paid", 1500)
    assert (check.status, check.receipt) == (CodeCheckStatus.FOUND, Receipt.objects.get())
    assert outcomes() == ["applied", "duplicate"]


def test_answer_before_confirmation_counts_once(wire, manager, client):
    payment = create_payment(amount=1500)
    report_code(payment, manager)
    answer(client, send_check(wire, manager))

    confirm(client, amount=1500, account=payment.reference)

    assert Receipt.objects.get().account_typed == payment.reference
    assert status(payment) == ("paid", 1500)
    assert ledger.balance(Account.MEMBER_CREDIT) == 0
    assert (outcomes(), reviews()) == (["applied", "duplicate"], [])


def test_unmatched_money_goes_to_the_owner_its_confirmation_names(wire, manager, client):
    payment = create_payment(amount=1500)
    answer(client, send_check(wire, manager))
    assert reviews() == [("unmatched", "open")]

    confirm(client, amount=1500, account=payment.reference)

    assert Receipt.objects.count() == 1
    assert status(payment) == ("paid", 1500)
    assert ledger.balance(Account.UNMATCHED) == 0
    assert reviews() == [("unmatched", "resolved")]


def test_confirmation_of_reversed_money_changes_nothing(wire, manager, client):
    payment = create_payment(amount=1500)
    answer(client, send_check(wire, manager))
    reversals.reverse_receipt(receipt_id=Receipt.objects.get().pk, reason="sent back", by_id=manager.pk, now=LATER)

    confirm(client, amount=1500, account=payment.reference)

    assert status(payment) == ("pending", 0)
    assert (outcomes(), Receipt.objects.get().member) == (["unmatched", "duplicate"], None)


def test_confirmation_naming_another_owner_becomes_review_item(wire, manager, client):
    mine, other = create_payment(amount=1500), create_payment(amount=1500)
    report_code(mine, manager)
    answer(client, send_check(wire, manager))

    confirm(client, amount=1500, account=other.reference)

    assert (status(mine), status(other)) == (("paid", 1500), ("pending", 0))
    assert reviews() == [("contradiction", "open")]


def test_answer_before_push_result_counts_once(wire, manager, client):
    push = make_push(create_payment(amount=1500), phone=PHONE)
    answer(client, send_check(wire, manager))

    url = reverse("payments:stk-callback", args=[push.raw_token])
    client.post(url, stk_body(push, code=CODE), content_type="application/json")

    assert Receipt.objects.get().push == push
    assert status(push.payment) == ("paid", 1500)
    assert ledger.balance(Account.UNMATCHED) == 0


def test_answer_gives_its_code_to_success_by_query(wire, manager, client):
    push = make_push(create_payment(amount=1500), phone=PHONE)
    result = StkResult(push.merchant_request_id, push.checkout_request_id, "0", "")
    stk_results.apply_stk_result(push_id=push.pk, result=result, source="query", now=NOON + timedelta(seconds=40))

    check = send_check(wire, manager)
    answer(client, check, moved_at=NOON + timedelta(seconds=20))

    receipt = Receipt.objects.get()
    assert (receipt.code, receipt.push, check.receipt) == (CODE, push, receipt)
    assert status(push.payment) == ("paid", 1500)


def test_answer_after_push_result_settles_reported_code(wire, manager, client):
    push = make_push(create_payment(amount=1500))
    reported = report_code(push.payment, manager)
    url = reverse("payments:stk-callback", args=[push.raw_token])
    client.post(url, stk_body(push, code=CODE), content_type="application/json")

    answer(client, send_check(wire, manager))

    reported.refresh_from_db()
    assert reported.receipt == Receipt.objects.get()
    assert status(push.payment) == ("paid", 1500)


def test_reported_code_ends_when_its_money_paid_something_else(wire, manager, client):
    other = create_payment(amount=1500)
    reported = report_code(create_payment(amount=1500), manager)
    confirm(client, amount=1500, account=other.reference)

    answer(client, send_check(wire, manager))

    reported.refresh_from_db()
    assert (reported.receipt, reported.ended_why) == (
        None,
        "The money of this code was assigned to another payment, or returned.",
    )
    assert status(other) == ("paid", 1500)


def test_different_amount_becomes_review_item(wire, manager, client):
    payment = create_payment(amount=1500)
    confirm(client, amount=1500, account=payment.reference)
    check = send_check(wire, manager)

    answer(client, check, amount=1600)

    assert check.status == CodeCheckStatus.UNCLEAR
    assert status(payment) == ("paid", 1500)
    assert reviews() == [("code_used_twice", "open")]


# --- No money for us ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"result_code": 25}, "M-Pesa does not know this code."),
        ({"result_code": "25"}, "M-Pesa does not know this code."),
        ({"state": "Reversed"}, "M-Pesa says this payment was reversed."),
        ({"state": "FAILED"}, "M-Pesa says this payment was failed."),
        ({"state": "Cancelled"}, "M-Pesa says this payment was cancelled."),
        ({"paid_to": "600999"}, "This code is of a payment to another receiver."),
        ({"paid_to": "254712345678"}, "This code is of a payment to another receiver."),
    ],
)
def test_answer_without_money_for_us_ends_the_reported_code(wire, manager, client, changes, said):
    payment = create_payment(amount=1500)
    reported = report_code(payment, manager)
    check = send_check(wire, manager)

    answer(client, check, **changes)

    reported.refresh_from_db()
    assert (check.status, check.said, check.ended_at) == (CodeCheckStatus.NO_MONEY, said, LATER)
    assert (reported.ended_at, reported.ended_why) == (LATER, said)
    assert (Receipt.objects.count(), status(payment)) == (0, ("pending", 0))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"result_code": 2001}, "Safaricom did not check the code (result 2001). Tell the operator."),
        ({"result_code": "SFC_IC0003"}, "Safaricom did not check the code (result SFC_IC0003). Tell the operator."),
        ({"state": "Pending"}, "M-Pesa says this payment is Pending, so it is not finished. Ask again later."),
    ],
)
def test_undecided_answer_keeps_the_reported_code_open(wire, manager, client, changes, said):
    reported = report_code(create_payment(amount=1500), manager)
    check = send_check(wire, manager)

    answer(client, check, **changes)

    reported.refresh_from_db()
    assert (check.status, check.said, reported.ended_at) == (CodeCheckStatus.UNCLEAR, said, None)
    assert code_checks.request_check(code=CODE, by_id=manager.pk, now=LATER) != check


def test_expired_check_may_be_sent_again(wire, manager, client):
    check = send_check(wire, manager)

    answer(client, check, path=check.timeout, body=b"{}")

    assert (check.status, check.said) == ("unclear", "Safaricom was too busy to check the code. Ask again.")
    answer(client, check, path=check.timeout, body=b"{}")
    answer(client, check)
    assert check.status == CodeCheckStatus.FOUND
    assert outcomes() == ["applied", "duplicate", "unmatched"]


def test_later_answer_never_removes_found_money(wire, manager, client):
    payment = create_payment(amount=1500)
    report_code(payment, manager)
    check = send_check(wire, manager)
    answer(client, check)

    answer(client, check, result_code=25)

    assert (check.status, status(payment)) == (CodeCheckStatus.FOUND, ("paid", 1500))


def test_confirmation_wins_over_an_earlier_answer_without_money(wire, manager, client):
    payment = create_payment(amount=1500)
    reported = report_code(payment, manager)
    check = send_check(wire, manager)
    answer(client, check, result_code=25)

    confirm(client, amount=1500, account="wrong")

    reported.refresh_from_db()
    assert (reported.receipt, reported.ended_at) == (Receipt.objects.get(), None)
    assert status(payment) == ("paid", 1500)


def test_reversal_of_known_money_becomes_review_item(wire, manager, client):
    payment = create_payment(amount=1500)
    confirm(client, amount=1500, account=payment.reference)

    answer(client, send_check(wire, manager), state="Reversed")

    assert status(payment) == ("paid", 1500)
    assert reviews() == [("contradiction", "open")]


def test_ended_code_can_be_reported_for_another_payment(wire, manager, client):
    report_code(create_payment(), manager)
    answer(client, send_check(wire, manager), result_code=25)
    right = create_payment()

    reported = report_code(right, manager)

    assert (reported.payment, reported.ended_at) == (right, None)


# --- Forged and broken ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["code-check-result", "code-check-timeout"])
def test_guessed_url_is_404_and_stores_nothing(wire, manager, client, name):
    check = send_check(wire, manager)

    forged = answer(client, check, path=reverse(f"payments:{name}", args=["x" * 43]))

    assert forged.status_code == 404
    assert (Callback.objects.count(), Receipt.objects.count(), check.status) == (0, 0, "asked")


def test_tokens_of_pushes_and_checks_are_not_interchangeable(wire, manager, client):
    push = make_push()
    check = send_check(wire, manager)
    token = check.result.split("/")[-2]

    for name, wrong in (("code-check-result", push.raw_token), ("stk-callback", token)):
        assert answer(client, check, path=reverse(f"payments:{name}", args=[wrong])).status_code == 200

    assert (check.status, Receipt.objects.count()) == ("asked", 0)
    assert sorted(outcomes()) == ["rejected", "review"]


@pytest.mark.parametrize("changes", [{"conversation": "AG_20261102_2"}, {"code": "TKN0000009"}])
def test_result_of_another_check_becomes_review_item(wire, manager, client, changes):
    check = send_check(wire, manager)

    answer(client, check, **changes)

    assert (check.status, Receipt.objects.count()) == ("asked", 0)
    assert (outcomes(), reviews()) == (["review"], [("amount_differs", "open")])


@pytest.mark.parametrize(
    "changes",
    [
        {"body": b"\x00"},
        {"body": b'{"Result": []}'},
        {"amount": None},
        {"amount": 0.5},
        {"amount": True},
        {"code": "000"},
        {"changes": {"CreditPartyName": None}},
        {"changes": {"CreditPartyName": "Kilabu"}},
        {"changes": {"TransactionStatus": ["Completed"]}},
        {"conversation": None},
        {"ResultParameters": None, "result_code": 0, "body": status_body(moved_at=NOON).replace(b"Parameters", b"X")},
    ],
)
def test_incomplete_answer_moves_nothing(wire, manager, client, changes):
    check = send_check(wire, manager)

    assert answer(client, check, **changes).status_code == 200

    assert (check.status, Receipt.objects.count()) == ("asked", 0)
    assert (outcomes(), reviews()) == (["rejected"], [("unreadable", "open")])


def test_repeated_debtor_is_accepted_and_repeated_receiver_is_rejected(wire, manager, client):
    check = send_check(wire, manager)
    body = status_body(moved_at=NOON)
    doubled = {"DebitPartyName": 200, "CreditPartyName": 200}
    for key, code in doubled.items():
        extra = b'{"Key": "%s", "Value": "600310 - Other"}, ' % key.encode()
        assert (
            answer(client, check, body=body.replace(b'{"Key": "Amount"', extra + b'{"Key": "Amount"')).status_code
            == code
        )

    assert outcomes() == ["unmatched", "rejected"]
    assert Receipt.objects.get().sender == ""


def test_spooled_answer_is_applied_later(wire, manager, client, settings, tmp_path):
    settings.STATE_DIR = tmp_path
    check = send_check(wire, manager)
    message = spool.Message(
        source="code_check",
        body=status_body(moved_at=NOON),
        headers={},
        peer=None,
        received_at=LATER,
        token_hash=check.token_hash,
    )
    spool.append(message)

    assert (inbox.drain_spool(now=LATER), inbox.apply_waiting(now=LATER)) == (1, 1)

    check.refresh_from_db()
    assert check.status == CodeCheckStatus.FOUND


def test_junk_to_a_check_is_counted_and_hides_no_result(wire, manager, client):
    check = send_check(wire, manager)
    message = spool.Message("code_check", b"{}", {}, None, LATER, check.token_hash)
    for _ in range(inbox.MOST_OF_A_URL):
        inbox._store(message, next_try_at=LATER)

    with pytest.raises(inbox.EnoughStored):
        inbox._store(message, next_try_at=LATER)

    assert inbox._store(replace(message, body=status_body(moved_at=NOON)), next_try_at=LATER) is not None
    with pytest.raises(inbox.EnoughStored):
        inbox._store(replace(message, source="code_check_timeout"), next_try_at=LATER)
    assert sum(Callback.objects.values_list("not_stored", flat=True)) == 2


# --- The periodic job -----------------------------------------------------------------------------


def test_job_checks_a_reported_code_three_times_at_most(manager):
    report_code(create_payment(), manager)

    moments = []
    for minute in (4, 5, 6, 30, 60, 61, 24 * 60, 24 * 60 + 1, 72 * 60):
        now = NOON + timedelta(minutes=minute)
        if code_checks.check_reported_codes(now=now):
            moments.append(minute)
            code_checks.end_unanswered(now=now + code_checks.ANSWER_TIMEOUT)

    assert moments == [5, 60, 24 * 60]
    assert list(CodeCheck.objects.values_list("asked_by", flat=True)) == [None] * 3


def test_reported_code_with_receipt_is_settled_without_check(manager, client):
    payment = create_payment(amount=1500)
    reported = report_code(payment, manager)
    confirm(client, amount=1500, account=payment.reference)

    assert code_checks.check_reported_codes(now=LATER) == 0

    reported.refresh_from_db()
    assert reported.receipt == Receipt.objects.get()


def test_job_sends_no_check_without_operator_settings(manager, settings):
    settings.DARAJA_INITIATOR = ""
    report_code(create_payment(), manager)

    assert code_checks.check_reported_codes(now=LATER) == 0
