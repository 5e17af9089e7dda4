"""Receivers of the signals of payments. Each runs in the transaction of the money, in its own savepoint."""

from django.dispatch import receiver
from procrastinate.contrib.django import app as jobs

from payments.signals import credit_arrived, order_paid_late, payment_cancelled, payment_paid, payment_unpaid
from subscriptions.services import grants, renewals


@receiver(payment_paid, dispatch_uid="subscriptions.grant_paid_subscription")
def grant_paid_subscription(sender, *, payment_id, now, **kwargs):
    grants.grant_for_payment(payment_id=payment_id, now=now)


@receiver(payment_unpaid, dispatch_uid="subscriptions.revoke_unpaid_subscription")
def revoke_unpaid_subscription(sender, *, payment_id, now, **kwargs):
    grants.revoke_for_payment(payment_id=payment_id, now=now)


@receiver(payment_cancelled, dispatch_uid="subscriptions.cancel_withdrawn_subscription")
def cancel_withdrawn_subscription(sender, *, payment_id, now, **kwargs):
    grants.cancel_for_payment(payment_id=payment_id, now=now)


@receiver(credit_arrived, dispatch_uid="subscriptions.renew_with_credit")
def renew_with_credit(sender, *, receipt_id, now, **kwargs):
    renewals.renew_with_receipt(receipt_id=receipt_id, now=now)


@receiver(order_paid_late, dispatch_uid="subscriptions.buy_expired_order_again")
def buy_expired_order_again(sender, *, payment_id, now, **kwargs):
    # In a job, because the members of a group payment cannot be locked any more.
    jobs.configure_task("subscriptions.buy_again").defer(payment_id=payment_id)
