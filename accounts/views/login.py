"""API views of registration, login, refresh, logout and passwords."""

from django.conf import settings
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.response import Response

from accounts import serializers
from accounts.permissions import HasLoginSession
from accounts.services import devices, login_sessions, passwords, registration
from accounts.services.audit import Caller
from accounts.services.two_factor import Challenge
from api import cookies, request_ids
from api.authentication import CsrfIfCookies, CsrfOnly, EnrolmentAuthentication, attach_csrf_token
from api.clock import now
from api.errors import Unauthenticated
from api.exceptions import handle
from api.generics import APIView
from api.ip_addresses import client_ip


def caller_of(request) -> Caller:
    """Return the origin of a request, for the audit log."""
    return Caller(
        ip=client_ip(request),
        user_agent=request.headers.get("User-Agent", "")[:256].replace("\x00", ""),
        request_id=request_ids.current.get(),
        device=request.COOKIES.get(settings.AUTH_COOKIE_DEVICE, ""),
    )


def validated(serializer_class, request) -> dict:
    """Validate the request's body and return its fields."""
    serializer = serializer_class(data=request.data, context={"request": request})
    serializer.is_valid(raise_exception=True)
    return serializer.validated_data


def session_response(request, tokens: login_sessions.Tokens, body: dict, *, at) -> Response:
    """Return a response with both cookies and a CSRF token, which is new unless `tokens` were not rotated."""
    response = Response(body)
    cookies.set_session(
        response,
        access=tokens.access,
        access_expires_at=tokens.access_expires_at,
        refresh=tokens.refresh,
        refresh_expires_at=tokens.refresh_expires_at,
        remember=tokens.session.remember,
        now=at,
    )
    body["csrf_token"] = attach_csrf_token(request, response, rotate=tokens.rotated)
    return response


def login_response(request, tokens: login_sessions.Tokens, *, at) -> Response:
    """Return the response to a complete login."""
    context = {"request": request, "session": tokens.session}
    user = serializers.MeSerializer(tokens.session.user, context=context).data
    response = session_response(request, tokens, {"user": user}, at=at)
    remember_device(request, response, tokens.session.user)
    return response


def remember_device(request, response, user) -> None:
    """Set the device cookie of a browser in which `user` has just logged in."""
    cookies.set_device(response, devices.token_after_login(caller_of(request).device, user))


class AnonymousView(APIView):
    """A view that needs no login. It still checks the CSRF token."""

    authentication_classes = [CsrfOnly]
    permission_classes = [AllowAny]


class CsrfView(AnonymousView):
    """A CSRF token for calls before login. An existing secret is kept."""

    authentication_classes: list = []

    @extend_schema(responses=serializers.CsrfTokenSerializer)
    def get(self, request):
        response = Response({})
        response.data["csrf_token"] = attach_csrf_token(request, response)
        return response


class RegisterView(AnonymousView):
    """Register. The answer is the same for a new contact and for a known one."""

    @extend_schema(request=serializers.RegisterSerializer, responses={202: serializers.RegisteredSerializer})
    def post(self, request):
        registration.register(
            **validated(serializers.RegisterSerializer, request), caller=caller_of(request), now=now()
        )
        return Response({"next": "verify"}, status=202)


class VerifyView(AnonymousView):
    """Confirm an e-mail address or a phone number by the code sent to it."""

    @extend_schema(request=serializers.VerifySerializer, responses={200: None})
    def post(self, request):
        registration.verify(**validated(serializers.VerifySerializer, request), caller=caller_of(request), now=now())
        return Response(None)


class ResendView(AnonymousView):
    """Send another code, if the contact is known and not confirmed. The answer is always the same."""

    @extend_schema(request=serializers.IdentifierSerializer, responses={202: None})
    def post(self, request):
        registration.resend(
            **validated(serializers.IdentifierSerializer, request), caller=caller_of(request), now=now()
        )
        return Response(None, status=202)


class LoginView(AnonymousView):
    """Log in by username, e-mail address or phone number. The tokens are sent as cookies, never in the body.

    A user with a second factor gets `mfa_required` instead, and a cookie that is sent only to auth/mfa/.
    """

    refuses = {"post": [401]}

    @extend_schema(
        request=serializers.LoginSerializer,
        responses=PolymorphicProxySerializer(
            component_name="LoginAnswer",
            serializers=[serializers.LoggedInSerializer, serializers.SecondFactorAskedSerializer],
            resource_type_field_name=None,
        ),
    )
    def post(self, request):
        at = now()
        outcome = login_sessions.log_in(
            **validated(serializers.LoginSerializer, request), caller=caller_of(request), now=at
        )
        if isinstance(outcome, Challenge):
            response = Response({"mfa_required": True, "methods": outcome.methods})
            cookies.set_pending(response, outcome.token)
            return response
        return login_response(request, outcome, at=at)


class RefreshView(AnonymousView):
    """Renew the session by the Refresh cookie. A refusal clears the cookies."""

    refuses = {"post": [401]}
    request_serializer = None

    @extend_schema(responses=serializers.RefreshedSerializer)
    def post(self, request):
        at = now()
        try:
            tokens = login_sessions.refresh(
                token=request.COOKIES.get(settings.AUTH_COOKIE_REFRESH), caller=caller_of(request), now=at
            )
        except Unauthenticated as error:
            response = handle(error, {"request": request, "view": self})
            cookies.clear_session(response)
            return response
        body = {"access_expires_at": tokens.access_expires_at, "refresh_expires_at": tokens.refresh_expires_at}
        return session_response(request, tokens, body, at=at)


class LogoutView(AnonymousView):
    """End this session and clear its cookies. It succeeds also without a session, or with an expired access token.

    It needs the CSRF token only if the request has a cookie of a login.
    """

    authentication_classes = [CsrfIfCookies]
    request_serializer = None

    @extend_schema(responses=serializers.CsrfTokenSerializer)
    def post(self, request):
        try:
            found = EnrolmentAuthentication().authenticate(request)
        except Unauthenticated:
            found = None
        login_sessions.log_out(
            refresh_token=request.COOKIES.get(settings.AUTH_COOKIE_REFRESH),
            session=found[1] if found else None,
            caller=caller_of(request),
            now=now(),
        )
        response = Response({})
        cookies.clear_session(response)
        cookies.clear_pending(response)
        response.data["csrf_token"] = attach_csrf_token(request, response, rotate=True)
        return response


class LogoutAllView(APIView):
    """End every session of the caller, or with `keep_current` every other one."""

    permission_classes = [IsAuthenticated]

    @extend_schema(request=serializers.KeepCurrentSerializer, responses=serializers.RevokedSerializer)
    def post(self, request):
        keep = (
            request.auth.pk
            if request.auth and validated(serializers.KeepCurrentSerializer, request)["keep_current"]
            else None
        )
        ended = login_sessions.revoke_all(
            user=request.user, reason="logout_all", caller=caller_of(request), now=now(), keep=keep
        )
        return Response({"revoked": ended})


class PasswordChangeView(APIView):
    """Change the caller's password. Their other sessions end."""

    permission_classes = [HasLoginSession]

    @extend_schema(request=serializers.PasswordChangeSerializer, responses=serializers.CsrfTokenSerializer)
    def post(self, request):
        at = now()
        tokens = passwords.change(
            session=request.auth,
            **validated(serializers.PasswordChangeSerializer, request),
            caller=caller_of(request),
            now=at,
        )
        return session_response(request, tokens, {}, at=at)


class PasswordResetView(AnonymousView):
    """Ask for a code to reset the password. The answer is always the same."""

    @extend_schema(request=serializers.IdentifierSerializer, responses={202: None})
    def post(self, request):
        passwords.request_reset(
            **validated(serializers.IdentifierSerializer, request), caller=caller_of(request), now=now()
        )
        return Response(None, status=202)


class PasswordResetConfirmView(AnonymousView):
    """Set a new password by a reset code. Every session ends, and no new one is opened."""

    @extend_schema(request=serializers.PasswordResetConfirmSerializer, responses={200: None})
    def post(self, request):
        passwords.confirm_reset(
            **validated(serializers.PasswordResetConfirmSerializer, request), caller=caller_of(request), now=now()
        )
        return Response(None)
