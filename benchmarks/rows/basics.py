"""What every request pays, who is asking, and Safaricom's callback."""

from django.conf import settings
from django.db import connection
from django.utils import timezone
from rest_framework_simplejwt.tokens import AccessToken

from accounts.tests.factories import UserFactory
from api.tests.clients import signed_in
from benchmarks.measure import Row, request
from payments.tests.bodies import stk_body
from payments.tests.factories import make_push, open_payment


def healthz():
    return lambda: request("GET", "/healthz")


def bare():
    return lambda: request("GET", "/reference/bare/")


def me():
    token = signed_in(UserFactory()).cookies[settings.AUTH_COOKIE].value
    return lambda: request("GET", "/api/v1/auth/me/", HTTP_COOKIE=f"{settings.AUTH_COOKIE}={token}")


def dj_rest_auth_user():
    token = AccessToken.for_user(UserFactory())
    return lambda: request("GET", "/reference/user/", HTTP_COOKIE=f"reference={token}")


def callback():
    """Each call pays another payment: the whole way from the bytes to the books."""
    numbers = iter(range(1_000_000))

    def next_callback():
        now = timezone.now()
        push = make_push(open_payment(now=now), sent_at=now)
        body = stk_body(push, code=f"TKB{next(numbers):07d}", moved_at=now)
        path = f"/api/v1/callbacks/stk/{push.raw_token}/"
        return request("POST", path, data=body, content_type="application/json")

    return next_callback


def insert():
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE bench_body (id bigserial PRIMARY KEY, body bytea NOT NULL)")
    body = stk_body(make_push())
    return lambda: request("POST", "/reference/insert/", data=body, content_type="application/json")


ROWS = [
    Row("a view behind our middleware", healthz, bare, "a bare Django view"),
    Row("GET auth/me/", me, dj_rest_auth_user, "dj-rest-auth's GET user/, JWT cookie", at_most=0.45),
    Row("a callback that pays a payment", callback, insert, "a bare view that inserts the body"),
]
