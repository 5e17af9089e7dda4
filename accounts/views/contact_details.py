"""API views to change the caller's own e-mail address and phone number."""

from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from accounts import serializers
from accounts.models import CodePurpose
from accounts.permissions import HasFreshLogin, HasLoginSession
from accounts.services import contact_details
from accounts.views.login import caller_of, validated
from api.clock import now
from api.generics import APIView


class ContactChangeView(APIView):
    """Base of both requests: the body has one field, the new contact."""

    permission_classes = [HasFreshLogin]
    purpose: CodePurpose
    body: type

    def post(self, request):
        (contact,) = validated(self.body, request).values()
        contact_details.request_change(
            user=request.user, purpose=self.purpose, contact=contact, caller=caller_of(request), now=now()
        )
        return Response(None, status=202)


class ContactChangeConfirmView(APIView):
    """Base of both confirmations."""

    permission_classes = [HasLoginSession]
    purpose: CodePurpose

    def post(self, request):
        user = contact_details.confirm_change(
            session=request.auth,
            purpose=self.purpose,
            **validated(serializers.CodeSerializer, request),
            caller=caller_of(request),
            now=now(),
        )
        return Response(serializers.MeSerializer(user, context={"request": request}).data)


@extend_schema(request=serializers.EmailSerializer, responses={202: None})
class EmailChangeView(ContactChangeView):
    """Ask for another e-mail address: a code goes to it, a notice to the old one. The answer is always the same."""

    purpose, body = CodePurpose.EMAIL, serializers.EmailSerializer


@extend_schema(request=serializers.CodeSerializer, responses=serializers.MeSerializer)
class EmailChangeConfirmView(ContactChangeConfirmView):
    """Confirm the new e-mail address by its code. The caller's other sessions end."""

    purpose = CodePurpose.EMAIL


@extend_schema(request=serializers.PhoneSerializer, responses={202: None})
class PhoneChangeView(ContactChangeView):
    """Ask for another phone number: a code goes to it, a notice to the old one. The answer is always the same."""

    purpose, body = CodePurpose.PHONE, serializers.PhoneSerializer


@extend_schema(request=serializers.CodeSerializer, responses=serializers.MeSerializer)
class PhoneChangeConfirmView(ContactChangeConfirmView):
    """Confirm the new phone number by its code. The caller's other sessions end."""

    purpose = CodePurpose.PHONE
