"""Receivers that connect two apps: what happens to money becomes a message to its member."""

from datetime import datetime

from django.conf import settings
from django.db.models import Sum
from django.dispatch import receiver

from accounts.models import NoticeKind
from accounts.services import notices
from payments.models import Payment
from payments.services import credit
from payments.signals import order_expired


@receiver(order_expired, dispatch_uid="config.notify_of_expired_order")
def notify_of_expired_order(sender, *, payment_id: int, now: datetime, **kwargs) -> None:
    """Send the payer of an expired order a message: what expired, how much is credit now, and what to do."""
    payment = Payment.objects.select_related("payer").get(pk=payment_id)
    released = payment.allocations.filter(undone_at=now).aggregate(total=Sum("amount", default=0))["total"]
    text = (
        f"{settings.CLUB_NAME}: your order {payment.reference} ({payment.description}) has expired, because no money"
        f" came for {settings.ORDER_LIFETIME.days} days. The KES {released:,} that you paid is not lost:"
        f" your credit is now KES {credit.available(payment.payer_id):,}."
        " Order again at today's price; your credit is used first."
    )
    notices.create(user=payment.payer, kind=NoticeKind.ORDER_EXPIRED, now=now, text=text)
