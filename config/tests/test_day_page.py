"""The page to close a day."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.tests.factories import UserFactory
from config.desk import dashboard
from payments.desk import cash_sessions, desk_receipts, refunds, voids
from payments.models import Account
from subscriptions.tests.factories import MemberFactory, record_paybill_payment

pytestmark = [pytest.mark.django_db, pytest.mark.server]

# 2 November 2026, 14:00 in Nairobi.
AT = datetime(2026, 11, 2, 11, tzinfo=UTC)
DAY = "/admin/day/"


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr("config.desk.day_page.now", lambda: AT)


@pytest.fixture
def manager(client):
    manager = UserFactory(role="Manager", is_staff=True)
    client.force_login(manager)
    return manager


@pytest.fixture
def cashier():
    cashier = UserFactory(role="Receptionist", is_staff=True, first_name="Akinyi", last_name="Were")
    cash_sessions.open_session(cashier_id=cashier.pk, opening_float=1000, now=AT - timedelta(hours=4))
    return cashier


def open_page(client, query=""):
    answer = client.get(f"{DAY}{query}", secure=True)
    assert answer.status_code == 200
    return answer.context


def record(cashier, amount, channel="cash", at=AT):
    owner = MemberFactory()
    return desk_receipts.record_receipt(
        channel=channel, amount=amount, by_id=cashier.pk, member_id=owner.pk, now=at, note="FT2630"
    )


def test_receipts_of_the_nairobi_day_are_summed_by_channel(client, manager, cashier):
    midnight = datetime(2026, 11, 1, 21, tzinfo=UTC)
    record(cashier, 100)
    record(cashier, 200, at=midnight)
    record(cashier, 400, "bank")
    record(cashier, 800, at=midnight - timedelta(seconds=1))
    record_paybill_payment(MemberFactory(), 1600, AT)

    context = open_page(client)

    assert [row[:3] for row in context["received"]] == [
        ("Bank", 400, 1),
        ("Cash", 300, 2),
        ("M-Pesa paybill", 1600, 1),
        ("Received", 2300, 4),
    ]
    assert [row[1] for row in open_page(client, "?on=2026-11-01")["received"]] == [800, 800]


def test_each_sum_links_to_its_rows(client, manager, cashier):
    record(cashier, 100)
    record(cashier, 400, "bank")

    for _, total, count, address in open_page(client)["received"]:
        rows = client.get(address, secure=True).context["cl"].queryset
        assert (sum(row.amount for row in rows), len(rows)) == (total, count)


def test_refunds_and_reversals_are_shown_apart(client, manager, cashier):
    given, voided = record(cashier, 700, "bank"), record(cashier, 300)
    refunds.record_refund(
        receipt_id=given.pk, amount=200, paid_from=Account.BANK, reason="asked", by_id=manager.pk, now=AT
    )
    voids.void_receipt(receipt_id=voided.pk, reason="typed twice", by_id=manager.pk, now=AT)

    context = open_page(client)

    assert [row[:3] for row in context["returned"]] == [("Refunded by bank", 200, 1)]
    assert [row[1] for row in context["received"]] == [700, 700]
    assert (context["net"], context["reversals"]) == ("KES 500", (300, 1))
    refunds_of_the_day = client.get(context["returned"][0][3], secure=True).context["cl"].queryset
    assert [each.amount for each in refunds_of_the_day] == [200]


def test_dashboard_shows_the_sums_of_the_day_page(client, manager, cashier):
    earlier, today = record(cashier, 900, "bank", at=AT - timedelta(days=1)), record(cashier, 700)
    for receipt, amount, account in ((earlier, 800, Account.BANK), (today, 300, Account.MPESA)):
        refunds.record_refund(
            receipt_id=receipt.pk, amount=amount, paid_from=account, reason="asked", by_id=manager.pk, now=AT
        )

    context = open_page(client)
    panel = next(dashboard.takings(AT))

    figures = {each.label: each.value for each in [*panel.figures, panel.total]}
    assert (figures["Received"], figures["Refunded"], figures["Net"]) == (700, -1100, -400)
    assert context["received"][-1][1] == 700
    assert sum(row[1] for row in context["returned"]) == 1100
    assert context["net"] == panel.total.text == "-KES 400"


def test_cash_sessions_show_the_result_of_their_count(client, manager, cashier):
    record(cashier, 500)
    before = open_page(client)["cash_sessions"]
    cash_sessions.close_session(cashier_id=cashier.pk, counted=1400, now=AT)

    context = open_page(client)

    assert [each["result"] for each in before] == ["not counted yet"]
    assert [each["result"] for each in context["cash_sessions"]] == ["KES 100 short (counted 1,400, expected 1,500)"]
    assert context["open_items"] == 1
    assert open_page(client, "?on=2026-11-01")["cash_sessions"] == []


@pytest.mark.parametrize("query", ["?on=yesterday", "?on=", "?on=99999-01-01", "?on=0001-01-01", "?on=9999-12-31"])
def test_invalid_day_shows_today(client, manager, query):
    assert open_page(client, query)["on"].isoformat() == "2026-11-02"


@pytest.mark.parametrize("role", ["Receptionist", "Trainer", "Member"])
def test_day_page_needs_the_manager_role(client, role):
    client.force_login(UserFactory(role=role, is_staff=True, is_superuser=True))

    assert client.get(DAY, secure=True).status_code == 403


def test_page_costs_the_same_queries_for_any_number_of_sessions(client, manager, cashier):
    def queries():
        with CaptureQueriesContext(connection) as queries:
            open_page(client)
        return len(queries)

    record(cashier, 100)
    once = queries()
    for _ in range(2):
        record(cashier, 100)
        somebody = UserFactory()
        cash_sessions.open_session(cashier_id=somebody.pk, opening_float=0, now=AT)
        record(somebody, 50)

    assert queries() == once == 9
