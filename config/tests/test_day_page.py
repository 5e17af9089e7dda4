"""Closing the day: what the page says of one business day."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.tests.factories import UserFactory
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


def see(client, query=""):
    answer = client.get(f"{DAY}{query}", secure=True)
    assert answer.status_code == 200
    return answer.context


def take(cashier, amount, channel="cash", at=AT):
    owner = MemberFactory()
    return desk_receipts.record_receipt(
        channel=channel, amount=amount, by_id=cashier.pk, member_id=owner.pk, now=at, note="FT2630"
    )


def test_it_sums_what_came_that_day_in_nairobi_by_how_it_came(client, manager, cashier):
    midnight = datetime(2026, 11, 1, 21, tzinfo=UTC)
    take(cashier, 100)
    take(cashier, 200, at=midnight)
    take(cashier, 400, "bank")
    take(cashier, 800, at=midnight - timedelta(seconds=1))
    record_paybill_payment(MemberFactory(), 1600, AT)

    context = see(client)

    assert [row[:3] for row in context["received"]] == [
        ("Bank", 400, 1),
        ("Cash", 300, 2),
        ("M-Pesa paybill", 1600, 1),
        ("Total", 2300, 4),
    ]
    assert [row[1] for row in see(client, "?on=2026-11-01")["received"]] == [800, 800]


def test_each_sum_leads_to_its_rows(client, manager, cashier):
    take(cashier, 100)
    take(cashier, 400, "bank")

    for _, total, count, address in see(client)["received"]:
        rows = client.get(address, secure=True).context["cl"].queryset
        assert (sum(row.amount for row in rows), len(rows)) == (total, count)


def test_it_tells_what_went_back(client, manager, cashier):
    given, voided = take(cashier, 700, "bank"), take(cashier, 300)
    refunds.record_refund(
        receipt_id=given.pk, amount=200, paid_from=Account.BANK, reason="asked", by_id=manager.pk, now=AT
    )
    voids.void_receipt(receipt_id=voided.pk, reason="typed twice", by_id=manager.pk, now=AT)

    context = see(client)

    assert context["returned"] == [
        ("Refunded by bank", 200, 1),
        ("Voided or reversed, not in the sum above", 300, 1),
    ]
    assert [row[1] for row in context["received"]] == [700, 700]


def test_a_drawer_is_told_with_what_its_count_came_to(client, manager, cashier):
    take(cashier, 500)
    before = see(client)["cash_sessions"]
    cash_sessions.close_session(cashier_id=cashier.pk, counted=1400, now=AT)

    context = see(client)

    assert [each["result"] for each in before] == ["not counted yet"]
    assert [each["result"] for each in context["cash_sessions"]] == ["KES 100 short (counted 1,400, expected 1,500)"]
    assert context["open_items"] == 1
    assert see(client, "?on=2026-11-01")["cash_sessions"] == []


@pytest.mark.parametrize("query", ["?on=yesterday", "?on=", "?on=99999-01-01", "?on=0001-01-01", "?on=9999-12-31"])
def test_a_day_that_is_none_shows_today(client, manager, query):
    assert see(client, query)["on"].isoformat() == "2026-11-02"


@pytest.mark.parametrize("role", ["Receptionist", "Trainer", "Member"])
def test_below_a_manager_nobody_closes_the_day(client, role):
    client.force_login(UserFactory(role=role, is_staff=True, is_superuser=True))

    assert client.get(DAY, secure=True).status_code == 403


def test_it_asks_as_often_however_much_there_is(client, manager, cashier):
    def asked():
        with CaptureQueriesContext(connection) as queries:
            see(client)
        return len(queries)

    take(cashier, 100)
    once = asked()
    for _ in range(2):
        take(cashier, 100)
        somebody = UserFactory()
        cash_sessions.open_session(cashier_id=somebody.pk, opening_float=0, now=AT)
        take(somebody, 50)

    assert asked() == once == 9
