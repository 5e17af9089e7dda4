"""Shapes of memberships: what requests may say and what answers show. Nothing is saved here."""

from django.contrib.auth import get_user_model
from rest_framework import serializers

from api.fields import PhoneField
from api.serializers import ModelSerializer
from payments.models import Payment
from subscriptions.gate import Reason
from subscriptions.models import LONGEST, Closure, Decision, Freeze, Plan, PlanGroup, Subscription

LARGEST_ID = 2**63 - 1


class PlanGroupSerializer(ModelSerializer):
    class Meta:
        model = PlanGroup
        fields = ["id", "name", "opens_gate"]


class PlanSerializer(ModelSerializer):
    group = PlanGroupSerializer(read_only=True)

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
    """A plan as a manager writes it: the group by its id."""

    group = serializers.PrimaryKeyRelatedField(queryset=PlanGroup.objects.all())
    interval_count = serializers.IntegerField(min_value=1, required=False)
    deposit_percent = serializers.IntegerField(min_value=1, max_value=100, required=False)

    def validate(self, attrs):
        unit, count = (attrs.get(name, getattr(self.instance, name, 1)) for name in ("interval", "interval_count"))
        if count > LONGEST[unit]:
            raise serializers.ValidationError({"interval_count": f"At most {LONGEST[unit]} {unit}."})
        opens_at, closes_at = (
            attrs.get(name, getattr(self.instance, name, None)) for name in ("opens_at", "closes_at")
        )
        if (opens_at is None) != (closes_at is None) or (opens_at and closes_at <= opens_at):
            raise serializers.ValidationError({"closes_at": "Send both hours, the later one last, or none."})
        return attrs

    def to_representation(self, plan):
        return PlanSerializer(plan).data


class SoldPlanSerializer(ModelSerializer):
    """The plan as a subscription names it."""

    group = PlanGroupSerializer(read_only=True)

    class Meta:
        model = Plan
        fields = ["id", "code", "name", "group"]


class MemberSerializer(ModelSerializer):
    class Meta:
        model = get_user_model()
        fields = ["id", "username", "first_name", "last_name", "member_number"]


class SubscriptionPaymentSerializer(ModelSerializer):
    """The payment as the thing it buys shows it; payments/{reference}/ has the rest."""

    amount_owed = serializers.IntegerField(read_only=True)

    class Meta:
        model = Payment
        fields = ["reference", "status", "amount_due", "amount_paid", "amount_owed", "expires_at", "paid_at"]


class FreezeSerializer(ModelSerializer):
    class Meta:
        model = Freeze
        fields = ["id", "starts_on", "ends_on", "ended_early_on", "kind", "reason"]


class SubscriptionSerializer(ModelSerializer):
    """One period, as it stands now."""

    # `shown` in views.py computes the status and fetches the rest.
    member = MemberSerializer(read_only=True)
    plan = SoldPlanSerializer(read_only=True)
    payment = SubscriptionPaymentSerializer(read_only=True)
    status = serializers.CharField(read_only=True)
    visits_used = serializers.IntegerField(read_only=True)
    next_plan = serializers.SlugRelatedField(slug_field="code", read_only=True, allow_null=True)
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
        extra_kwargs = {"ends_on": {"help_text": "The day after its last."}}


class PushPhoneSerializer(serializers.Serializer):
    """Whose phone is asked for the money."""

    phone_number = PhoneField(
        required=False, allow_null=True, help_text="Left out: the payer's own phone is asked; null: none is."
    )


class SubscribeSerializer(PushPhoneSerializer):
    """What a purchase may say. The amount is the plan's, never the client's."""

    plan = serializers.SlugField(help_text="The plan's code.")
    member = serializers.IntegerField(
        required=False, min_value=1, max_value=LARGEST_ID, help_text="Whom it is for; left out: the caller."
    )
    members = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=LARGEST_ID),
        required=False,
        min_length=1,
        max_length=20,
        help_text="Several members, paid together with one prompt.",
    )

    def validate_members(self, members):
        if len(set(members)) != len(members):
            raise serializers.ValidationError("A member is named twice.", code="member_twice")
        return members

    def validate(self, attrs):
        if "member" in attrs and "members" in attrs:
            raise serializers.ValidationError("Send member or members, not both.", code="member_and_members")
        return attrs


class GiftSerializer(serializers.Serializer):
    plan = serializers.SlugField(help_text="The plan's code.")
    member = serializers.IntegerField(min_value=1, max_value=LARGEST_ID)
    reason = serializers.CharField(max_length=50)


class PlanChoiceSerializer(serializers.Serializer):
    plan = serializers.SlugField(help_text="The code of a plan of the same group.")


class UpgradeSerializer(PushPhoneSerializer, PlanChoiceSerializer):
    pass


class FreezeRequestSerializer(serializers.Serializer):
    """Half-open: the last frozen day is the one before ends_on."""

    starts_on = serializers.DateField(required=False, help_text="Left out: today.")
    ends_on = serializers.DateField()
    reason = serializers.CharField(max_length=120, required=False, default="")


class ClosureSerializer(ModelSerializer):
    class Meta:
        model = Closure
        fields = ["id", "starts_on", "ends_on", "reason"]


class CheckInSerializer(serializers.Serializer):
    member_number = serializers.CharField(max_length=20)
    gate = serializers.CharField(max_length=40, required=False, default="")


class GateAnswerSerializer(serializers.Serializer):
    """What the gate shows."""

    decision = serializers.ChoiceField(choices=Decision.choices)
    reason = serializers.ChoiceField(choices=Reason.choices)
    until = serializers.DateField(
        allow_null=True,
        help_text="The last day let in; of a freeze, its last day; not started: the day before it starts.",
    )
    amount_to_pay = serializers.IntegerField(allow_null=True, help_text="Whole KES.")
    reference = serializers.CharField(allow_null=True, help_text="The account to pay it to.")
    member_name = serializers.CharField()
