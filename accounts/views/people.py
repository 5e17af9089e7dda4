"""API views of the caller's profile, sessions and security events, and of people for staff."""

from django.contrib.auth import get_user_model
from drf_spectacular.utils import extend_schema
from rest_framework.mixins import CreateModelMixin, ListModelMixin, RetrieveModelMixin, UpdateModelMixin
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response

from accounts import serializers
from accounts.models import LoginSession, SecurityEvent
from accounts.permissions import HasFreshLoginForAccessChanges, MaySeePeople
from accounts.services import login_sessions, people
from accounts.views.login import caller_of
from api import generics
from api.clock import now
from api.generics import APIView
from api.pagination import CursorPagination
from api.permissions import IsManager

CustomUser = get_user_model()


class MeView(generics.RetrieveUpdateAPIView):
    """The caller's own profile."""

    permission_classes = [IsAuthenticated]
    serializer_class = serializers.MeSerializer
    http_method_names = ["get", "patch", "head", "options"]

    def get_object(self):
        return self.request.user

    def perform_update(self, serializer):
        serializer.instance = people.change_profile(user=self.request.user, now=now(), **serializer.validated_data)


class SessionListView(generics.ListAPIView):
    """The caller's login sessions."""

    permission_classes = [IsAuthenticated]
    serializer_class = serializers.LoginSessionSerializer
    ordering_fields: list = []
    queryset = LoginSession.objects.none()

    def get_queryset(self):
        return login_sessions.live_sessions(self.request.user, now()).order_by("-created_at")


class SessionView(APIView):
    """End one of the caller's sessions."""

    permission_classes = [IsAuthenticated]

    @extend_schema(request=None, responses={204: None})
    def delete(self, request, session_id):
        login_sessions.revoke_one(user=request.user, session_id=session_id, caller=caller_of(request), now=now())
        return Response(status=204)


class NewestEvents(CursorPagination):
    ordering = ("-at", "-id")


class SecurityEventListView(generics.ListAPIView):
    """The caller's security events."""

    permission_classes = [IsAuthenticated]
    serializer_class = serializers.SecurityEventSerializer
    pagination_class = NewestEvents
    ordering_fields: list = []
    queryset = SecurityEvent.objects.none()

    def get_queryset(self):
        return SecurityEvent.objects.filter(user=self.request.user)


class UserViewSet(CreateModelMixin, ListModelMixin, RetrieveModelMixin, UpdateModelMixin, generics.GenericViewSet):
    """People, for staff. Trainers read. Receptionists and higher roles also add and change people with a lower role."""

    permission_classes = [MaySeePeople, HasFreshLoginForAccessChanges]
    lookup_value_converter = "int"
    serializer_class = serializers.UserSerializer
    queryset = CustomUser.objects.select_related("added_by").order_by("last_name", "first_name", "id")
    http_method_names = ["get", "post", "patch", "head", "options"]
    filterset_fields = {"role": ["exact"], "dob": ["exact", "gte", "lte"], "is_active": ["exact"]}
    search_fields = ["username", "first_name", "last_name", "email", "phone_number", "member_number"]
    ordering_fields = ["dob", "first_name", "last_name", "date_joined"]

    def perform_create(self, serializer):
        serializer.instance = people.add_person(
            added_by=self.request.user, caller=caller_of(self.request), now=now(), **serializer.validated_data
        )

    def perform_update(self, serializer):
        serializer.instance = people.change_person(
            person_id=serializer.instance.pk,
            by=self.request.user,
            caller=caller_of(self.request),
            now=now(),
            **serializer.validated_data,
        )

    def get_success_headers(self, data):
        return {"Location": f"{self.request.path}{data['id']}/"}


class RevokeSessionsView(APIView):
    """End every session of one user."""

    permission_classes = [IsManager]
    request_serializer = None

    @extend_schema(responses=serializers.RevokedSerializer)
    def post(self, request, user_id):
        ended = people.end_sessions(person_id=user_id, by=request.user, caller=caller_of(request), now=now())
        return Response({"revoked": ended})
