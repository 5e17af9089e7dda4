"""Permissions of accounts: people's data, login sessions, and actions that need a fresh login."""

from django.conf import settings
from rest_framework.permissions import SAFE_METHODS, BasePermission

from accounts.services.passwords import ReauthRequired
from api.clock import now
from api.permissions import is_at_least
from api.roles import Role

# Fields that staff can change through the API and that decide who can log in.
ACCESS_FIELDS = {"role", "email", "phone_number", "password"}


class HasLoginSession(BasePermission):
    """The caller logged in through the API, not through the admin."""

    code, message = "permission_denied", "Please log in here first."

    def has_permission(self, request, view):
        return bool(request.user and request.user.is_authenticated and request.auth is not None)


class MaySeePeople(BasePermission):
    """Every employee may read people's data; Receptionists and higher roles may add and change people."""

    code, message = "permission_denied", "Your role does not allow this."

    def has_permission(self, request, view):
        least = Role.TRAINER if request.method in SAFE_METHODS else Role.RECEPTIONIST
        return is_at_least(request.user, least)


class HasFreshLogin(HasLoginSession):
    """The caller logged in within FRESH_LOGIN_LIFETIME.

    It protects against somebody who finds an unlocked phone. A refresh does not make a login session fresh: after
    `reauth_required` the client asks for the password, calls auth/login/, and repeats the call with the new session.

    :raises ReauthRequired: the login is older
    """

    def has_permission(self, request, view):
        if not super().has_permission(request, view):
            return False
        if now() - request.auth.auth_time > settings.FRESH_LOGIN_LIFETIME:
            raise ReauthRequired
        return True


class HasFreshLoginForAccessChanges(HasFreshLogin):
    """The caller has a fresh login, or the request changes nobody's access."""

    def has_permission(self, request, view):
        body = request.data if request.method in ("POST", "PATCH") else None
        if not isinstance(body, dict):
            return True  # no body, or one that the serializer refuses
        # The contact and password of a new user give no access to anything that existed before; a role does.
        changes_access = (
            body.get("role", Role.MEMBER) != Role.MEMBER if request.method == "POST" else ACCESS_FIELDS & body.keys()
        )
        return super().has_permission(request, view) if changes_access else True
