"""Authentication of API requests by the admin's session, under the same rules as the API's own login."""

from rest_framework.authentication import SessionAuthentication

from accounts.services import admin_login
from api.authentication import MfaEnrolmentRequired, check_csrf


class AdminSessionAuthentication(SessionAuthentication):
    """Lets staff who are logged in to the admin use the API.

    :raises MfaEnrolmentRequired: the login has no second factor, but the user has one or their role needs one
    """

    def authenticate(self, request):
        found = super().authenticate(request)
        if found is None or not found[0].is_staff:
            return None
        state = admin_login.state_of(found[0], request._request.session)
        if state.was_ended:
            return None
        if not state.may_act:
            raise MfaEnrolmentRequired
        return found

    def enforce_csrf(self, request):
        check_csrf(request._request)
