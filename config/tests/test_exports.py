"""Exports of admin lists: their roles, their rows and columns, at once or by a job."""

import csv
import io
import os
from datetime import timedelta

import pytest
from django.contrib.admin.sites import site
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext
from openpyxl import load_workbook
from procrastinate.contrib.django.models import ProcrastinateJob

from accounts.tests.factories import UserFactory
from api.admin import exports
from api.models import Export
from payments.desk.desk_receipts import record_receipt
from payments.desk.voids import void_receipt
from payments.models import Payment
from payments.services.cancellation import cancel_payment
from payments.tests.factories import NOON, create_payment
from subscriptions.models import Subscription, Visit
from subscriptions.tests.factories import granted, record_paybill_payment

pytestmark = [pytest.mark.django_db, pytest.mark.server]

# The lists that each role may export.
EXPECTED = {
    #                             Admin  Manager  Receptionist  Trainer  Member
    "accounts.customuser":        (True, True,    False,        False,   False),
    "payments.payment":           (True, True,    False,        False,   False),
    "payments.receipt":           (True, True,    False,        False,   False),
    "payments.ledgerentry":       (True, True,    False,        False,   False),
    "subscriptions.subscription": (True, True,    True,         False,   False),
    "subscriptions.visit":        (True, True,    True,         False,   False),
}  # fmt: skip
ROLES = ("Admin", "Manager", "Receptionist", "Trainer", "Member")
MODELS = {model._meta.label_lower: model for model in site._registry}


@pytest.fixture(autouse=True)
def exports_root(settings, tmp_path):
    settings.EXPORTS_ROOT = tmp_path / "exports"
    return settings.EXPORTS_ROOT


@pytest.fixture
def log_in(client):
    """Log in a new user with this role."""

    def _log_in(role):
        person = UserFactory(role=role, is_staff=True)
        client.force_login(person)
        return person

    return _log_in


def ask(client, label, *, file_format="csv", ticked=None, query=""):
    """Export the ticked rows, or the whole filtered list."""
    rows = list(ticked or MODELS[label].objects.order_by("pk")[:1])
    response = client.post(
        f"/admin/{label.replace('.', '/')}/{query}",
        {
            "action": f"export_{file_format}",
            "_selected_action": [row.pk for row in rows],
            "select_across": "0" if ticked else "1",
        },
        secure=True,
    )
    return read(response)


def fetch(client, export):
    """Download a file."""
    return read(client.get(f"/admin/api/export/{export.pk}/download/", secure=True))


def read(response):
    """Read the answer to its end, which closes its file, and keep its bytes in `body`."""
    response.body = b"".join(response.streaming_content) if response.streaming else response.content
    return response


def lines(response) -> list[dict]:
    return list(csv.DictReader(io.StringIO(response.body.decode("utf-8-sig"), newline="")))


def run_job(now=NOON) -> Export:
    """Run the job of the only waiting export."""
    export = Export.objects.get(state="waiting")
    exports.write_export(export_id=export.pk, now=now)
    export.refresh_from_db()
    return export


@pytest.fixture
def rows():
    for _ in range(2):
        subscription = granted()
        Visit.objects.create(member=subscription.member, at=NOON, decision="allow", reason="active")


@pytest.mark.parametrize("role", ROLES)
def test_each_role_exports_the_lists_of_the_table(client, rows, log_in, role):
    log_in(role)

    answered = {label: "attachment" in ask(client, label).headers.get("Content-Disposition", "") for label in EXPECTED}

    assert answered == {label: may[ROLES.index(role)] for label, may in EXPECTED.items()}
    assert set(Export.objects.values_list("page", flat=True)) == {label for label, may in answered.items() if may}


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM api_export",
        "UPDATE api_export SET asked_by_id = id",
        "UPDATE api_export SET page = 'payments.refund'",
        "UPDATE api_export SET filters = '{}'",
    ],
)
@pytest.mark.breaks_the_books
def test_export_rows_cannot_be_changed_or_deleted(client, rows, log_in, statement):
    log_in("Manager")
    ask(client, "payments.payment")

    with pytest.raises(IntegrityError, match="append-only"), connection.cursor() as cursor:
        cursor.execute(statement)


def test_other_lists_have_no_export(rf):
    request = rf.get("/admin/")
    request.user = UserFactory(role="Admin", is_staff=True)

    offered = {
        label for label, model in MODELS.items() if "export_csv" in site.get_model_admin(model).get_actions(request)
    }

    assert offered == set(EXPECTED)


def test_receipt_export_has_every_column(client, log_in):
    log_in("Manager")
    cashier, payment = UserFactory(username="cashier"), create_payment(amount=1500)
    receipt = record_receipt(
        channel="bank", amount=2000, by_id=cashier.pk, now=NOON, payment_id=payment.pk, note="=1+1"
    )

    assert lines(ask(client, "payments.receipt")) == [
        {
            "number": receipt.number,
            "M-Pesa code": "",
            "channel": "bank",
            "amount (KES)": "2000",
            "refunded (KES)": "0",
            "paid at (Nairobi)": "2026-11-02 12:00:00",
            "payer": "",
            "member number": payment.payer.member_number,
            "first name": payment.payer.first_name,
            "last name": payment.payer.last_name,
            "payment references": payment.reference,
            "account typed": "'=1+1",
            "recorded by": "cashier",
            "tax control number": "",
            "reversed at (Nairobi)": "",
            "reversed by": "",
            "reason of reversal": "",
        }
    ]


def test_receipt_export_shows_the_void_its_person_and_reason(client, log_in):
    manager = log_in("Manager")
    payment = create_payment()
    receipt = record_receipt(
        channel="bank", amount=1500, by_id=UserFactory().pk, now=NOON, payment_id=payment.pk, note="FT26"
    )
    void_receipt(receipt_id=receipt.pk, reason="Typed twice", by_id=manager.pk, now=NOON + timedelta(days=1))

    [line] = lines(ask(client, "payments.receipt"))

    assert line["payment references"] == ""
    assert line["reversed at (Nairobi)"] == "2026-11-03 12:00:00"
    assert line["reversed by"] == manager.username
    assert line["reason of reversal"] == "void: Typed twice"


def test_receipt_export_names_every_payment_it_pays(client, log_in):
    log_in("Manager")
    member = UserFactory()
    first, second = create_payment(member), create_payment(member)
    record_paybill_payment(member, 3000, payments=[first, second])

    [line] = lines(ask(client, "payments.receipt"))

    assert line["payment references"] == f"{first.reference} {second.reference}"


def test_workbook_has_numbers_and_dates_as_such(client, rows, log_in):
    log_in("Manager")
    payment = Payment.objects.latest("pk")

    response = ask(client, "payments.payment", file_format="xlsx")

    sheet = load_workbook(io.BytesIO(response.body)).active
    first = dict(zip([cell.value for cell in sheet[1]], sheet[2], strict=True))
    assert (first["amount due (KES)"].data_type, first["amount due (KES)"].value) == ("n", payment.amount_due)
    assert first["created at (Nairobi)"].is_date


def test_only_ticked_rows_are_exported(client, rows, log_in):
    log_in("Manager")
    payment = Payment.objects.earliest("pk")

    found = lines(ask(client, "payments.payment", ticked=[payment]))

    assert [line["reference"] for line in found] == [payment.reference]


def test_only_filtered_rows_are_exported(client, rows, log_in):
    log_in("Manager")
    waiting = create_payment()

    found = lines(ask(client, "payments.payment", ticked=None, query="?status__exact=pending"))

    assert [line["reference"] for line in found] == [waiting.reference]


def test_export_is_recorded_with_its_person(client, rows, log_in):
    manager = log_in("Manager")

    ask(client, "payments.payment", query="?status__exact=paid")

    assert list(Export.objects.values("asked_by", "page", "filters", "file_format", "state", "rows")) == [
        {
            "asked_by": manager.pk,
            "page": "payments.payment",
            "filters": {"status__exact": ["paid"]},
            "file_format": "csv",
            "state": "sent",
            "rows": 2,
        }
    ]


def test_exports_page_lists_the_exports(client, rows, log_in):
    manager = log_in("Manager")
    ask(client, "payments.payment", query="?status__exact=paid&q=x")

    page = client.get("/admin/api/export/", secure=True).content.decode()

    assert manager.username in page
    assert "payments" in page
    assert "q: x, status__exact: paid" in page


def test_searched_phone_number_is_not_stored(client, log_in):
    log_in("Manager")
    UserFactory(phone_number="254711222333")

    found = lines(ask(client, "accounts.customuser", query="?q=0711222333"))

    assert [line["phone number"] for line in found] == ["254711222333"]
    assert Export.objects.get().filters == {"q": ["71****333"]}


@pytest.mark.parametrize(("role", "seen"), [("Receptionist", "254711222333"), ("Trainer", "2547****333")])
def test_phone_numbers_are_masked_as_in_the_lists(role, seen):
    person = UserFactory(phone_number="254711222333")
    columns = [exports.Column("phone number", "phone_number", is_phone=True)]

    found = exports.cells(type(person).objects.filter(pk=person.pk), columns, UserFactory(role=role))

    assert list(found) == [[seen]]


@pytest.mark.parametrize("label", EXPECTED)
def test_export_costs_the_same_queries_for_any_rows(client, rows, log_in, label):
    log_in("Admin")
    ask(client, label)

    with CaptureQueriesContext(connection) as two:
        ask(client, label)
    subscription = granted()
    Visit.objects.create(member=subscription.member, at=NOON, decision="allow", reason="active")
    with CaptureQueriesContext(connection) as three:
        ask(client, label)

    assert len(three) == len(two)


@pytest.mark.parametrize("file_format", ["csv", "xlsx"])
def test_failed_export_is_an_error_and_no_short_file(client, rows, log_in, monkeypatch, file_format):
    log_in("Manager")
    monkeypatch.setattr(exports, "cell", lambda value: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        ask(client, "payments.payment", file_format=file_format)

    assert not Export.objects.exists()


def test_rows_are_read_in_chunks_by_a_server_side_cursor(rows, monkeypatch):
    opened, chunked_cursor = [], connection.chunked_cursor
    monkeypatch.setattr(connection, "chunked_cursor", lambda: opened.append("cursor") or chunked_cursor())

    found = list(exports.cells(Payment.objects.all(), [exports.Column("reference", "reference")], UserFactory()))

    assert len(found) == 2
    assert opened == ["cursor"]


class TestLargeExports:
    @pytest.fixture(autouse=True)
    def few_rows_are_many(self, monkeypatch):
        monkeypatch.setattr(exports, "AT_ONCE", 1)

    @pytest.mark.parametrize("file_format", ["csv", "xlsx"])
    @pytest.mark.parametrize("label", EXPECTED)
    def test_large_export_is_written_by_a_job(self, client, rows, log_in, label, file_format, exports_root):
        log_in("Manager")

        told = ask(client, label, file_format=file_format)
        export = run_job()

        assert told.status_code == 302
        assert (export.state, export.rows) == ("ready", MODELS[label].objects.count())
        assert [path.name for path in exports_root.iterdir()] == [export.file_name]
        response = fetch(client, export)
        assert response.headers["Content-Disposition"] == f'attachment; filename="{export.file_name}"'
        assert len(response.body) > 100

    def test_export_job_argument_is_an_id_only(self, client, rows, log_in):
        log_in("Manager")

        ask(client, "payments.payment")

        job = ProcrastinateJob.objects.get(task_name="api.write_export")
        assert job.args == {"export_id": Export.objects.get().pk}

    def test_export_job_applies_the_filters(self, client, rows, log_in):
        log_in("Manager")
        waiting = {create_payment().reference, create_payment().reference}

        ask(client, "payments.payment", query="?status__exact=pending")
        export = run_job()

        response = fetch(client, export)
        assert {line["reference"] for line in lines(response)} == waiting

    def test_export_job_ignores_the_page_of_the_list(self, client, rows, log_in, monkeypatch):
        log_in("Manager")
        monkeypatch.setattr(site.get_model_admin(Payment), "list_per_page", 1)
        _, _, settled = (create_payment() for _ in range(3))
        ask(client, "payments.payment", query="?status__exact=pending&p=3")

        cancel_payment(payment_id=settled.pk, by_id=settled.payer_id, now=NOON)

        assert run_job().rows == 2

    def test_export_job_costs_the_same_queries_for_any_rows(self, client, rows, log_in):
        log_in("Manager")
        ask(client, "payments.receipt")
        with CaptureQueriesContext(connection) as two:
            run_job()
        granted()
        ask(client, "payments.receipt")

        with CaptureQueriesContext(connection) as three:
            run_job()

        assert len(three) == len(two)

    def test_repeated_export_job_writes_one_file(self, client, rows, log_in):
        log_in("Manager")
        ask(client, "payments.payment")
        export = run_job()

        exports.write_export(export_id=export.pk, now=NOON + timedelta(days=1))

        export.refresh_from_db()
        assert export.ended_at == NOON

    def test_second_export_of_a_list_waits_for_the_first(self, client, rows, log_in):
        log_in("Manager")
        ask(client, "payments.payment")

        page = client.get(ask(client, "payments.payment").url, secure=True)

        assert "Your last export of this list is still being written. Find it under Exports." in page.content.decode()
        assert Export.objects.count() == 1

    def test_export_job_checks_the_role_again(self, client, rows, log_in, exports_root):
        manager = log_in("Manager")
        ask(client, "payments.payment")
        type(manager).objects.filter(pk=manager.pk).update(role="Trainer")

        export = run_job()

        assert export.state == "failed"
        assert not exports_root.exists()

    @pytest.mark.parametrize("file_format", ["csv", "xlsx"])
    def test_failed_export_job_leaves_no_file(self, client, rows, log_in, exports_root, monkeypatch, file_format):
        log_in("Manager")
        ask(client, "payments.payment", file_format=file_format)
        monkeypatch.setattr(exports, "cell", lambda value: 1 / 0)

        with pytest.raises(ZeroDivisionError):
            run_job()

        assert Export.objects.get().state == "failed"
        assert list(exports_root.iterdir()) == []

    @pytest.mark.parametrize(
        ("role", "status"), [("Admin", 200), ("Manager", 404), ("Receptionist", 404), ("Trainer", 404)]
    )
    def test_only_the_requester_and_admins_download_a_file(self, client, rows, log_in, role, status):
        log_in("Manager")
        ask(client, "payments.payment")
        export = run_job()
        assert fetch(client, export).status_code == 200

        log_in(role)

        assert fetch(client, export).status_code == status

    def test_lower_role_cannot_download_its_earlier_file(self, client, rows, log_in):
        manager = log_in("Manager")
        ask(client, "payments.payment")
        export = run_job()

        type(manager).objects.filter(pk=manager.pk).update(role="Receptionist")

        assert fetch(client, export).status_code == 404

    def test_exports_page_shows_own_exports_only(self, client, rows, log_in):
        log_in("Manager")
        ask(client, "payments.payment")
        link = f"/admin/api/export/{run_job().pk}/download/"
        page = "/admin/api/export/"

        assert link in client.get(page, secure=True).content.decode()
        log_in("Receptionist")
        assert link not in client.get(page, secure=True).content.decode()
        log_in("Admin")
        assert link in client.get(page, secure=True).content.decode()

    def test_file_is_deleted_after_a_week_and_its_row_stays(self, client, rows, log_in, exports_root):
        log_in("Manager")
        ask(client, "payments.payment")
        export = run_job(now=NOON)
        _age(exports_root / export.file_name, NOON)

        assert exports.delete_old_files(now=NOON + timedelta(days=7, seconds=-1)) == 0
        assert exports.path_of(export).exists()
        assert exports.delete_old_files(now=NOON + timedelta(days=7)) == 1
        assert exports.delete_old_files(now=NOON + timedelta(days=7)) == 0

        export.refresh_from_db()
        assert (export.state, export.rows) == ("forgotten", 2)
        assert not exports.path_of(export).exists()
        assert fetch(client, export).status_code == 404

    def test_lost_export_job_fails_after_a_day(self, client, rows, log_in):
        log_in("Manager")
        ask(client, "payments.payment")
        export = Export.objects.get()

        exports.delete_old_files(now=export.asked_at + timedelta(hours=23))
        export.refresh_from_db()
        assert export.state == "waiting"

        exports.delete_old_files(now=export.asked_at + timedelta(hours=24))
        export.refresh_from_db()
        assert export.state == "failed"

    def test_unfinished_file_of_a_killed_job_is_deleted(self, exports_root):
        exports_root.mkdir()
        left, being_written = exports_root / "unfinished-a", exports_root / "unfinished-b"
        for path, at in ((left, NOON), (being_written, NOON + timedelta(hours=20))):
            path.write_bytes(b"half")
            _age(path, at)

        exports.delete_old_files(now=NOON + timedelta(hours=25))

        assert list(exports_root.iterdir()) == [being_written]


def _age(path, at):
    os.utime(path, (at.timestamp(), at.timestamp()))


def test_export_job_filters_by_subscription_status(client, rows, log_in, monkeypatch):
    monkeypatch.setattr(exports, "AT_ONCE", 1)
    log_in("Manager")
    shown = client.get("/admin/subscriptions/subscription/?fact__exact=granted", secure=True)

    ask(client, "subscriptions.subscription", query="?fact__exact=granted")

    assert run_job().rows == shown.context["cl"].result_count == Subscription.objects.filter(fact="granted").count()
