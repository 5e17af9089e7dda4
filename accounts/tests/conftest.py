"""Fixtures of the tests of accounts."""

import pytest

from accounts import sms


@pytest.fixture
def texts(monkeypatch):
    """Collect the SMS instead of sending them, as (phone, text)."""
    sent = []
    monkeypatch.setattr(sms, "send", lambda *, phone, text: sent.append((phone, text)))
    return sent
