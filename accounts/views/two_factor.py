"""The second factor: its step of a log-in, and turning it on and off."""

from base64 import b32encode

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import serializers
from accounts.permissions import HasFreshLogin
from accounts.services import login_sessions, two_factor, two_factor_setup
from accounts.views.login import OpenView, caller_of, checked, logged_in
from api import cookies
from api.authentication import EnrolmentAuthentication
from api.clock import now
from api.exceptions import handle


class SecondStepView(OpenView):
    """What both ways share: the MfaPending cookie and a code become a session."""

    refuses = {"post": [401]}
    method: str
    body: type

    def post(self, request):
        at = now()
        try:
            tokens = login_sessions.finish_log_in(
                token=request.COOKIES.get(settings.AUTH_COOKIE_MFA),
                method=self.method,
                **checked(self.body, request),
                caller=caller_of(request),
                now=at,
            )
        except two_factor.MfaExpired as error:
            response = handle(error, {"request": request, "view": self})
        else:
            response = logged_in(request, tokens, at=at)
        cookies.clear_pending(response)
        return response


@extend_schema(request=serializers.TotpCodeSerializer, responses=serializers.LoggedInSerializer)
class MfaVerifyView(SecondStepView):
    """Finish a log-in by a code of the authenticator app. A code works once; `mfa_expired` means: log in again."""

    method, body = two_factor.TOTP, serializers.TotpCodeSerializer


@extend_schema(request=serializers.RecoveryCodeSerializer, responses=serializers.LoggedInSerializer)
class MfaRecoveryView(SecondStepView):
    """Finish a log-in by one of the recovery codes. A code works once; `mfa_expired` means: log in again."""

    method, body = two_factor.RECOVERY, serializers.RecoveryCodeSerializer


class TotpView(APIView):
    """The caller's authenticator app: begin to add one, or remove it. Asks for a fresh log-in."""

    authentication_classes = [EnrolmentAuthentication]
    permission_classes = [HasFreshLogin]

    @extend_schema(request=None, responses={201: serializers.NewAuthenticatorSerializer})
    def post(self, request):
        device = two_factor_setup.begin(user=request.user, now=now())
        secret = b32encode(device.bin_key).decode()
        return Response({"otpauth_uri": device.config_url, "secret": secret}, status=201)

    @extend_schema(request=None, responses={204: None})
    def delete(self, request):
        two_factor_setup.remove(user=request.user, session=request.auth, caller=caller_of(request), now=now())
        return Response(status=204)


class TotpConfirmView(APIView):
    """Turn the second factor on by a code of the new app. The answer has the recovery codes, this once."""

    authentication_classes = [EnrolmentAuthentication]
    permission_classes = [HasFreshLogin]

    @extend_schema(request=serializers.TotpCodeSerializer, responses=serializers.RecoveryCodesSerializer)
    def post(self, request):
        codes = two_factor_setup.confirm(
            user=request.user,
            session=request.auth,
            **checked(serializers.TotpCodeSerializer, request),
            caller=caller_of(request),
            now=now(),
        )
        return Response({"recovery_codes": codes})


class RecoveryCodesView(APIView):
    """New recovery codes; the old ones die. Asks for a fresh log-in."""

    permission_classes = [HasFreshLogin]

    @extend_schema(request=None, responses={201: serializers.RecoveryCodesSerializer})
    def post(self, request):
        codes = two_factor_setup.renew_recovery_codes(
            user=request.user, session=request.auth, caller=caller_of(request), now=now()
        )
        return Response({"recovery_codes": codes}, status=201)
