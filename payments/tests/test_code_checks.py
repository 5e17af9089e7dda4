import re
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
from payments.services import ledger
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


def asked(wire, manager, code=CODE):
    """A check that Safaricom has taken; `result` and `timeout` are the paths its answers come to."""
    wire.status()
    check = code_checks.request_check(code=code, by_id=manager.pk, now=LATER)
    code_checks.send(check_id=check.pk, now=LATER)
    body = wire.bodies(STATUS)[-1]
    check.refresh_from_db()
    check.result, check.timeout = urlsplit(body["ResultURL"]).path, urlsplit(body["QueueTimeOutURL"]).path
    return check


def answer(client, check, path=None, **told):
    told.setdefault("moved_at", NOON)
    body = told.pop("body", None) or status_body(**told)
    response = client.post(path or check.result, body, content_type="application/json")
    check.refresh_from_db()
    return response


def confirm(client, **message):
    url = reverse("payments:c2b-confirmation", args=["development-only-paybill-secret-xxxxxxxx"])
    return client.post(url, c2b_body(moved_at=NOON, **message), content_type="application/json")


def claimed(payment, by):
    return reported_codes.report_code(code=CODE, payment_id=payment.pk, by_id=by.pk, now=NOON)


def status(payment):
    payment.refresh_from_db()
    return payment.status, payment.amount_paid


def outcomes():
    return list(Callback.objects.order_by("pk").values_list("outcome", flat=True))


def reviews():
    return list(ReviewItem.objects.order_by("pk").values_list("reason", "status"))


# --- Asking ---------------------------------------------------------------------------------------


def test_a_question_waits_for_the_worker_as_a_job_that_carries_an_id_only(manager):
    check = code_checks.request_check(code=" tkn1 ab2c3d", by_id=manager.pk, now=NOON)

    assert (check.code, check.status, check.asked_by) == (CODE, CodeCheckStatus.WAITING, manager)
    job = ProcrastinateJob.objects.get(task_name="payments.ask_about_code")
    assert job.args == {"check_id": check.pk}


def test_while_one_is_open_a_code_is_asked_about_once(manager):
    first = code_checks.request_check(code=CODE, by_id=manager.pk, now=NOON)

    assert code_checks.request_check(code=CODE, by_id=manager.pk, now=NOON) == first
    assert ProcrastinateJob.objects.filter(task_name="payments.ask_about_code").count() == 1
    with pytest.raises(IntegrityError, match="code_check_open_once_per_code"), transaction.atomic():
        CodeCheck.objects.create(code=CODE, created_at=NOON)


@pytest.mark.parametrize("missing", ["DARAJA_INITIATOR", "DARAJA_SECURITY_CREDENTIAL"])
def test_without_an_operator_nothing_can_be_asked(manager, settings, missing):
    setattr(settings, missing, "")

    with pytest.raises(code_checks.NotConfigured):
        code_checks.request_check(code=CODE, by_id=manager.pk, now=NOON)


def test_what_is_no_code_is_not_asked_about(manager):
    with pytest.raises(reported_codes.InvalidCode):
        code_checks.request_check(code="TKN-1", by_id=manager.pk, now=NOON)


def test_the_answers_come_to_secret_addresses_in_neutral_words(wire, manager):
    check = asked(wire, manager)

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


def test_a_check_that_has_ended_is_not_asked_again(wire, manager, client):
    check = asked(wire, manager)
    answer(client, check)

    code_checks.send(check_id=check.pk, now=LATER)

    assert len(wire.bodies(STATUS)) == 1


def test_a_question_that_safaricom_is_too_busy_for_waits_for_its_job_to_come_again(wire, manager):
    check = code_checks.request_check(code=CODE, by_id=manager.pk, now=NOON)
    wire.status(**refusal("500.003.02", "System is busy. Please try again in few minutes.", 500))

    with pytest.raises(Busy):
        code_checks.send(check_id=check.pk, now=NOON)

    check.refresh_from_db()
    assert check.status == CodeCheckStatus.WAITING


def test_a_question_that_safaricom_refuses_ends(wire, manager):
    check = code_checks.request_check(code=CODE, by_id=manager.pk, now=NOON)
    wire.status(**refusal("400.002.02", "Bad Request - Invalid Initiator", 400))

    code_checks.send(check_id=check.pk, now=NOON)

    check.refresh_from_db()
    assert (check.status, check.said) == ("unclear", "Safaricom refused the code check. Tell the operator.")


def test_a_question_of_unknown_outcome_is_still_waited_for(wire, manager, client):
    wire.status(body="<html>", status=502)
    check = code_checks.request_check(code=CODE, by_id=manager.pk, now=LATER)
    code_checks.send(check_id=check.pk, now=LATER)

    answer(client, check, path=urlsplit(wire.bodies(STATUS)[0]["ResultURL"]).path)

    assert check.status == CodeCheckStatus.FOUND


# --- Completed money of ours ----------------------------------------------------------------------


def test_completed_money_pays_the_claim_that_showed_its_code(wire, manager, client):
    payment = create_payment(amount=1500)
    claim = claimed(payment, manager)
    check = asked(wire, manager)

    told = answer(client, check)

    assert (told.status_code, told.json()) == (200, {"ResultCode": 0, "ResultDesc": "Accepted"})
    receipt = Receipt.objects.get()
    assert (receipt.channel, receipt.code, receipt.amount, receipt.paid_at) == ("mpesa_c2b", CODE, 1500, NOON)
    assert (receipt.payer_name, receipt.sender) == ("JANE WANJIRU", PHONE)
    assert status(payment) == ("paid", 1500)
    claim.refresh_from_db()
    assert claim.receipt == receipt
    assert (check.status, check.receipt) == (CodeCheckStatus.FOUND, receipt)
    assert check.said == "KES 1,500 was paid with this code. It is in the books."
    assert outcomes() == ["applied"]


def test_completed_money_that_nobody_claimed_is_unmatched_and_its_phone_suggests(wire, manager, client):
    member = MemberFactory(phone_number=PHONE)
    check = asked(wire, manager)

    answer(client, check)

    assert ledger.balance(Account.UNMATCHED) == -1500
    assert ReviewItem.objects.get().suggested_members == [member.pk]
    assert check.status == CodeCheckStatus.FOUND


@pytest.mark.parametrize("amount", [1500, 1500.0, "1500", "1500.00"])
@pytest.mark.parametrize("result_code", [0, "0"])
def test_amounts_and_codes_may_be_numbers_or_text(wire, manager, client, amount, result_code):
    check = asked(wire, manager)

    answer(client, check, amount=amount, result_code=result_code)

    assert Receipt.objects.get().amount == 1500


def test_the_till_that_customers_see_is_ours_too(wire, manager, client, settings):
    settings.DARAJA_TILL = "5123456"
    check = asked(wire, manager)

    answer(client, check, paid_to="5123456")

    assert check.status == CodeCheckStatus.FOUND


def test_the_same_answer_twice_is_money_once(wire, manager, client):
    payment = create_payment(amount=1500)
    claimed(payment, manager)
    check = asked(wire, manager)

    for _ in range(3):
        answer(client, check)

    assert Receipt.objects.count() == 1
    assert status(payment) == ("paid", 1500)
    assert outcomes() == ["applied", "duplicate", "duplicate"]


def test_a_late_answer_counts_after_we_stopped_waiting(wire, manager, client):
    check = asked(wire, manager)
    code_checks.end_unanswered(now=LATER + timedelta(minutes=15))
    check.refresh_from_db()
    assert (check.status, check.said) == ("unclear", "Safaricom did not answer. Ask again.")

    answer(client, check)

    assert check.status == CodeCheckStatus.FOUND


# --- The same money by another way ----------------------------------------------------------------


def test_after_its_confirmation_an_answer_changes_nothing(wire, manager, client):
    payment = create_payment(amount=1500)
    confirm(client, amount=1500, account=payment.reference)
    check = asked(wire, manager)

    answer(client, check)

    assert Receipt.objects.count() == 1
    assert status(payment) == ("paid", 1500)
    assert (check.status, check.receipt) == (CodeCheckStatus.FOUND, Receipt.objects.get())
    assert outcomes() == ["applied", "duplicate"]


def test_before_its_confirmation_an_answer_is_the_only_money(wire, manager, client):
    payment = create_payment(amount=1500)
    claimed(payment, manager)
    answer(client, asked(wire, manager))

    confirm(client, amount=1500, account=payment.reference)

    assert Receipt.objects.get().account_typed == payment.reference
    assert status(payment) == ("paid", 1500)
    assert ledger.balance(Account.MEMBER_CREDIT) == 0
    assert (outcomes(), reviews()) == (["applied", "duplicate"], [])


def test_unclaimed_money_goes_to_whom_its_confirmation_names(wire, manager, client):
    payment = create_payment(amount=1500)
    answer(client, asked(wire, manager))
    assert reviews() == [("unmatched", "open")]

    confirm(client, amount=1500, account=payment.reference)

    assert Receipt.objects.count() == 1
    assert status(payment) == ("paid", 1500)
    assert ledger.balance(Account.UNMATCHED) == 0
    assert reviews() == [("unmatched", "resolved")]


def test_a_confirmation_that_names_another_than_the_claim_is_shown_to_a_person(wire, manager, client):
    mine, other = create_payment(amount=1500), create_payment(amount=1500)
    claimed(mine, manager)
    answer(client, asked(wire, manager))

    confirm(client, amount=1500, account=other.reference)

    assert (status(mine), status(other)) == (("paid", 1500), ("pending", 0))
    assert reviews() == [("contradiction", "open")]


def test_before_the_prompts_result_an_answer_is_the_prompts_money(wire, manager, client):
    push = make_push(create_payment(amount=1500), phone=PHONE)
    answer(client, asked(wire, manager))

    url = reverse("payments:stk-callback", args=[push.raw_token])
    client.post(url, stk_body(push, code=CODE), content_type="application/json")

    assert Receipt.objects.get().push == push
    assert status(push.payment) == ("paid", 1500)
    assert ledger.balance(Account.UNMATCHED) == 0


def test_an_answer_brings_the_code_to_a_prompt_learnt_by_query(wire, manager, client):
    push = make_push(create_payment(amount=1500), phone=PHONE)
    result = StkResult(push.merchant_request_id, push.checkout_request_id, "0", "")
    stk_results.apply_stk_result(push_id=push.pk, result=result, source="query", now=NOON + timedelta(seconds=40))

    check = asked(wire, manager)
    answer(client, check, moved_at=NOON + timedelta(seconds=20))

    receipt = Receipt.objects.get()
    assert (receipt.code, receipt.push, check.receipt) == (CODE, push, receipt)
    assert status(push.payment) == ("paid", 1500)


def test_after_the_prompts_result_a_waiting_claim_of_its_code_is_settled(wire, manager, client):
    push = make_push(create_payment(amount=1500))
    claim = claimed(push.payment, manager)
    url = reverse("payments:stk-callback", args=[push.raw_token])
    client.post(url, stk_body(push, code=CODE), content_type="application/json")

    answer(client, asked(wire, manager))

    claim.refresh_from_db()
    assert claim.receipt == Receipt.objects.get()
    assert status(push.payment) == ("paid", 1500)


def test_a_claim_whose_money_paid_something_else_ends(wire, manager, client):
    other = create_payment(amount=1500)
    claim = claimed(create_payment(amount=1500), manager)
    confirm(client, amount=1500, account=other.reference)

    answer(client, asked(wire, manager))

    claim.refresh_from_db()
    assert (claim.receipt, claim.ended_why) == (
        None,
        "The money of this code was assigned to another payment, or returned.",
    )
    assert status(other) == ("paid", 1500)


def test_another_amount_than_in_the_books_is_shown_to_a_person(wire, manager, client):
    payment = create_payment(amount=1500)
    confirm(client, amount=1500, account=payment.reference)
    check = asked(wire, manager)

    answer(client, check, amount=1600)

    assert check.status == CodeCheckStatus.UNCLEAR
    assert status(payment) == ("paid", 1500)
    assert reviews() == [("code_used_twice", "open")]


# --- No money of ours -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "said"),
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
def test_what_is_no_money_of_ours_ends_the_claim_with_a_sentence(wire, manager, client, told, said):
    payment = create_payment(amount=1500)
    claim = claimed(payment, manager)
    check = asked(wire, manager)

    answer(client, check, **told)

    claim.refresh_from_db()
    assert (check.status, check.said, check.ended_at) == (CodeCheckStatus.NO_MONEY, said, LATER)
    assert (claim.ended_at, claim.ended_why) == (LATER, said)
    assert (Receipt.objects.count(), status(payment)) == (0, ("pending", 0))


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"result_code": 2001}, "Safaricom did not check the code (result 2001). Tell the operator."),
        ({"result_code": "SFC_IC0003"}, "Safaricom did not check the code (result SFC_IC0003). Tell the operator."),
        ({"state": "Pending"}, "M-Pesa says this payment is Pending, so it is not finished. Ask again later."),
    ],
)
def test_what_decides_nothing_ends_no_claim(wire, manager, client, told, said):
    claim = claimed(create_payment(amount=1500), manager)
    check = asked(wire, manager)

    answer(client, check, **told)

    claim.refresh_from_db()
    assert (check.status, check.said, claim.ended_at) == (CodeCheckStatus.UNCLEAR, said, None)
    assert code_checks.request_check(code=CODE, by_id=manager.pk, now=LATER) != check


def test_a_question_that_expired_in_safaricoms_queue_may_be_asked_again(wire, manager, client):
    check = asked(wire, manager)

    answer(client, check, path=check.timeout, body=b"{}")

    assert (check.status, check.said) == ("unclear", "Safaricom was too busy to check the code. Ask again.")
    answer(client, check, path=check.timeout, body=b"{}")
    answer(client, check)
    assert check.status == CodeCheckStatus.FOUND
    assert outcomes() == ["applied", "duplicate", "unmatched"]


def test_no_answer_takes_found_money_away(wire, manager, client):
    payment = create_payment(amount=1500)
    claimed(payment, manager)
    check = asked(wire, manager)
    answer(client, check)

    answer(client, check, result_code=25)

    assert (check.status, status(payment)) == (CodeCheckStatus.FOUND, ("paid", 1500))


def test_money_wins_over_an_earlier_no(wire, manager, client):
    payment = create_payment(amount=1500)
    claim = claimed(payment, manager)
    check = asked(wire, manager)
    answer(client, check, result_code=25)

    confirm(client, amount=1500, account="wrong")

    claim.refresh_from_db()
    assert (claim.receipt, claim.ended_at) == (Receipt.objects.get(), None)
    assert status(payment) == ("paid", 1500)


def test_a_reversal_of_money_in_the_books_is_shown_to_a_person(wire, manager, client):
    payment = create_payment(amount=1500)
    confirm(client, amount=1500, account=payment.reference)

    answer(client, asked(wire, manager), state="Reversed")

    assert status(payment) == ("paid", 1500)
    assert reviews() == [("contradiction", "open")]


def test_an_ended_claim_can_be_made_anew_for_another_payment(wire, manager, client):
    claimed(create_payment(), manager)
    answer(client, asked(wire, manager), result_code=25)
    right = create_payment()

    claim = claimed(right, manager)

    assert (claim.payment, claim.ended_at) == (right, None)


# --- Forged and broken ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["code-check-result", "code-check-timeout"])
def test_a_guessed_address_is_not_there_and_keeps_nothing(wire, manager, client, name):
    check = asked(wire, manager)

    forged = answer(client, check, path=reverse(f"payments:{name}", args=["x" * 43]))

    assert forged.status_code == 404
    assert (Callback.objects.count(), Receipt.objects.count(), check.status) == (0, 0, "asked")


def test_a_prompts_token_opens_no_question_and_the_other_way_round(wire, manager, client):
    push = make_push()
    check = asked(wire, manager)
    token = check.result.split("/")[-2]

    for name, wrong in (("code-check-result", push.raw_token), ("stk-callback", token)):
        assert answer(client, check, path=reverse(f"payments:{name}", args=[wrong])).status_code == 404


@pytest.mark.parametrize("told", [{"conversation": "AG_20261102_2"}, {"code": "TKN0000009"}])
def test_the_result_of_another_question_is_shown_to_a_person(wire, manager, client, told):
    check = asked(wire, manager)

    answer(client, check, **told)

    assert (check.status, Receipt.objects.count()) == ("asked", 0)
    assert (outcomes(), reviews()) == (["review"], [("amount_differs", "open")])


@pytest.mark.parametrize(
    "told",
    [
        {"body": b"\x00"},
        {"body": b'{"Result": []}'},
        {"amount": None},
        {"amount": 1500.5},
        {"amount": True},
        {"code": "000"},
        {"changes": {"CreditPartyName": None}},
        {"changes": {"CreditPartyName": "Kilabu"}},
        {"changes": {"TransactionStatus": ["Completed"]}},
        {"conversation": None},
        {"ResultParameters": None, "result_code": 0, "body": status_body(moved_at=NOON).replace(b"Parameters", b"X")},
    ],
)
def test_an_answer_without_its_whole_evidence_moves_nothing(wire, manager, client, told):
    check = asked(wire, manager)

    assert answer(client, check, **told).status_code == 200

    assert (check.status, Receipt.objects.count()) == ("asked", 0)
    assert (outcomes(), reviews()) == (["rejected"], [("unreadable", "open")])


def test_the_portals_doubled_debtor_is_no_obstacle_and_a_doubled_receiver_is(wire, manager, client):
    check = asked(wire, manager)
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


def test_an_answer_while_the_database_is_away_waits_on_the_disk(wire, manager, client, settings, tmp_path):
    settings.STATE_DIR = tmp_path
    check = asked(wire, manager)
    message = spool.Message(
        source="code_check",
        body=status_body(moved_at=NOON),
        headers={},
        peer=None,
        received_at=LATER,
        token_hash=check.token_hash,
    )
    spool.append(message)

    assert inbox.drain_spool(now=LATER) == 1

    check.refresh_from_db()
    assert check.status == CodeCheckStatus.FOUND


# --- By itself ------------------------------------------------------------------------------------


def test_a_claim_that_nothing_answers_is_asked_about_by_itself_at_most_three_times(manager):
    claimed(create_payment(), manager)

    moments = []
    for minute in (4, 5, 6, 30, 60, 61, 24 * 60, 24 * 60 + 1, 72 * 60):
        now = NOON + timedelta(minutes=minute)
        if code_checks.check_reported_codes(now=now):
            moments.append(minute)
            code_checks.end_unanswered(now=now + code_checks.ANSWER_TIMEOUT)

    assert moments == [5, 60, 24 * 60]
    assert list(CodeCheck.objects.values_list("asked_by", flat=True)) == [None] * 3


def test_a_claim_whose_money_is_here_is_settled_without_asking(manager, client):
    payment = create_payment(amount=1500)
    claim = claimed(payment, manager)
    confirm(client, amount=1500, account=payment.reference)

    assert code_checks.check_reported_codes(now=LATER) == 0

    claim.refresh_from_db()
    assert claim.receipt == Receipt.objects.get()


def test_without_an_operator_the_job_asks_nothing(manager, settings):
    settings.DARAJA_INITIATOR = ""
    claimed(create_payment(), manager)

    assert code_checks.check_reported_codes(now=LATER) == 0
