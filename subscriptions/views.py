"""HTTP for plans, subscriptions and the gate: each view makes one service call."""

from django.db.models import Prefetch
from django.urls import reverse
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema, extend_schema_view
from rest_framework import generics
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response

from api import clock
from api.business_days import business_day
from api.idempotency import idempotency
from api.permissions import IsManager, IsStaff
from subscriptions import gate, serializers
from subscriptions.filters import SubscriptionFilter
from subscriptions.models import Closure, Freeze, FreezeKind, Plan, PlanGroup, Subscription
from subscriptions.permissions import (
    AnyoneReadsManagersWrite,
    MembersReadManagersWrite,
    OwnOrReceptionist,
    may_freeze_as_staff,
)
from subscriptions.services import catalog, free_periods, freezes, plan_changes, purchase_requests, purchases


def shown(subscriptions):
    """Return the subscriptions with everything an answer shows, in a constant number of queries."""
    ordered_freezes = Prefetch("freezes", queryset=Freeze.objects.order_by("starts_on", "pk"))
    return (
        subscriptions.with_status(business_day(clock.now()))
        .select_related("member", "plan__group", "payment", "next_plan")
        .prefetch_related(ordered_freezes)
    )


def said(view) -> dict:
    """Return the request's body as the view's `request_serializer` understands it."""
    asked = view.request_serializer(data=view.request.data)
    asked.is_valid(raise_exception=True)
    return asked.validated_data


# --- The price list -------------------------------------------------------------------------------------------------


class PlanGroupListView(generics.ListCreateAPIView):
    """Plan groups: anyone reads, managers add."""

    permission_classes = [AnyoneReadsManagersWrite]
    serializer_class = serializers.PlanGroupSerializer
    queryset = PlanGroup.objects.order_by("name", "pk")
    ordering_fields = ["name"]

    def perform_create(self, serializer):
        serializer.instance = catalog.create_plan_group(**serializer.validated_data)


@extend_schema_view(
    post=extend_schema(request=serializers.PlanWriteSerializer, responses={201: serializers.PlanSerializer})
)
class PlanListView(generics.ListCreateAPIView):
    """The price list: what is on sale; staff see the rest too. Managers add to it."""

    permission_classes = [AnyoneReadsManagersWrite]
    queryset = Plan.objects.none()
    filterset_fields = ["group", "is_on_sale"]
    search_fields = ["name", "code"]
    ordering_fields = ["name", "price"]

    def get_queryset(self):
        return Plan.objects.visible_to(self.request.user).select_related("group").order_by("group", "price", "pk")

    def get_serializer_class(self):
        return serializers.PlanWriteSerializer if self.request.method == "POST" else serializers.PlanSerializer

    def perform_create(self, serializer):
        serializer.instance = catalog.create_plan(**serializer.validated_data)

    def get_success_headers(self, data):
        return {"Location": reverse("subscriptions:plan-detail", args=[data["id"]])}


@extend_schema_view(
    patch=extend_schema(request=serializers.PlanWriteSerializer(partial=True), responses=serializers.PlanSerializer)
)
class PlanDetailView(generics.RetrieveUpdateAPIView):
    """One plan. Editing it changes nothing of what was bought."""

    http_method_names = ["get", "head", "options", "patch"]
    permission_classes = [AnyoneReadsManagersWrite]
    queryset = Plan.objects.none()

    def get_queryset(self):
        return Plan.objects.visible_to(self.request.user).select_related("group")

    def get_serializer_class(self):
        return serializers.PlanWriteSerializer if self.request.method == "PATCH" else serializers.PlanSerializer

    def perform_update(self, serializer):
        serializer.instance = catalog.edit_plan(plan_id=serializer.instance.pk, **serializer.validated_data)


# --- Subscriptions --------------------------------------------------------------------------------------------------


BOUGHT = {200: serializers.SubscriptionSerializer, 202: serializers.SubscriptionSerializer}
# A purchase for several members is answered with several subscriptions.
BOUGHT_FOR_SOME = PolymorphicProxySerializer(
    component_name="Bought",
    serializers=[serializers.SubscriptionSerializer, serializers.SubscriptionSerializer(many=True)],
    resource_type_field_name=None,
    many=False,
)


class PurchaseMixin:
    """Answers a purchase: 202 for a new one, 200 for the one that was there."""

    takes_idempotency_key = True
    refuses = {"post": [404]}  # what the body names

    def answer_purchase(self, purchase, *, many=False):
        ids = [each.pk for each in purchase.subscriptions]
        # What one pays for is shown to them, also where it is for another member.
        rows = shown(Subscription.objects.filter(pk__in=ids)).order_by("pk")
        return Response(
            serializers.SubscriptionSerializer(rows if many else rows[0], many=many).data,
            status=202 if purchase.is_new else 200,
            headers={"Location": reverse("subscriptions:subscription-detail", args=[purchase.subscription.pk])},
        )


class SubscriptionListView(PurchaseMixin, generics.ListAPIView):
    """Own subscriptions, or everybody's for staff; POST buys."""

    permission_classes = [IsAuthenticated]
    queryset = Subscription.objects.none()
    serializer_class = serializers.SubscriptionSerializer
    request_serializer = serializers.SubscribeSerializer
    filterset_class = SubscriptionFilter
    search_fields = ["member__first_name", "member__last_name", "member__member_number", "payment__reference"]
    ordering_fields = ["starts_on", "ends_on", "created_at"]

    def get_queryset(self):
        return shown(Subscription.objects.visible_to(self.request.user)).order_by("-created_at", "-pk")

    @extend_schema(responses={200: BOUGHT_FOR_SOME, 202: BOUGHT_FOR_SOME})
    def post(self, request):
        asked = said(self)
        purchase = purchase_requests.request_purchase(
            caller=request.user, now=clock.now(), **idempotency(request), **asked
        )
        return self.answer_purchase(purchase, many="members" in asked)


class SubscriptionActionView(generics.GenericAPIView):
    """One subscription of the caller's, or anybody's for staff; others do not exist for them."""

    permission_classes = [OwnOrReceptionist]
    queryset = Subscription.objects.none()
    serializer_class = serializers.SubscriptionSerializer

    def get_queryset(self):
        return shown(Subscription.objects.visible_to(self.request.user))

    def answer(self, status=200):
        """Show the subscription as it is now."""
        return Response(self.get_serializer(self.get_object()).data, status=status)


class SubscriptionDetailView(SubscriptionActionView):
    """One subscription with its payment; the status is computed for now."""

    def get(self, request, pk):
        return self.answer()


class CancelView(SubscriptionActionView):
    """Withdraw it while it is not paid; once it is, say that it is the last one."""

    request_serializer = None

    def post(self, request, pk):
        purchases.cancel(subscription_id=self.get_object().pk, by_id=request.user.pk, now=clock.now())
        return self.answer()


class UndoView(SubscriptionActionView):
    """Take back what has not taken effect: a pending upgrade, the plan to come, the leaving."""

    request_serializer = None

    def post(self, request, pk):
        plan_changes.undo_changes(subscription_id=self.get_object().pk, by_id=request.user.pk, now=clock.now())
        return self.answer()


class FreezeView(SubscriptionActionView):
    """Stand still for some days: within the plan's limits for oneself, as needed by staff for others."""

    request_serializer = serializers.FreezeRequestSerializer

    def post(self, request, pk):
        subscription, asked, now = self.get_object(), said(self), clock.now()
        freezes.freeze(
            subscription_id=subscription.pk,
            kind=FreezeKind.STAFF if may_freeze_as_staff(request.user, subscription) else FreezeKind.MEMBER,
            by_id=request.user.pk,
            now=now,
            **{"starts_on": business_day(now), **asked},
        )
        return self.answer()


class UnfreezeView(SubscriptionActionView):
    """Come back early, or take back a freeze that has not begun."""

    request_serializer = None

    def post(self, request, pk):
        freezes.unfreeze(subscription_id=self.get_object().pk, now=clock.now())
        return self.answer()


class ChangeView(SubscriptionActionView):
    """Be renewed as another plan at the end."""

    request_serializer = serializers.PlanChoiceSerializer

    def post(self, request, pk):
        plan_changes.change_at_end(subscription_id=self.get_object().pk, plan_code=said(self)["plan"], now=clock.now())
        return self.answer()


class UpgradeView(PurchaseMixin, SubscriptionActionView):
    """Buy a dearer plan from today, less what is unused; it takes effect when it is paid."""

    request_serializer = serializers.UpgradeSerializer

    @extend_schema(responses=BOUGHT)
    def post(self, request, pk):
        purchase = purchase_requests.request_upgrade(
            caller=request.user,
            subscription=self.get_object(),
            now=clock.now(),
            **idempotency(request),
            **said(self),
        )
        return self.answer_purchase(purchase)


class RenewView(PurchaseMixin, SubscriptionActionView):
    """Buy the period that follows this one."""

    request_serializer = serializers.PushPhoneSerializer

    @extend_schema(responses=BOUGHT)
    def post(self, request, pk):
        purchase = purchase_requests.request_renewal(
            caller=request.user,
            subscription=self.get_object(),
            now=clock.now(),
            **idempotency(request),
            **said(self),
        )
        return self.answer_purchase(purchase)


class GiftView(PurchaseMixin, generics.GenericAPIView):
    """A period for nothing, with the reason and who gave it."""

    permission_classes = [IsManager]
    queryset = Subscription.objects.none()
    serializer_class = serializers.SubscriptionSerializer
    request_serializer = serializers.GiftSerializer

    @extend_schema(responses={201: serializers.SubscriptionSerializer})
    def post(self, request):
        asked = said(self)
        given = free_periods.grant_free_period(
            member_id=asked["member"],
            plan_code=asked["plan"],
            reason=asked["reason"],
            by_id=request.user.pk,
            now=clock.now(),
            **idempotency(request),
        )
        response = self.answer_purchase(purchases.Purchase((given,), is_new=True))
        response.status_code = 201
        return response


# --- The club -------------------------------------------------------------------------------------------------------


class ClosureListView(generics.ListCreateAPIView):
    """Days on which the whole club is closed; every period gets them back."""

    permission_classes = [MembersReadManagersWrite]
    serializer_class = serializers.ClosureSerializer
    queryset = Closure.objects.order_by("-starts_on")
    ordering_fields = ["starts_on"]

    def perform_create(self, serializer):
        serializer.instance = freezes.create_closure(
            by_id=self.request.user.pk, now=clock.now(), **serializer.validated_data
        )


class ClosureDetailView(generics.DestroyAPIView):
    """Take a closure back."""

    permission_classes = [IsManager]
    serializer_class = serializers.ClosureSerializer
    queryset = Closure.objects.all()

    def perform_destroy(self, instance):
        freezes.delete_closure(closure_id=instance.pk)


class CheckInView(generics.GenericAPIView):
    """Somebody stands at the gate: may they come in?"""

    permission_classes = [IsStaff]
    serializer_class = serializers.GateAnswerSerializer
    request_serializer = serializers.CheckInSerializer
    refuses = {"post": [404]}

    def post(self, request):
        answer = gate.check_in(recorded_by_id=request.user.pk, now=clock.now(), **said(self))
        return Response(self.get_serializer(answer).data)
