"""Housekeeping among people stops at the books."""

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


def test_an_unproved_registration_that_was_sold_something_stays_and_the_others_go():
    long_ago = now() - timedelta(days=31)
    people = UserFactory.create_batch(3, email_verified_at=None, phone_verified_at=None, date_joined=long_ago)
    for person in people:
        audit.record("registered", user=person, caller=Caller(), now=long_ago)
    create_payment(payer=people[1])

    forgotten = cleanup.delete_unverified(now=now())

    assert forgotten == 2
    assert CustomUser.objects.get() == Payment.objects.get().payer == people[1]
