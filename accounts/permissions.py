"""Who may see and add people."""

from rest_framework.permissions import BasePermission

from api.permissions import is_at_least


class HasLoginSession(BasePermission):
    """Holds for who came in by the Authentication cookie, not by the admin's session."""

    code, message = "permission_denied", "Please log in here first."

    def has_permission(self, request, view):
        return bool(request.user and request.user.is_authenticated and request.auth is not None)


class MaySeePeople(BasePermission):
    """Trainers and up see people; receptionists and up add and change them."""

    code, message = "permission_denied", "Your role does not allow this."

    def has_permission(self, request, view):
        least = "Trainer" if request.method in ("GET", "HEAD", "OPTIONS") else "Receptionist"
        return is_at_least(request.user, least)
