"""API views of the second factor: its step at login, and its setup."""

from base64 import b32encode

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from accounts import serializers
from accounts.permissions import HasFreshLogin
from accounts.services import login_sessions, two_factor, two_factor_setup
from accounts.views.login import AnonymousView, caller_of, login_response, validated
from api import cookies
from api.authentication import EnrolmentAuthentication
from api.clock import now
from api.exceptions import handle
from api.generics import APIView


class SecondStepView(AnonymousView):
    """Base of the two methods: finish a login by the MfaPending cookie and a code."""

    refuses = {"post": [401]}
    method: str
    body: type

    def post(self, request):
        at = now()
        try:
            tokens = login_sessions.finish_login(
                token=request.COOKIES.get(settings.AUTH_COOKIE_MFA),
                method=self.method,
                **validated(self.body, request),
                caller=caller_of(request),
                now=at,
            )
        except two_factor.MfaExpired as error:
            response = handle(error, {"request": request, "view": self})
        else:
            response = login_response(request, tokens, at=at)
        cookies.clear_pending(response)
        return response


@extend_schema(request=serializers.TotpCodeSerializer, responses=serializers.LoggedInSerializer)
class MfaVerifyView(SecondStepView):
    """Finish a login by a code of the authenticator app, or by one that was sent (method `message`).

    A code works once; after `mfa_expired` log in again.
    """

    method, body = two_factor.TOTP, serializers.TotpCodeSerializer


@extend_schema(request=serializers.RecoveryCodeSerializer, responses=serializers.LoggedInSerializer)
class MfaRecoveryView(SecondStepView):
    """Finish a login by one of the recovery codes. A code works once; after `mfa_expired` log in again."""

    method, body = two_factor.RECOVERY, serializers.RecoveryCodeSerializer


class TotpView(APIView):
    """The caller's authenticator app: begin to add one, or remove it. Needs a fresh login."""

    authentication_classes = [EnrolmentAuthentication]
    permission_classes = [HasFreshLogin]
    request_serializer = None

    @extend_schema(responses={201: serializers.NewAuthenticatorSerializer})
    def post(self, request):
        device = two_factor_setup.begin(user=request.user, now=now())
        secret = b32encode(device.bin_key).decode()
        return Response({"otpauth_uri": device.config_url, "secret": secret}, status=201)

    @extend_schema(responses={204: None})
    def delete(self, request):
        two_factor_setup.remove(user=request.user, session=request.auth, caller=caller_of(request), now=now())
        return Response(status=204)


class TotpConfirmView(APIView):
    """Turn the second factor on by a code of the new app. Only this response has the recovery codes."""

    authentication_classes = [EnrolmentAuthentication]
    permission_classes = [HasFreshLogin]

    @extend_schema(request=serializers.TotpCodeSerializer, responses=serializers.RecoveryCodesSerializer)
    def post(self, request):
        codes = two_factor_setup.confirm(
            user=request.user,
            session=request.auth,
            **validated(serializers.TotpCodeSerializer, request),
            caller=caller_of(request),
            now=now(),
        )
        return Response({"recovery_codes": codes})


class RecoveryCodesView(APIView):
    """New recovery codes. The old ones stop working. Needs a fresh login."""

    permission_classes = [HasFreshLogin]
    request_serializer = None

    @extend_schema(responses={201: serializers.RecoveryCodesSerializer})
    def post(self, request):
        codes = two_factor_setup.renew_recovery_codes(
            user=request.user, session=request.auth, caller=caller_of(request), now=now()
        )
        return Response({"recovery_codes": codes}, status=201)
