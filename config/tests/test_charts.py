"""The charts of the dashboard: each number is a sum of the database, and links to the rows that it counts."""

import json
from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.tests.factories import UserFactory
from config.desk import charts
from payments.models import Receipt
from payments.tests.factories import MemberFactory
from subscriptions.models import Subscription
from subscriptions.tests.factories import PlanFactory, PlanGroupFactory, granted, record_paybill_payment

pytestmark = [pytest.mark.django_db, pytest.mark.server]

# Wednesday 18 November 2026, 00:30 in Nairobi: still Tuesday in UTC.
AT = datetime(2026, 11, 17, 21, 30, tzinfo=UTC)
TODAY = date(2026, 11, 18)
MIDNIGHT = datetime(2026, 11, 17, 21, tzinfo=UTC)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    for module in ("config.desk.charts", "subscriptions.admin"):
        monkeypatch.setattr(f"{module}.now", lambda: AT)


@pytest.fixture
def owner(client):
    client.force_login(UserFactory(role="Manager", is_staff=True))
    return client


def rows_at(client, link):
    answer = client.get(link, secure=True)
    assert answer.status_code == 200
    return list(answer.context["cl"].result_list)


def table(chart):
    """Return the numbers of a chart's table, as {label: [number, ...]}."""
    return {label: [number.text for number in numbers] for label, numbers in chart.rows}


def links(chart, label):
    (found,) = [[number.link for number in numbers] for row, numbers in chart.rows if row == label]
    return found


def sql(statement, *values):
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()


class TestTakings:
    @pytest.fixture
    def money(self):
        """Receipts before and after today's midnight and the first day's, some refunded, some reversed."""
        member = MemberFactory()
        for amount, at in (
            (1000, MIDNIGHT),
            (200, MIDNIGHT - timedelta(seconds=1)),
            (30, MIDNIGHT - timedelta(days=29)),
            (4, MIDNIGHT - timedelta(days=29, seconds=1)),
            (5000, MIDNIGHT),
        ):
            record_paybill_payment(member, amount, at)
        Receipt.objects.filter(amount=1000).update(amount_refunded=400)
        Receipt.objects.filter(amount=5000).update(reversed_at=AT, reversed_by=member)

    @pytest.mark.breaks_the_books
    def test_each_day_is_the_sum_of_its_receipts(self, money):
        chart = charts.daily_takings(AT)

        expected = sql(
            "SELECT (paid_at AT TIME ZONE 'Africa/Nairobi')::date, sum(amount) FROM payments_receipt"
            " WHERE reversed_at IS NULL AND paid_at >= %s GROUP BY 1 ORDER BY 1",
            MIDNIGHT - timedelta(days=29),
        )
        assert expected == [(date(2026, 10, 20), 30), (date(2026, 11, 17), 200), (TODAY, 1000)]
        assert len(chart.points) == 30
        assert [point for point in chart.points if point[1]] == [("20 Oct", 30), ("17 Nov", 200), ("18 Nov", 1000)]
        assert {label: each for label, each in table(chart).items() if each != ["KES 0"]} == {
            "Wed 18 Nov": ["KES 1,000"],
            "Tue 17 Nov": ["KES 200"],
            "Tue 20 Oct": ["KES 30"],
        }

    @pytest.mark.parametrize(("label", "held"), [("Wed 18 Nov", 1000), ("Tue 17 Nov", 200), ("Mon 16 Nov", 0)])
    @pytest.mark.breaks_the_books
    def test_day_links_to_its_receipts(self, owner, money, label, held):
        (link,) = links(charts.daily_takings(AT), label)

        assert sum(receipt.amount for receipt in rows_at(owner, link)) == held


class TestMembers:
    @pytest.fixture
    def periods(self):
        """Members with a gap, with two groups, with periods in a row, and with today only."""
        month, locker = PlanFactory(), PlanFactory(group=PlanGroupFactory(name="Locker"))
        back, both, stacked = MemberFactory(), MemberFactory(), MemberFactory()
        granted(month, back, on=date(2026, 6, 1))
        granted(month, back, on=date(2026, 9, 1))
        granted(month, both, on=date(2026, 9, 10))
        granted(locker, both, on=date(2026, 9, 20))
        granted(month, stacked, on=date(2026, 9, 1))
        granted(month, stacked, on=date(2026, 9, 2))
        granted(month, on=TODAY)

    def test_each_week_counts_members_with_a_running_period(self, periods):
        chart = charts.members_over_time(AT)

        days = [TODAY - timedelta(weeks=back) for back in range(51, -1, -1)]
        expected = [Subscription.objects.running_on(day).order_by().values("member").distinct().count() for day in days]
        assert [count for _, count in chart.points] == expected
        assert set(expected) == {0, 1, 2, 3}

    @pytest.mark.parametrize(("label", "members"), [("18 Nov 2026", 1), ("23 Sep 2026", 3), ("29 Jul 2026", 0)])
    def test_week_links_to_its_running_periods(self, owner, periods, label, members):
        chart = charts.members_over_time(AT)

        (link,) = links(chart, label)

        assert table(chart)[label] == [str(members)]
        assert len({period.member_id for period in rows_at(owner, link)}) == members


class TestRenewals:
    @pytest.fixture
    def members(self):
        """Of those who joined in September, two renewed and one left; in October one is in the first period."""
        month, locker = PlanFactory(), PlanFactory(group=PlanGroupFactory(name="Locker"))
        for first in (date(2026, 9, 1), date(2026, 9, 30)):
            member = MemberFactory()
            granted(month, member, on=first)
            granted(month, member, on=first + timedelta(days=5))
        left = MemberFactory()
        granted(month, left, on=date(2026, 9, 10))
        granted(locker, left, on=date(2026, 9, 12))
        granted(month, on=date(2026, 10, 30))

    def test_each_month_counts_renewed_and_left_members(self, members):
        chart = charts.renewals_by_month(AT)

        assert len(chart.points) == 12
        assert [point for point in chart.points if point[1] is not None] == [("Sep 2026", 67)]
        assert table(chart)["Sep 2026"] == ["2", "1", "67 %"]
        assert table(chart)["Oct 2026"] == ["0", "0", "none"]

    def test_renewals_match_a_direct_count(self, members):
        firsts = """
            SELECT count(*) FILTER (WHERE later), count(*) FILTER (WHERE NOT later AND ends_on <= %s) FROM (
                SELECT DISTINCT ON (member_id) member_id, starts_on, ends_on, EXISTS (
                    SELECT FROM subscriptions_subscription o WHERE o.member_id = s.member_id
                    AND o.group_id = s.group_id AND o.fact = 'granted' AND o.starts_on >= s.ends_on) AS later
                FROM subscriptions_subscription s WHERE fact = 'granted' ORDER BY member_id, starts_on, id
            ) first WHERE to_char(starts_on, 'Mon YYYY') = 'Sep 2026'"""

        ((renewed, left),) = sql(firsts, TODAY)

        assert table(charts.renewals_by_month(AT))["Sep 2026"][:2] == [str(renewed), str(left)]

    def test_both_numbers_link_to_the_first_periods(self, owner, members):
        renewed, left, _ = links(charts.renewals_by_month(AT), "Sep 2026")

        assert sorted(period.starts_on for period in rows_at(owner, renewed)) == [date(2026, 9, 1), date(2026, 9, 30)]
        assert [period.starts_on for period in rows_at(owner, left)] == [date(2026, 9, 10)]

    @pytest.mark.parametrize("query", ["joined=x", "joined=2026-13", "renewal=x", "joined=2026-09&renewal=x"])
    def test_invalid_month_is_ignored(self, owner, members, query):
        assert owner.get(f"/admin/subscriptions/subscription/?{query}", secure=True).status_code == 200


class TestPage:
    @pytest.mark.parametrize(
        ("role", "status"), [("Admin", 200), ("Manager", 200), ("Receptionist", 403), ("Trainer", 403), ("Member", 302)]
    )
    def test_charts_need_the_manager_role(self, client, role, status):
        client.force_login(UserFactory(role=role, is_staff=role != "Member"))

        assert client.get("/admin/charts/", secure=True).status_code == status
        first_page = client.get("/admin/", secure=True).content.decode()
        assert ('hx-get="/admin/charts/"' in first_page) == (status == 200)

    def test_chart_and_table_have_the_same_numbers(self, owner):
        granted()

        page = owner.get("/admin/charts/", secure=True)

        assert page.content.decode().count("<canvas") == page.content.decode().count("<table") == 3
        for chart in page.context["charts"]:
            drawn = json.loads(chart.data)
            assert drawn["labels"] == [label for label, _ in chart.points]
            assert len(drawn["datasets"][0]["data"]) == len(chart.points) == len(chart.rows)

    def test_charts_cost_the_same_queries_for_any_number_of_rows(self, owner):
        granted()
        owner.get("/admin/charts/", secure=True)
        with CaptureQueriesContext(connection) as one:
            owner.get("/admin/charts/", secure=True)
        for _ in range(2):
            granted(on=date(2026, 9, 1))

        with CaptureQueriesContext(connection) as three:
            owner.get("/admin/charts/", secure=True)

        assert len(one) == len(three) == 6  # login session, user, second factor; the charts
