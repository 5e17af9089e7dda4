"""Roles of the admin pages of memberships: managers edit the price list, and what was sold is read-only."""

from api.admin.roles import Page, exported_by, register
from api.roles import Role

register(
    {
        "subscriptions.plangroup": Page(view=Role.TRAINER, add=Role.MANAGER, change=Role.MANAGER),
        "subscriptions.plan": Page(view=Role.TRAINER, add=Role.MANAGER, change=Role.MANAGER),
        "subscriptions.subscription": Page(view=Role.TRAINER, actions=exported_by(Role.RECEPTIONIST)),
        "subscriptions.freeze": Page(view=Role.TRAINER),
        "subscriptions.closure": Page(view=Role.TRAINER),
        "subscriptions.visit": Page(view=Role.TRAINER, actions=exported_by(Role.RECEPTIONIST)),
    }
)
