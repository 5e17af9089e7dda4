"""Serializers of plans, subscriptions, freezes, closures and check-ins. They validate and show; services save."""

from django.contrib.auth import get_user_model
from rest_framework import serializers

from api.fields import PhoneField
from api.serializers import ModelSerializer, Serializer
from payments.models import Payment
from subscriptions.gate import Reason
from subscriptions.models import LONGEST, Closure, Decision, Freeze, Plan, PlanGroup, Subscription
from subscriptions.statuses import Status

LARGEST_ID = 2**63 - 1


class PlanGroupSerializer(ModelSerializer):
    class Meta:
        model = PlanGroup
        fields = ["id", "name", "opens_gate"]


class PlanSerializer(ModelSerializer):
    group: serializers.Field = PlanGroupSerializer(read_only=True)

    class Meta:
        model = Plan
        fields = [
            "id",
            "code",
            "name",
            "group",
            "price",
            "joining_fee",
            "deposit_percent",
            "interval",
            "interval_count",
            "grace_days",
            "late_renewal",
            "visits",
            "max_freeze_days",
            "max_freezes",
            "stacking_limit",
            "opens_at",
            "closes_at",
            "is_on_sale",
        ]


class PlanWriteSerializer(PlanSerializer):
    """A plan as a Manager creates or changes it. The group is given by its id."""

    group = serializers.PrimaryKeyRelatedField(queryset=PlanGroup.objects.all())
    interval_count = serializers.IntegerField(min_value=1, required=False)
    deposit_percent = serializers.IntegerField(min_value=1, max_value=100, required=False)

    def validate(self, attrs):
        unit, count = (attrs.get(name, getattr(self.instance, name, 1)) for name in ("interval", "interval_count"))
        if count > LONGEST[unit]:
            raise serializers.ValidationError({"interval_count": f"A plan may last at most {LONGEST[unit]} {unit}."})
        opens_at, closes_at = (
            attrs.get(name, getattr(self.instance, name, None)) for name in ("opens_at", "closes_at")
        )
        if (opens_at is None) != (closes_at is None) or (opens_at and closes_at <= opens_at):
            raise serializers.ValidationError(
                {"closes_at": "Send both hours, with closes_at after opens_at, or neither."}
            )
        return attrs

    def to_representation(self, plan):
        return PlanSerializer(plan).data


class SoldPlanSerializer(ModelSerializer):
    """The plan of a subscription, without the terms, which the subscription keeps itself."""

    group = PlanGroupSerializer(read_only=True)

    class Meta:
        model = Plan
        fields = ["id", "code", "name", "group"]


class MemberSerializer(ModelSerializer):
    class Meta:
        model = get_user_model()
        fields = ["id", "username", "first_name", "last_name", "member_number"]


class SubscriptionPaymentSerializer(ModelSerializer):
    """The payment of a subscription, in short. `payments/{reference}/` has all of it."""

    amount_owed = serializers.IntegerField(read_only=True)

    class Meta:
        model = Payment
        fields = ["reference", "status", "amount_due", "amount_paid", "amount_owed", "expires_at", "paid_at"]


class FreezeSerializer(ModelSerializer):
    class Meta:
        model = Freeze
        fields = ["id", "starts_on", "ends_on", "ended_early_on", "kind", "reason"]


class SubscriptionSerializer(ModelSerializer):
    """A subscription: one period of a plan for one member, with its status today."""

    # `with_details` in views.py annotates the status and fetches the related rows.
    member = MemberSerializer(read_only=True)
    plan = SoldPlanSerializer(read_only=True)
    payment = SubscriptionPaymentSerializer(read_only=True)
    status = serializers.ChoiceField(Status.choices, read_only=True)
    visits_used = serializers.IntegerField(read_only=True)
    next_plan: serializers.Field = serializers.SlugRelatedField(
        slug_field="code", read_only=True, allow_null=True, help_text="The code of the plan of the renewal."
    )
    freezes = FreezeSerializer(many=True, read_only=True)

    class Meta:
        model = Subscription
        fields = [
            "id",
            "member",
            "plan",
            "status",
            "starts_on",
            "ends_on",
            "price",
            "joining_fee",
            "value_carried",
            "visits",
            "visits_used",
            "grace_days",
            "origin",
            "leaving_at",
            "next_plan",
            "replaces",
            "payment",
            "freezes",
            "created_at",
        ]
        read_only_fields = fields
        extra_kwargs = {
            "ends_on": {
                "help_text": "The first day after the period."
                " Equal to `starts_on`: an upgrade replaced it on its first day, so it has no days."
            }
        }


class PushPhoneSerializer(Serializer):
    """The phone for the STK push."""

    phone_number = PhoneField(
        required=False,
        allow_null=True,
        help_text="The phone for the STK push. Omitted: the payer's phone. Null: no push.",
    )


class SubscribeSerializer(PushPhoneSerializer):
    """A purchase. The amount comes from the plan, never from the request."""

    plan = serializers.SlugField(help_text="The plan's code.")
    member = serializers.IntegerField(
        required=False, min_value=1, max_value=LARGEST_ID, help_text="The id of the member. Omitted: the caller."
    )
    members = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=LARGEST_ID),
        required=False,
        min_length=1,
        max_length=20,
        help_text="The ids of several members, paid together with one STK push.",
    )

    def validate_members(self, members):
        if len(set(members)) != len(members):
            raise serializers.ValidationError("A member is in the list twice.", code="member_twice")
        return members

    def validate(self, attrs):
        if "member" in attrs and "members" in attrs:
            raise serializers.ValidationError("Send member or members, not both.", code="member_and_members")
        return attrs


class GiftSerializer(Serializer):
    plan = serializers.SlugField(help_text="The plan's code.")
    member = serializers.IntegerField(min_value=1, max_value=LARGEST_ID)
    reason = serializers.CharField(max_length=50)


class PlanChoiceSerializer(Serializer):
    plan = serializers.SlugField(help_text="The code of a plan of the same group.")


class UpgradeSerializer(PushPhoneSerializer, PlanChoiceSerializer):
    pass


class FreezeRequestSerializer(Serializer):
    """A freeze of the days from starts_on to the day before ends_on."""

    starts_on = serializers.DateField(required=False, help_text="The first frozen day. Omitted: today.")
    ends_on = serializers.DateField(help_text="The first day after the freeze.")
    reason = serializers.CharField(max_length=120, required=False, default="")


class ClosureSerializer(ModelSerializer):
    class Meta:
        model = Closure
        fields = ["id", "starts_on", "ends_on", "reason"]


class CheckInSerializer(Serializer):
    member_number = serializers.CharField(max_length=20)
    gate = serializers.CharField(max_length=40, required=False, default="")


class GateAnswerSerializer(Serializer):
    """The answer of the gate."""

    decision = serializers.ChoiceField(choices=Decision.choices)
    reason = serializers.ChoiceField(choices=Reason.choices)
    until = serializers.DateField(
        allow_null=True,
        help_text="The last day of access or of the freeze. If not started, the day before the start.",
    )
    amount_to_pay = serializers.IntegerField(allow_null=True, help_text="Whole KES.")
    reference = serializers.CharField(allow_null=True, help_text="The account number to pay to.")
    member_name = serializers.CharField()
