"""URLs of payments, under /api/v1/."""

from django.urls import path

from payments.views import callbacks, club, desk, payments, receipt_pdf

app_name = "payments"

urlpatterns = [
    path("club/", club.ClubView.as_view(), name="club"),
    path("payments/", payments.PaymentListView.as_view(), name="payment-list"),
    path("payments/credit/", payments.CreditView.as_view(), name="credit"),
    path("payments/<str:reference>/", payments.PaymentView.as_view(), name="payment"),
    path("payments/<str:reference>/push/", payments.PaymentPushView.as_view(), name="payment-push"),
    path("payments/<str:reference>/cancel/", payments.PaymentCancelView.as_view(), name="payment-cancel"),
    path("receipts/", desk.ReceiptListView.as_view(), name="receipt-list"),
    path("receipts/<int:pk>/", payments.ReceiptView.as_view(), name="receipt"),
    path("receipts/<int:pk>/pdf/", receipt_pdf.ReceiptPdfView.as_view(), name="receipt-pdf"),
    path("receipts/<int:pk>/void/", desk.ReceiptVoidView.as_view(), name="receipt-void"),
    path("refunds/", desk.RefundListView.as_view(), name="refund-list"),
    path("cash-sessions/", desk.CashSessionListView.as_view(), name="cash-session-list"),
    path("cash-sessions/close/", desk.CashSessionCloseView.as_view(), name="cash-session-close"),
    path("code-claims/", desk.CodeClaimListView.as_view(), name="code-claim-list"),
    path("code-checks/", desk.CodeCheckListView.as_view(), name="code-check-list"),
    path("code-checks/<int:pk>/", desk.CodeCheckView.as_view(), name="code-check"),
    path("review-items/", desk.ReviewItemListView.as_view(), name="review-item-list"),
    path("review-items/<int:pk>/assign/", desk.ReviewItemAssignView.as_view(), name="review-item-assign"),
    path("review-items/<int:pk>/same-money/", desk.ReviewItemSameMoneyView.as_view(), name="review-item-same-money"),
    path("review-items/<int:pk>/other-money/", desk.ReviewItemOtherMoneyView.as_view(), name="review-item-other-money"),
    path("review-items/<int:pk>/take/", desk.ReviewItemTakeView.as_view(), name="review-item-take"),
    path("review-items/<int:pk>/undo/", desk.ReviewItemUndoView.as_view(), name="review-item-undo"),
    path("review-items/<int:pk>/dismiss/", desk.ReviewItemDismissView.as_view(), name="review-item-dismiss"),
    # For Safaricom: their paths name no M-Pesa, their answers have no envelope, and their URLs are never logged.
    path("callbacks/stk/<str:token>/", callbacks.StkCallbackView.as_view(), name="stk-callback"),
    path("callbacks/result/<str:token>/", callbacks.CodeCheckResultView.as_view(), name="code-check-result"),
    path("callbacks/result/<str:token>/late/", callbacks.CodeCheckTimeoutView.as_view(), name="code-check-timeout"),
    path("callbacks/c2b/<str:secret>/confirmation/", callbacks.C2bConfirmationView.as_view(), name="c2b-confirmation"),
    path("callbacks/c2b/<str:secret>/validation/", callbacks.C2bValidationView.as_view(), name="c2b-validation"),
]
