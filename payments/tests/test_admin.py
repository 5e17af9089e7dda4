import pytest
from django.contrib.admin.sites import site
from django.contrib.auth import get_user_model

from accounts.tests.factories import UserFactory
from api.admin.base import ReadOnlyAdmin
from payments import models
from payments.daraja.messages import C2bMessage
from payments.desk import review_decisions
from payments.evidence import c2b_confirmations
from payments.tests.factories import NOON, create_payment, make_push


@pytest.mark.parametrize(
    "model", [models.Payment, models.Receipt, models.LedgerEntry, models.Callback, models.ReviewItem]
)
def test_money_rows_are_read_only_in_the_admin(rf, model):
    page = site._registry[model]
    request = rf.get("/admin/")
    request.user = get_user_model()(is_superuser=True, is_staff=True, is_active=True)

    assert isinstance(page, ReadOnlyAdmin)
    assert not page.has_add_permission(request)
    assert not page.has_change_permission(request)
    assert not page.has_delete_permission(request)
    assert page.get_actions(request) == {}


@pytest.mark.django_db
@pytest.mark.parametrize(("role", "is_told"), [("Trainer", False), ("Receptionist", True)])
def test_typed_phone_number_is_hidden_from_trainers(client, role, is_told):
    message = C2bMessage("TKN1AB2C3D", NOON, 1500, "174379", "0712345678", "254712345678", "JANE", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=NOON)
    receipt = models.Receipt.objects.get()
    push = make_push(checkout_request_id="ws_CO_25112026120000712345678")
    client.force_login(UserFactory(role=role, is_staff=True))

    pages = [f"/admin/payments/receipt/{receipt.pk}/change/", f"/admin/payments/stkpush/{push.pk}/change/"]

    assert ["712345678" in client.get(page, secure=True).content.decode() for page in pages] == [is_told] * 2


@pytest.mark.django_db
def test_page_leaves_out_empty_fields(client):
    payment = create_payment()
    client.force_login(UserFactory(role="Manager", is_staff=True))

    def shown():
        page = client.get(f"/admin/payments/payment/{payment.pk}/change/", secure=True)
        return {name for line in page.context["adminform"] for name in line.fields}

    owed = shown()
    c2b_confirmations.apply_c2b(
        message=C2bMessage("TKN1AB2C3D", NOON, 1500, "174379", payment.reference, "", "JANE", "", ""), now=NOON
    )

    assert {"reference", "amount_due", "amount_paid"} <= owed  # an amount of 0 is shown, too
    assert shown() - owed == {"paid_at", "deposit_paid_at"}


@pytest.mark.django_db
@pytest.mark.parametrize(("role", "is_told"), [("Receptionist", False), ("Manager", True)])
def test_unmatched_code_is_shown_only_to_roles_that_may_assign(client, role, is_told):
    payment, manager = create_payment(), UserFactory(role="Manager")
    message = C2bMessage("TKN9SECRET", NOON, 1500, "174379", "gym", "", "JANE", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=NOON)
    item = models.ReviewItem.objects.get()
    review_decisions.assign_money(item_id=item.pk, payment_id=payment.pk, by_id=manager.pk, now=NOON)
    review_decisions.undo_assignment(item_id=item.pk, by_id=manager.pk, now=NOON)
    receipt = item.receipt
    client.force_login(UserFactory(role=role, is_staff=True))

    def tells(page):
        return "TKN9SECRET" in client.get(f"/admin/payments/{page}", secure=True).content.decode()

    pages = ["receipt/", f"receipt/{receipt.pk}/change/", f"payment/{payment.pk}/change/"]

    assert [tells(page) for page in pages] == [is_told] * 3
    paper = client.get(f"/admin/payments/receipt/{receipt.pk}/pdf/", secure=True)
    assert paper.status_code == (200 if is_told else 404)
