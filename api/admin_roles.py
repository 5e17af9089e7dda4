"""Roles of the admin pages of exports and changes."""

from api.admin.roles import Page, register
from api.roles import Role

register(
    {
        # Each person sees their own exports.
        "api.change": Page(view=Role.RECEPTIONIST),
        "api.export": Page(view=Role.RECEPTIONIST, actions={"see_all": Role.ADMIN}),
    }
)
