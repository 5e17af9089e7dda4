"""A receipt on paper: the PDF, and the link in its QR code that opens a page confirming it.

The link holds a signature over the receipt's id, so that nobody can guess one. Nothing is stored for it: a paper can be
checked as long as the key that signed it is SECRET_KEY or among SECRET_KEY_FALLBACKS.
"""

import io
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import segno
from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.db import transaction
from django.urls import reverse
from django.utils.dateformat import format as date_format
from django.utils.timezone import localtime
from fpdf import FPDF

from api.errors import Invalid
from payments.models import Channel, Receipt, TaxNumber
from payments.services.locks import ReceiptNotFound

PAID_BY: dict[str, str] = {
    Channel.MPESA_STK: "M-Pesa",
    Channel.MPESA_C2B: "M-Pesa",
    Channel.CASH: "Cash",
    Channel.BANK: "Bank transfer",
}

FONTS = Path(__file__).parent / "fonts"
A5 = (148, 210)  # mm
MARGIN, LABELS, CODE = 14, 42, 34  # mm: around the page, of the labels' column, of the QR code
INK, SOFT, LINE, RED = (31, 24, 20), (106, 93, 84), (227, 216, 202), (181, 32, 43)

# As the constraint has it: letters, digits and what stands between them on a device's paper.
TAX_NUMBER = re.compile(r"[0-9A-Z][0-9A-Z/.-]{3,39}")


class InvalidTaxNumber(Invalid):
    """It is no control number."""

    code, message = "invalid_tax_number", "A control number is 4 to 40 letters and digits."


# --- The link ---------------------------------------------------------------------------------------


def _signer() -> Signer:
    return Signer(sep=".", salt="payments.desk.receipt_pdf")


def link_of(receipt: Receipt) -> str:
    """Return the public address that confirms a receipt."""
    return settings.PUBLIC_URL + reverse("genuine", args=[_signer().sign(str(receipt.pk))])


def receipt_behind(token: str) -> Receipt | None:
    """Return the receipt that a link of ours is of; None when the link is not ours. Asks nothing for a forged one."""
    try:
        pk = _signer().unsign(token)
    except BadSignature:
        return None
    return Receipt.objects.select_related("member").filter(pk=pk).first()


# --- What it says -----------------------------------------------------------------------------------


def first_name_and_initial(receipt: Receipt) -> str:
    """Return whose money it was as far as a stranger with the paper may read it on a screen."""
    words = ((receipt.member.get_full_name() if receipt.member else "") or receipt.payer_name).split()
    return f"{words[0]} {words[-1][0]}." if len(words) > 1 else "".join(words)


def uses_of(receipt: Receipt) -> list[tuple[str, str, int]]:
    """Return the payments that the money is for: reference, description, KES of it. The rest has no reference."""
    live = receipt.allocations.filter(undone_at=None).select_related("payment").order_by("pk")
    uses = [(each.payment.reference, each.payment.description, each.amount) for each in live]
    left = receipt.amount_held - sum(amount for *_, amount in uses)
    rest = "Credit for the next payment" if receipt.member_id else "To be assigned to its owner"
    return [*uses, ("", rest, left)] if left > 0 else uses


def tax_number_of(receipt: Receipt) -> str:
    """Return the tax device's control number; empty while nobody noted one."""
    newest = receipt.tax_numbers.order_by("-pk").first()
    return newest.number if newest else ""


@transaction.atomic
def note_tax_number(*, receipt_id: int, number: str, by_id: int, now: datetime) -> TaxNumber:
    """Note the control number that a tax device gave a receipt; a later one corrects it. Twice is noted once.

    :raises InvalidTaxNumber: no device gives such a number
    :raises ReceiptNotFound: there is none
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
    """Yield the labelled lines of the paper."""
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
    """Return the paper, A5. The same receipt gives the same bytes until something happens to its money."""
    pdf = FPDF(format=A5)
    pdf.set_creation_date(receipt.created_at)
    pdf.set_title(f"Receipt {receipt}")
    pdf.set_author(settings.CLUB_NAME)
    pdf.set_lang("en-KE")
    for style, name in (("", "Regular"), ("B", "Bold")):
        pdf.add_font("Inter", style, FONTS / f"Inter-{name}.ttf")
    pdf.set_margin(MARGIN)
    pdf.set_auto_page_break(True, MARGIN)
    pdf.add_page()
    _draw_head(pdf, receipt)
    for label, text in _rows(receipt):
        _draw_row(pdf, label, text)
    _draw_row(pdf, "Tax control number", tax_number_of(receipt))  # else room to write it
    _draw_proof(pdf, receipt)
    if receipt.reversed_at:
        _draw_void(pdf, receipt)
    return bytes(pdf.output())


def _write(pdf: FPDF, text: str, *, size: int, bold: bool = False, colour=INK, height: float | None = None, **place):
    pdf.set_font("Inter", "B" if bold else "", size)
    pdf.set_text_color(*colour)
    pdf.multi_cell(0, height or size * 0.5, text, new_x="LMARGIN", new_y="NEXT", align=place.pop("align", "L"), **place)


def _draw_head(pdf: FPDF, receipt: Receipt) -> None:
    pdf.set_fill_color(*RED)
    pdf.rect(0, 0, pdf.w, 4, "F")
    pdf.set_y(MARGIN)
    _write(pdf, settings.CLUB_NAME, size=15, bold=True)
    _write(pdf, f"Receipt {receipt}", size=10, colour=SOFT)
    pdf.ln(6)
    _write(pdf, f"KES {receipt.amount:,}", size=28, bold=True)
    pdf.ln(4)


def _draw_row(pdf: FPDF, label: str, text: str) -> None:
    """Draw a label and what stands beside it under a thin line; long text wraps."""
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


def _draw_proof(pdf: FPDF, receipt: Receipt) -> None:
    """Draw the code that opens the page confirming the receipt, at the foot of the page that has room for it."""
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


def _draw_void(pdf: FPDF, receipt: Receipt) -> None:
    pdf.set_left_margin(MARGIN)
    with pdf.local_context(fill_opacity=0.25), pdf.rotation(35, pdf.w / 2, pdf.h / 2):
        pdf.set_xy(MARGIN, pdf.h / 2 - 18)
        _write(pdf, "VOID", size=100, bold=True, colour=RED, height=36, align="C")
