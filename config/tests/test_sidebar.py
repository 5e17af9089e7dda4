"""The menu of the admin speaks as a club does."""

import pytest
from django.urls import reverse

from accounts.tests.factories import UserFactory
from config.desk.sidebar import navigation

pytestmark = pytest.mark.django_db


def menu_of(rf, role):
    request = rf.get(reverse("admin:index"))
    request.user = UserFactory(role=role, is_staff=True)
    return {part["title"]: [item["title"] for item in part["items"]] for part in navigation(request)}


def test_an_owner_reads_a_clubs_words(rf):
    assert menu_of(rf, "Admin") == {
        "Front desk": ["Dashboard", "Cash desk", "Unmatched payments and reviews", "Close the day"],
        "Exports": ["Exports"],
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
            "STK pushes",
            "Unmatched payments and reviews",
            "Voids",
        ],
        "People": ["Login sessions", "People", "Security events"],
        "Background jobs": ["Jobs"],
    }


def test_a_trainer_sees_what_is_theirs_to_open(rf):
    assert menu_of(rf, "Trainer")["Front desk"] == ["Dashboard"]
