"""Who may: one class per role, each holding for the roles above it as well."""

from rest_framework.permissions import BasePermission

# From the most to the least; the words are those of the user's `role`.
ROLES = ("Admin", "Manager", "Receptionist", "Trainer", "Member")


def is_at_least(user, role: str) -> bool:
    """Say whether `user` is logged in and has `role` or one above it."""
    return bool(user and user.is_authenticated and ROLES.index(user.role) <= ROLES.index(role))


class RolePermission(BasePermission):
    """Base of the classes below; `role` is the least that is enough."""

    role = "Admin"
    code = "permission_denied"
    message = "Your role does not allow this."

    def has_permission(self, request, view):
        return is_at_least(request.user, self.role)


class IsAdmin(RolePermission):
    role = "Admin"


class IsManager(RolePermission):
    role = "Manager"


class IsReceptionist(RolePermission):
    role = "Receptionist"


class IsStaff(RolePermission):
    """Anyone who works at the club."""

    role = "Trainer"
