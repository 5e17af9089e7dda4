"""Who is asking: the Authentication cookie, checked against its session row on every request."""

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
    """The unsafe call lacks the token that only our own pages can know."""

    code, message = "csrf_failed", "Please fetch a new CSRF token and try again."


class SessionRevoked(Unauthenticated):
    code, message = "session_revoked", "This session has ended. Please log in."


class MfaEnrolmentRequired(Forbidden):
    """Told to who is of a role that needs a second factor, and has come in without one."""

    code, message = "mfa_enrolment_required", "Your role needs a second factor. Please add an authenticator app."


class CsrfCheck(CsrfViewMiddleware):
    """Django's check, answering with the reason in place of an HTML page."""

    def _reject(self, request, reason):
        return reason


def check_csrf(request) -> None:
    """Check an unsafe request's CSRF token, origin and referer as Django does.

    :raises CsrfFailed: the check failed; the reason goes to the log only
    """
    check = CsrfCheck(lambda request: HttpResponse())
    check.process_request(request)
    reason = check.process_view(request, None, (), {})  # type: ignore[arg-type]  # as REST framework calls it
    if reason:
        logger.warning("CSRF check failed: %s", reason)
        raise CsrfFailed


def attach_csrf_token(request, response, *, rotate: bool = False) -> str:
    """Put the masked CSRF token into the X-CSRFToken header, and return it for the body.

    The cookie itself stays HttpOnly; without it the token opens nothing.
    """
    django_request = getattr(request, "_request", request)
    if rotate:
        rotate_token(django_request)
    is_known = "CSRF_COOKIE" in django_request.META and not django_request.META.get("CSRF_COOKIE_NEEDS_UPDATE")
    token = get_token(django_request)
    if is_known:
        # Django would send the same cookie again, and so take back what another tab's log-in has changed meanwhile.
        django_request.META["CSRF_COOKIE_NEEDS_UPDATE"] = False
    response["X-CSRFToken"] = token
    return token


# What a request needs of its session and of who asks; whoever wants more reads it then. Moments take longest to read.
SESSION_FIELDS = ("user", "has_second_factor")
SELDOM_ASKED = {"last_login", "date_joined", "email_verified_at", "phone_verified_at"}


def _live_session_with_user(session_id: uuid.UUID, now: datetime):
    users = {field.name for field in get_user_model()._meta.concrete_fields} - SELDOM_ASKED
    live = LoginSession.objects.live(now).filter(pk=session_id, user__is_active=True)
    return live.select_related("user").only(*SESSION_FIELDS, *(f"user__{name}" for name in users))


# Every authenticated request passes here: writing this join anew costs more than all the rest of the check.
find_live_session = WrittenOnce(_live_session_with_user, stand_ins=[uuid.UUID(int=0), datetime.max.replace(tzinfo=UTC)])


class CookieAuthentication(BaseAuthentication):
    """What both authenticators share: 401 (never 403) when nobody is logged in."""

    def authenticate_header(self, request):
        return 'Cookie realm="api"'


def needs_second_factor(user) -> bool:
    """Say whether the person's role is one of MFA_REQUIRED_ROLES; a superuser's counts as Admin."""
    return user.role in settings.MFA_REQUIRED_ROLES or (user.is_superuser and Role.ADMIN in settings.MFA_REQUIRED_ROLES)


class CookieJWTAuthentication(CookieAuthentication):
    """Log in by the Authentication cookie: signature in memory, then one query for session and user.

    A revoked session, a deactivated user or a changed role bites on the next request. `request.auth` is the
    LoginSession.
    """

    # Whether roles that need a second factor are let in by a session that has it, and by no other.
    requires_second_factor = True

    def authenticate(self, request):
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
    """For the few calls by which a second factor is added, and for logging out: open to who has none yet."""

    requires_second_factor = False


class CsrfOnly(CookieAuthentication):
    """For calls before log-in: nobody is authenticated, and the CSRF token is checked all the same."""

    def authenticate(self, request):
        check_csrf(request._request)
        return None
