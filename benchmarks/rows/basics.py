"""Rows about middleware, authentication and Safaricom's callback."""

from django.conf import settings
from django.utils import timezone
from rest_framework_simplejwt.tokens import AccessToken

from accounts.tests.factories import UserFactory
from api.tests.clients import logged_in_as
from benchmarks.measure import Row, request
from payments.tests.bodies import stk_body
from payments.tests.factories import make_push
from subscriptions.tests.factories import PlanFactory, pending


def healthz():
    return lambda: request("GET", "/healthz")


def bare():
    return lambda: request("GET", "/reference/bare/")


def me():
    token = logged_in_as(UserFactory()).cookies[settings.AUTH_COOKIE].value
    return lambda: request("GET", "/api/v1/auth/me/", HTTP_COOKIE=f"{settings.AUTH_COOKIE}={token}")


def dj_rest_auth_user():
    token = AccessToken.for_user(UserFactory())
    return lambda: request("GET", "/reference/user/", HTTP_COOKIE=f"reference={token}")


def callback():
    """Each callback pays the first month of another member, from the bytes to the access."""
    numbers, plan = iter(range(1_000_000)), PlanFactory()

    def next_callback():
        now = timezone.now()
        push = make_push(pending(plan, now=now).payment, sent_at=now)
        body = stk_body(push, code=f"TKB{next(numbers):07d}", moved_at=now)
        path = f"/api/v1/callbacks/stk/{push.raw_token}/"
        return request("POST", path, data=body, content_type="application/json")

    return next_callback


def insert():
    body = stk_body(make_push())
    return lambda: request("POST", "/reference/insert/", data=body, content_type="application/json")


ROWS = [
    Row("a view behind our middleware", healthz, bare, "a bare Django view"),
    Row("GET auth/me/", me, dj_rest_auth_user, "dj-rest-auth's GET user/, JWT cookie", at_most=0.45),
    Row(
        "a callback that gives access", callback, insert, "a bare view that inserts the body", at_most=8, statements=14
    ),
]
