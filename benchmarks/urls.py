"""The product's addresses, and the references' beside them."""

from dj_rest_auth.jwt_auth import JWTCookieAuthentication
from dj_rest_auth.views import UserDetailsView
from django.http import JsonResponse
from django.urls import path
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from rest_framework.parsers import JSONParser
from rest_framework.renderers import JSONRenderer

from config.urls import urlpatterns as product
from payments.models import Callback, CallbackSource


def bare(request):
    """The least a Django view does."""
    return JsonResponse({"status": "ok"})


@csrf_exempt
def insert(request):
    """Keep a body as one row, and do nothing else."""
    Callback.objects.create(source=CallbackSource.STK, body=request.body, received_at=timezone.now())
    return JsonResponse({"ResultCode": 0, "ResultDesc": "Accepted"})


user = UserDetailsView.as_view(
    authentication_classes=[JWTCookieAuthentication], parser_classes=[JSONParser], renderer_classes=[JSONRenderer]
)

urlpatterns = [
    path("reference/bare/", bare),
    path("reference/insert/", insert),
    path("reference/user/", user),
    *product,
]
