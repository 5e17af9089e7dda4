"""The gate: may this member come in?"""

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
    """Return what makes one request after another, of a receptionist who checks these members in."""
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
    """One member who taps again and again: after the first, no visit is written."""
    return taps_of(repeat(running_member()))


def looked_up():
    token, number = AccessToken.for_user(UserFactory()), running_member()
    path = f"/reference/running/{number}/"
    return lambda: request("POST", path, content_type="application/json", HTTP_COOKIE=f"reference={token}")


ROWS = [
    # Of a tap again: who asks, BEGIN, two questions, COMMIT. The first tap also writes its visit.
    Row("POST checkins/", taps, looked_up, "dj-rest-auth's JWT, the ORM: look up, insert", statements=5),
]
