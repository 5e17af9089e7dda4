"""The charts of the dashboard, each with a table of its numbers. Each number links to the rows that it counts.

They cover a year, so the browser loads them from their own URL after the dashboard.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db import connection
from django.db.models import Count, Sum
from django.db.models.functions import TruncDate, TruncMonth
from django.template.response import TemplateResponse
from django.utils.dateformat import format as date_format
from django.views.decorators.http import require_safe

from api.admin.pages import admin_page
from api.business_days import NAIROBI, business_day, start_of_day
from api.clock import now
from config.admin_roles import TAKINGS
from config.desk.dashboard import list_url
from config.desk.sums import MONEY, live_receipts
from payments.models import Receipt
from subscriptions.models import Subscription
from subscriptions.periods import months_after

DAYS, WEEKS, MONTHS = 30, 52, 12

# Overlapping periods of a member, in any group, count as one. On each day, the periods that have begun minus those that
# have ended is the number of members with a running period. The table is read once for all days.
MEMBERS = """
WITH periods AS (
    SELECT GREATEST(starts_on, max(ends_on) OVER earlier) AS begins, ends_on AS ends
    FROM subscriptions_subscription WHERE fact = 'granted'
    WINDOW earlier AS (PARTITION BY member_id ORDER BY starts_on, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
), steps AS (
    SELECT day, sum(step) AS step FROM (
        SELECT begins AS day, 1 AS step FROM periods WHERE begins < ends
        UNION ALL SELECT ends, -1 FROM periods WHERE begins < ends
    ) each GROUP BY day
)
SELECT wanted.day, COALESCE(sum(step), 0)::int FROM unnest(%s::date[]) AS wanted (day)
LEFT JOIN steps ON steps.day <= wanted.day GROUP BY wanted.day ORDER BY wanted.day
"""


@dataclass(frozen=True)
class Number:
    """One number of a table, formatted, with the link to its rows."""

    text: str
    link: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart and its table: each row has a label and numbers."""

    title: str
    note: str
    kind: str  # the chart type of Chart.js
    unit: str
    points: list[tuple[str, int | None]]
    columns: list[str]
    rows: list[tuple[str, list[Number]]]

    @property
    def data(self) -> str:
        """The points as JSON for Chart.js, with the settings that unfold reads: colours and axis."""
        return json.dumps(
            {
                "labels": [label for label, _ in self.points],
                "datasets": [
                    {
                        "data": [value for _, value in self.points],
                        "label": self.unit,
                        "backgroundColor": "var(--color-primary-600)",
                        "borderColor": "var(--color-primary-600)",
                        "displayYAxis": True,
                        "maxBarThickness": 16,
                        "borderRadius": 3,
                        "maxTicksXLimit": 8,
                        "suffixYAxis": "%" if self.unit == "%" else "",
                    }
                ],
            }
        )


@admin_page(TAKINGS, "view")
@require_safe
def show_charts(request) -> TemplateResponse:
    """Answer with the charts alone, as a part of the dashboard."""
    return TemplateResponse(request, "desk/charts.html", {"charts": list(charts(now()))})


def charts(at: datetime) -> Iterator[Chart]:
    """Return the charts, each by one query."""
    yield daily_takings(at)
    yield members_over_time(at)
    yield renewals_by_month(at)


def daily_takings(at: datetime) -> Chart:
    """Return the money received on each of the last days (in Nairobi), as the day page does."""
    days = [business_day(at) - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    begin = start_of_day(days[0])
    rows = (
        live_receipts()
        .filter(paid_at__gte=begin)
        .order_by()
        .values(day=TruncDate("paid_at", tzinfo=NAIROBI))
        .annotate(total=Sum("amount"))
    )
    totals = {row["day"]: row["total"] for row in rows}
    return Chart(
        "Daily takings",
        f"Money received in the last {DAYS} days, KES",
        "bar",
        "KES",
        [(date_format(day, "j M"), totals.get(day, 0)) for day in days],
        ["Day", "Received"],
        [
            (date_format(day, "D j M"), [Number(f"KES {totals.get(day, 0):,}", receipts_url(day))])
            for day in reversed(days)
        ],
    )


def receipts_url(day: date) -> str:
    """Return the URL of the receipts of one day."""
    begin = start_of_day(day)
    return list_url(
        Receipt,
        channel__in=",".join(channel.value for channel in MONEY),
        reversed_at__isnull=True,
        paid_at__gte=begin.isoformat(),
        paid_at__lt=(begin + timedelta(days=1)).isoformat(),
    )


def members_over_time(at: datetime) -> Chart:
    """Return how many members had a running period, frozen or not, on this weekday of each of the last weeks."""
    today = business_day(at)
    with connection.cursor() as cursor:
        cursor.execute(MEMBERS, [[today - timedelta(weeks=back) for back in range(WEEKS)]])
        counts = cursor.fetchall()
    return Chart(
        "Members",
        f"With a running period, on each {today:%A} of a year",
        "line",
        "members",
        [(date_format(day, "j M"), count) for day, count in counts],
        ["Day", "Members"],
        [(date_format(day, "j M Y"), [Number(f"{count:,}", periods_url(day))]) for day, count in reversed(counts)],
    )


def periods_url(day: date) -> str:
    """Return the URL of the periods that ran on one day."""
    return list_url(Subscription, fact__exact="granted", starts_on__lte=day.isoformat(), ends_on__gt=day.isoformat())


def renewals_by_month(at: datetime) -> Chart:
    """Return how many of the members who joined in each of the last months renewed, and how many left.

    A member joins with their first period in a group. They left when it ended and none followed. A member whose first
    period still runs is in neither number.
    """
    today = business_day(at)
    months = [months_after(today.replace(day=1), -back) for back in range(MONTHS)]
    firsts = Subscription.objects.first_of_members().filter(starts_on__gte=months[-1], starts_on__lte=today)
    rows = (
        firsts.with_renewal(today)
        .order_by()
        .values("renewal", month=TruncMonth("starts_on"))
        .annotate(members=Count("member", distinct=True))
    )
    counts = {(row["month"], row["renewal"]): row["members"] for row in rows}
    points, table = [], []
    for month in reversed(months):
        renewed, left = (counts.get((month, renewal), 0) for renewal in ("renewed", "left"))
        rate = round(100 * renewed / (renewed + left)) if renewed + left else None
        label = date_format(month, "M Y")
        points.append((label, rate))
        numbers = [
            Number(f"{count:,}", list_url(Subscription, joined=f"{month:%Y-%m}", renewal=renewal))
            for renewal, count in (("renewed", renewed), ("left", left))
        ]
        table.append((label, [*numbers, Number("none" if rate is None else f"{rate} %")]))
    return Chart(
        "Renewals by month of joining",
        "The share of members who renewed, among those whose first period is over",
        "bar",
        "%",
        points,
        ["Joined in", "Renewed", "Left", "Rate"],
        table[::-1],
    )
