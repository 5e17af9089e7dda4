"""Who is asking: the Authentication cookie, checked against its session row on every request."""

import logging
import uuid
from functools import cache

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection
from django.middleware.csrf import CsrfViewMiddleware, get_token, rotate_token
from django.utils.functional import SimpleLazyObject
from rest_framework.authentication import BaseAuthentication

from api import tokens
from api.clock import now
from api.errors import Forbidden, Unauthenticated

logger = logging.getLogger(__name__)

LoginSession = SimpleLazyObject(lambda: apps.get_model(settings.LOGIN_SESSION_MODEL))


class CsrfFailed(Forbidden):
    """The unsafe call lacks the token that only our own pages can know."""

    code, message = "csrf_failed", "Please fetch a new CSRF token and try again."


class SessionRevoked(Unauthenticated):
    code, message = "session_revoked", "This session has ended. Please log in."


class CsrfCheck(CsrfViewMiddleware):
    """Django's check, answering with the reason in place of an HTML page."""

    def _reject(self, request, reason):
        return reason


def check_csrf(request) -> None:
    """Check an unsafe request's CSRF token, origin and referer as Django does.

    :raises CsrfFailed: the check failed; the reason goes to the log only
    """
    check = CsrfCheck(lambda request: None)
    check.process_request(request)
    reason = check.process_view(request, None, (), {})
    if reason:
        logger.warning("CSRF check failed: %s", reason)
        raise CsrfFailed


def give_csrf_token(request, response, *, rotate: bool = False) -> str:
    """Put the masked CSRF token into the X-CSRFToken header, and return it for the body.

    The cookie itself stays HttpOnly; without it the token opens nothing.
    """
    django_request = getattr(request, "_request", request)
    if rotate:
        rotate_token(django_request)
    token = get_token(django_request)
    response["X-CSRFToken"] = token
    return token


# What a request needs to know of its session, in the model's order; whoever asks for more reads it then.
SESSION_FIELDS = [
    "id", "user_id", "generation", "idle_expires_at", "absolute_expires_at", "revoked_at", "auth_time", "remember",
]  # fmt: skip


@cache
def _session_statement() -> tuple[str, list[str]]:
    """Return the statement that reads a session with its user, written by the ORM once, and the user's fields."""
    user_fields = [field.attname for field in get_user_model()._meta.concrete_fields]
    columns = [*SESSION_FIELDS, *(f"user__{name}" for name in user_fields)]
    rows = LoginSession.objects.filter(pk=uuid.UUID(int=0)).values_list(*columns)
    return rows.query.sql_with_params()[0], user_fields


def find_session(session_id: uuid.UUID):
    """Return the session with its user, or None: one statement.

    Every authenticated request passes here. Having the ORM write the same join each time costs more than all the
    rest of the check, so its SQL is kept.
    """
    sql, user_fields = _session_statement()
    with connection.cursor() as cursor:
        cursor.execute(sql, [session_id])
        row = cursor.fetchone()
    if row is None:
        return None
    session = LoginSession.from_db(connection.alias, SESSION_FIELDS, row[: len(SESSION_FIELDS)])
    session.user = get_user_model().from_db(connection.alias, user_fields, row[len(SESSION_FIELDS) :])
    return session


class CookieAuthentication(BaseAuthentication):
    """What both authenticators share: 401 (never 403) when nobody is logged in."""

    def authenticate_header(self, request):
        return 'Cookie realm="api"'


class CookieJWTAuthentication(CookieAuthentication):
    """Log in by the Authentication cookie: signature in memory, then one query for session and user.

    A revoked session, a deactivated user or a changed role bites on the next request. `request.auth` is the
    LoginSession.
    """

    def authenticate(self, request):
        token = request.COOKIES.get(settings.AUTH_COOKIE)
        if not token:
            return None
        claims = tokens.read(token, tokens.ACCESS)
        session = find_session(claims.session_id)
        if session is None or session.user_id != claims.user_id or not session.is_live(now()):
            raise SessionRevoked
        check_csrf(request._request)
        return session.user, session


class CsrfOnly(CookieAuthentication):
    """For calls before log-in: nobody is authenticated, and the CSRF token is checked all the same."""

    def authenticate(self, request):
        check_csrf(request._request)
        return None
