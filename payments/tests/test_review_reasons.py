"""docs/operations.md explains what to do about each kind of review item."""

import re

from django.conf import settings

from payments.models import ReviewReason


def test_operations_page_explains_each_review_reason():
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", (settings.BASE_DIR / "docs/operations.md").read_text(), re.M)

    assert sorted(reason for reason, _, _ in rows) == sorted(ReviewReason.values)
    assert all(len(happened) > 40 and len(to_do) > 40 for _, happened, to_do in rows)
