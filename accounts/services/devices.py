"""Device cookies: a browser in which a person has logged in before has counters of its own for that person.

Strangers can use up the attempts of a person or of a place, but not those of such a browser. The cookie gives nothing
else: the password, and the second factor, are asked for as ever (docs/decisions/0040).
"""

import secrets

from django.core import signing

from accounts.models import CustomUser

SALT = "accounts.device"
MOST_PEOPLE = 20  # of one browser, such as the one at the front desk; the latest logins stay


def token_after_login(token: str, person: CustomUser) -> str:
    """Return the device cookie of a browser in which `person` has just logged in; `token` is the cookie it sent."""
    device, people = _read(token)
    people = [*(known for known in people if known != person.pk), person.pk][-MOST_PEOPLE:]
    return signing.dumps([device or secrets.token_urlsafe(12), people], salt=SALT)


def device_of(token: str, person: CustomUser | None) -> str | None:
    """Return the id of the browser, for the key of a limit, if `person` has logged in there before. None otherwise."""
    device, people = _read(token)
    return device if person is not None and person.pk in people else None


def _read(token: str) -> tuple[str, list[int]]:
    try:
        device, people = signing.loads(token, salt=SALT)
    except signing.BadSignature:
        return "", []
    return device, people
