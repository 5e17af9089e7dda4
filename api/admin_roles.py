"""Roles of the admin page of exports."""

from api.admin.roles import Page, register
from api.roles import Role

register(
    {
        # Each person sees their own exports.
        "api.export": Page(view=Role.RECEPTIONIST, actions={"see_all": Role.ADMIN}),
    }
)
