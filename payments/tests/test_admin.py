import pytest
from django.contrib.admin.sites import site
from django.contrib.auth import get_user_model

from accounts.tests.factories import UserFactory
from api.admin import ReadOnlyAdmin
from payments import models
from payments.tests.factories import NOON, make_push


@pytest.mark.parametrize(
    "model", [models.Payment, models.Receipt, models.LedgerEntry, models.Callback, models.ReviewItem]
)
def test_nobody_changes_money_in_the_admin(rf, model):
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
def test_a_phone_number_that_a_payer_typed_is_not_told_to_trainers(client, role, is_told):
    receipt = models.Receipt.objects.create(
        channel="comp", amount=0, paid_at=NOON, created_at=NOON, account_typed="0712345678", sender="254712345678"
    )
    push = make_push(checkout_request_id="ws_CO_25112026120000712345678")
    client.force_login(UserFactory(role=role, is_staff=True))

    pages = [f"/admin/payments/receipt/{receipt.pk}/change/", f"/admin/payments/stkpush/{push.pk}/change/"]

    assert ["712345678" in client.get(page, secure=True).content.decode() for page in pages] == [is_told] * 2
