"""Permissions by role: one class for each role. Each also allows every higher role."""

from rest_framework.permissions import BasePermission

from api.roles import Role, rank


def is_at_least(user, role: Role) -> bool:
    """Return whether `user` is logged in and has `role` or a higher one."""
    return bool(user and user.is_authenticated and rank(user.role) <= rank(role))


class RolePermission(BasePermission):
    """Base of the classes below; `role` is the lowest role that is allowed."""

    role = Role.ADMIN
    code = "permission_denied"
    message = "Your role does not allow this."

    def has_permission(self, request, view):
        return is_at_least(request.user, self.role)


class IsAdmin(RolePermission):
    role = Role.ADMIN


class IsManager(RolePermission):
    role = Role.MANAGER


class IsReceptionist(RolePermission):
    role = Role.RECEPTIONIST


class IsStaff(RolePermission):
    """Every role except Member."""

    role = Role.TRAINER
