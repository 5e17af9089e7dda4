"""Rows about a page of a million payments."""

from django.conf import settings
from django.db import connection

from accounts.tests.factories import UserFactory
from api.roles import Role
from api.tests.clients import logged_in_as
from benchmarks.measure import Row, request

GROWTH = 1.2  # goal for the time of a page of a million, relative to ten thousand

PAYMENTS = """
INSERT INTO payments_payment (reference, payer_id, description, amount_due, amount_paid, deposit, status, created_by_id,
    created_at, expires_at)
SELECT 'B' || lpad(to_hex(n), 9, '0'), %s, 'Gym, one month', 1500, 0, 1500, 'pending', %s,
    now() - n * interval '1 second', now() + interval '1 day'
FROM generate_series(%s, %s) n
"""


def fill(first: int, last: int) -> None:
    """Create the payments with these numbers, and update the statistics of the planner."""
    payer = UserFactory().pk
    with connection.cursor() as cursor:
        cursor.execute(PAYMENTS, [payer, payer, first, last])
        cursor.execute("VACUUM ANALYZE payments_payment")


def staff_cookie() -> str:
    cookies = logged_in_as(UserFactory(role=Role.RECEPTIONIST)).cookies
    return f"{settings.AUTH_COOKIE}={cookies[settings.AUTH_COOKIE].value}"


def first_page():
    cookie = staff_cookie()
    return lambda: request("GET", "/api/v1/payments/", QUERY_STRING="page_size=20", HTTP_COOKIE=cookie)


def plain_list():
    return lambda: request("GET", "/reference/payments/", QUERY_STRING="page_size=20")


def rows():
    """Yield the rows: with ten thousand payments first, then with a million."""
    fill(1, 10_000)
    yield Row("20 payments of ten thousand", first_page, plain_list, "a plain ListAPIView, page numbers")
    fill(10_001, 1_000_000)
    yield Row("20 payments of a million", first_page, plain_list, "a plain ListAPIView, page numbers", at_most=0.5)
