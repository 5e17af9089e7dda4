"""Authentication of API requests: the access token in a cookie, checked against its login session on every request."""

import logging
import uuid
from datetime import UTC, datetime

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.http import HttpResponse
from django.middleware.csrf import CsrfViewMiddleware, get_token, rotate_token
from django.utils.functional import SimpleLazyObject
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import SAFE_METHODS

from api import tokens
from api.clock import now
from api.errors import Forbidden, Unauthenticated
from api.roles import Role
from api.statements import WrittenOnce

logger = logging.getLogger(__name__)

LoginSession = SimpleLazyObject(lambda: apps.get_model(settings.LOGIN_SESSION_MODEL))


class CsrfFailed(Forbidden):
    """The CSRF check failed: a POST, PUT, PATCH or DELETE without a valid token, origin or referer."""

    code, message = "csrf_failed", "The CSRF check failed. Fetch a new CSRF token and try again."


class SessionRevoked(Unauthenticated):
    """The login session was revoked or has expired, or the user was deactivated."""

    code, message = "session_revoked", "This session has ended. Please log in."


class MfaEnrolmentRequired(Forbidden):
    """The user's role is one of MFA_REQUIRED_ROLES, and the login session has no second factor."""

    code, message = "mfa_enrolment_required", "Your role needs a second factor. Add an authenticator app."


class CsrfCheck(CsrfViewMiddleware):
    """Django's CSRF check, which here returns the reason of a failure instead of an HTML page."""

    def _reject(self, request, reason):
        return reason


def check_csrf(request) -> None:
    """Check the CSRF token, origin and referer of an unsafe request, as Django does.

    :raises CsrfFailed: the check failed. The reason is logged and not shown to the client
    """
    check = CsrfCheck(lambda request: HttpResponse())
    check.process_request(request)
    reason = check.process_view(request, None, (), {})  # type: ignore[arg-type]  # REST framework passes None too
    if reason:
        logger.warning("CSRF check failed: %s", reason)
        raise CsrfFailed


def attach_csrf_token(request, response, *, rotate: bool = False) -> str:
    """Put the masked CSRF token into the X-CSRFToken header, and return it for the body.

    The token is of no use without the CSRF cookie, which is HttpOnly.
    """
    django_request = getattr(request, "_request", request)
    if rotate:
        rotate_token(django_request)
    is_known = "CSRF_COOKIE" in django_request.META and not django_request.META.get("CSRF_COOKIE_NEEDS_UPDATE")
    token = get_token(django_request)
    if is_known:
        # Django would send the same cookie again, and overwrite a newer one that a login in another tab has just set.
        django_request.META["CSRF_COOKIE_NEEDS_UPDATE"] = False
    response["X-CSRFToken"] = token
    return token


# The columns that most requests need. The ORM loads the others on first use. Datetimes are the slowest to load.
SESSION_FIELDS = ("user", "has_second_factor")
DEFERRED_USER_FIELDS = {"last_login", "date_joined", "email_verified_at", "phone_verified_at"}


def _live_session_with_user(session_id: uuid.UUID, now: datetime):
    users = {field.name for field in get_user_model()._meta.concrete_fields} - DEFERRED_USER_FIELDS
    live = LoginSession.objects.live(now).filter(pk=session_id, user__is_active=True)
    return live.select_related("user").only(*SESSION_FIELDS, *(f"user__{name}" for name in users))


# Every authenticated request runs this. Compiling the SQL each time would cost more than the rest of the check.
find_live_session = WrittenOnce(_live_session_with_user, stand_ins=[uuid.UUID(int=0), datetime.max.replace(tzinfo=UTC)])


class CookieAuthentication(BaseAuthentication):
    """Base of the authenticators below. It defines a challenge, without which DRF answers 403 instead of 401."""

    def authenticate_header(self, request):
        return 'Cookie realm="api"'


def needs_second_factor(user) -> bool:
    """Return whether the user's role is one of MFA_REQUIRED_ROLES. A superuser counts as an Admin."""
    return user.role in settings.MFA_REQUIRED_ROLES or (user.is_superuser and Role.ADMIN in settings.MFA_REQUIRED_ROLES)


class CookieJWTAuthentication(CookieAuthentication):
    """Authenticate by the access token in its cookie: check the signature, then load session and user in one query.

    A revoked session, a deactivated user or a changed role therefore takes effect on the next request. `request.auth`
    is the LoginSession.

    In a view with `anyone_reads`, a read ignores a cookie that is answered 401 elsewhere: a browser keeps the cookie of
    an ended session, and the same read without it succeeds.
    """

    # Whether users of MFA_REQUIRED_ROLES need a login session with a second factor.
    requires_second_factor = True

    def authenticate(self, request):
        view = (getattr(request, "parser_context", None) or {}).get("view")
        try:
            return self.authenticate_cookie(request)
        except Unauthenticated:
            if request.method in SAFE_METHODS and getattr(view, "anyone_reads", False):
                return None
            raise

    def authenticate_cookie(self, request):
        """Return the user and the login session of the cookie, or None without a cookie."""
        token = request.COOKIES.get(settings.AUTH_COOKIE)
        if not token:
            return None
        claims = tokens.read(token, tokens.ACCESS)
        session = next(iter(find_live_session(claims.session_id, now())), None)
        if session is None or session.user_id != claims.user_id:
            raise SessionRevoked
        if request.method not in SAFE_METHODS:
            check_csrf(request._request)
        if self.requires_second_factor and not session.has_second_factor and needs_second_factor(session.user):
            raise MfaEnrolmentRequired
        return session.user, session


class EnrolmentAuthentication(CookieJWTAuthentication):
    """Accept a login session without the second factor that the role needs: to add that factor, and to log out."""

    requires_second_factor = False


class CsrfOnly(CookieAuthentication):
    """For calls before login: check the CSRF token only. The user stays anonymous."""

    def authenticate(self, request):
        check_csrf(request._request)
        return None


class CsrfIfCookies(CsrfOnly):
    """For logout: without a cookie of a login there is nothing to protect, and the call succeeds from our own pages.

    A page of another site is refused also without cookies. The browser does not send it ours (SameSite), but it would
    accept that the answer deletes them.
    """

    def authenticate(self, request):
        cookies = (settings.AUTH_COOKIE, settings.AUTH_COOKIE_REFRESH, settings.AUTH_COOKIE_MFA)
        origin = request.headers.get("Origin")
        is_from_elsewhere = origin and origin not in (own_origin(request), *settings.CSRF_TRUSTED_ORIGINS)
        if is_from_elsewhere or any(name in request.COOKIES for name in cookies):
            check_csrf(request._request)
        return None


def own_origin(request) -> str:
    """Return the origin of our own pages, as a browser sends it in the Origin header."""
    return f"{request.scheme}://{request.get_host()}"
