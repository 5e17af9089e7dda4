"""The menu of the admin."""

import pytest
from django.urls import reverse

from accounts.tests.factories import UserFactory
from config.desk.sidebar import navigation

pytestmark = pytest.mark.django_db


def menu_of(rf, role):
    request = rf.get(reverse("admin:index"))
    request.user = UserFactory(role=role, is_staff=True)
    return {part["title"]: [item["title"] for item in part["items"]] for part in navigation(request)}


def test_admin_menu_uses_plain_names(rf):
    assert menu_of(rf, "Admin") == {
        "Front desk": ["Dashboard", "Cash desk", "Unmatched payments and reviews", "Close the day"],
        "Records": ["Changes", "Exports"],
        "Memberships": ["Closures", "Freezes", "Plan groups", "Plans", "Subscriptions", "Visits"],
        "Payments": [
            "Callbacks from Safaricom",
            "Cash drawers",
            "Code checks",
            "Ledger entries",
            "Payments",
            "Receipts",
            "Refunds",
            "Reported codes",
            "Review items",
            "STK pushes",
            "Voids",
        ],
        "People": ["Login sessions", "People", "Security events"],
        "Background jobs": ["Jobs"],
    }


def test_trainer_menu_has_only_the_dashboard(rf):
    assert menu_of(rf, "Trainer")["Front desk"] == ["Dashboard"]
