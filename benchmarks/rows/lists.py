"""Rows about a list of subscriptions with their present status."""

from django.utils import timezone

from api.business_days import business_day
from benchmarks.measure import Row, request
from benchmarks.rows.pages import staff_cookie
from subscriptions.tests.factories import PlanFactory, granted


def sell_twenty() -> None:
    plan, today = PlanFactory(), business_day(timezone.now())
    for _ in range(20):
        granted(plan, on=today)


def subscriptions():
    sell_twenty()
    cookie = staff_cookie()
    return lambda: request("GET", "/api/v1/subscriptions/", QUERY_STRING="page_size=20", HTTP_COOKIE=cookie)


def plain_list():
    sell_twenty()
    return lambda: request("GET", "/reference/subscriptions/")


ROWS = [
    Row("20 subscriptions", subscriptions, plain_list, "a plain ListAPIView, select_related", statements=4),
]
