"""Who may see and add people."""

from django.conf import settings
from rest_framework.permissions import BasePermission

from accounts.services.passwords import ReauthRequired
from api.clock import now
from api.permissions import is_at_least
from api.roles import Role

# Fields of a person by which somebody gets in.
OPENS_DOORS = {"role", "email", "phone_number", "password"}


class HasLoginSession(BasePermission):
    """Holds for who came in by the Authentication cookie, not by the admin's session."""

    code, message = "permission_denied", "Please log in here first."

    def has_permission(self, request, view):
        return bool(request.user and request.user.is_authenticated and request.auth is not None)


class MaySeePeople(BasePermission):
    """Trainers and up see people; receptionists and up add and change them."""

    code, message = "permission_denied", "Your role does not allow this."

    def has_permission(self, request, view):
        least = Role.TRAINER if request.method in ("GET", "HEAD", "OPTIONS") else Role.RECEPTIONIST
        return is_at_least(request.user, least)


class HasFreshLogin(HasLoginSession):
    """Holds for FRESH_LOGIN_LIFETIME after the person proved who they are; then they log in again.

    For acts that the finder of an unlocked phone must not do. A refresh makes no session fresh: a client that is told
    `reauth_required` asks for the password, calls auth/login/, and repeats the call with the new session.

    :raises ReauthRequired: that was longer ago
    """

    def has_permission(self, request, view):
        if not super().has_permission(request, view):
            return False
        if now() - request.auth.auth_time > settings.FRESH_LOGIN_LIFETIME:
            raise ReauthRequired
        return True


class HasFreshLoginForWhatOpensDoors(HasFreshLogin):
    """Asks for a fresh log-in where staff give somebody a role, an address or a password; else holds."""

    def has_permission(self, request, view):
        body = request.data if request.method in ("POST", "PATCH") else None
        if not isinstance(body, dict):
            return True  # nothing to read, or nothing that a serializer takes
        # A new person's address and password open nothing that was somebody's; a role does.
        opens_doors = (
            body.get("role", Role.MEMBER) != Role.MEMBER if request.method == "POST" else OPENS_DOORS & body.keys()
        )
        return super().has_permission(request, view) if opens_doors else True
