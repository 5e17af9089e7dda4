"""Fixtures of the tests of memberships."""

import pytest

from accounts.tests.factories import UserFactory
from api.tests.clients import browser, logged_in_as
from payments.pushes import push_requests


@pytest.fixture
def pushes(monkeypatch):
    """The requested STK pushes, as (payment id, phone). None is sent."""
    requested = []
    monkeypatch.setattr(
        push_requests,
        "request_push",
        lambda *, payment_id, phone, created_by_id, now: requested.append((payment_id, phone)),
    )
    return requested


@pytest.fixture
def visitor():
    """A browser that is not logged in."""
    return browser()


@pytest.fixture
def asha():
    """A member."""
    return UserFactory(username="asha", first_name="Asha", last_name="Otieno", phone_number="254712345678")


@pytest.fixture
def as_asha(asha):
    return logged_in_as(asha)


@pytest.fixture
def as_receptionist():
    return logged_in_as(UserFactory(role="Receptionist"))


@pytest.fixture
def as_trainer():
    return logged_in_as(UserFactory(role="Trainer"))


@pytest.fixture
def as_manager():
    return logged_in_as(UserFactory(role="Manager"))
