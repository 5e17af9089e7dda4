"""The admin's session on the API: no side door."""

from rest_framework.authentication import SessionAuthentication

from accounts.services import staff
from api.authentication import MfaEnrolmentRequired, check_csrf


class AdminSessionAuthentication(SessionAuthentication):
    """Let staff who are logged in to the admin use the API, by the rules that hold for everybody.

    :raises MfaEnrolmentRequired: their role needs a second factor, or they have one, and came in without it
    """

    def authenticate(self, request):
        found = super().authenticate(request)
        if found is None or not found[0].is_staff:
            return None
        standing = staff.standing_of(found[0], request._request.session)
        if standing.was_ended:
            return None
        if not standing.may_act:
            raise MfaEnrolmentRequired
        return found

    def enforce_csrf(self, request):
        check_csrf(request._request)
