"""Views of payments, credit and receipts, for members and staff."""

from django.db.models import Prefetch
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response

from api import generics
from api.clock import now
from api.errors import Invalid
from api.generics import APIView
from api.pagination import CursorPagination
from api.permissions import is_at_least
from api.roles import Role
from payments import serializers
from payments.models import Account, Allocation, Payment, Receipt
from payments.permissions import OwnOrReceptionist, visible_payments, visible_receipts
from payments.pushes import push_requests
from payments.services import cancellation, ledger, next_actions

LIVE_ALLOCATIONS = Allocation.objects.filter(undone_at__isnull=True).order_by("pk")


class NoPhoneNumber(Invalid):
    """The request has no phone number, and the payer has none."""

    code, message = "phone_number_needed", "Enter the phone number for the payment request."


def payment_for(user, reference: str) -> Payment:
    """Return a payment that the caller may see, with the rows that its detail shows.

    :raises Http404: there is none, or the caller may not see it
    """
    payments = next_actions.with_awaits_push(Payment.objects.select_related("payer")).prefetch_related(
        "grouped_payments",
        "pushes",
        Prefetch("allocations", LIVE_ALLOCATIONS.select_related("receipt"), to_attr="live_allocations"),
    )
    payment = visible_payments(payments, user).filter(reference=reference.upper()).first()
    if payment is None:
        raise Http404
    return payment


class PaymentVerbView(APIView):
    """Base of the views that change a payment which the caller may see."""

    permission_classes = [OwnOrReceptionist]

    def bare_payment(self, reference: str) -> Payment:
        """Return the payment without the rows of its detail.

        :raises Http404: there is none, or the caller may not see it
        :raises PermissionDenied: the caller may see it, but not change it
        """
        payment = visible_payments(Payment.objects.all(), self.request.user).filter(reference=reference.upper()).first()
        if payment is None:
            raise Http404
        self.check_object_permissions(self.request, payment)
        return payment


def detail_answer(request, reference: str, status: int = 200) -> Response:
    """Answer with the current state of the payment."""
    payment = payment_for(request.user, reference)
    return Response(serializers.PaymentDetailSerializer(payment, context={"request": request}).data, status=status)


class PaymentListView(generics.ListAPIView):
    """List the caller's payments, or everyone's for Receptionists and higher roles, newest first."""

    permission_classes = [IsAuthenticated]
    serializer_class = serializers.PaymentSerializer
    pagination_class = CursorPagination
    queryset = Payment.objects.all()
    filterset_fields = ["status", "payer"]
    ordering_fields: list = []

    def get_queryset(self):
        payments = visible_payments(super().get_queryset(), self.request.user)
        return next_actions.with_awaits_push(payments).values(*serializers.PaymentSerializer.ROW)


class PaymentView(APIView):
    """One payment with its STK pushes, its receipts and the amount that is still owed."""

    permission_classes = [IsAuthenticated]
    serializer_class = serializers.PaymentDetailSerializer

    def get(self, request, reference):
        return detail_answer(request, reference)


class PaymentPushView(PaymentVerbView):
    """Send an STK push for a payment, or another one."""

    serializer_class = serializers.PaymentDetailSerializer
    request_serializer = serializers.PushRequestSerializer

    @extend_schema(responses={202: serializers.PaymentDetailSerializer})
    def post(self, request, reference):
        serializer = serializers.PushRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        payment = self.bare_payment(reference)
        phone = serializer.validated_data.get("phone_number") or payment.payer.phone_number
        if not phone:
            raise NoPhoneNumber
        push_requests.request_push(payment_id=payment.pk, phone=phone, created_by_id=request.user.pk, now=now())
        return detail_answer(request, reference, status=202)


class PaymentCancelView(PaymentVerbView):
    """Cancel a payment that is not paid. A debt from before this system is cancelled by a Manager."""

    serializer_class = serializers.PaymentDetailSerializer
    request_serializer = None

    def post(self, request, reference):
        payment = self.bare_payment(reference)
        if payment.is_debt and not is_at_least(request.user, Role.MANAGER):
            raise PermissionDenied
        cancellation.cancel_payment(payment_id=payment.pk, by_id=request.user.pk, now=now())
        return detail_answer(request, reference)


class CreditView(APIView):
    """The caller's credit: received money that no payment holds. The next payment uses it automatically."""

    permission_classes = [IsAuthenticated]
    serializer_class = serializers.CreditSerializer

    def get(self, request):
        return Response({"credit": -ledger.balance(Account.MEMBER_CREDIT, member_id=request.user.pk)})


class NewestReceipts(CursorPagination):
    ordering = ("-paid_at", "-id")


def shown_receipts():
    """Return receipts with the rows that their serializer reads, in three queries."""
    return Receipt.objects.select_related("member").prefetch_related(
        Prefetch("allocations", LIVE_ALLOCATIONS.select_related("payment"), to_attr="live_allocations")
    )


class ReceiptView(generics.RetrieveAPIView):
    """One receipt of the caller, or of anybody for Receptionists and higher roles."""

    permission_classes = [IsAuthenticated]
    serializer_class = serializers.ReceiptSerializer
    queryset = Receipt.objects.all()
    filter_backends: list = []

    def get_queryset(self):
        return visible_receipts(shown_receipts(), self.request.user)
