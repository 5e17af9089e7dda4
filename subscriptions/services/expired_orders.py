"""Expired orders: money that names one buys its plan again, at the price of that day."""

from datetime import datetime

from django.db import transaction

from api.errors import DomainError
from payments.models import Payment, ReviewReason
from payments.services import cancellation, credit, review_items
from subscriptions.models import Fact, Subscription
from subscriptions.services import purchases


class NothingBought(Exception):
    """The payer's credit is not enough, or the plan cannot be bought."""


@transaction.atomic
def buy_again(*, payment_id: int, now: datetime) -> int:
    """Buy the plans of an expired order again, now that money has named it; return how many periods were bought.

    The payment may be any of a group payment; each expired one of the group is bought alone, in order. A period is
    bought if the payer's credit reaches its minimum payment at today's price. An upgrade is not bought again, because
    its price was that of its day. A member who has a newer period of the plan group gets no second one; the credit then
    pays the payer's open payments. When anything was paid, the review item is resolved; else the money stays credit and
    the item open. A repeated call changes nothing: it needs the open item.
    """
    named = Payment.objects.get(pk=payment_id)
    ordered = list(Subscription.objects.filter(payment__in=_expired_of_group(named)).order_by("payment_id"))
    purchases.lock_people(ordered, payer_id=named.payer_id)
    items = review_items.open_items_of(payment_id=payment_id, reason=ReviewReason.LATE_MONEY)
    if not items.exists():
        return 0
    try:
        with transaction.atomic():
            review_items.close_for_payment(
                payment_id=payment_id,
                reason=ReviewReason.LATE_MONEY,
                resolution="The money became credit, and the credit was used.",
                now=now,
            )
            before = credit.available(named.payer_id)  # now with the money that the item reserved
            credit.complete_open(named.payer_id, now=now)
            bought = sum(_buy_one(each, payer_id=named.payer_id, now=now) for each in ordered)
            if credit.available(named.payer_id) == before:
                raise NothingBought
    except NothingBought:
        return 0
    return bought


def _expired_of_group(named: Payment) -> list[Payment]:
    payments = Payment.objects.filter(pk=named.pk) | Payment.objects.filter(head=named.head_id or named.pk)
    return [each for each in payments.order_by("pk") if cancellation.has_order_expired(each)]


def _buy_one(ordered: Subscription, *, payer_id: int, now: datetime) -> bool:
    """Buy the plan of an expired order for its member if the credit is enough; return whether it was bought."""
    newer = Subscription.objects.filter(
        member=ordered.member_id, group=ordered.group_id, created_at__gt=ordered.created_at
    )
    if ordered.replaces_id is not None or newer.filter(fact__in=(Fact.PENDING, Fact.GRANTED)).exists():
        return False
    try:
        with transaction.atomic():
            purchase = purchases.subscribe(
                member_ids=[ordered.member_id],
                plan_code=ordered.plan.code,
                payer_id=payer_id,
                phone=None,
                created_by_id=payer_id,
                now=now,
            )
            if purchase.subscription.fact != Fact.GRANTED:
                raise NothingBought
    except (NothingBought, DomainError):
        return False
    return True
