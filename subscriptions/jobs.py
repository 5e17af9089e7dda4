"""Background jobs of memberships. They take ids only, may run twice, and call one service each."""

from procrastinate.contrib.django import app

from api.clock import now
from payments.jobs import RETRY_FOREVER
from subscriptions.services import expired_orders, grants


@app.task(name="subscriptions.end_upgrade", retry=RETRY_FOREVER)
def end_upgrade(subscription_id: int) -> None:
    """End a pending upgrade whose replaced period is not paid in full any more."""
    grants.end_upgrade(subscription_id=subscription_id, now=now())


@app.task(name="subscriptions.buy_again", retry=RETRY_FOREVER)
def buy_again(payment_id: int) -> None:
    """Buy the plan of an expired order again, at the price of today, with the money that has named it."""
    expired_orders.buy_again(payment_id=payment_id, now=now())
