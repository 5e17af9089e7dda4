"""Register, confirm, log in, stay in, log out."""

from django.conf import settings
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import serializers
from accounts.permissions import HasLoginSession
from accounts.services import login_sessions, passwords, registration
from accounts.services.audit import Caller
from accounts.services.two_factor import Challenge
from api import cookies, request_ids
from api.authentication import CsrfOnly, EnrolmentAuthentication, attach_csrf_token
from api.clock import now
from api.errors import Unauthenticated
from api.exceptions import handle
from api.ip_addresses import client_ip


def caller_of(request) -> Caller:
    """Return where a request came from, for the audit."""
    return Caller(
        ip=client_ip(request),
        user_agent=request.headers.get("User-Agent", "")[:256].replace("\x00", ""),
        request_id=request_ids.current.get(),
    )


def checked(serializer_class, request) -> dict:
    """Return the body's checked fields."""
    serializer = serializer_class(data=request.data, context={"request": request})
    serializer.is_valid(raise_exception=True)
    return serializer.validated_data


def logged_in_as(request, tokens: login_sessions.Tokens, body: dict, *, at) -> Response:
    """Answer with both cookies and, unless this was a twin's refresh, a new CSRF token."""
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


def logged_in(request, tokens: login_sessions.Tokens, *, at) -> Response:
    """Answer a log-in that is complete."""
    context = {"request": request, "session": tokens.session}
    user = serializers.MeSerializer(tokens.session.user, context=context).data
    return logged_in_as(request, tokens, {"user": user}, at=at)


class OpenView(APIView):
    """Calls for who is not logged in: open to all, and guarded against other sites."""

    authentication_classes = [CsrfOnly]
    permission_classes = [AllowAny]


class CsrfView(OpenView):
    """A CSRF token for calls before log-in. An existing secret is kept."""

    authentication_classes: list = []

    @extend_schema(request=None, responses=serializers.CsrfTokenSerializer)
    def get(self, request):
        response = Response({})
        response.data["csrf_token"] = attach_csrf_token(request, response)
        return response


class RegisterView(OpenView):
    """Join. The answer is the same for a new address and for a known one."""

    @extend_schema(request=serializers.RegisterSerializer, responses={202: serializers.RegisteredSerializer})
    def post(self, request):
        registration.register(**checked(serializers.RegisterSerializer, request), caller=caller_of(request), now=now())
        return Response({"next": "verify"}, status=202)


class VerifyView(OpenView):
    """Confirm an e-mail address or a phone number by its code."""

    @extend_schema(request=serializers.VerifySerializer, responses={200: None})
    def post(self, request):
        registration.verify(**checked(serializers.VerifySerializer, request), caller=caller_of(request), now=now())
        return Response(None)


class ResendView(OpenView):
    """Another code, if one is due. Always answered alike."""

    @extend_schema(request=serializers.IdentifierSerializer, responses={202: None})
    def post(self, request):
        registration.resend(**checked(serializers.IdentifierSerializer, request), caller=caller_of(request), now=now())
        return Response(None, status=202)


class LoginView(OpenView):
    """Log in by username, e-mail or phone; the session comes as cookies, never in the body.

    Who has a second factor is asked for it: `mfa_required`, and a cookie that auth/mfa/ alone gets to see.
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
            **checked(serializers.LoginSerializer, request), caller=caller_of(request), now=at
        )
        if isinstance(outcome, Challenge):
            response = Response({"mfa_required": True, "methods": outcome.methods})
            cookies.set_pending(response, outcome.token)
            return response
        return logged_in(request, outcome, at=at)


class RefreshView(OpenView):
    """Renew the session by the Refresh cookie. A refusal clears the cookies."""

    refuses = {"post": [401]}

    @extend_schema(request=None, responses=serializers.RefreshedSerializer)
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
        return logged_in_as(request, tokens, body, at=at)


class LogoutView(OpenView):
    """End this session and clear its cookies. Always 200, also with an expired access token."""

    @extend_schema(request=None, responses=serializers.CsrfTokenSerializer)
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
        response.data["csrf_token"] = attach_csrf_token(request, response, rotate=True)
        return response


class LogoutAllView(APIView):
    """End every session of the caller's; `keep_current` spares this one."""

    permission_classes = [IsAuthenticated]

    @extend_schema(request=serializers.KeepCurrentSerializer, responses=serializers.RevokedSerializer)
    def post(self, request):
        keep = (
            request.auth.pk
            if request.auth and checked(serializers.KeepCurrentSerializer, request)["keep_current"]
            else None
        )
        ended = login_sessions.revoke_all(
            user=request.user, reason="logout_all", caller=caller_of(request), now=now(), keep=keep
        )
        return Response({"revoked": ended})


class PasswordChangeView(APIView):
    """Change one's password; the other sessions end."""

    permission_classes = [HasLoginSession]

    @extend_schema(request=serializers.PasswordChangeSerializer, responses=serializers.CsrfTokenSerializer)
    def post(self, request):
        at = now()
        tokens = passwords.change(
            session=request.auth,
            **checked(serializers.PasswordChangeSerializer, request),
            caller=caller_of(request),
            now=at,
        )
        return logged_in_as(request, tokens, {}, at=at)


class PasswordResetView(OpenView):
    """Ask for a reset code. Always answered alike."""

    @extend_schema(request=serializers.IdentifierSerializer, responses={202: None})
    def post(self, request):
        passwords.request_reset(
            **checked(serializers.IdentifierSerializer, request), caller=caller_of(request), now=now()
        )
        return Response(None, status=202)


class PasswordResetConfirmView(OpenView):
    """Set a new password by a reset code. Every session ends; nobody is logged in."""

    @extend_schema(request=serializers.PasswordResetConfirmSerializer, responses={200: None})
    def post(self, request):
        passwords.confirm_reset(
            **checked(serializers.PasswordResetConfirmSerializer, request), caller=caller_of(request), now=now()
        )
        return Response(None)
