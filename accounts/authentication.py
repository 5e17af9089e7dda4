"""The admin's session on the API: no side door."""

from rest_framework.authentication import SessionAuthentication

from accounts.receivers import AMR
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
        if not staff.has_proved_enough(found[0], request._request.session.get(AMR, [])):
            raise MfaEnrolmentRequired
        return found

    def enforce_csrf(self, request):
        check_csrf(request._request)
