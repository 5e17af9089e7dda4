"""What the tests of people share."""

import pytest

from accounts import sms


@pytest.fixture
def texts(monkeypatch):
    """Catch the SMS that would leave, as (phone, text)."""
    sent = []
    monkeypatch.setattr(sms, "send", lambda *, phone, text: sent.append((phone, text)))
    return sent
