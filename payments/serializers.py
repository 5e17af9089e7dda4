"""Serializers of payments, receipts, review items and the front desk. They check and format, and save nothing."""

from django.utils.translation import get_language_from_request
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from api.admin.roles import sees_phones
from api.fields import MomentField, PhoneField
from api.money import MAX_KES
from api.phones import masked, masked_if_phone
from api.serializers import ModelSerializer, Serializer
from payments.daraja import result_codes
from payments.models import (
    OPEN_PUSH,
    Account,
    CashSession,
    Channel,
    CodeCheck,
    CodeCheckStatus,
    CodeClaim,
    Payment,
    PaymentStatus,
    PushStatus,
    Receipt,
    Refund,
    ReviewItem,
    ReviewReason,
    ReviewStatus,
)
from payments.permissions import without_hidden_code
from payments.services.next_actions import NextAction, next_action

# --- Answers --------------------------------------------------------------------------------------


class PayerSerializer(Serializer):
    """A person, with the fields that identify them."""

    id = serializers.IntegerField()
    first_name = serializers.CharField()
    last_name = serializers.CharField()
    member_number = serializers.CharField()


class PaymentSerializer(Serializer):
    """A payment in a list. It reads rows with the columns `ROW`, not models: one query and no instances a page.

    The query is annotated by `with_awaits_push`.
    """

    ROW = (
        "id",
        "reference",
        "description",
        "amount_due",
        "amount_paid",
        "status",
        "created_at",
        "expires_at",
        "paid_at",
        "awaits_push",
        "payer_id",
        "payer__first_name",
        "payer__last_name",
        "payer__member_number",
    )

    reference = serializers.CharField()
    description = serializers.CharField()
    payer = PayerSerializer()
    amount_due = serializers.IntegerField(help_text="Whole KES.")
    amount_paid = serializers.IntegerField(help_text="Whole KES.")
    amount_owed = serializers.IntegerField(help_text="Whole KES that are not paid yet.")
    status = serializers.ChoiceField(PaymentStatus.choices)
    next_action = serializers.ChoiceField(NextAction.choices, help_text="What the client does next.")
    created_at = MomentField()
    expires_at = MomentField()
    paid_at = MomentField(allow_null=True, help_text="When the money was sent that completed it.")

    def to_representation(self, row) -> dict:
        return {
            "reference": row["reference"],
            "description": row["description"],
            "payer": {
                "id": row["payer_id"],
                "first_name": row["payer__first_name"],
                "last_name": row["payer__last_name"],
                "member_number": row["payer__member_number"],
            },
            "amount_due": row["amount_due"],
            "amount_paid": row["amount_paid"],
            "amount_owed": row["amount_due"] - row["amount_paid"],
            "status": row["status"],
            "next_action": next_action(row["status"], awaits_push=row["awaits_push"]),
            "created_at": row["created_at"],
            "expires_at": row["expires_at"],
            "paid_at": row["paid_at"],
        }


class PushSerializer(Serializer):
    """An STK push: its masked phone number, its status, and one sentence that says what to do next."""

    id = serializers.IntegerField()
    phone = serializers.CharField()
    amount = serializers.IntegerField()
    status = serializers.ChoiceField(PushStatus.choices)
    is_open = serializers.BooleanField()
    result_code = serializers.CharField()
    message = serializers.CharField(help_text="In English, or in Swahili by Accept-Language.")
    created_at = MomentField()
    ended_at = MomentField(allow_null=True)

    def to_representation(self, push) -> dict:
        is_open = push.status in OPEN_PUSH
        return {
            "id": push.pk,
            "phone": masked(push.phone),
            "amount": push.amount,
            "status": push.status,
            "is_open": is_open,
            "result_code": push.result_code,
            "message": result_codes.advice("" if is_open else push.result_code, self.context["language"]),
            "created_at": push.created_at,
            "ended_at": push.ended_at,
        }


class PaidWithSerializer(Serializer):
    """The part of a receipt that this payment holds."""

    receipt = serializers.IntegerField()
    channel = serializers.ChoiceField(Channel.choices)
    code = serializers.CharField(allow_null=True)
    number = serializers.CharField(allow_null=True)
    amount = serializers.IntegerField(help_text="Whole KES of the receipt in this payment.")
    paid_at = MomentField()

    def to_representation(self, allocation) -> dict:
        receipt = allocation.receipt
        return {
            "receipt": receipt.pk,
            "channel": receipt.channel,
            "code": receipt.code,
            "number": receipt.number,
            "amount": allocation.amount,
            "paid_at": receipt.paid_at,
        }


class PaymentDetailSerializer(PaymentSerializer):
    """A payment with its STK pushes, its receipts, and the payments that its push pays too."""

    companions = serializers.ListField(
        child=serializers.CharField(), help_text="The references of the other payments of its group."
    )
    pushes = PushSerializer(many=True)
    receipts = PaidWithSerializer(many=True)

    def to_representation(self, payment) -> dict:
        row = {name: getattr(payment, name) for name in self.ROW if "__" not in name}
        row |= {f"payer__{name}": getattr(payment.payer, name) for name in ("first_name", "last_name", "member_number")}
        request = self.context.get("request")
        language = {"language": get_language_from_request(request) if request else "en"}
        return super().to_representation(row) | {
            "companions": [each.reference for each in payment.grouped_payments.all()],
            "pushes": PushSerializer(payment.pushes.all(), many=True, context=language).data,
            "receipts": PaidWithSerializer(payment.live_allocations, many=True).data,
        }


class ReceiptPaymentSerializer(Serializer):
    """The part of a receipt that a payment holds."""

    reference = serializers.CharField()
    amount = serializers.IntegerField(help_text="Whole KES.")


class ReceiptSerializer(ModelSerializer):
    """A receipt: money that arrived, and the payments that hold it."""

    member = PayerSerializer(allow_null=True)
    payments = serializers.SerializerMethodField()
    code = serializers.CharField(
        read_only=True,
        allow_null=True,
        help_text="The M-Pesa code. For unmatched money, only roles that may assign it see the code.",
    )
    account_typed = serializers.SerializerMethodField(help_text="A phone number is masked for Members and Trainers.")
    amount_left = serializers.SerializerMethodField(
        help_text="Whole KES that no payment holds: credit, or unmatched money."
    )

    class Meta:
        model = Receipt
        fields = [
            "id",
            "number",
            "channel",
            "code",
            "amount",
            "amount_refunded",
            "amount_left",
            "paid_at",
            "payer_name",
            "account_typed",
            "member",
            "payments",
            "reversed_at",
        ]
        read_only_fields = fields

    def to_representation(self, receipt):
        return super().to_representation(without_hidden_code(receipt, self.context["request"].user))

    def get_account_typed(self, receipt) -> str:
        whole = sees_phones(self.context["request"].user)
        return receipt.account_typed if whole else masked_if_phone(receipt.account_typed)

    @extend_schema_field(ReceiptPaymentSerializer(many=True))
    def get_payments(self, receipt):
        return [{"reference": each.payment.reference, "amount": each.amount} for each in receipt.live_allocations]

    def get_amount_left(self, receipt) -> int:
        return receipt.amount_held - sum(each.amount for each in receipt.live_allocations)


class RefundSerializer(ModelSerializer):
    """A refund: money of a receipt that staff returned."""

    class Meta:
        model = Refund
        fields = ["id", "receipt", "amount", "paid_from", "reason", "cash_session", "made_by", "made_at"]
        read_only_fields = fields


class ReviewItemSerializer(ModelSerializer):
    """A review item: a case that staff must check, with its evidence."""

    reason = serializers.ChoiceField(ReviewReason.choices)
    status = serializers.ChoiceField(ReviewStatus.choices)
    receipt = ReceiptSerializer(allow_null=True)
    payment: serializers.SlugRelatedField = serializers.SlugRelatedField("reference", read_only=True, allow_null=True)

    class Meta:
        model = ReviewItem
        fields = [
            "id",
            "reason",
            "status",
            "detail",
            "receipt",
            "payment",
            "push",
            "callback",
            "suggested_members",
            "created_at",
            "resolved_at",
            "resolved_by",
            "resolution",
        ]
        read_only_fields = fields


class CashSessionSerializer(ModelSerializer):
    """A cash session. After closing, `difference` is the KES over (positive) or short (negative)."""

    difference = serializers.IntegerField(allow_null=True)

    class Meta:
        model = CashSession
        fields = [
            "id",
            "cashier",
            "opened_at",
            "opening_float",
            "closed_at",
            "expected",
            "counted",
            "difference",
            "note",
        ]
        read_only_fields = fields


class CodeClaimSerializer(ModelSerializer):
    """A reported code. `receipt` is set when Safaricom confirms its money, `ended_why` when there is none."""

    payment: serializers.SlugRelatedField = serializers.SlugRelatedField("reference", read_only=True)

    class Meta:
        model = CodeClaim
        fields = ["id", "code", "payment", "claimed_at", "receipt", "ended_at", "ended_why"]
        read_only_fields = fields


class CodeCheckSerializer(ModelSerializer):
    """A code check: a query to Safaricom. `said` is its result in one sentence, `receipt` the money that it found."""

    status = serializers.ChoiceField(CodeCheckStatus.choices)

    class Meta:
        model = CodeCheck
        fields = ["id", "code", "status", "said", "result_code", "receipt", "asked_by", "created_at", "ended_at"]
        read_only_fields = fields


class ClubSerializer(Serializer):
    """The club, and where to pay it: either a paybill or a till."""

    name = serializers.CharField()
    terms_url = serializers.URLField(allow_null=True, help_text="The terms that a new member agrees to.")
    paybill = serializers.CharField(
        allow_null=True, help_text="The account is a payment's reference, or a member number for credit."
    )
    till = serializers.CharField(
        allow_null=True, help_text="Buy goods. It has no account: the payer's phone number identifies the member."
    )


# --- Requests -------------------------------------------------------------------------------------


class CreditSerializer(Serializer):
    """The caller's credit."""

    credit = serializers.IntegerField(read_only=True, help_text="Whole Kenyan shillings.")


class PushRequestSerializer(Serializer):
    """The phone number for the STK push; the payer's own by default."""

    phone_number = PhoneField(required=False)


class OwnerSerializer(Serializer):
    """The owner of money: either a payment by its reference, or a member by id."""

    payment = serializers.SlugRelatedField("reference", queryset=Payment.objects.all(), required=False)
    member = serializers.IntegerField(required=False, min_value=1, max_value=2**62)

    def validate(self, attrs):
        if ("payment" in attrs) == ("member" in attrs):
            raise serializers.ValidationError("Name either a payment or a member.", code="owner_needed")
        return attrs

    @property
    def owner(self) -> dict:
        """The owner as a keyword argument of services."""
        payment = self.validated_data.get("payment")
        return {"payment_id": payment.pk} if payment else {"member_id": self.validated_data["member"]}


class DeskReceiptSerializer(OwnerSerializer):
    """Cash or a bank transfer that staff record."""

    channel = serializers.ChoiceField([Channel.CASH, Channel.BANK])
    amount = serializers.IntegerField(min_value=1, max_value=MAX_KES)
    note = serializers.CharField(
        required=False, max_length=64, help_text="The bank reference; required for a bank transfer."
    )


class ReasonSerializer(Serializer):
    """The reason of a decision."""

    reason = serializers.CharField(max_length=200)


class RefundRequestSerializer(ReasonSerializer):
    """A refund of a receipt, or of a member's credit; all of it without an amount."""

    receipt = serializers.IntegerField(required=False, min_value=1, max_value=2**62)
    member = serializers.IntegerField(required=False, min_value=1, max_value=2**62)
    amount = serializers.IntegerField(required=False, min_value=1, max_value=MAX_KES)
    paid_from = serializers.ChoiceField([Account.CASH, Account.BANK, Account.MPESA])

    def validate(self, attrs):
        if ("receipt" in attrs) == ("member" in attrs):
            raise serializers.ValidationError("Name either a receipt or a member.", code="holder_needed")
        return attrs

    @property
    def arguments(self) -> dict:
        """The request as keyword arguments of the service."""
        names = {"receipt": "receipt_id", "member": "member_id"}
        return {names.get(name, name): value for name, value in self.validated_data.items()}


class OpenSessionSerializer(Serializer):
    """The cash in the drawer at the start."""

    opening_float = serializers.IntegerField(min_value=0, max_value=MAX_KES)


class CloseSessionSerializer(Serializer):
    """The counted cash at the end."""

    counted = serializers.IntegerField(min_value=0, max_value=MAX_KES)
    session = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=2**62,
        help_text="The cash session that was counted; refused if it is not the open one.",
    )
    note = serializers.CharField(required=False, allow_blank=True, max_length=200)


class CodeCheckRequestSerializer(Serializer):
    """An M-Pesa code to check with Safaricom."""

    code = serializers.CharField(max_length=32)


class ClaimSerializer(Serializer):
    """An M-Pesa code that a payer shows, and its payment."""

    code = serializers.CharField(max_length=32)
    payment = serializers.SlugRelatedField("reference", queryset=Payment.objects.all())
