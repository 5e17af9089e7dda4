"""The verbs of memberships; the only writers of a subscription's fact and dates.

Locks are taken in the order member, payment, receipt, then the periods of one member and group by id.
"""

from subscriptions.services.catalog import create_plan, create_plan_group, edit_plan
from subscriptions.services.granting import cancel_for_payment, grant_for_payment, revoke_for_payment

__all__ = [
    "cancel_for_payment",
    "create_plan",
    "create_plan_group",
    "edit_plan",
    "grant_for_payment",
    "revoke_for_payment",
]
