"""Views for staff: desk receipts, voids, refunds, cash sessions, reported codes, code checks, review items."""

from django.db.models import Prefetch
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response

from api import generics
from api.clock import now
from api.generics import APIView
from api.idempotency import read_key
from api.pagination import CursorPagination
from api.permissions import IsManager, IsReceptionist
from payments import serializers
from payments.desk import cash_sessions, code_checks, desk_receipts, refunds, reported_codes, review_decisions, voids
from payments.models import CashSession, CodeCheck, CodeClaim, Receipt, Refund, ReviewItem
from payments.permissions import visible_receipts
from payments.views.payments import NewestReceipts, shown_receipts


def validated(serializer_class, request):
    """Return the validated serializer of the request's body.

    :raises ValidationError: the body is not valid
    """
    serializer = serializer_class(data=request.data)
    serializer.is_valid(raise_exception=True)
    return serializer


def receipt_answer(view: APIView, receipt_id: int, status: int = 200) -> Response:
    """Answer with the current state of a receipt."""
    receipt = shown_receipts().get(pk=receipt_id)
    shown = serializers.ReceiptSerializer(receipt, context={"request": view.request})
    return Response(shown.data, status=status)


class ReceiptListView(generics.ListAPIView):
    """List receipts, newest first; record cash or a bank transfer."""

    serializer_class = serializers.ReceiptSerializer
    pagination_class = NewestReceipts
    queryset = Receipt.objects.all()
    filterset_fields = ["channel", "member", "code", "number"]
    ordering_fields: list = []
    takes_idempotency_key = True
    refuses = {"post": [404]}  # a row that the body names

    def get_permissions(self):
        return [IsReceptionist()] if self.request.method == "POST" else [IsAuthenticated()]

    def get_queryset(self):
        return visible_receipts(shown_receipts(), self.request.user)

    @extend_schema(request=serializers.DeskReceiptSerializer, responses={201: serializers.ReceiptSerializer})
    def post(self, request):
        serializer = validated(serializers.DeskReceiptSerializer, request)
        receipt = desk_receipts.record_receipt(
            channel=serializer.validated_data["channel"],
            amount=serializer.validated_data["amount"],
            note=serializer.validated_data.get("note", ""),
            by_id=request.user.pk,
            now=now(),
            idempotency_key=read_key(request),
            **serializer.owner,
        )
        return receipt_answer(self, receipt.pk, status=201)


class ReceiptVoidView(APIView):
    """Void a cash or bank receipt that another person recorded."""

    permission_classes = [IsReceptionist]
    serializer_class = serializers.ReceiptSerializer
    request_serializer = serializers.ReasonSerializer

    def post(self, request, pk):
        serializer = validated(serializers.ReasonSerializer, request)
        voids.void_receipt(receipt_id=pk, by_id=request.user.pk, now=now(), **serializer.validated_data)
        return receipt_answer(self, pk)


class NewestRefunds(CursorPagination):
    ordering = ("-made_at", "-id")


class RefundListView(generics.ListAPIView):
    """List refunds, newest first; record a refund of a receipt, or of a member's credit."""

    permission_classes = [IsManager]
    serializer_class = serializers.RefundSerializer
    pagination_class = NewestRefunds
    queryset = Refund.objects.all()
    filterset_fields = ["receipt", "paid_from"]
    ordering_fields: list = []
    takes_idempotency_key = True
    refuses = {"post": [404]}  # a row that the body names

    @extend_schema(
        request=serializers.RefundRequestSerializer, responses={201: serializers.RefundSerializer(many=True)}
    )
    def post(self, request):
        body = validated(serializers.RefundRequestSerializer, request).arguments
        made = refunds.record_refund(by_id=request.user.pk, now=now(), idempotency_key=read_key(request), **body)
        return Response(serializers.RefundSerializer(made, many=True).data, status=201)


class CashSessionListView(generics.ListAPIView):
    """List the caller's cash sessions (everyone's for managers), newest first; open one."""

    permission_classes = [IsReceptionist]
    serializer_class = serializers.CashSessionSerializer
    queryset = CashSession.objects.order_by("-opened_at", "-pk")
    filterset_fields = ["cashier"]
    ordering_fields: list = []

    def get_queryset(self):
        sessions = super().get_queryset()
        sees_all = IsManager().has_permission(self.request, self)
        return sessions if sees_all else sessions.filter(cashier_id=self.request.user.pk)

    @extend_schema(request=serializers.OpenSessionSerializer, responses={201: serializers.CashSessionSerializer})
    def post(self, request):
        serializer = validated(serializers.OpenSessionSerializer, request)
        session = cash_sessions.open_session(cashier_id=request.user.pk, now=now(), **serializer.validated_data)
        return Response(serializers.CashSessionSerializer(session).data, status=201)


class CashSessionCloseView(APIView):
    """Close the caller's cash session with the counted cash."""

    permission_classes = [IsReceptionist]
    serializer_class = serializers.CashSessionSerializer
    request_serializer = serializers.CloseSessionSerializer

    def post(self, request):
        body = validated(serializers.CloseSessionSerializer, request).validated_data
        session_id = body.pop("session", None)
        session = cash_sessions.close_session(cashier_id=request.user.pk, session_id=session_id, now=now(), **body)
        return Response(serializers.CashSessionSerializer(session).data)


class NewestReportedCodes(CursorPagination):
    ordering = ("-claimed_at", "-id")


# 200 when the money of the code is here, 202 while it is not.
REPORTED = {200: serializers.CodeClaimSerializer, 202: serializers.CodeClaimSerializer}


class CodeClaimListView(generics.ListAPIView):
    """List reported codes, newest first; report one. It counts only when Safaricom confirms its money."""

    permission_classes = [IsReceptionist]
    serializer_class = serializers.CodeClaimSerializer
    pagination_class = NewestReportedCodes
    queryset = CodeClaim.objects.select_related("payment")
    filterset_fields = ["code"]
    ordering_fields: list = []

    @extend_schema(request=serializers.ClaimSerializer, responses=REPORTED)
    def post(self, request):
        body = validated(serializers.ClaimSerializer, request).validated_data
        reported = reported_codes.report_code(
            code=body["code"], payment_id=body["payment"].pk, by_id=request.user.pk, now=now()
        )
        return Response(
            serializers.CodeClaimSerializer(reported).data, status=202 if reported.receipt_id is None else 200
        )


class CodeCheckListView(generics.ListAPIView):
    """List code checks, newest first; start one. Safaricom answers within minutes."""

    permission_classes = [IsManager]
    serializer_class = serializers.CodeCheckSerializer
    pagination_class = CursorPagination
    queryset = CodeCheck.objects.all()
    filterset_fields = ["code", "status"]
    ordering_fields: list = []

    @extend_schema(request=serializers.CodeCheckRequestSerializer, responses={202: serializers.CodeCheckSerializer})
    def post(self, request):
        serializer = validated(serializers.CodeCheckRequestSerializer, request)
        check = code_checks.request_check(by_id=request.user.pk, now=now(), **serializer.validated_data)
        return Response(serializers.CodeCheckSerializer(check).data, status=202)


class CodeCheckView(generics.RetrieveAPIView):
    """One code check and its result."""

    permission_classes = [IsManager]
    serializer_class = serializers.CodeCheckSerializer
    queryset = CodeCheck.objects.all()
    filter_backends: list = []


class ReviewItemListView(generics.ListAPIView):
    """List review items, newest first."""

    permission_classes = [IsManager]
    serializer_class = serializers.ReviewItemSerializer
    pagination_class = CursorPagination
    queryset = ReviewItem.objects.select_related("payment").prefetch_related(
        Prefetch("receipt", shown_receipts()),
    )
    filterset_fields = ["status", "reason"]
    ordering_fields: list = []


def item_answer(view: APIView, item: ReviewItem) -> Response:
    """Answer with the current state of a review item."""
    item = ReviewItemListView.queryset.get(pk=item.pk)
    return Response(serializers.ReviewItemSerializer(item, context={"request": view.request}).data)


class ReviewItemAssignView(APIView):
    """Assign unmatched money to its owner. Its payments and periods are paid and granted in the same transaction."""

    permission_classes = [IsManager]
    serializer_class = serializers.ReviewItemSerializer
    request_serializer = serializers.OwnerSerializer

    def post(self, request, pk):
        serializer = validated(serializers.OwnerSerializer, request)
        return item_answer(
            self, review_decisions.assign_money(item_id=pk, by_id=request.user.pk, now=now(), **serializer.owner)
        )


class ReviewItemSameMoneyView(APIView):
    """Decide that held money is the money of the STK push: the two receipts become one."""

    permission_classes = [IsManager]
    serializer_class = serializers.ReviewItemSerializer
    request_serializer = None

    def post(self, request, pk):
        return item_answer(self, review_decisions.decide_same_money(item_id=pk, by_id=request.user.pk, now=now()))


class ReviewItemOtherMoneyView(APIView):
    """Decide that held money is not the money of the STK push: it becomes ordinary unmatched money."""

    permission_classes = [IsManager]
    serializer_class = serializers.ReviewItemSerializer
    request_serializer = None

    def post(self, request, pk):
        return item_answer(self, review_decisions.decide_other_money(item_id=pk, by_id=request.user.pk, now=now()))


class ReviewItemTakeView(APIView):
    """Take the whole shillings of money with cents, after a code check has found the same code and amount."""

    permission_classes = [IsManager]
    serializer_class = serializers.ReviewItemSerializer
    request_serializer = None

    def post(self, request, pk):
        return item_answer(self, review_decisions.take_whole_shillings(item_id=pk, by_id=request.user.pk, now=now()))


class ReviewItemUndoView(APIView):
    """Undo an assignment exactly."""

    permission_classes = [IsManager]
    serializer_class = serializers.ReviewItemSerializer
    request_serializer = None

    def post(self, request, pk):
        return item_answer(self, review_decisions.undo_assignment(item_id=pk, by_id=request.user.pk, now=now()))


class ReviewItemDismissView(APIView):
    """Dismiss an item without moving money."""

    permission_classes = [IsManager]
    serializer_class = serializers.ReviewItemSerializer
    request_serializer = serializers.ReasonSerializer

    def post(self, request, pk):
        serializer = validated(serializers.ReasonSerializer, request)
        item = review_decisions.dismiss_item(item_id=pk, by_id=request.user.pk, now=now(), **serializer.validated_data)
        return item_answer(self, item)
