"""The dashboard: each figure is a sum of the database, and links to the rows that it counts."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from procrastinate.contrib.django import app

from accounts.tests.factories import UserFactory
from config.desk import dashboard
from payments.daraja.messages import C2bMessage
from payments.desk import cash_sessions, desk_receipts, voids
from payments.evidence import c2b_confirmations
from payments.models import PushStatus, Receipt
from payments.tests.factories import MemberFactory, create_payment, make_push
from subscriptions.models import Freeze, Subscription, Visit
from subscriptions.tests.factories import PlanFactory, granted, record_paybill_payment

pytestmark = [pytest.mark.django_db, pytest.mark.server]

# Wednesday 18 November 2026, 00:30 in Nairobi: still Tuesday in UTC.
AT = datetime(2026, 11, 17, 21, 30, tzinfo=UTC)
TODAY = date(2026, 11, 18)
MIDNIGHT, MONDAY, FIRST = (datetime(2026, 11, day, 21, tzinfo=UTC) for day in (17, 15, 1))
FIRST = datetime(2026, 10, 31, 21, tzinfo=UTC)
INSTANT = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    for module in ("config.desk.dashboard", "config.desk.charts", "subscriptions.admin"):
        monkeypatch.setattr(f"{module}.now", lambda: AT)


@pytest.fixture
def money():
    """Receipts of each channel before and after each midnight, some reversed."""
    member, cashier = MemberFactory(), MemberFactory()
    cash_sessions.open_session(cashier_id=cashier.pk, opening_float=0, now=FIRST)
    for number, moment in enumerate([MIDNIGHT, MIDNIGHT - INSTANT, MONDAY, MONDAY - INSTANT, FIRST, FIRST - INSTANT]):
        record_paybill_payment(member, 1000 + number, moment)
        for channel in ("cash", "bank"):
            desk_receipts.record_receipt(
                channel=channel, amount=10 + number, by_id=cashier.pk, now=moment, note="FT1", member_id=member.pk
            )
    Receipt.objects.filter(channel="bank", amount=10).update(reversed_at=AT, reversed_by=member)


def summed(channel, since):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT COALESCE(sum(amount), 0) FROM payments_receipt"
            " WHERE channel = %s AND reversed_at IS NULL AND paid_at >= %s",
            [channel, since],
        )
        return cursor.fetchone()[0]


def panels(role="Admin", at=AT, user=None):
    """Return the panels of the role, as {title: {label: value}}."""
    user = user or UserFactory(role=role, is_staff=True)
    return {panel.title: {each.label: each.value for each in figures_of(panel)} for panel in all_panels(user, at)}


def all_panels(user, at=AT):
    """Return the panels of the role, with the panel that the browser loads later."""
    return [dashboard.memberships(at) if panel.later else panel for panel in dashboard.panels_for(user, at)]


def figures_of(panel):
    return [*panel.figures, *filter(None, [panel.total])]


def rows_behind(client, label, title):
    """Return the rows of the list that a figure links to."""
    client.force_login(UserFactory(role="Admin", is_staff=True))
    user = UserFactory(role="Admin")
    (link,) = [
        each.link
        for panel in all_panels(user)
        for each in figures_of(panel)
        if (each.label, panel.title) == (label, title)
    ]
    return rows_at(client, link)


def rows_at(client, link):
    answer = client.get(link, secure=True)
    assert answer.status_code == 200
    return list(answer.context["cl"].result_list)


@pytest.mark.parametrize(
    ("title", "since"), [("Money today", MIDNIGHT), ("Money this week", MONDAY), ("Money this month", FIRST)]
)
@pytest.mark.breaks_the_books
def test_takings_are_receipts_by_channel_and_net(money, title, since):
    shown = panels()[title]

    expected = {
        "M-Pesa STK push": summed("mpesa_stk", since),
        "M-Pesa paybill": summed("mpesa_c2b", since),
        "Cash": summed("cash", since),
        "Bank": summed("bank", since),
    }
    received = sum(expected.values())
    assert shown == {**expected, "Received": received, "Refunded": 0, "Net": received}


@pytest.mark.breaks_the_books
def test_takings_of_today_begin_at_midnight_in_nairobi(money):
    assert panels()["Money today"] == {
        "M-Pesa STK push": 0,
        "M-Pesa paybill": 1000,
        "Cash": 10,
        "Bank": 0,
        "Received": 1010,
        "Refunded": 0,
        "Net": 1010,
    }


@pytest.mark.parametrize("title", ["Money today", "Money this week", "Money this month"])
@pytest.mark.parametrize("label", ["M-Pesa paybill", "Cash", "Bank", "Received", "Net"])
@pytest.mark.breaks_the_books
def test_takings_link_to_their_receipts(client, money, title, label):
    rows = rows_behind(client, label, title)

    assert sum(each.amount for each in rows) == panels()[title][label]


@pytest.fixture
def periods():
    """Members in every status; the one who lapsed in October is not counted."""
    month = PlanFactory()
    running, frozen = granted(month, on=date(2026, 11, 1)), granted(month, on=date(2026, 11, 1))
    days = {"starts_on": TODAY, "ends_on": TODAY + timedelta(days=2)}
    Freeze.objects.create(subscription=frozen, requested_by=frozen.member, created_at=AT, **days)
    return {
        "Active": {running, granted(month, on=date(2026, 10, 20))},
        "In grace": {granted(PlanFactory(grace_days=5), on=date(2026, 10, 16))},
        "Frozen": {frozen},
        "Expired within 30 days": {granted(month, on=date(2026, 10, 1))},
        "To renew within 7 days": set(Subscription.objects.filter(starts_on=date(2026, 10, 20))),
        "forgotten": {granted(month, on=date(2026, 9, 1))},
    }


def test_members_are_counted_by_their_status_today(periods):
    del periods["forgotten"]

    assert panels()["Members"] == {label: len(rows) for label, rows in periods.items()}


@pytest.mark.parametrize("label", ["Active", "In grace", "Frozen", "Expired within 30 days", "To renew within 7 days"])
def test_member_counts_link_to_their_periods(client, periods, label):
    assert set(rows_behind(client, label, "Members")) == periods[label]


def test_renewed_and_leaving_members_are_not_due(periods):
    (due,) = periods["To renew within 7 days"]
    due.leaving_at = AT
    due.save()

    assert panels()["Members"]["To renew within 7 days"] == 0


def add_visit(at, decision="allow"):
    return Visit.objects.create(member=MemberFactory(), at=at, decision=decision, reason="active")


@pytest.mark.parametrize(("label", "decision"), [("Let in", "allow"), ("Turned away", "deny")])
def test_visits_of_today_begin_at_midnight_in_nairobi(client, label, decision):
    today = [add_visit(MIDNIGHT, decision), add_visit(AT, decision), add_visit(AT, decision)]
    add_visit(MIDNIGHT - INSTANT, decision)

    assert panels("Receptionist")["Visits today"][label] == 3
    assert set(rows_behind(client, label, "Visits today")) == set(today)


def test_ending_periods_are_listed_earliest_first(client):
    month = PlanFactory(name="Monthly")
    later = granted(month, MemberFactory(first_name="Later"), on=date(2026, 10, 24))
    sooner = granted(month, MemberFactory(first_name="Sooner"), on=date(2026, 10, 19))
    granted(month, on=date(2026, 11, 1))

    (panel,) = [each for each in dashboard.panels_for(UserFactory(role="Receptionist"), AT) if each.endings is not None]

    assert [(each.name, each.last_day) for each in panel.endings] == [
        ("Sooner", date(2026, 11, 18)),
        ("Later", date(2026, 11, 23)),
    ]
    client.force_login(UserFactory(role="Receptionist", is_staff=True))
    assert set(rows_at(client, panel.link)) == {sooner, later}
    assert client.get(panel.endings[0].link, secure=True).context["title"] == "Sooner"


def test_ending_periods_beyond_the_limit_are_behind_the_link(client, monkeypatch):
    monkeypatch.setattr(dashboard, "ENDINGS", 1)
    for _ in range(2):
        granted(PlanFactory(), on=date(2026, 10, 20))

    (panel,) = [each for each in dashboard.panels_for(UserFactory(role="Receptionist"), AT) if each.endings is not None]

    assert len(panel.endings) == 1
    client.force_login(UserFactory(role="Receptionist", is_staff=True))
    assert len(rows_at(client, panel.link)) == 2


def test_unmatched_money_equals_the_ledger_balance(client):
    for code, amount in (("TKN1AB2C3D", 1500), ("TKN1AB2C3E", 700)):
        message = C2bMessage(code, AT, amount, "174379", "gym", "", "JANE", "Pay Bill", "")
        c2b_confirmations.apply_c2b(message=message, now=AT)
    with connection.cursor() as cursor:
        cursor.execute("SELECT -sum(amount) FROM payments_ledgerentry WHERE account = 'unmatched'")
        (held,) = cursor.fetchone()

    assert panels()["Waiting"]["Unmatched money"] == held == 2200
    assert len(rows_behind(client, "Unmatched money", "Waiting")) == 2


@pytest.mark.breaks_the_books
def test_open_pushes_are_counted_and_linked(client):
    opened = {make_push(), make_push()}
    make_push(status=PushStatus.SUCCEEDED)

    assert panels()["Waiting"]["Open STK pushes"] == 2
    assert set(rows_behind(client, "Open STK pushes", "Waiting")) == opened


def test_waiting_voids_are_counted_for_those_who_may_confirm(client):
    cashier, asker, second = (UserFactory(role="Receptionist", is_staff=True) for _ in range(3))
    cash_sessions.open_session(cashier_id=cashier.pk, opening_float=0, now=AT)
    receipts = [
        desk_receipts.record_receipt(channel="cash", amount=100, by_id=cashier.pk, member_id=MemberFactory().pk, now=AT)
        for _ in range(3)
    ]
    waiting = [
        voids.ask_void(receipt_id=each.pk, reason="typed twice", by_id=by.pk, now=AT)
        for each, by in zip(receipts, [cashier, asker, asker], strict=True)
    ]
    voids.decline_void(request_id=waiting[2].pk, by_id=second.pk, now=AT)

    counted = {who: panels(user=who)["Waiting"]["Voids to confirm"] for who in (cashier, asker, second)}

    assert counted == {cashier: 0, asker: 1, second: 2}
    client.force_login(second)
    (link,) = [each.link for each in dashboard.voids_to_confirm(second)]
    shown = client.get(link, secure=True).context["voids"]
    assert [each["request"] for each in shown if "confirm" in each["decisions"]] == waiting[:2]


def test_oldest_due_job_shows_the_delay_of_the_worker():
    now = datetime.now(UTC)
    assert panels(at=now)["Waiting"]["Oldest waiting job"] is None
    app.configure_task("soon", schedule_at=now + timedelta(hours=3)).defer()
    app.configure_task("due").defer()

    waited = panels(at=now + timedelta(hours=1))["Waiting"]["Oldest waiting job"]

    assert timedelta(minutes=59) < waited <= timedelta(hours=1)


@pytest.mark.parametrize(
    ("role", "titles", "waiting"),
    [
        ("Admin", 7, {"Unmatched money", "Voids to confirm", "Open STK pushes", "Oldest waiting job"}),
        ("Manager", 7, {"Unmatched money", "Voids to confirm", "Open STK pushes"}),
        ("Receptionist", 4, {"Voids to confirm", "Open STK pushes"}),
        ("Trainer", 3, set()),
        ("Member", 0, set()),
    ],
)
def test_each_role_sees_its_figures_and_no_takings_below_a_manager(role, titles, waiting):
    shown = panels(role)

    assert len(shown) == titles
    assert set(shown.get("Waiting", {})) == waiting
    assert any(title.startswith("Money") for title in shown) == (role in ("Admin", "Manager"))


@pytest.mark.breaks_the_books
def test_dashboard_costs_the_same_queries_for_any_number_of_rows(client, money, periods):
    client.force_login(UserFactory(role="Admin", is_staff=True))
    client.get("/admin/", secure=True)
    with CaptureQueriesContext(connection) as before:
        content = client.get("/admin/", secure=True).content.decode()
    for _ in range(2):
        granted()
        make_push(create_payment())

    with CaptureQueriesContext(connection) as after:
        client.get("/admin/", secure=True)

    assert "KES 1,010" in content
    assert len(before) == len(after) == 11


def test_dashboard_loads_the_members_panel_later(client, periods):
    client.force_login(UserFactory(role="Receptionist", is_staff=True))

    page = client.get("/admin/", secure=True).content.decode()
    with CaptureQueriesContext(connection) as asked:
        panel = client.get("/admin/members-today/", secure=True)

    assert 'hx-get="/admin/members-today/"' in page
    assert [figure.value for figure in panel.context["panel"].figures] == [2, 1, 1, 1, 1]
    assert len(asked) == 9  # login session, user, second factor; five statuses, and the closures


@pytest.mark.parametrize(("role", "status"), [("Trainer", 200), ("Member", 302)])
def test_members_panel_needs_a_role_that_sees_periods(client, role, status):
    client.force_login(UserFactory(role=role, is_staff=role != "Member"))

    assert client.get("/admin/members-today/", secure=True).status_code == status
