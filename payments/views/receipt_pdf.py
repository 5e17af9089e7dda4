"""Views of the PDF receipt, and of the public page that its QR code opens."""

from django.conf import settings
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import IsAuthenticated

from api import throttling
from api.clock import now
from api.errors import TooMany
from api.generics import APIView
from api.ip_addresses import client_ip, place_of
from payments.desk import receipt_pdf
from payments.models import Receipt
from payments.permissions import sees_code, visible_receipts

CHECKS_PER_IP_ADDRESS, CHECKS_WINDOW = 60, 60  # seconds; a whole office may share one IP address


def as_pdf(receipt: Receipt) -> HttpResponse:
    """Return the PDF receipt as an answer that browsers show and print."""
    response = HttpResponse(receipt_pdf.pdf_of(receipt), content_type="application/pdf")
    response["Content-Disposition"] = f'inline; filename="{receipt_pdf.file_name_of(receipt)}"'
    return response


class ReceiptPdfView(APIView):
    """The receipt as a PDF, without the JSON envelope. Unmatched receipts: only for roles that may assign them."""

    permission_classes = [IsAuthenticated]
    serializer_class = None

    def perform_content_negotiation(self, request, force=False):
        """Accept a request for application/pdf, which no renderer produces. Errors are JSON all the same."""
        return super().perform_content_negotiation(request, force=True)

    @extend_schema(responses={(200, "application/pdf"): OpenApiTypes.BINARY})
    def get(self, request, pk):
        receipts = Receipt.objects.select_related("member", "recorded_by")
        receipt = visible_receipts(receipts, request.user).filter(pk=pk).first()
        if receipt is None or not sees_code(receipt, request.user):  # the PDF shows the code
            raise Http404
        return as_pdf(receipt)


@require_safe
@never_cache
def confirm_receipt(request, token: str) -> HttpResponse:
    """Show whoever holds a printed receipt whether the club issued it, and whether it is still valid."""
    try:
        throttling.count(f"paper:{place_of(client_ip(request))}", CHECKS_PER_IP_ADDRESS, CHECKS_WINDOW, now())
    except TooMany as refusal:
        response = render(request, "error.html", {"status": 429, "message": refusal.message}, status=429)
        response["Retry-After"] = str(refusal.retry_after)
        return response
    receipt = receipt_pdf.receipt_of_token(token)
    context: dict = {"receipt": receipt, "club": settings.CLUB_NAME}
    if receipt:
        context |= {
            "number": str(receipt),
            "payer": receipt_pdf.first_name_and_initial(receipt),
            "uses": receipt_pdf.uses_of(receipt),
            "paid_by": receipt_pdf.PAID_BY[receipt.channel],
        }
    response = render(request, "payments/genuine.html", context, status=200 if receipt else 404)
    response["X-Robots-Tag"] = "noindex"
    return response
