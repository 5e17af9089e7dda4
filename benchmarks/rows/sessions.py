"""Rows about refresh and login."""

from itertools import count

from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from rest_framework_simplejwt.tokens import RefreshToken

from accounts.services import login_sessions
from accounts.services.audit import Caller
from accounts.tests.factories import PASSWORD, UserFactory
from api.clock import now
from api.tests.clients import browser
from benchmarks.measure import Row, request


def csrf() -> dict[str, str]:
    """Return the headers of an unsafe request for the CSRF check."""
    client = browser()
    return {
        "HTTP_X_CSRFTOKEN": client.csrf_token,
        "HTTP_REFERER": "https://testserver/",
        "HTTP_COOKIE": f"{settings.CSRF_COOKIE_NAME}={client.cookies[settings.CSRF_COOKIE_NAME].value}",
    }


def refresh():
    """Each call rotates another login session."""
    user, proof = UserFactory(), csrf()

    def next_refresh():
        tokens = login_sessions.open_session(user=user, amr=["pwd"], remember=True, caller=Caller(), now=now())
        cookie = f"{proof['HTTP_COOKIE']}; {settings.AUTH_COOKIE_REFRESH}={tokens.refresh}"
        return request("POST", "/api/v1/auth/refresh/", **{**proof, "HTTP_COOKIE": cookie})

    return next_refresh


def simplejwt_rotation():
    user = UserFactory()

    def next_rotation():
        body = f'{{"refresh": "{RefreshToken.for_user(user)}"}}'
        return request("POST", "/reference/refresh/", data=body, content_type="application/json")

    return next_rotation


def login():
    """Each call is from another user and another IP address, so that no rate limit is reached."""
    proof, numbers = csrf(), count()

    def next_login():
        n, user = next(numbers), UserFactory()
        body = f'{{"identifier": "{user.username}", "password": "{PASSWORD}"}}'
        ip = f"10.{n // 65536 % 256}.{n // 256 % 256}.{n % 256}"
        return request(
            "POST", "/api/v1/auth/login/", data=body, content_type="application/json", REMOTE_ADDR=ip, **proof
        )

    return next_login


def pbkdf2():
    hasher = PBKDF2PasswordHasher()
    encoded = hasher.encode(PASSWORD, hasher.salt())
    return lambda: request("GET", "/reference/check-password/", QUERY_STRING=f"encoded={encoded.replace('+', '%2B')}")


ROWS = [
    Row("POST auth/refresh/", refresh, simplejwt_rotation, "simplejwt's rotation with blacklist", at_most=0.4),
    Row("POST auth/login/, all of it", login, pbkdf2, "Django's default hasher, one check", at_most=0.2),
]
