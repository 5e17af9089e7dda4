"""The PDF receipt, and the public page that confirms it."""

import re
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.tests.factories import UserFactory
from api.tests.clients import logged_in_as
from payments.daraja.messages import C2bMessage
from payments.desk import cash_sessions, desk_receipts, receipt_pdf, refunds, voids
from payments.desk.receipt_fonts import ReceiptPdf
from payments.evidence import c2b_confirmations
from payments.models import Receipt, TaxNumber
from payments.tests.factories import NOON, create_payment
from payments.views.receipt_pdf import CHECKS_PER_IP_ADDRESS

pytestmark = [pytest.mark.django_db, pytest.mark.server]


@pytest.fixture
def cashier():
    cashier = UserFactory(first_name="Brenda", last_name="Achieng", role="Receptionist")
    cash_sessions.open_session(cashier_id=cashier.pk, opening_float=0, now=NOON)
    return cashier


@pytest.fixture
def member():
    return UserFactory(role="Member", first_name="Wanjikũ", last_name="wa Ngũgĩ")


@pytest.fixture
def receipt(cashier, member):
    """A receipt of KES 2,000 in cash, of which 1,500 pay a month of gym."""
    return record(cashier, payment_id=create_payment(payer=member).pk)


@pytest.fixture
def named(cashier, member):
    """A receipt of a payment whose description names a person."""
    return record(cashier, payment_id=create_payment(payer=member, description="Monthly for Wanjikũ wa Ngũgĩ").pk)


def record(cashier, channel="cash", amount=2000, note="", **owner):
    return desk_receipts.record_receipt(channel=channel, amount=amount, by_id=cashier.pk, now=NOON, note=note, **owner)


def paybill(code="TKN1AB2C3D", **fields):
    """A paybill receipt without a member."""
    message = C2bMessage(code, NOON, 700, "174379", "gym", "", fields.get("name", "JANE WANJIRU"), "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=NOON)
    return Receipt.objects.get(code=code)


def path_of(receipt):
    return receipt_pdf.link_of(receipt).removeprefix("http://127.0.0.1:8000")


def page_of(receipt):
    return Client().get(path_of(receipt), secure=True)


def reference_of(receipt):
    return receipt.allocations.get().payment.reference


def rows_of(receipt):
    return list(receipt_pdf._rows(receipt))


class TestPdf:
    """GET receipts/{id}/pdf/"""

    def test_member_gets_the_pdf_without_the_json_envelope(self, member, receipt):
        answer = logged_in_as(member).get(f"/api/v1/receipts/{receipt.pk}/pdf/", secure=True)

        assert (answer.status_code, answer["Content-Type"]) == (200, "application/pdf")
        assert answer["Content-Disposition"] == 'inline; filename="receipt-2026-000001.pdf"'
        assert answer["Cache-Control"] == "no-store"
        assert answer.content.startswith(b"%PDF-")
        assert answer.content == receipt_pdf.pdf_of(receipt)

    @pytest.mark.parametrize("accepted", ["application/pdf", "application/json", "text/html,*/*;q=0.8"])
    def test_pdf_is_served_whatever_the_accept_header_says(self, member, receipt, accepted):
        answer = logged_in_as(member).get(f"/api/v1/receipts/{receipt.pk}/pdf/", secure=True, HTTP_ACCEPT=accepted)

        assert answer["Content-Type"] == "application/pdf"

    @pytest.mark.parametrize("role", ["Receptionist", "Manager", "Admin"])
    def test_staff_get_the_pdf_of_any_receipt(self, receipt, role):
        answer = logged_in_as(UserFactory(role=role)).get(f"/api/v1/receipts/{receipt.pk}/pdf/", secure=True)

        assert answer.status_code == 200

    def test_pdf_of_another_member_is_not_found(self, receipt):
        client = logged_in_as(UserFactory())

        answer = client.get(f"/api/v1/receipts/{receipt.pk}/pdf/", secure=True, HTTP_ACCEPT="application/pdf")

        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")

    def test_pdf_needs_a_login(self, receipt):
        answer = Client().get(f"/api/v1/receipts/{receipt.pk}/pdf/", secure=True)

        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_authenticated")

    def test_pdf_costs_four_queries_for_any_number_of_payments(self, cashier, member):
        for _ in range(3):
            create_payment(payer=member)
        receipt = record(cashier, amount=4500, member_id=member.pk)
        client = logged_in_as(member)

        with CaptureQueriesContext(connection) as captured:
            client.get(f"/api/v1/receipts/{receipt.pk}/pdf/", secure=True)

        assert len(captured) == 4  # the login session, the receipt, its payments, its tax number


class TestPrinting:
    """The PDF in the admin."""

    @pytest.mark.parametrize(
        ("role", "status"), [("Admin", 200), ("Receptionist", 200), ("Trainer", 403), ("Member", 302)]
    )
    def test_roles_that_see_the_receipt_may_print_it(self, client, receipt, role, status):
        client.force_login(UserFactory(role=role, is_staff=role != "Member"))

        answer = client.get(f"/admin/payments/receipt/{receipt.pk}/pdf/", secure=True)

        assert answer.status_code == status
        assert (answer.content == receipt_pdf.pdf_of(receipt)) == (status == 200)

    def test_receipt_page_and_member_page_link_to_the_pdf(self, client, receipt, member):
        client.force_login(UserFactory(role="Receptionist", is_staff=True))
        link = f'href="/admin/payments/receipt/{receipt.pk}/pdf/"'

        for page in (f"/admin/payments/receipt/{receipt.pk}/change/", f"/admin/members/{member.pk}/"):
            assert link in client.get(page, secure=True).content.decode()


class TestPdfText:
    """The text of the PDF."""

    def test_cash_pdf_shows_number_payments_and_cashier(self, receipt, member):
        assert str(receipt) == "2026-000001"
        assert rows_of(receipt) == [
            ("Member", f"Wanjikũ wa Ngũgĩ {member.member_number}"),
            ("For", f"{reference_of(receipt)} Gym, one month: KES\u00a01,500"),
            ("For", "Credit for the next payment: KES\u00a0500"),
            ("Paid on", "2 November 2026, 12:00"),
            ("Paid by", "Cash"),
            ("Taken by", "Brenda Achieng"),
        ]

    def test_bank_transfer_pdf_shows_the_bank_reference(self, cashier, member):
        receipt = record(cashier, channel="bank", note="FT2630", member_id=member.pk)

        assert ("Bank reference", "FT2630") in rows_of(receipt)

    def test_mpesa_pdf_is_named_by_its_code(self):
        receipt = paybill()

        assert str(receipt) == "TKN1AB2C3D"
        assert rows_of(receipt) == [
            ("Received from", "JANE WANJIRU"),
            ("For", "To be assigned to its owner: KES\u00a0700"),
            ("Paid on", "2 November 2026, 12:00"),
            ("Paid by", "M-Pesa"),
            ("M-Pesa code", "TKN1AB2C3D"),
        ]

    def test_pdf_without_a_code_is_named_by_the_receipt_id(self, member):
        receipt = Receipt(pk=7, channel="mpesa_stk", amount=1500, paid_at=NOON, member=member)

        assert str(receipt) == "M7"

    @pytest.mark.parametrize(
        ("name", "printed"),
        [
            ("Wanjikũ wa Ngũgĩ", "Wanjikũ wa Ngũgĩ"),
            ("Wanjiku\u0303 wa Ngu\u0303gi\u0303", "Wanjikũ wa Ngũgĩ"),  # the accents as letters of their own
            ("Ng'ang'a Mwang\u2019ombe", "Ng'ang'a Mwang\u2019ombe"),
            ("José Ñandú Žižka Łukasz", "José Ñandú Žižka Łukasz"),
            ("محمد علي", "محمد علي"),
            ("王小明", "王小明"),
            ("田中さん 김철수", "田中さん 김철수"),
            ("አበበ በቀለ", "አበበ በቀለ"),
            ("Иван Петров", "Иван Петров"),
            ("Asha 😀", "Asha 😀"),
            ("Amina 👩🏾\u200d🦱\ufe0f", "Amina □□"),
            ("𑄌𑄋", "□□"),
            ("W" * 300, "W" * 300),
        ],
    )
    def test_pdf_prints_names_in_any_script(self, cashier, caplog, monkeypatch, name, printed):
        texts = []
        write = ReceiptPdf.multi_cell
        monkeypatch.setattr(
            ReceiptPdf,
            "multi_cell",
            lambda pdf, w, h, text, **more: texts.append(text) or write(pdf, w, h, text, **more),
        )
        member = UserFactory(first_name=name[:150], last_name=name[150:])
        receipt = record(cashier, member_id=member.pk)

        pdf = receipt_pdf.pdf_of(Receipt.objects.get(pk=receipt.pk))

        assert pdf.startswith(b"%PDF-")
        assert f"{printed[:150]} {printed[150:]}".strip() + f" {member.member_number}" in [
            text.replace("  ", " ") for text in texts
        ]
        assert "missing the following glyphs" not in caplog.text

    def test_common_names_need_only_one_font(self, cashier, member):
        pdf = ReceiptPdf()
        pdf.add_page()

        pdf.add_fonts_for(text for _, text in rows_of(record(cashier, member_id=member.pk)))

        assert pdf.output()  # which closes the fonts
        assert set(pdf.fonts) == {"inter", "interB"}

    def test_unchanged_receipt_gives_the_same_bytes(self, receipt):
        assert receipt_pdf.pdf_of(receipt) == receipt_pdf.pdf_of(receipt)

    def test_long_receipt_continues_on_the_next_page(self, cashier, member):
        for _ in range(25):
            create_payment(payer=member, amount=100)
        receipt = record(cashier, amount=2500, member_id=member.pk)

        assert len(re.findall(rb"/Type /Page\b(?!s)", receipt_pdf.pdf_of(receipt))) == 2


class TestTaxNumber:
    """The tax control number of a receipt."""

    @pytest.fixture
    def note(self, receipt, cashier):
        return lambda number: (
            receipt_pdf.note_tax_number(receipt_id=receipt.pk, number=number, by_id=cashier.pk, now=NOON).number
        )

    def test_pdf_shows_the_tax_number_or_leaves_room_for_it(self, receipt, note):
        assert receipt_pdf.tax_number_of(receipt) == ""
        before = receipt_pdf.pdf_of(receipt)

        assert note(" kramw017202607000042 ") == "KRAMW017202607000042"

        assert receipt_pdf.tax_number_of(receipt) == "KRAMW017202607000042"
        assert receipt_pdf.pdf_of(receipt) != before

    def test_later_tax_number_corrects_the_first_and_both_are_stored(self, receipt, note, cashier):
        for number in ("KRA0001", "KRA0002", "KRA0002"):
            note(number)

        assert receipt_pdf.tax_number_of(receipt) == "KRA0002"
        kept = TaxNumber.objects.values_list("number", "noted_by", "noted_at")
        assert list(kept) == [("KRA0001", cashier.pk, NOON), ("KRA0002", cashier.pk, NOON)]

    @pytest.mark.parametrize("number", ["", "   ", "KRA", "K" * 41, "KRA 1", "=1+1", "KRA\n0001", "KRA\x00001", "ŨŨŨŨ"])
    def test_text_that_cannot_be_a_tax_number_is_refused(self, note, number):
        with pytest.raises(receipt_pdf.InvalidTaxNumber):
            note(number)

    @pytest.mark.parametrize("change", ["DELETE FROM payments_taxnumber", "UPDATE payments_taxnumber SET id = 0"])
    def test_tax_number_rows_are_append_only(self, note, change):
        note("KRA0001")

        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(change)

    def test_receptionist_saves_the_tax_number_on_the_receipt_page(self, client, receipt):
        receptionist = UserFactory(role="Receptionist", is_staff=True)
        client.force_login(receptionist)
        address = f"/admin/payments/receipt/{receipt.pk}/tax-number/"

        refused = client.post(address, {"number": "no!"}, secure=True, follow=True)
        told = client.post(address, {"number": "KRA0001"}, secure=True, follow=True)

        assert "A control number is 4 to 40 letters and digits." in refused.content.decode()
        assert "The tax control number is saved." in told.content.decode()
        assert TaxNumber.objects.get().noted_by == receptionist

    @pytest.mark.parametrize(("role", "status"), [("Manager", 302), ("Trainer", 403)])
    def test_trainer_cannot_save_a_tax_number(self, client, receipt, role, status):
        client.force_login(UserFactory(role=role, is_staff=True))
        address = f"/admin/payments/receipt/{receipt.pk}/tax-number/"

        assert client.get(address, secure=True).status_code == 405
        assert client.post(address, {"number": "KRA0001"}, secure=True).status_code == status
        assert TaxNumber.objects.exists() == (status == 302)

    def test_tax_number_of_an_unknown_receipt_is_not_found(self, client):
        client.force_login(UserFactory(role="Manager", is_staff=True))

        answer = client.post("/admin/payments/receipt/7777777/tax-number/", {"number": "KRA0001"}, secure=True)

        assert answer.status_code == 404


class TestPublicPage:
    """The page of the link in the QR code."""

    def test_link_of_a_printed_receipt_confirms_it(self, receipt):
        answer = page_of(receipt)

        shown = answer.content.decode()
        assert answer.status_code == 200
        assert "This receipt is genuine." in shown
        paid = f"{reference_of(receipt)}: KES&nbsp;1,500"
        for text in ("2026-000001", "KES 2,000", paid, "2 November 2026, 12:00", "Cash"):
            assert text in shown

    def test_public_page_shows_less_of_the_person_than_the_pdf(self, named, member, cashier):
        shown = page_of(named).content.decode()

        assert "Wanjikũ N." in shown
        for text in ("Ngũgĩ", member.member_number, member.phone_number, member.username, "Brenda", "Achieng"):
            assert text not in shown

    def test_public_page_shortens_the_name_of_an_unknown_payer(self):
        shown = page_of(paybill()).content.decode()

        assert "JANE W." in shown
        assert "WANJIRU" not in shown

    def test_public_page_says_that_a_voided_receipt_is_void(self, receipt):
        voids.void_receipt(
            receipt_id=receipt.pk, reason="typed twice", by_id=UserFactory().pk, now=NOON + timedelta(days=1)
        )

        shown = page_of(receipt).content.decode()

        assert "This receipt is void." in shown
        assert "3 November 2026" in shown
        assert "is genuine" not in shown
        assert "typed twice" not in shown

    def test_public_page_shows_refunds(self, receipt):
        refunds.record_refund(
            receipt_id=receipt.pk, amount=400, paid_from="mpesa", reason="asked", by_id=UserFactory().pk, now=NOON
        )

        assert re.search(r"Refunded since</dt><dd>KES 400", page_of(receipt).content.decode())

    @pytest.mark.parametrize("token", ["1", "1.", "1.x", "x", ".", "1.2.3", "%00", "2" * 300])
    def test_forged_link_is_refused_without_a_query(self, receipt, token):
        with CaptureQueriesContext(connection) as captured:
            answer = Client().get(f"/r/{token}/", secure=True)

        assert answer.status_code in (400, 404)
        assert "2026-000001" not in answer.content.decode()
        assert "payments_receipt" not in "".join(query["sql"] for query in captured)

    def test_signature_is_valid_for_its_own_receipt_only(self, receipt, cashier, member):
        other = record(cashier, member_id=member.pk)
        signature = path_of(receipt).partition(".")[2]

        answer = Client().get(f"/r/{other.pk}.{signature}", secure=True)

        assert answer.status_code == 404
        assert "We cannot confirm this receipt." in answer.content.decode()

    def test_links_stay_valid_after_the_secret_key_changes(self, receipt, settings):
        printed = path_of(receipt)
        settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another-key-" + "z" * 40

        assert Client().get(printed, secure=True).status_code == 200

    def test_checks_are_limited_per_ip_address(self, receipt, monkeypatch):
        monkeypatch.setattr("payments.views.receipt_pdf.now", lambda: NOON)
        client = Client()
        answered = {client.get(path_of(receipt), secure=True).status_code for _ in range(CHECKS_PER_IP_ADDRESS)}

        refused = client.get(path_of(receipt), secure=True)

        assert answered == {200}
        assert (refused.status_code, refused["Retry-After"]) == (429, "60")

    def test_public_page_is_not_cached_framed_or_indexed(self, receipt):
        answer = page_of(receipt)

        assert answer["X-Robots-Tag"] == "noindex"
        assert "no-store" in answer["Cache-Control"]
        assert "default-src 'self'" in answer["Content-Security-Policy"]
        assert "unsafe" not in answer["Content-Security-Policy"]
        assert "script" not in answer.content.decode()

    def test_public_page_is_read_only(self, receipt):
        assert Client().post(path_of(receipt), secure=True).status_code == 405

    def test_public_page_costs_three_queries(self, receipt):
        with CaptureQueriesContext(connection) as captured:
            page_of(receipt)

        assert len(captured) == 3  # the rate limit, the receipt, its payments


def test_qr_code_holds_the_link(receipt, monkeypatch):
    drawn = []
    make = receipt_pdf.segno.make
    monkeypatch.setattr(receipt_pdf.segno, "make", lambda text, **how: drawn.append(text) or make(text, **how))

    receipt_pdf.pdf_of(receipt)

    assert drawn == [receipt_pdf.link_of(receipt)]
    assert drawn[0].startswith("http://127.0.0.1:8000/r/")
