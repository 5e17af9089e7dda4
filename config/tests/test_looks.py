"""The looks of the admin: contrast of colours, formats of dates, names of rows."""

import re
from datetime import UTC, datetime

import pytest
from django.conf import settings
from django.contrib.admin.sites import site
from django.urls import reverse
from django.utils import formats
from django.utils.timezone import localtime

from accounts.tests.factories import UserFactory
from config.tests.test_admin_lists import one_of_everything
from payments.models import ReviewItem
from subscriptions.tests.factories import granted

READABLE = 4.5  # WCAG 2.2, 1.4.3: text and its background
SEEN = 3  # 1.4.11: the focus ring
# Text and background, by the names of their shades: first of the light theme, then of the dark one.
PAIRS = [
    *(
        (text, ground)
        for text in ("primary-600", "base-500", "base-600", "base-900")
        for ground in ("white", "base-50")
    ),
    ("primary-600", "base-100"),
    ("white", "primary-600"),
    ("white", "primary-700"),
    *(
        (text, ground)
        for text in ("primary-400", "base-400", "base-300", "base-100")
        for ground in ("base-900", "base-950")
    ),
]


def shade(name: str) -> str:
    if name == "white":
        return "#ffffff"
    colour, _, weight = name.partition("-")
    return settings.UNFOLD["COLORS"][colour][weight]


def luminance(colour: str) -> float:
    """Return the relative luminance of #rrggbb as WCAG defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_text_has_readable_contrast_in_both_themes():
    faint = {pair: round(contrast(*map(shade, pair)), 2) for pair in PAIRS}

    assert {pair: found for pair, found in faint.items() if found < READABLE} == {}


def test_focus_ring_is_visible_in_both_themes():
    rings = [("primary-600", "white"), ("primary-400", "base-900")]

    assert [pair for pair in rings if contrast(*map(shade, pair)) < SEEN] == []


def test_times_are_written_in_nairobi_time():
    at = localtime(datetime(2026, 11, 25, 13, 15, tzinfo=UTC))

    assert formats.localize(at) == "25 Nov 2026 16:15"
    assert formats.localize(at.date()) == "25 Nov 2026"
    assert formats.localize(at.time()) == "16:15"


@pytest.fixture
def as_owner(client):
    client.force_login(UserFactory(role="Admin", is_staff=True))
    return client


@pytest.mark.django_db
def test_pages_show_the_name_of_the_club(as_owner):
    page = as_owner.get(reverse("admin:index"), secure=True).content.decode()

    (title,) = re.findall("<title>(.*?)</title>", page, re.DOTALL)
    assert title.strip() == f"Front desk | {settings.CLUB_NAME}"
    assert "Site administration" not in page


@pytest.mark.django_db
@pytest.mark.breaks_the_books
def test_every_row_has_a_readable_name_without_phone_numbers():
    one_of_everything(1)

    names = {model: str(row) for model in site._registry if (row := model.objects.first()) is not None}

    ours = {model: name for model, name in names.items() if model._meta.app_label != "procrastinate"}
    assert len(ours) > 15
    assert [name for name in ours.values() if " object (" in name or re.search(r"254[17][0-9]{8}", name)] == []


@pytest.mark.django_db
@pytest.mark.breaks_the_books
def test_review_item_row_links_to_its_item_only(as_owner):
    one_of_everything(1)

    page = as_owner.get(reverse("admin:payments_reviewitem_changelist"), secure=True).content.decode()

    table = page[page.index('id="result_list"') : page.rindex("</table>")]
    links = re.findall(r'<a href="([^"?]+)', table[table.index("<tbody") :])
    assert links == [reverse("admin:payments_reviewitem_change", args=[ReviewItem.objects.get().pk])]


@pytest.mark.django_db
def test_period_list_shows_the_last_day(as_owner):
    granted()  # 2 November to 1 December

    page = as_owner.get(reverse("admin:subscriptions_subscription_changelist"), secure=True).content.decode()

    assert "1 Dec 2026</td>" in " ".join(page.split())
    assert "2 Dec 2026" not in page


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("asked", "said"), [("", "There are no receipts so far."), ("?q=ZZZ", "No receipts match this search")]
)
def test_empty_list_says_why_it_is_empty(as_owner, asked, said):
    page = as_owner.get(reverse("admin:payments_receipt_changelist") + asked, secure=True)

    assert said in page.content.decode()
