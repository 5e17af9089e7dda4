"""API view of the caller's own picture."""

from drf_spectacular.utils import extend_schema
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response

from accounts import serializers
from accounts.services import pictures
from accounts.views.login import validated
from api.clock import now
from api.generics import APIView
from api.parsers import UploadParser

PICTURE = {
    "multipart/form-data": {
        "type": "object",
        "properties": {"picture": {"type": "string", "format": "binary", "description": "JPEG, PNG or WebP."}},
        "required": ["picture"],
    }
}


class PictureView(APIView):
    """The caller's own picture, stored as a JPEG of at most 512 pixels a side, without metadata."""

    permission_classes = [IsAuthenticated]
    parser_classes = [UploadParser]

    @extend_schema(request=PICTURE, responses=serializers.MeSerializer)
    def put(self, request):
        picture = validated(serializers.PictureSerializer, request)["picture"]
        user = pictures.set_picture(user=request.user, file=picture, now=now())
        return Response(serializers.MeSerializer(user, context={"request": request}).data)

    @extend_schema(request=None, responses={204: None})
    def delete(self, request):
        pictures.remove_picture(user=request.user)
        return Response(status=204)
