"""Factories: the smallest valid rows of payments, created by the product's own services."""

import itertools
from datetime import UTC, datetime, timedelta

import factory
from django.contrib.auth import get_user_model
from django.db import transaction

from payments.daraja import callback_tokens
from payments.models import Payment, PushStatus, StkPush
from payments.services import creation, push_progress

NOON = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)  # 12:00 in Nairobi
phones = (f"2547{n:08d}" for n in itertools.count(10_000_000))


class MemberFactory(factory.django.DjangoModelFactory):
    """A member with a phone number, created by the user manager as every user is."""

    class Meta:
        model = get_user_model()

    username = factory.Sequence(lambda n: f"member{n}")
    phone_number = factory.LazyFunction(lambda: next(phones))

    @classmethod
    def _create(cls, model_class, *args, **kwargs):
        return model_class.objects.create_user(*args, **kwargs)


def create_payment(payer=None, amount=1500, now=NOON, **fields) -> Payment:
    """Create a payment with the product's own service."""
    payer = payer or MemberFactory()
    fields.setdefault("description", "Gym, one month")
    fields.setdefault("created_by_id", payer.pk)
    return creation.create_payment(payer_id=payer.pk, amount=amount, now=now, **fields)


@transaction.atomic
def make_push(payment=None, *, status=PushStatus.SENT, sent_at=NOON, **fields) -> StkPush:
    """Create a push that Safaricom has accepted. `raw_token` is the token of its callback URL."""
    payment = payment or create_payment()
    fields.setdefault("phone", next(phones))
    fields.setdefault("amount", payment.amount_owed)
    number = StkPush.objects.count() + 1
    token = None
    if status != PushStatus.CREATED:
        token = callback_tokens.generate()
        fields.setdefault("token_hash", callback_tokens.hash_of(token))
        fields.setdefault("sent_at", sent_at)
        fields.setdefault("checkout_request_id", f"ws_CO_{payment.pk}_{number}")
        fields.setdefault("merchant_request_id", f"2654-4b64-97ff-{payment.pk}-{number}")
        fields.setdefault("next_check_at", sent_at + timedelta(seconds=20))
    push = StkPush.objects.create(payment=payment, status=status, created_at=sent_at, **fields)
    payment.refresh_from_db()
    push_progress.mark_push_requested(payment, sent_at)
    push.raw_token = token
    return push
