"""The identity of our Daraja app: a host and a consumer key."""

import hashlib

from django.conf import settings


def app_key() -> str:
    """Return a hash that identifies the Daraja app, so that rows of another host or key are never used for ours."""
    identity = f"{settings.DARAJA_BASE_URL} {settings.DARAJA_CONSUMER_KEY}"
    return hashlib.sha256(identity.encode()).hexdigest()[:16]
