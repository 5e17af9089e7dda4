"""What anybody may know of the club before they pay it."""

from django.conf import settings
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView

from payments import serializers


class ClubView(APIView):
    """The club's name and terms, and the number to pay by hand: a paybill, or a till, which takes no account."""

    authentication_classes: list = []  # a session that is over must not hide it
    permission_classes = [AllowAny]
    serializer_class = serializers.ClubSerializer

    def get(self, request):
        till = settings.DARAJA_TILL
        return Response(
            {
                "name": settings.CLUB_NAME,
                "terms_url": settings.CLUB_TERMS_URL or None,
                "paybill": None if till else settings.DARAJA_SHORTCODE,
                "till": till or None,
            }
        )
