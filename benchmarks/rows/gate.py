"""Rows about check-in at the gate."""

import json
from collections.abc import Callable, Iterable
from itertools import repeat

from django.utils import timezone
from rest_framework_simplejwt.tokens import AccessToken

from accounts.tests.factories import UserFactory
from api.business_days import business_day
from api.roles import Role
from api.tests.clients import ORIGIN, logged_in_as
from benchmarks.measure import Row, request
from subscriptions.tests.factories import granted


def taps_of(member_numbers: Iterable[str]) -> Callable[[], dict]:
    """Return a function that makes the next check-in request of a receptionist, for these members."""
    client = logged_in_as(UserFactory(role=Role.RECEPTIONIST))
    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
    numbers = iter(member_numbers)
    return lambda: request(
        "POST",
        "/api/v1/checkins/",
        data=json.dumps({"member_number": next(numbers)}),
        content_type="application/json",
        HTTP_COOKIE=cookies,
        HTTP_X_CSRFTOKEN=client.csrf_token,
        HTTP_REFERER=f"{ORIGIN}/",
    )


def running_member() -> str:
    return granted(on=business_day(timezone.now())).member.member_number


def taps():
    """One member checks in repeatedly. Only the first check-in writes a visit."""
    return taps_of(repeat(running_member()))


def plain_check_in():
    token, number = AccessToken.for_user(UserFactory()), running_member()
    path = f"/reference/running/{number}/"
    return lambda: request("POST", path, content_type="application/json", HTTP_COOKIE=f"reference={token}")


ROWS = [
    # A repeated check-in: the login session, BEGIN, two queries, COMMIT. The first one also writes a visit.
    Row("POST checkins/", taps, plain_check_in, "dj-rest-auth's JWT, the ORM: look up, insert", statements=5),
]
