"""The verbs of memberships; the only writers of a subscription's fact and dates.

Locks are taken in the order member, payment, receipt, then the periods of one member and group by id, then the
member's visits.
"""

from subscriptions.services.asking import renew_as, subscribe_as, upgrade_as
from subscriptions.services.buying import Purchase, cancel, renew, subscribe
from subscriptions.services.catalog import create_plan, create_plan_group, edit_plan, edit_plan_group
from subscriptions.services.changing import change_at_end, undo_changes, upgrade
from subscriptions.services.freezing import close_club, freeze, open_club, unfreeze
from subscriptions.services.giving import bring_along, give
from subscriptions.services.granting import cancel_for_payment, end_upgrade, grant_for_payment, revoke_for_payment

__all__ = [
    "Purchase",
    "bring_along",
    "cancel",
    "cancel_for_payment",
    "change_at_end",
    "close_club",
    "create_plan",
    "create_plan_group",
    "edit_plan",
    "edit_plan_group",
    "end_upgrade",
    "freeze",
    "give",
    "grant_for_payment",
    "open_club",
    "renew",
    "renew_as",
    "revoke_for_payment",
    "subscribe",
    "subscribe_as",
    "undo_changes",
    "unfreeze",
    "upgrade",
    "upgrade_as",
]
