"""API views of plans, subscriptions, closures and check-ins. Each one makes one service call."""

from django.db.models import Prefetch
from django.urls import reverse
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema, extend_schema_view
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response

from api import clock, generics
from api.business_days import business_day
from api.idempotency import read_key
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


def with_details(subscriptions):
    """Return the subscriptions with all that SubscriptionSerializer shows, in a constant number of queries."""
    ordered_freezes = Prefetch("freezes", queryset=Freeze.objects.order_by("starts_on", "pk"))
    return (
        subscriptions.with_status(business_day(clock.now()))
        .select_related("member", "plan__group", "payment", "next_plan")
        .prefetch_related(ordered_freezes)
    )


def validated_body(view) -> dict:
    """Return the request body, validated by the view's `request_serializer`."""
    serializer = view.request_serializer(data=view.request.data)
    serializer.is_valid(raise_exception=True)
    return serializer.validated_data


def author(view) -> dict:
    """Return who makes the request, and when, as keyword arguments of services."""
    return {"by_id": view.request.user.pk, "now": clock.now()}


# --- The price list -------------------------------------------------------------------------------------------------


class PlanGroupListView(generics.ListCreateAPIView):
    """List plan groups. A Manager or above can create one."""

    anyone_reads = True
    permission_classes = [AnyoneReadsManagersWrite]
    serializer_class = serializers.PlanGroupSerializer
    queryset = PlanGroup.objects.order_by("name", "pk")
    ordering_fields = ["name"]

    def perform_create(self, serializer):
        serializer.instance = catalog.create_plan_group(**author(self), **serializer.validated_data)


@extend_schema_view(
    post=extend_schema(request=serializers.PlanWriteSerializer, responses={201: serializers.PlanSerializer})
)
class PlanListView(generics.ListCreateAPIView):
    """List the plans on sale; staff see all plans. A Manager or above can create one."""

    anyone_reads = True
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
        serializer.instance = catalog.create_plan(**author(self), **serializer.validated_data)

    def get_success_headers(self, data):
        return {"Location": reverse("subscriptions:plan-detail", args=[data["id"]])}


@extend_schema_view(
    patch=extend_schema(request=serializers.PlanWriteSerializer(partial=True), responses=serializers.PlanSerializer)
)
class PlanDetailView(generics.RetrieveUpdateAPIView):
    """Get or change one plan. A change does not affect subscriptions that were bought before."""

    http_method_names = ["get", "head", "options", "patch"]
    anyone_reads = True
    permission_classes = [AnyoneReadsManagersWrite]
    queryset = Plan.objects.none()

    def get_queryset(self):
        return Plan.objects.visible_to(self.request.user).select_related("group")

    def get_serializer_class(self):
        return serializers.PlanWriteSerializer if self.request.method == "PATCH" else serializers.PlanSerializer

    def perform_update(self, serializer):
        serializer.instance = catalog.edit_plan(
            plan_id=serializer.instance.pk, **author(self), **serializer.validated_data
        )


# --- Subscriptions --------------------------------------------------------------------------------------------------


PURCHASE_RESPONSES = {200: serializers.SubscriptionSerializer, 202: serializers.SubscriptionSerializer}
# The answer to a purchase for several members is a list of subscriptions.
ONE_OR_MANY = PolymorphicProxySerializer(
    component_name="Bought",
    serializers=[serializers.SubscriptionSerializer, serializers.SubscriptionSerializer(many=True)],
    resource_type_field_name=None,
    many=False,
)


class PurchaseMixin:
    """The answer to a purchase: 202 for a new one, 200 for an existing one."""

    takes_idempotency_key = True
    refuses = {"post": [404]}  # a plan or member in the body may not exist

    def answer_purchase(self, purchase, *, many=False):
        ids = [each.pk for each in purchase.subscriptions]
        # Without a check of visibility: the payer also sees a purchase for another member.
        rows = with_details(Subscription.objects.filter(pk__in=ids)).order_by("pk")
        return Response(
            serializers.SubscriptionSerializer(rows if many else rows[0], many=many).data,
            status=202 if purchase.is_new else 200,
            headers={"Location": reverse("subscriptions:subscription-detail", args=[purchase.subscription.pk])},
        )


class SubscriptionListView(PurchaseMixin, generics.ListAPIView):
    """List your own subscriptions, or all of them for staff. POST buys a plan."""

    permission_classes = [IsAuthenticated]
    queryset = Subscription.objects.none()
    serializer_class = serializers.SubscriptionSerializer
    request_serializer = serializers.SubscribeSerializer
    filterset_class = SubscriptionFilter
    search_fields = ["member__first_name", "member__last_name", "member__member_number", "payment__reference"]
    ordering_fields = ["starts_on", "ends_on", "created_at"]

    def get_queryset(self):
        return with_details(Subscription.objects.visible_to(self.request.user)).order_by("-created_at", "-pk")

    @extend_schema(responses={200: ONE_OR_MANY, 202: ONE_OR_MANY})
    def post(self, request):
        body = validated_body(self)
        purchase = purchase_requests.request_purchase(
            caller=request.user, now=clock.now(), idempotency_key=read_key(request), **body
        )
        return self.answer_purchase(purchase, many="members" in body)


class SubscriptionActionView(generics.GenericAPIView):
    """Base of the views of one subscription. Members get 404 for a subscription of somebody else."""

    permission_classes = [OwnOrReceptionist]
    queryset = Subscription.objects.none()
    serializer_class = serializers.SubscriptionSerializer

    def get_queryset(self):
        return with_details(Subscription.objects.visible_to(self.request.user))

    def answer(self, status=200):
        """Return the response with the subscription as it is now."""
        return Response(self.get_serializer(self.get_object()).data, status=status)


class SubscriptionDetailView(SubscriptionActionView):
    """Get one subscription with its payment and its status today."""

    def get(self, request, pk):
        return self.answer()


class CancelView(SubscriptionActionView):
    """Cancel a subscription that is not paid. A paid one runs to its end, and is then not renewed."""

    request_serializer = None

    def post(self, request, pk):
        purchases.cancel(subscription_id=self.get_object().pk, by_id=request.user.pk, now=clock.now())
        return self.answer()


class UndoView(SubscriptionActionView):
    """Undo what has not taken effect: a pending upgrade, another plan for the renewal, or leaving."""

    request_serializer = None

    def post(self, request, pk):
        plan_changes.undo_changes(subscription_id=self.get_object().pk, by_id=request.user.pk, now=clock.now())
        return self.answer()


class FreezeView(SubscriptionActionView):
    """Freeze a subscription for some days. Members do it within the limits of the plan, staff without limits."""

    request_serializer = serializers.FreezeRequestSerializer

    def post(self, request, pk):
        subscription, body, now = self.get_object(), validated_body(self), clock.now()
        freezes.freeze(
            subscription_id=subscription.pk,
            kind=FreezeKind.STAFF if may_freeze_as_staff(request.user, subscription) else FreezeKind.MEMBER,
            by_id=request.user.pk,
            now=now,
            **{"starts_on": business_day(now), **body},
        )
        return self.answer()


class UnfreezeView(SubscriptionActionView):
    """End a freeze early, or cancel one that has not begun."""

    request_serializer = None

    def post(self, request, pk):
        freezes.unfreeze(subscription_id=self.get_object().pk, **author(self))
        return self.answer()


class ChangeView(SubscriptionActionView):
    """Choose another plan for the renewal."""

    request_serializer = serializers.PlanChoiceSerializer

    def post(self, request, pk):
        plan_changes.change_at_end(
            subscription_id=self.get_object().pk, plan_code=validated_body(self)["plan"], **author(self)
        )
        return self.answer()


class UpgradeView(PurchaseMixin, SubscriptionActionView):
    """Upgrade to a plan with a higher price, less the unused value. It takes effect when it is paid."""

    request_serializer = serializers.UpgradeSerializer

    @extend_schema(responses=PURCHASE_RESPONSES)
    def post(self, request, pk):
        purchase = purchase_requests.request_upgrade(
            caller=request.user,
            subscription=self.get_object(),
            now=clock.now(),
            idempotency_key=read_key(request),
            **validated_body(self),
        )
        return self.answer_purchase(purchase)


class RenewView(PurchaseMixin, SubscriptionActionView):
    """Buy the period after this one."""

    request_serializer = serializers.PushPhoneSerializer

    @extend_schema(responses=PURCHASE_RESPONSES)
    def post(self, request, pk):
        purchase = purchase_requests.request_renewal(
            caller=request.user,
            subscription=self.get_object(),
            now=clock.now(),
            idempotency_key=read_key(request),
            **validated_body(self),
        )
        return self.answer_purchase(purchase)


class GiftView(PurchaseMixin, generics.GenericAPIView):
    """Give a member a free period, with a reason."""

    permission_classes = [IsManager]
    queryset = Subscription.objects.none()
    serializer_class = serializers.SubscriptionSerializer
    request_serializer = serializers.GiftSerializer

    @extend_schema(responses={201: serializers.SubscriptionSerializer})
    def post(self, request):
        body = validated_body(self)
        given = free_periods.grant_free_period(
            member_id=body["member"],
            plan_code=body["plan"],
            reason=body["reason"],
            by_id=request.user.pk,
            now=clock.now(),
            idempotency_key=read_key(request),
        )
        response = self.answer_purchase(purchases.Purchase((given,), is_new=True))
        response.status_code = 201
        return response


# --- Closures and check-ins -----------------------------------------------------------------------------------------


class ClosureListView(generics.ListCreateAPIView):
    """List the closures of the club. A Manager or above can add one; it extends every period that it touches."""

    permission_classes = [MembersReadManagersWrite]
    serializer_class = serializers.ClosureSerializer
    queryset = Closure.objects.order_by("-starts_on")
    ordering_fields = ["starts_on"]

    def perform_create(self, serializer):
        serializer.instance = freezes.create_closure(
            by_id=self.request.user.pk, now=clock.now(), **serializer.validated_data
        )


class ClosureDetailView(generics.DestroyAPIView):
    """Delete a closure. Every period gets the dates it would have without it."""

    permission_classes = [IsManager]
    serializer_class = serializers.ClosureSerializer
    queryset = Closure.objects.all()

    def perform_destroy(self, instance):
        freezes.delete_closure(closure_id=instance.pk, **author(self))


class CheckInView(generics.GenericAPIView):
    """Check a member in at the gate: may they enter now?"""

    permission_classes = [IsStaff]
    serializer_class = serializers.GateAnswerSerializer
    request_serializer = serializers.CheckInSerializer
    refuses = {"post": [404]}

    def post(self, request):
        answer = gate.check_in(recorded_by_id=request.user.pk, now=clock.now(), **validated_body(self))
        return Response(self.get_serializer(answer).data)
