"""Whoever finds a review item finds in docs/operations.md what to do about it."""

import re

from django.conf import settings

from payments.models import ReviewReason


def test_the_operations_page_says_what_each_review_item_asks_of_staff():
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", (settings.BASE_DIR / "docs/operations.md").read_text(), re.M)

    assert sorted(reason for reason, _, _ in rows) == sorted(ReviewReason.values)
    assert all(len(happened) > 40 and len(to_do) > 40 for _, happened, to_do in rows)
