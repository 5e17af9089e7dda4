"""Cleanup of users leaves those who have payments."""

from datetime import timedelta

import pytest

from accounts.models import CustomUser
from accounts.services import audit, cleanup
from accounts.services.audit import Caller
from accounts.tests.factories import UserFactory
from api.clock import now
from payments.models import Payment
from payments.tests.factories import create_payment

pytestmark = pytest.mark.django_db


def test_unverified_user_with_a_payment_is_not_deleted():
    long_ago = now() - timedelta(days=31)
    people = UserFactory.create_batch(3, email_verified_at=None, phone_verified_at=None, date_joined=long_ago)
    for person in people:
        audit.record("registered", user=person, caller=Caller(), now=long_ago)
    create_payment(payer=people[1])

    deleted = cleanup.delete_unverified(now=now())

    assert deleted == 2
    assert CustomUser.objects.get() == Payment.objects.get().payer == people[1]
