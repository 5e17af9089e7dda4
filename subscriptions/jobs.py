"""The jobs of memberships: they take ids only, may run twice, and leave the deciding to the services they call."""

from procrastinate.contrib.django import app

from api.clock import now
from payments.jobs import RETRY_FOREVER
from subscriptions.services import grants


@app.task(name="subscriptions.end_upgrade", retry=RETRY_FOREVER)
def end_upgrade(subscription_id: int) -> None:
    """End an upgrade that lives off a period of which money went back."""
    grants.end_upgrade(subscription_id=subscription_id, now=now())
