"""Test helpers: authenticator apps and their codes."""

from django_otp.oath import totp

from accounts.models import Authenticator
from accounts.seals import seal
from api.tests.clients import BrowserClient, browser

AUTH = "/api/v1/auth/"


def authenticator_of(user, **fields) -> Authenticator:
    """Create a confirmed authenticator app for the user."""
    return Authenticator.objects.create(user=user, key=seal(bytes(range(20)), owner=user.pk), **fields)


def code_of(device: Authenticator, *, later: int = 0) -> str:
    """Return the code of the app now, or `later` half minutes from now."""
    return f"{totp(device.bin_key, t0=-30 * later):06d}"


def wrong_code(device: Authenticator) -> str:
    """Return six digits that are no code of the app around now."""
    right = {code_of(device, later=steps) for steps in range(-5, 6)}
    return next(code for code in (f"{n:06d}" for n in range(20)) if code not in right)


def asked_for_a_code(user, password: str = "correct-horse-battery") -> BrowserClient:
    """Return a client that has sent the correct password and must now send a code."""
    client = browser()
    answer = client.post(f"{AUTH}login/", {"identifier": user.username, "password": password})
    assert answer.json()["data"]["mfa_required"] is True
    return client
