"""The public facts about the club that a payer needs."""

from django.conf import settings
from rest_framework.permissions import AllowAny
from rest_framework.response import Response

from api.generics import APIView
from payments import serializers


class ClubView(APIView):
    """The club's name and terms, and the paybill or till to pay by hand. A till takes no account."""

    authentication_classes: list = []  # an expired session must not hide it
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
