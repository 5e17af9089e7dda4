"""Roles of the admin pages of people."""

from api.admin.roles import Page, exported_by, register
from api.roles import Role

register(
    {
        # Staff change only people below their own role, too (accounts/admin.py).
        "accounts.customuser": Page(
            view=Role.TRAINER, add=Role.RECEPTIONIST, change=Role.RECEPTIONIST, actions=exported_by(Role.MANAGER)
        ),
        "accounts.loginsession": Page(view=Role.MANAGER),
        "accounts.securityevent": Page(view=Role.MANAGER),
    }
)
