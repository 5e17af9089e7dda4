import pytest
from django.contrib.admin.sites import site
from django.contrib.auth import get_user_model

from api.admin import ReadOnlyAdmin
from payments import models


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
