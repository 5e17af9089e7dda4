"""The URLs of the product and of the references."""

from dj_rest_auth.jwt_auth import JWTCookieAuthentication
from dj_rest_auth.views import UserDetailsView
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db.models import QuerySet
from django.http import JsonResponse
from django.urls import path
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from rest_framework.generics import ListAPIView
from rest_framework.pagination import PageNumberPagination
from rest_framework.parsers import JSONParser
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.serializers import ModelSerializer
from rest_framework.views import APIView
from rest_framework_simplejwt.views import TokenRefreshView

from accounts.tests.factories import PASSWORD
from config.urls import urlpatterns as product
from payments.models import Callback, CallbackSource, Payment
from subscriptions.models import Subscription, Visit


def bare(request):
    """A minimal Django view."""
    return JsonResponse({"status": "ok"})


@csrf_exempt
def insert(request):
    """Store a body as one row, and do nothing else."""
    Callback.objects.create(source=CallbackSource.STK, body=request.body, received_at=timezone.now())
    return JsonResponse({"ResultCode": 0, "ResultDesc": "Accepted"})


class Running(APIView):
    """Find the current period of a member and store a visit, as a plain view would, without our rules."""

    authentication_classes = (JWTCookieAuthentication,)

    def post(self, request, number):
        today = timezone.localdate()
        member = get_user_model().objects.get(member_number=number)
        running = Subscription.objects.filter(member=member, fact="granted", starts_on__lte=today, ends_on__gt=today)
        found = running.select_related("plan", "payment").first()
        Visit.objects.create(
            member=member, subscription=found, at=timezone.now(), decision="allow", reason="active", gate="reference"
        )
        return Response({"decision": "allow", "until": found.ends_on, "member_name": member.get_full_name()})


user = UserDetailsView.as_view(
    authentication_classes=[JWTCookieAuthentication], parser_classes=[JSONParser], renderer_classes=[JSONRenderer]
)


class PlainPaymentSerializer(ModelSerializer):
    class Meta:
        model = Payment
        fields = "__all__"


class ByPageNumber(PageNumberPagination):
    page_size = 20


class PlainPaymentList(ListAPIView):
    """A list as in a tutorial: no login, a ModelSerializer, page numbers."""

    authentication_classes: list = []
    permission_classes: list = []
    filter_backends: list = []
    renderer_classes = [JSONRenderer]
    pagination_class = ByPageNumber
    serializer_class: type[ModelSerializer] = PlainPaymentSerializer
    queryset: QuerySet = Payment.objects.order_by("-created_at", "-id")


class PlainSubscriptionSerializer(ModelSerializer):
    class Meta:
        model = Subscription
        fields = ["id", "member", "plan", "payment", "price", "starts_on", "ends_on", "fact", "visits", "created_at"]
        depth = 1


class PlainSubscriptionList(PlainPaymentList):
    """The same for subscriptions, without a status."""

    serializer_class = PlainSubscriptionSerializer
    queryset = Subscription.objects.select_related("member", "plan", "payment").order_by("-created_at", "-id")


def check(request):
    """Check a password with Django's default hasher."""
    if not PBKDF2PasswordHasher().verify(PASSWORD, request.GET["encoded"]):
        raise ValueError("wrong password")
    return JsonResponse({})


refresh = TokenRefreshView.as_view(
    authentication_classes=[], parser_classes=[JSONParser], renderer_classes=[JSONRenderer]
)

urlpatterns = [
    path("reference/payments/", PlainPaymentList.as_view()),
    path("reference/subscriptions/", PlainSubscriptionList.as_view()),
    path("reference/refresh/", refresh),
    path("reference/check-password/", check),
    path("reference/bare/", bare),
    path("reference/insert/", insert),
    path("reference/user/", user),
    path("reference/running/<str:number>/", Running.as_view()),
    *product,
]
