"""The member page: what it shows, and its actions."""

import re
from datetime import UTC, date, datetime, timedelta

import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import Authenticator, SecurityEvent
from accounts.receivers import LOGGED_IN_AT
from accounts.tests.factories import UserFactory
from api.tests.clients import logged_in_as
from config.desk.actions.base import periods_paid_by
from payments.daraja.messages import C2bMessage
from payments.daraja.result_codes import advice
from payments.desk import cash_sessions, desk_receipts, refunds
from payments.evidence import c2b_confirmations
from payments.models import Account, CodeClaim, Payment, PushStatus, Receipt, Refund, ReviewItem, StkPush
from payments.tests.factories import make_push
from payments.tests.triggers import triggers_off
from subscriptions import gate
from subscriptions.admin import last_day
from subscriptions.models import Freeze, Origin, Subscription
from subscriptions.services import freezes, purchases
from subscriptions.tests.factories import (
    MemberFactory,
    PlanFactory,
    PlanGroupFactory,
    granted,
    pending,
    record_paybill_payment,
)

pytestmark = pytest.mark.django_db

# Monday 2 November 2026, 14:00 in Nairobi: later than the noon at which the factories create rows.
AT = datetime(2026, 11, 2, 11, tzinfo=UTC)
TODAY = date(2026, 11, 2)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr("config.desk.member_page.now", lambda: AT)


@pytest.fixture
def member():
    return MemberFactory(first_name="Wanjiru", last_name="Kamau", phone_number="254712345678")


@pytest.fixture
def month():
    return PlanFactory(code="monthly", name="Monthly", price=1500)


@pytest.fixture
def caller(client):
    """A receptionist who is logged in and has an open cash session."""
    return log_in(client, "Receptionist")


def log_in(client, role):
    person = UserFactory(role=role, is_staff=True)
    client.force_login(person)
    cash_sessions.open_session(cashier_id=person.pk, opening_float=0, now=AT)
    return person


def page_of(member):
    return f"/admin/members/{member.pk}/"


def open_page(client, member):
    """Open the page; return its template context."""
    answer = client.get(page_of(member), secure=True)
    assert answer.status_code == 200
    return answer.context


def freeze_now(period, by):
    """Freeze a period for a week from today."""
    days = {"starts_on": TODAY, "ends_on": TODAY + timedelta(days=7)}
    return freezes.freeze(subscription_id=period.pk, kind="staff", by_id=by.pk, now=AT, **days)


def lines_of(context, title):
    """Return the lines of a section as (text, badge)."""
    (section,) = [each for each in context["sections"] if each.title == title]
    return [(each.text, each.badge and each.badge.text) for each in section.lines]


def do(client, member, name, **typed):
    """Send the form of an action with the page's own values and `typed`; return the messages or the errors."""
    form = next(each for each in open_page(client, member)["actions"] if each.name == name)
    drawn = {field.html_name: field.value() for field in form}
    return send(client, member, name, {key: value for key, value in (drawn | typed).items() if value is not None})


def send(client, member, name, body):
    answer = client.post(f"{page_of(member)}{name}/", body, secure=True)
    if answer.status_code == 302:
        assert answer.url == page_of(member)
        return [message.message for message in get_messages(answer.wsgi_request)][
            -1:
        ]  # earlier messages are still unread
    assert answer.status_code == 200
    return answer.context["tried"].errors


# --- The page ---


def test_page_shows_name_status_and_balances(client, caller, member, month):
    granted(month, member)
    pending(PlanFactory(code="locker", name="Locker", group=PlanGroupFactory(name="Lockers"), price=300), member)
    record_paybill_payment(member, 200)

    context = open_page(client, member)

    assert (context["title"], context["phone"]) == ("Wanjiru Kamau", "254712345678")
    assert [(each.group, each.badge.text, each.text) for each in context["group_statuses"]] == [
        ("Gym access", "active", "Monthly, until 1 Dec 2026"),
        ("Lockers", "pending", "Locker"),
    ]
    assert context["figures"] == [("Owes", "KES 300"), ("Credit", "KES 200")]


@pytest.mark.parametrize(
    ("bought_on", "said"),
    [
        (date(2026, 10, 30), ("active", "Monthly, until 29 Nov 2026")),
        (date(2026, 10, 1), ("grace", "Monthly, let in until 5 Nov 2026")),
        (date(2026, 9, 1), ("expired", "Monthly, until 30 Sep 2026")),
    ],
)
def test_status_shows_its_last_day(client, caller, member, bought_on, said):
    granted(PlanFactory(grace_days=5), member, on=bought_on)

    (standing,) = open_page(client, member)["group_statuses"]

    assert (standing.badge.text, standing.text) == said


def test_period_replaced_on_its_first_day_shows_no_dates(client, caller, member, month):
    first = granted(month, member)
    receipt = first.payment.allocations.get().receipt
    granted(PlanFactory(name="Gold", price=3000, group=month.group), member, replaces=first)

    context = open_page(client, member)

    (periods,) = [each for each in context["sections"] if each.title == "Periods"]
    assert [(line.when, line.text) for line in periods.lines] == [
        ("2 Nov 2026 to 1 Dec 2026", "Gold"),
        ("2 Nov 2026, replaced the same day", "Monthly"),
    ]
    first.refresh_from_db()
    assert str(first) == "Monthly, 2 Nov 2026, replaced the same day"
    assert last_day(first) is None
    assert periods_paid_by(receipt) == ""


def test_frozen_period_and_its_freeze_are_shown(client, caller, member, month):
    period = granted(month, member)
    freezes.freeze(
        subscription_id=period.pk,
        starts_on=TODAY,
        ends_on=TODAY + timedelta(days=3),
        kind="staff",
        by_id=caller.pk,
        now=AT,
        reason="travels",
    )

    context = open_page(client, member)

    assert [each.badge.text for each in context["group_statuses"]] == ["frozen"]
    (section,) = [each for each in context["sections"] if each.title == "Freezes"]
    assert [(each.when, each.text, each.note) for each in section.lines] == [
        ("2 Nov 2026 to 4 Nov 2026", "Monthly", f"travels; by {caller.get_full_name()}")
    ]


@pytest.mark.breaks_the_books
def test_expired_payment_is_not_owed(client, caller, member, month):
    Payment.objects.filter(pk=pending(month, member).payment_id).update(status="expired")

    assert open_page(client, member)["figures"] == [("Owes", "KES 0"), ("Credit", "KES 0")]


def test_payment_lists_its_pushes_and_receipts_in_order(client, caller, member, month):
    payment = pending(month, member).payment
    make_push(payment, status=PushStatus.CANCELLED, amount=1500, phone="254799000111", result_code="1032")
    receipt = desk_receipts.record_receipt(
        channel="cash", amount=1500, by_id=caller.pk, now=AT, member_id=member.pk, payment_id=payment.pk
    )
    record_paybill_payment(member, 200, AT + timedelta(minutes=1))

    (section,) = [each for each in open_page(client, member)["sections"] if each.title == "Payments"]

    assert [each.text for each in section.lines] == [
        "KES 200, M-Pesa paybill",
        f"{payment.reference}: KES 1,500 for {payment.description}",
    ]
    assert [(each.text, each.badge.text, each.note) for each in section.lines[1].under] == [
        ("STK push of KES 1,500 to 2547****111", "cancelled", advice("1032")),
        (f"KES 1,500, Cash {receipt.number}", "received", f"taken by {caller.get_full_name()}"),
    ]


@pytest.mark.parametrize(
    ("status", "code", "kept", "said"),
    [
        ("failed", "2001", "The initiator information is invalid.", advice("2001")),
        ("failed", "SFC_IC0003", "No ICCID for the subscriber", advice("SFC_IC0003")),
        ("failed", "refused", "Safaricom refused: 400.002.02", advice("refused")),
        ("succeeded", "0", "The service request is processed successfully.", advice("0")),
        ("unknown", "", "The worker ended before it could record what Safaricom said.", None),
        ("sent", "", "", None),
    ],
)
@pytest.mark.breaks_the_books
def test_ended_push_shows_the_sentence_for_members(client, caller, member, month, status, code, kept, said):
    payment = pending(month, member).payment
    make_push(payment, status=status, result_code=code, result_desc=kept)

    (section,) = [each for each in open_page(client, member)["sections"] if each.title == "Payments"]

    assert [each.note for each in section.lines[0].under] == [kept if said is None else said]


def test_refund_is_shown_with_its_reason(client, caller, member):
    receipt = record_paybill_payment(member, 500)
    refunds.record_refund(
        receipt_id=receipt.pk, paid_from=Account.BANK, reason="moved away", amount=200, by_id=caller.pk, now=AT
    )

    (section,) = [each for each in open_page(client, member)["sections"] if each.title == "Payments"]

    assert section.lines[0].note == "KES 200 refunded: moved away"


def test_visits_show_the_decision_of_the_gate(client, caller, member, month):
    gate.check_in(member_number=member.member_number, recorded_by_id=None, now=AT, gate="Main door")
    granted(month, member)
    gate.check_in(member_number=member.member_number, recorded_by_id=None, now=AT + timedelta(hours=1), gate="Back")

    assert lines_of(open_page(client, member), "Visits") == [("Back", "Let in"), ("Main door", "Turned away")]


def test_period_of_a_child_shows_its_payer(client, caller, member, month):
    child = MemberFactory(first_name="Baraka", added_by=member)
    bought = purchases.subscribe(
        member_ids=[child.pk], plan_code="monthly", payer_id=member.pk, phone=None, created_by_id=member.pk, now=AT
    )

    (periods, payments, *_) = open_page(client, child)["sections"]

    assert [each.note for each in periods.lines] == ["paid by Wanjiru Kamau"]
    assert payments.lines[0].text.startswith(bought.subscription.payment.reference)


def test_cancelled_purchases_do_not_hide_the_running_period(client, caller, member, month, monkeypatch):
    monkeypatch.setattr("config.desk.member_page.MOST", 2)
    granted(month, member)
    for _ in range(3):
        bought = pending(month, member)
        purchases.cancel(subscription_id=bought.pk, by_id=caller.pk, now=AT)

    context = open_page(client, member)

    assert [each.badge.text for each in context["group_statuses"]] == ["active"]
    assert lines_of(context, "Periods") == [("Monthly", "active"), ("Monthly", "cancelled")]


def test_manager_sees_security_events(client, member):
    manager = log_in(client, "Manager")
    SecurityEvent.objects.create(user=member, actor=manager, event="password_changed", at=AT, ip="197.248.0.1")
    SecurityEvent.objects.create(user=member, event="login", outcome="failed", at=AT + timedelta(minutes=1))

    (section,) = [each for each in open_page(client, member)["sections"] if each.title == "Security events"]

    assert [(each.text, each.badge.text, each.note) for each in section.lines] == [
        ("Login", "failed", ""),
        ("Password changed", "ok", f"by {manager.get_full_name()}; 197.248.0.1"),
    ]


def test_missing_consent_and_closed_account_are_shown(client, caller):
    stranger = MemberFactory(consented_at=None, is_active=False)

    content = client.get(page_of(stranger), secure=True).content.decode()

    assert "terms not agreed" in content
    assert "account closed" in content


def test_page_costs_the_same_queries_for_any_number_of_rows(client, member, month):
    manager = log_in(client, "Manager")

    def add_rows():
        period = granted(month, member)
        payment = pending(PlanFactory(), member).payment
        make_push(payment, status=PushStatus.FAILED)
        make_push(payment, status=PushStatus.CANCELLED)
        record_paybill_payment(member, 50)
        freezes.freeze(
            subscription_id=period.pk,
            starts_on=period.starts_on,
            ends_on=period.starts_on + timedelta(days=1),
            kind="staff",
            by_id=manager.pk,
            now=AT,
        )
        gate.check_in(member_number=member.member_number, recorded_by_id=None, now=AT)
        SecurityEvent.objects.create(user=member, actor=manager, event="password_changed", at=AT)

    add_rows()
    open_page(client, member)
    with CaptureQueriesContext(connection) as before:
        open_page(client, member)
    for _ in range(2):
        add_rows()

    with CaptureQueriesContext(connection) as after:
        context = open_page(client, member)

    assert all(len(each.lines) >= 3 for each in context["sections"] if each.title != "Visits")
    assert len(before) == len(after) == 34


# --- Actions ---


def test_selling_a_plan_sends_an_stk_push(client, caller, member, month):
    said = do(client, member, "sell", plan="monthly")

    bought = Subscription.objects.get()
    assert said == [f"Monthly is sold: KES 1,500 to pay as {bought.payment.reference}."]
    assert (bought.member, bought.payment.payer, bought.created_by) == (member, member, caller)
    assert StkPush.objects.get().phone == "254712345678"


def test_selling_without_a_phone_sends_no_push(client, caller, member, month):
    do(client, member, "sell", plan="monthly", phone_number="")

    assert Subscription.objects.get().payment.status == "pending"
    assert not StkPush.objects.exists()


def test_credit_pays_a_sold_plan_at_once(client, caller, member, month):
    record_paybill_payment(member, 1500)

    assert do(client, member, "sell", plan="monthly") == [
        "Monthly is sold and paid. It runs from 2 Nov 2026 to 1 Dec 2026."
    ]


def test_sale_during_a_freeze_names_the_first_day(client, caller, member, month):
    running = granted(month, member)
    freeze_now(running, caller)
    PlanFactory(code="day", name="Day pass", group=month.group, price=300, interval="days")

    sold = do(client, member, "sell", plan="day", phone_number="")
    paid = do(client, member, "take", amount=300)

    reference, number = Payment.objects.latest("pk").reference, Receipt.objects.latest("pk").number
    assert sold == [f"Day pass is sold: KES 300 to pay as {reference}. Paid today, it begins on 9 Dec 2026."]
    assert paid == [f"KES 300 taken: receipt {number}. Day pass runs on 9 Dec 2026."]


def test_later_period_after_a_gap_does_not_delay_a_sale(client, caller, member, month):
    later = granted(month, member)
    with triggers_off():
        Subscription.objects.filter(pk=later.pk).update(
            starts_on=TODAY + timedelta(days=30),
            base_ends_on=TODAY + timedelta(days=60),
            ends_on=TODAY + timedelta(days=60),
        )

    said = do(client, member, "sell", plan="monthly", phone_number="")

    assert "it begins on" not in said[0]


def test_push_for_an_open_payment_goes_to_any_phone(client, caller, member, month):
    payment = pending(month, member, now=AT).payment

    said = do(client, member, "prompt", payment=payment.pk, phone_number="0799 000 111")

    push = StkPush.objects.get()
    assert said == ["An STK push of KES 1,500 is on its way to the phone."]
    assert (push.payment, push.phone, push.created_by) == (payment, "254799000111", caller)


def test_cash_pays_open_payments_with_a_numbered_receipt(client, caller, member, month):
    payment = pending(month, member).payment

    said = do(client, member, "take", amount=2000)

    payment.refresh_from_db()
    receipt = Receipt.objects.get()
    assert said == [f"KES 2,000 taken: receipt {receipt.number}. Monthly runs from 2 Nov 2026 to 1 Dec 2026."]
    assert (payment.status, receipt.member, receipt.recorded_by) == ("paid", member, caller)
    assert open_page(client, member)["figures"] == [("Owes", "KES 0"), ("Credit", "KES 500")]


def test_cash_pays_the_chosen_payment(client, caller, member, month):
    pending(month, member)
    second = pending(PlanFactory(), member).payment

    do(client, member, "take", amount=1500, payment=second.pk)

    second.refresh_from_db()
    assert second.status == "paid"


def test_bank_transfer_is_recorded_with_its_reference(client, caller, member):
    do(client, member, "take", amount=700, channel="bank", note="FT2630")

    receipt = Receipt.objects.get()
    assert (receipt.channel, receipt.amount, receipt.account_typed) == ("bank", 700, "FT2630")


def test_staff_freeze_a_period_with_a_reason(client, caller, member, month):
    period = granted(month, member)

    said = do(client, member, "freeze", period=period.pk, ends_on="2026-11-12", reason="broke a leg")

    freeze = Freeze.objects.get()
    period.refresh_from_db()
    assert said == ["Frozen for 10 days. They are added to the end of the period."]
    assert (freeze.kind, freeze.reason, freeze.requested_by) == ("staff", "broke a leg", caller)
    assert period.ends_on == date(2026, 12, 12)


def test_staff_freeze_their_own_period_within_plan_limits(client, caller, month):
    period = granted(month, caller)

    refused = do(client, caller, "freeze", period=period.pk, ends_on="2026-11-12", reason="holiday")

    assert refused == {"__all__": ["This is more than the plan allows. Choose fewer days, or ask at the desk."]}


def test_manager_gives_a_free_period_with_a_reason(client, member, month):
    manager = log_in(client, "Manager")

    said = do(client, member, "gift", plan="monthly", reason="our mistake")

    given = Subscription.objects.get()
    assert said == ["Monthly is given free of charge. It runs from 2 Nov 2026 to 1 Dec 2026."]
    assert (given.origin, given.created_by, given.payment.amount_due) == (Origin.GIFT, manager, 0)
    assert given.payment.events.last().evidence == "free: our mistake"


def test_reported_code_is_stored_for_the_open_payment(client, caller, member, month):
    payment = pending(month, member).payment

    said = do(client, member, "claim", payment=payment.pk, code="tkn1 ab2c 3d")

    noted = f"TKN1AB2C3D is saved for {payment.reference}. It counts when Safaricom confirms the money."
    assert said == [noted]
    assert do(client, member, "claim", payment=payment.pk, code="TKN1AB2C3D") == [noted]
    assert CodeClaim.objects.get().payment == payment


def test_reported_code_with_its_money_names_the_period_it_pays(client, caller, member, month):
    payment = pending(month, member, now=AT).payment
    c2b_confirmations.apply_c2b(message=C2bMessage("TKN1AB2C3D", AT, 1500, "174379", "gym", "", "JANE", "", ""), now=AT)

    said = do(client, member, "claim", payment=payment.pk, code="TKN1AB2C3D")

    assert said == [
        f"The money of TKN1AB2C3D is here, and pays {payment.reference}. Monthly runs from 2 Nov 2026 to 1 Dec 2026."
    ]


def test_code_form_needs_a_payment(client, caller, member):
    assert "claim" not in [each.name for each in open_page(client, member)["actions"]]


def test_code_of_a_member_without_debt_becomes_credit(client, caller, member, month):
    granted(month, member)
    paid = granted(month, member).payment
    form = next(each for each in open_page(client, member)["actions"] if each.name == "claim")
    assert (
        form.hint
        == "The member owes nothing, so the money will become credit. If it has arrived, it is among the review items."
    )
    assert next(iter(form["payment"].field.choices))[1] == f"{paid.reference}: {paid.description}, paid"

    tried = client.post(f"{page_of(member)}claim/", {"payment": paid.pk, "code": "paid"}, secure=True).context["tried"]
    assert (tried.hint, len(tried["payment"].field.choices)) == (form.hint, 2)
    do(client, member, "claim", payment=paid.pk, code="TKN1AB2C3D")
    c2b_confirmations.apply_c2b(message=C2bMessage("TKN1AB2C3D", AT, 1500, "174379", "gym", "", "JANE", "", ""), now=AT)

    assert open_page(client, member)["figures"] == [("Owes", "KES 0"), ("Credit", "KES 1,500")]


def test_matched_code_for_a_paid_payment_stays_a_review_item(client, caller, member, month):
    paid = granted(month, member).payment
    c2b_confirmations.apply_c2b(message=C2bMessage("TKN1AB2C3D", AT, 1500, "174379", "gym", "", "JANE", "", ""), now=AT)

    answer = client.post("/admin/cash-desk/claim/", {"code": "TKN1AB2C3D", "payment": paid.reference}, secure=True)

    assert b"This payment is closed or fully paid." in answer.content
    assert not CodeClaim.objects.exists()
    assert ReviewItem.objects.get(status="open").receipt.code == "TKN1AB2C3D"


def test_ending_a_freeze_early_shortens_the_period(client, caller, member, month):
    period = granted(month, member, on=date(2026, 10, 30))
    freeze_now(period, caller)

    said = do(client, member, "unfreeze", period=period.pk)

    assert said == ["The freeze has ended. Monthly runs until 29 Nov 2026."]
    assert "unfreeze" not in [each.name for each in open_page(client, member)["actions"]]


def test_second_end_of_a_freeze_is_refused(client, caller, member, month):
    period = granted(month, member)
    freeze_now(period, caller)
    do(client, member, "unfreeze", period=period.pk)

    refused = send(client, member, "unfreeze", {"period": period.pk})

    assert refused == {"period": ["Select a valid choice. That choice is not one of the available choices."]}


def test_refund_of_a_receipt_marks_its_payment_refunded(client, member, month):
    manager = log_in(client, "Manager")
    payment = pending(month, member).payment
    receipt = desk_receipts.record_receipt(
        channel="cash", amount=1500, by_id=manager.pk, now=AT, member_id=member.pk, payment_id=payment.pk
    )
    offered = next(each for each in open_page(client, member)["actions"] if each.name == "refund")
    assert offered.fields["given_of"].choices == [(str(receipt.pk), f"KES 1,500 of {receipt.number}, 2 Nov 2026")]

    said = do(client, member, "refund", given_of=receipt.pk, paid_from="bank", reason="moved away")

    refund = Refund.objects.get()
    payment.refresh_from_db()
    assert said == ["KES 1,500 is recorded as refunded."]
    assert (refund.amount, refund.paid_from, refund.made_by) == (1500, "bank", manager)
    assert payment.status == "refunded"


def test_refund_of_credit_reduces_the_credit(client, member):
    log_in(client, "Manager")
    record_paybill_payment(member, 300)
    record_paybill_payment(member, 400)

    said = do(client, member, "refund", given_of="credit", amount=500, paid_from="mpesa", reason="asked for it")

    assert said == ["KES 500 is recorded as refunded."]
    assert open_page(client, member)["figures"] == [("Owes", "KES 0"), ("Credit", "KES 200")]


def test_refund_above_the_receipt_is_refused(client, member):
    log_in(client, "Manager")
    receipt = record_paybill_payment(member, 300)

    said = do(client, member, "refund", given_of=receipt.pk, amount=301, paid_from="bank", reason="x")

    assert said == {
        "__all__": ["The refund is more than this receipt, or the member's credit, holds. Enter a smaller amount."]
    }
    assert not Refund.objects.exists()


def test_receipt_of_another_member_cannot_be_refunded(client, member):
    log_in(client, "Manager")
    record_paybill_payment(member, 300)
    theirs = record_paybill_payment(MemberFactory(), 300)

    assert list(do(client, member, "refund", given_of=theirs.pk, paid_from="bank", reason="x")) == ["given_of"]


def test_lost_phone_ends_login_sessions_and_second_factor(client):
    manager, member = log_in(client, "Manager"), UserFactory()
    theirs = logged_in_as(member)
    Authenticator.objects.create(user=member, key="sealed", confirmed=True)

    said = do(client, member, "lost", reason="ID card", phone_number="0722 222 222", remove_second_factor="on")

    done = "1 login session ended, the number is changed, the second factor is removed"
    assert said == [f"The lost phone is locked out: {done}."]
    assert theirs.get("/api/v1/auth/me/").status_code == 401
    member.refresh_from_db()
    assert (member.phone_number, Authenticator.objects.filter(user=member).exists()) == ("254722222222", False)
    event = SecurityEvent.objects.get(event="phone_lost")
    assert (event.user, event.actor, event.detail) == (member, manager, {"reason": "ID card"})


def test_lost_phone_changes_nothing_if_the_number_is_taken(client):
    log_in(client, "Manager")
    member = UserFactory()
    theirs = logged_in_as(member)
    MemberFactory(phone_number="254722222222")

    said = do(client, member, "lost", reason="ID card", phone_number="0722222222")

    assert said == {"__all__": ["This e-mail address, phone number or username is already in use."]}
    assert theirs.get("/api/v1/auth/me/").status_code == 200


def test_lost_phone_action_needs_a_fresh_login(client, member):
    log_in(client, "Manager")
    session = client.session
    session[LOGGED_IN_AT] = 0
    session.save()

    said = do(client, member, "lost", reason="ID card")

    assert "Log out and log in again" in said["__all__"][0]
    assert not SecurityEvent.objects.filter(event="phone_lost").exists()


@pytest.mark.parametrize("role", ["Manager", "Admin"])
def test_lost_phone_action_needs_a_higher_role_than_the_member(client, role):
    log_in(client, "Manager")
    peer = UserFactory(role=role)

    assert "lost" not in [each.name for each in open_page(client, peer)["actions"]]
    said = send(client, peer, "lost", {"reason": "ID card"})

    assert said == {"__all__": ["You can do this only for people with a lower role than yours."]}
    assert not SecurityEvent.objects.exists()


# --- Sent twice ---


@pytest.mark.parametrize(
    ("name", "typed", "counted"),
    [
        ("sell", {"plan": "monthly"}, Subscription),
        ("take", {"amount": 500, "channel": "cash"}, Receipt),
        ("gift", {"plan": "monthly", "reason": "raffle"}, Subscription),
        ("refund", {"given_of": "credit", "paid_from": "bank", "reason": "asked"}, Refund),
    ],
)
def test_form_sent_twice_counts_once(client, member, month, name, typed, counted):
    log_in(client, "Manager")
    if name == "refund":
        record_paybill_payment(member, 300)
    form = next(each for each in open_page(client, member)["actions"] if each.name == name)
    body = {**typed, "key": str(form["key"].value())}

    first = send(client, member, name, body)

    assert send(client, member, name, body) == first
    assert counted.objects.count() == 1


@pytest.mark.parametrize("name", ["take", "claim"])
def test_form_sent_again_after_it_paid_the_payment_counts_once(client, caller, member, month, name):
    payment = pending(month, member, now=AT).payment
    if name == "claim":
        c2b_confirmations.apply_c2b(
            message=C2bMessage("TKN1AB2C3D", AT, 1500, "174379", "gym", "", "JANE", "", ""), now=AT
        )
    form = next(each for each in open_page(client, member)["actions"] if each.name == name)
    typed = {"take": {"amount": 1500, "channel": "cash"}, "claim": {"code": "TKN1AB2C3D"}}[name]
    body = {"payment": payment.pk, **typed, **({"key": str(form["key"].value())} if name == "take" else {})}

    first = send(client, member, name, body)

    assert send(client, member, name, body) == first
    assert Receipt.objects.get().allocations.get().payment == payment


def test_form_key_is_refused_for_other_values(client, caller, member):
    body = {"amount": 500, "channel": "cash", "key": "values-by-the-page"}
    send(client, member, "take", body)

    refused = send(client, member, "take", body | {"amount": 600})

    assert refused == {"__all__": ["This form was already sent with other values. Open the page again and repeat it."]}
    assert Receipt.objects.get().amount == 500


def test_second_push_is_refused_while_the_first_is_open(client, caller, member, month):
    payment = pending(month, member, now=AT).payment
    do(client, member, "prompt", payment=payment.pk)

    refused = do(client, member, "prompt", payment=payment.pk)

    assert refused == {"__all__": ["A payment request is already on this phone. Answer it first, or wait a minute."]}
    assert StkPush.objects.count() == 1


def test_same_days_are_frozen_once(client, caller, member, month):
    period = granted(month, member)
    do(client, member, "freeze", period=period.pk, ends_on="2026-11-12", reason="ill")

    refused = do(client, member, "freeze", period=period.pk, ends_on="2026-11-12", reason="ill")

    assert refused == {"__all__": ["Some of these days are already frozen. Choose other days."]}


# --- Refusals ---


def test_refused_sale_shows_the_reason_and_keeps_the_values(client, caller, month):
    stranger = MemberFactory(consented_at=None)

    answer = client.post(
        f"{page_of(stranger)}sell/", {"plan": "monthly", "phone_number": "0799000111", "key": "k"}, secure=True
    )

    content = answer.content.decode()
    assert answer.status_code == 200
    assert "The member must agree to the club&#x27;s terms first." in content
    assert 'value="0799000111"' in content
    assert 'value="k"' in content
    assert len(re.findall(r"<details[^>]* open>", content)) == 1
    assert not Subscription.objects.exists()


def test_cash_needs_an_open_drawer(client, caller, member):
    cash_sessions.close_session(cashier_id=caller.pk, counted=0, now=AT)

    assert do(client, member, "take", amount=500) == {
        "__all__": ["Your cash drawer is closed. Open it at the cash desk first."]
    }


def test_closed_drawer_shows_a_link_to_the_cash_desk(client, caller, member):
    link = f'<a class="text-primary-600" href="{reverse("cash-desk")}">Open it at the cash desk</a>'

    with_one = client.get(page_of(member), secure=True).content.decode()
    cash_sessions.close_session(cashier_id=caller.pk, counted=0, now=AT)
    without = client.get(page_of(member), secure=True).content.decode()

    assert "Your cash drawer is closed" not in with_one
    assert f"Your cash drawer is closed. {link} first." in without


def test_staff_cannot_take_their_own_money(client, caller):
    refused = do(client, caller, "take", amount=500)

    assert refused == {"__all__": ["You cannot do this for yourself. Ask a colleague."]}


@pytest.mark.parametrize(
    ("name", "typed", "refused"),
    [
        ("take", {"amount": 0}, {"amount": ["Ensure this value is greater than or equal to 1."]}),
        ("take", {"amount": "12.5"}, {"amount": ["Enter a whole number in the digits 0 to 9."]}),
        ("take", {"amount": 5, "channel": "mpesa_stk"}, {"channel": [
            "Select a valid choice. mpesa_stk is not one of the available choices."
        ]}),
        ("sell", {"plan": "monthly", "phone_number": "12"}, {"phone_number": [
            "Enter a Kenyan mobile number, such as 0712 345 678."
        ]}),
        ("sell", {"plan": "none"}, {"plan": [
            "Select a valid choice. That choice is not one of the available choices."
        ]}),
        ("sell", {"plan": "monthly", "key": ""}, {"key": ["This field is required."]}),
    ],
)  # fmt: skip
def test_invalid_values_are_refused(client, caller, member, month, name, typed, refused):
    assert do(client, member, name, **typed) == refused


def test_payment_and_period_of_another_member_are_refused(client, caller, member, month):
    theirs = granted(month)
    pending(PlanFactory(), member)
    granted(PlanFactory(), member)
    choice = ["Select a valid choice. That choice is not one of the available choices."]

    assert do(client, member, "prompt", payment=pending(month).payment_id) == {"payment": choice}
    assert do(client, member, "take", amount=5, payment=pending(month).payment_id) == {"payment": choice}
    assert do(client, member, "freeze", period=theirs.pk, ends_on="2026-12-01", reason="x") == {"period": choice}


def test_action_needs_post_and_the_csrf_token(client, caller, member):
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies

    assert client.get(f"{page_of(member)}take/", secure=True).status_code == 405
    assert strict.post(f"{page_of(member)}take/", {"amount": 5}, secure=True).status_code == 403
    assert not Receipt.objects.exists()


# --- Roles ---

DESK = ["sell", "prompt", "take", "claim", "freeze", "unfreeze"]
OFFICE = ["gift", "refund", "lost"]
SECTIONS = ["Periods", "Payments", "Visits", "Freezes"]


@pytest.mark.parametrize(
    ("role", "acts", "titles"),
    [
        ("Admin", [*DESK, *OFFICE], [*SECTIONS, "Security events"]),
        ("Manager", [*DESK, *OFFICE], [*SECTIONS, "Security events"]),
        ("Receptionist", DESK, SECTIONS),
        ("Trainer", [], ["Periods", "Visits", "Freezes"]),
    ],
)
def test_each_role_sees_its_sections_and_actions(client, member, month, role, acts, titles):
    period = granted(month, member)
    pending(PlanFactory(), member)
    record_paybill_payment(member, 50)
    freeze_now(period, member)
    log_in(client, role)

    context = open_page(client, member)

    assert [each.name for each in context["actions"]] == acts
    assert [each.title for each in context["sections"]] == titles


def test_trainer_sees_no_whole_phone_number_and_no_money(client, member, month):
    log_in(client, "Trainer")
    reference = granted(month, member).payment.reference
    record_paybill_payment(member, 777)

    content = client.get(page_of(member), secure=True).content.decode()

    assert "2547****678" in content
    for hidden in ("254712345678", "KES", reference):
        assert hidden not in content


@pytest.mark.parametrize(
    ("role", "refused"), [("Trainer", [*DESK, *OFFICE]), ("Receptionist", OFFICE), ("Member", [*DESK, *OFFICE])]
)
def test_action_above_the_callers_role_is_refused(client, member, month, role, refused):
    log_in(client, role)

    for name in refused:
        answer = client.post(
            f"{page_of(member)}{name}/", {"plan": "monthly", "reason": "x", "key": "k", "amount": 5}, secure=True
        )
        assert answer.status_code == 403

    assert not Subscription.objects.exists()
    assert not Receipt.objects.exists()


def test_page_needs_a_staff_login(client, member):
    assert client.get(page_of(member), secure=True).status_code == 302

    log_in(client, "Member")

    assert client.get(page_of(member), secure=True).status_code == 403


def test_unknown_member_and_unknown_action_are_refused(client, caller, member):
    assert client.get("/admin/members/999999/", secure=True).status_code == 404
    assert client.post(f"{page_of(member)}delete/", secure=True).status_code == 403


# --- Links ---


def test_people_list_and_person_page_link_to_the_member_page(client, caller, member):
    for name, arguments in (("changelist", []), ("change", [member.pk])):
        content = client.get(reverse(f"admin:accounts_customuser_{name}", args=arguments), secure=True).content.decode()
        assert f'href="{page_of(member)}"' in content


@pytest.mark.parametrize("key", ["x" * 65, "a key", "", "ü"])
def test_invalid_form_key_is_refused(client, caller, member, month, key):
    answer = client.post(f"{page_of(member)}sell/", {"plan": month.code, "key": key}, secure=True)

    assert answer.status_code == 200
    assert not Payment.objects.exists()
