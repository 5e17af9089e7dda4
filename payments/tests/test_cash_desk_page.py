"""The cash desk: the page and its actions."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from payments.daraja.messages import C2bMessage
from payments.desk import cash_sessions, desk_receipts, refunds, reported_codes, voids
from payments.evidence import c2b_confirmations
from payments.models import Account, CashSession, Channel, CodeClaim, Receipt, VoidRequest
from payments.tests.factories import MemberFactory, create_payment

pytestmark = pytest.mark.django_db

# 2 November 2026, 14:00 in Nairobi.
AT = datetime(2026, 11, 2, 11, tzinfo=UTC)
DESK = "/admin/cash-desk/"


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr("config.desk.cash_desk.now", lambda: AT)


def log_in(client, role="Receptionist"):
    person = MemberFactory(role=role, is_staff=True)
    client.force_login(person)
    return person


@pytest.fixture
def cashier(client):
    return log_in(client)


@pytest.fixture
def session(cashier):
    return cash_sessions.open_session(cashier_id=cashier.pk, opening_float=1000, now=AT)


def open_page(client, query=""):
    answer = client.get(f"{DESK}{query}", secure=True)
    assert answer.status_code == 200
    return answer.context


def form(context, name):
    return next(each for each in context["actions"] if each.name == name)


def form_values(client, name, **typed):
    """Return the values that the form of an action sends after `typed` was typed in."""
    values = {field.html_name: field.value() for field in form(open_page(client), name)} | typed
    return {key: value for key, value in values.items() if value is not None}


def send(client, name, body):
    """Send a form; return the newest message of the next page, or the errors of the form."""
    answer = client.post(f"{DESK}{name}/", body, secure=True)
    if answer.status_code == 302:
        assert answer.url == DESK
        return [message.message for message in get_messages(answer.wsgi_request)][-1]
    assert answer.status_code == 200
    shown = [each for each in answer.context["actions"] if each.name == name]
    return shown[0].errors if shown else [message.message for message in answer.context["messages"]][-1]


def do(client, name, **typed):
    return send(client, name, form_values(client, name, **typed))


def record(cashier, amount=1500, channel=Channel.CASH, at=AT, note="FT2630"):
    owner = MemberFactory()
    return desk_receipts.record_receipt(
        channel=channel, amount=amount, by_id=cashier.pk, member_id=owner.pk, note=note, now=at
    )


def decide(client, request, name):
    answer = client.post(f"{DESK}voids/{request.pk}/{name}/", secure=True)
    assert (answer.status_code, answer.url) == (302, DESK)
    return [message.message for message in get_messages(answer.wsgi_request)][-1]


# --- The cash drawer ---


def test_drawer_is_opened_with_its_float(client, cashier):
    assert [each.name for each in open_page(client)["actions"]] == ["open", "take", "claim", "ask"]

    said = do(client, "open", opening_float=1000)

    assert said == "The cash drawer is open with KES 1,000."
    assert CashSession.objects.get().opening_float == 1000
    assert [each.name for each in open_page(client)["actions"]] == ["take", "claim", "ask", "close"]


def test_second_opening_is_refused(client, cashier):
    body = form_values(client, "open", opening_float=1000)

    said = [send(client, "open", body) for _ in range(2)]

    assert said == ["The cash drawer is open with KES 1,000.", "Your cash drawer is already open."]
    assert CashSession.objects.count() == 1


def test_page_shows_receipts_and_refunds_since_the_opening(client, cashier, session):
    record(cashier, 100, Channel.BANK, at=AT - timedelta(hours=1))
    first, second, bank = record(cashier, 1500), record(cashier, 500), record(cashier, 700, Channel.BANK)
    voids.void_receipt(receipt_id=second.pk, reason="typed twice", by_id=MemberFactory().pk, now=AT)
    refunds.record_refund(
        receipt_id=bank.pk, amount=200, paid_from=Account.CASH, reason="asked", by_id=cashier.pk, now=AT
    )
    somebody = MemberFactory()
    cash_sessions.open_session(cashier_id=somebody.pk, opening_float=0, now=AT)
    record(somebody)

    context = open_page(client)

    assert context["figures"] == [("Cash", "KES 1,500", 1), ("Bank", "KES 700", 1), ("Refunds", "KES 200", 1)]
    assert list(context["receipts"]) == [bank, second, first]


def test_expected_cash_is_shown_only_after_the_count(client, cashier, session):
    record(cashier, 1539)
    before = client.get(DESK, secure=True).content.decode()

    said = do(client, "close", counted=2500, note="one note torn")

    assert "2539" not in before
    assert "2,539" not in before
    assert said == "The cash drawer is closed: KES 39 short (counted 2,500, expected 2,539)."
    context = open_page(client)
    assert (context["session"], context["last"].note) == (None, "one note torn")
    assert context["last_result"] == "KES 39 short (counted 2,500, expected 2,539)"


@pytest.mark.parametrize(
    ("counted", "came_to"),
    [(1000, "KES 1,000 counted, as expected"), (1200, "KES 200 over (counted 1,200, expected 1,000)")],
)
def test_result_of_the_count_is_shown(client, session, counted, came_to):
    assert do(client, "close", counted=counted) == f"The cash drawer is closed: {came_to}."


def test_second_closing_leaves_the_next_session_open(client, cashier, session):
    body = form_values(client, "close", counted=1000)
    send(client, "close", body)
    assert send(client, "close", body) == "This cash drawer was already counted and closed."
    do(client, "open", opening_float=0)

    assert send(client, "close", body)["__all__"] == ["This cash drawer was already counted and closed."]
    assert CashSession.objects.filter(closed_at=None).count() == 1


# --- Money ---


def test_cash_pays_the_payment_with_the_typed_reference(client, cashier, session):
    payment = create_payment(amount=1500)

    said = do(client, "take", owner=payment.reference.lower(), amount=1500)

    receipt = Receipt.objects.get()
    payment.refresh_from_db()
    assert said == f"KES 1,500 taken: receipt {receipt.number}."
    assert (receipt.channel, receipt.recorded_by, receipt.cash_session) == ("cash", cashier, session)
    assert payment.status == "paid"


def test_bank_transfer_is_recorded_without_a_drawer(client, cashier):
    member = MemberFactory()

    do(client, "take", owner=member.member_number, amount=700, channel="bank", note="FT2630")

    receipt = Receipt.objects.get()
    assert (receipt.channel, receipt.member, receipt.account_typed) == ("bank", member, "FT2630")


def test_form_sent_twice_records_one_receipt(client, session):
    body = form_values(client, "take", owner=MemberFactory().member_number, amount=1500)

    first, second = send(client, "take", body), send(client, "take", body)

    assert first == second
    assert Receipt.objects.count() == 1


def test_form_sent_again_with_another_amount_is_refused(client, session):
    body = form_values(client, "take", owner=MemberFactory().member_number, amount=1500)
    send(client, "take", body)

    said = send(client, "take", body | {"amount": 1600})

    assert said["__all__"] == ["This form was already sent with other values. Open the page again and repeat it."]
    assert Receipt.objects.count() == 1


@pytest.mark.parametrize(
    ("typed", "errors"),
    [
        ({}, {"__all__": ["Your cash drawer is closed. Open it at the cash desk first."]}),
        ({"channel": "bank"}, {"__all__": ["A bank transfer needs its bank reference. Enter it as the note."]}),
        ({"channel": "mpesa"}, {"channel": ["Select a valid choice. mpesa is not one of the available choices."]}),
        ({"owner": "nobody"}, {"owner": ["No payment has this reference, and no member this number."]}),
        ({"amount": 0}, {"amount": ["Ensure this value is greater than or equal to 1."]}),
        ({"amount": "15.50"}, {"amount": ["Enter a whole number in the digits 0 to 9."]}),
    ],
)
def test_refusal_keeps_the_typed_values(client, cashier, typed, errors):
    body = form_values(client, "take", **({"owner": MemberFactory().member_number, "amount": 1500} | typed))

    answer = client.post(f"{DESK}take/", body, secure=True)

    shown = form(answer.context, "take")
    assert (answer.status_code, shown.errors) == (200, errors)
    assert {name: shown[name].value() for name in body} == {name: str(value) for name, value in body.items()}
    assert answer.context["opened"] == "take"
    assert not Receipt.objects.exists()


def test_staff_cannot_take_their_own_money(client, cashier, session):
    said = do(client, "take", owner=cashier.member_number, amount=1500)

    assert said["__all__"] == ["You cannot do this for yourself. Ask a colleague."]


# --- Codes ---


def test_reported_code_waits_for_its_money_or_assigns_it(client, cashier):
    payment, other = create_payment(amount=1500), create_payment(amount=1500)
    message = C2bMessage("TKN1AB2C3D", AT, 1500, "174379", "gym", "", "JANE", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=AT)

    waits = [do(client, "claim", code="tkn9 zz9 z9z", payment=other.reference) for _ in range(2)]
    here = do(client, "claim", code="TKN1AB2C3D", payment=payment.reference)

    noted = f"TKN9ZZ9Z9Z is saved for {other.reference}. It counts when Safaricom confirms the money."
    assert waits == [noted, noted]
    assert here == f"The money of TKN1AB2C3D is here, and pays {payment.reference}."
    assert CodeClaim.objects.count() == 2


def test_invalid_code_and_unknown_payment_are_refused(client, cashier):
    payment = create_payment()

    assert do(client, "claim", code="!", payment=payment.reference)["__all__"] == [reported_codes.InvalidCode.message]
    assert do(client, "claim", code="TKN9ZZ9Z9Z", payment="none")["payment"] == ["No payment has this reference."]


# --- Voids ---


def test_void_is_requested_and_confirmed_by_two_people(client, cashier, session):
    receipt = record(cashier)
    prefilled = open_page(client, f"?receipt={receipt.number}")
    assert (form(prefilled, "ask")["number"].value(), prefilled["opened"]) == (receipt.number, "ask")

    said = [do(client, "ask", number=receipt.number, reason="typed twice") for _ in range(2)]

    assert said == [f"A second person must confirm the void of receipt {receipt.number}."] * 2
    second, request = Client(), VoidRequest.objects.get()
    manager = log_in(second, "Manager")
    assert [each["decisions"] for each in open_page(second)["voids"]] == [["confirm", "decline"]]
    assert [decide(second, request, "confirm") for _ in range(2)] == [f"Receipt {receipt.number} is void."] * 2
    receipt.refresh_from_db()
    assert receipt.reversed_by == manager
    assert open_page(second)["voids"] == []


def test_cashier_may_withdraw_but_not_confirm_the_void(client, cashier, session):
    receipt = record(cashier)
    request = voids.ask_void(receipt_id=receipt.pk, reason="typed twice", by_id=cashier.pk, now=AT)

    assert [each["decisions"] for each in open_page(client)["voids"]] == [["decline"]]
    assert decide(client, request, "confirm") == "Another person must confirm the void of this receipt."
    assert decide(client, request, "decline") == f"Receipt {receipt.number} stays valid."
    receipt.refresh_from_db()
    assert receipt.reversed_at is None


def test_void_request_needs_a_receipt_number_and_a_reason(client, cashier, session):
    receipt = record(cashier)

    said = do(client, "ask", number="2026-999999", reason="typed twice")
    assert said == {"number": ["No cash or bank receipt has this number."]}
    assert do(client, "ask", number=receipt.number, reason=" ") == {"reason": ["This field is required."]}


def test_receipt_page_links_to_the_void_form(client, cashier, session):
    receipt = record(cashier)
    link = f'href="{DESK}?receipt={receipt.number}#ask"'
    address = f"/admin/payments/receipt/{receipt.pk}/change/"
    assert link in client.get(address, secure=True).content.decode()

    voids.void_receipt(receipt_id=receipt.pk, reason="typed twice", by_id=MemberFactory().pk, now=AT)

    assert link not in client.get(address, secure=True).content.decode()


# --- Roles ---


@pytest.mark.parametrize(
    ("role", "status"), [("Admin", 200), ("Manager", 200), ("Receptionist", 200), ("Trainer", 403), ("Member", 302)]
)
def test_cash_desk_needs_the_receptionist_role(client, role, status):
    person = MemberFactory(role=role, is_staff=role != "Member")
    client.force_login(person)

    assert client.get(DESK, secure=True).status_code == status
    in_menu = f'href="{DESK}"' in client.get("/admin/", secure=True).content.decode()
    assert in_menu == (status == 200)


@pytest.mark.parametrize("name", ["open", "take", "claim", "ask", "close", "voids/1/confirm", "voids/1/decline"])
def test_trainer_and_get_requests_perform_no_action(client, name):
    log_in(client, "Trainer")
    assert client.post(f"{DESK}{name}/", {}, secure=True).status_code == 403

    log_in(client)
    assert client.get(f"{DESK}{name}/", secure=True).status_code == 405


def test_unknown_action_is_refused(client, cashier):
    assert client.post(f"{DESK}destroy/", {}, secure=True).status_code == 403


def test_form_of_another_site_fails_the_csrf_check(cashier):
    stranger = Client(enforce_csrf_checks=True)
    stranger.force_login(cashier)

    assert stranger.post(f"{DESK}open/", {"opening_float": 1}, secure=True).status_code == 403
    assert not CashSession.objects.exists()


# --- Queries ---


def queries(client):
    with CaptureQueriesContext(
        connection,
    ) as made:
        client.get(DESK, secure=True)
    return len(made)


def test_page_costs_the_same_queries_for_any_number_of_receipts(client, cashier, session):
    def receipt_with_a_void():
        voids.ask_void(receipt_id=record(cashier).pk, reason="typed twice", by_id=MemberFactory().pk, now=AT)
        record(cashier, channel=Channel.BANK)

    receipt_with_a_void()
    one = queries(client)
    for _ in range(3):
        receipt_with_a_void()

    assert queries(client) == one == 9
