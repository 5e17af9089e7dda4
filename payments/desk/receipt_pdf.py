"""The PDF receipt, and the link in its QR code, which opens a page that confirms the receipt.

The link holds a signed receipt id, so that nobody can guess one. Nothing is stored for it: a printed receipt can be
checked as long as its signing key is SECRET_KEY or one of SECRET_KEY_FALLBACKS.
"""

import io
import re
from collections.abc import Iterator
from datetime import datetime

import segno
from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.db import transaction
from django.urls import reverse
from django.utils.dateformat import format as date_format
from django.utils.timezone import localtime

from api.errors import Invalid
from payments.desk.receipt_fonts import ReceiptPdf
from payments.models import Channel, Receipt, TaxNumber
from payments.services.locks import ReceiptNotFound

PAID_BY: dict[str, str] = {
    Channel.MPESA_STK: "M-Pesa",
    Channel.MPESA_C2B: "M-Pesa",
    Channel.CASH: "Cash",
    Channel.BANK: "Bank transfer",
    Channel.OPENING: "Credit from earlier records",
}

A5 = (148, 210)  # mm
MARGIN, LABELS, CODE = 14, 42, 34  # mm: around the page, of the labels' column, of the QR code
INK, SOFT, LINE, RED = (31, 24, 20), (106, 93, 84), (227, 216, 202), (181, 32, 43)

# The same rule as the constraint: letters and digits, with the separators that tax devices print.
TAX_NUMBER = re.compile(r"[0-9A-Z][0-9A-Z/.-]{3,39}")


class InvalidTaxNumber(Invalid):
    """The text cannot be a control number."""

    code, message = "invalid_tax_number", "A control number is 4 to 40 letters and digits."


# --- The link ---------------------------------------------------------------------------------------


def _signer() -> Signer:
    # The salt must never change: the links of printed receipts would stop working.
    return Signer(sep=".", salt="payments.papers")


def link_of(receipt: Receipt) -> str:
    """Return the public URL that confirms a receipt."""
    return settings.PUBLIC_URL + reverse("genuine", args=[_signer().sign(str(receipt.pk))])


def receipt_of_token(token: str) -> Receipt | None:
    """Return the receipt of a link's token, or None for a token that the club did not sign. Those cost no query."""
    try:
        pk = _signer().unsign(token)
    except BadSignature:
        return None
    return Receipt.objects.select_related("member").filter(pk=pk).first()


# --- The text ---------------------------------------------------------------------------------------


def first_name_and_initial(receipt: Receipt) -> str:
    """Return the payer's first name and initial: the public page shows strangers no more."""
    words = ((receipt.member.get_full_name() if receipt.member else "") or receipt.payer_name).split()
    return f"{words[0]} {words[-1][0]}." if len(words) > 1 else "".join(words)


def uses_of(receipt: Receipt) -> list[tuple[str, str, int]]:
    """Return the payments that hold the money: reference, description and KES. The rest has no reference."""
    live = receipt.allocations.filter(undone_at=None).select_related("payment").order_by("pk")
    uses = [(each.payment.reference, each.payment.description, each.amount) for each in live]
    left = receipt.amount_held - sum(amount for *_, amount in uses)
    rest = "Credit for the next payment" if receipt.member_id else "To be assigned to its owner"
    return [*uses, ("", rest, left)] if left > 0 else uses


def tax_number_of(receipt: Receipt) -> str:
    """Return the newest tax control number, or an empty text."""
    newest = receipt.tax_numbers.order_by("-pk").first()
    return newest.number if newest else ""


@transaction.atomic
def note_tax_number(*, receipt_id: int, number: str, by_id: int, now: datetime) -> TaxNumber:
    """Store the control number that a tax device gave a receipt. A later number corrects an earlier one.

    A repeated call with the same number changes nothing.

    :raises InvalidTaxNumber: the text cannot be a control number
    :raises ReceiptNotFound: no such receipt
    """
    number = number.strip().upper()
    if not TAX_NUMBER.fullmatch(number):
        raise InvalidTaxNumber
    receipt = Receipt.objects.select_for_update(no_key=True).filter(pk=receipt_id).first()
    if receipt is None:
        raise ReceiptNotFound
    newest = receipt.tax_numbers.order_by("-pk").first()
    if newest and newest.number == number:
        return newest
    return TaxNumber.objects.create(receipt=receipt, number=number, noted_by_id=by_id, noted_at=now)


def _rows(receipt: Receipt) -> Iterator[tuple[str, str]]:
    """Yield the lines of the receipt: label and text."""
    if receipt.payer_name:
        yield "Received from", receipt.payer_name
    if receipt.member:
        yield "Member", f"{receipt.member.get_full_name()} {receipt.member.member_number}".strip()
    for reference, what, amount in uses_of(receipt):
        yield "For", f"{reference} {what}: KES\u00a0{amount:,}".strip()
    yield "Paid on", date_format(localtime(receipt.paid_at), "j F Y, H:i")
    yield "Paid by", PAID_BY[receipt.channel]
    if receipt.code:
        yield "M-Pesa code", receipt.code
    if receipt.channel == Channel.BANK:
        yield "Bank reference", receipt.account_typed
    if receipt.recorded_by:
        yield "Taken by", receipt.recorded_by.get_full_name() or receipt.recorded_by.username
    if receipt.amount_refunded:
        yield "Refunded since", f"KES {receipt.amount_refunded:,}"


# --- The PDF ----------------------------------------------------------------------------------------


def file_name_of(receipt: Receipt) -> str:
    return f"receipt-{receipt}.pdf"


def pdf_of(receipt: Receipt) -> bytes:
    """Return the PDF receipt, in A5. The bytes stay the same until the receipt's money changes."""
    rows = list(_rows(receipt))
    pdf = ReceiptPdf(format=A5)
    pdf.set_creation_date(receipt.created_at)
    pdf.set_title(f"Receipt {receipt}")
    pdf.set_author(settings.CLUB_NAME)
    pdf.set_lang("en-KE")
    pdf.add_fonts_for([settings.CLUB_NAME, *(text for _, text in rows)])
    pdf.set_margin(MARGIN)
    pdf.set_auto_page_break(True, MARGIN)
    pdf.add_page()
    _draw_head(pdf, receipt)
    for label, text in rows:
        _draw_row(pdf, label, text)
    _draw_row(pdf, "Tax control number", tax_number_of(receipt))  # if it is empty, there is room to write it by hand
    _draw_qr_code(pdf, receipt)
    if receipt.reversed_at:
        _draw_void(pdf, receipt)
    return bytes(pdf.output())


def _write(
    pdf: ReceiptPdf, text: str, *, size: int, bold: bool = False, colour=INK, height: float | None = None, **place
):
    pdf.set_font("Inter", "B" if bold else "", size)
    pdf.set_text_color(*colour)
    text = pdf.printable(text)
    pdf.multi_cell(0, height or size * 0.5, text, new_x="LMARGIN", new_y="NEXT", align=place.pop("align", "L"), **place)


def _draw_head(pdf: ReceiptPdf, receipt: Receipt) -> None:
    pdf.set_fill_color(*RED)
    pdf.rect(0, 0, pdf.w, 4, "F")
    pdf.set_y(MARGIN)
    _write(pdf, settings.CLUB_NAME, size=15, bold=True)
    _write(pdf, f"Receipt {receipt}", size=10, colour=SOFT)
    pdf.ln(6)
    _write(pdf, f"KES {receipt.amount:,}", size=28, bold=True)
    pdf.ln(4)


def _draw_row(pdf: ReceiptPdf, label: str, text: str) -> None:
    """Draw a thin line, and below it the label and the text beside it. Long text wraps."""
    if pdf.will_page_break(12):
        pdf.add_page()
    top = pdf.get_y()
    pdf.set_draw_color(*LINE)
    pdf.line(MARGIN, top, pdf.w - MARGIN, top)
    pdf.set_y(top + 1.8)
    _write(pdf, label, size=9, colour=SOFT, height=5)
    pdf.set_xy(MARGIN + LABELS, top + 1.8)
    _write(pdf, text, size=9, bold=True, height=5)
    pdf.set_y(pdf.get_y() + 1.8)


def _draw_qr_code(pdf: ReceiptPdf, receipt: Receipt) -> None:
    """Draw the QR code at the foot of the page, or of a new page if there is no room."""
    top = pdf.h - MARGIN - CODE
    if pdf.get_y() > top:
        pdf.add_page()
    picture = io.BytesIO()
    link = link_of(receipt)
    segno.make(link, error="m").save(picture, kind="png", scale=8, border=0)
    pdf.image(picture, MARGIN, top, CODE, CODE, link=link, alt_text="The code that opens the page")
    pdf.set_left_margin(MARGIN + CODE + 6)
    pdf.set_y(top)
    _write(pdf, "Is this receipt genuine?", size=10, bold=True)
    pdf.ln(1.5)
    _write(pdf, f"Scan the code, or tap it on a screen, to check it with {settings.CLUB_NAME}.", size=9, colour=SOFT)


def _draw_void(pdf: ReceiptPdf, receipt: Receipt) -> None:
    pdf.set_left_margin(MARGIN)
    with pdf.local_context(fill_opacity=0.25), pdf.rotation(35, pdf.w / 2, pdf.h / 2):
        pdf.set_xy(MARGIN, pdf.h / 2 - 18)
        _write(pdf, "VOID", size=100, bold=True, colour=RED, height=36, align="C")
