"""The menu of the admin: the pages of the front desk first, then the lists of rows, each for whoever may open it."""

from django.contrib import admin
from django.urls import reverse

from api.admin.roles import may
from config.admin_roles import DAY
from payments.models import CashSession, ReviewItem, ReviewStatus

# What others than us call theirs, in words of a club's.
NAMES = {"Procrastinate": "Background jobs", "Procrastinate jobs": "Jobs"}


def navigation(request) -> list[dict]:
    """Return the menu as unfold takes it."""
    pages = [{"title": "Dashboard", "icon": "home", "link": reverse("admin:index")}]
    if may(request.user, "view", CashSession):
        pages.append({"title": "Cash desk", "icon": "point_of_sale", "link": reverse("cash-desk")})
    if may(request.user, "view", ReviewItem):
        address = f"{reverse('admin:payments_reviewitem_changelist')}?status__exact={ReviewStatus.OPEN.value}"
        pages.append({"title": "Unmatched payments and reviews", "icon": "inbox", "link": address})
    if may(request.user, "view", DAY):
        pages.append({"title": "Close the day", "icon": "today", "link": reverse("day")})
    lists = [
        {
            "title": named(app),
            "items": [{"title": named(model), "link": model["admin_url"]} for model in app["models"]],
        }
        for app in admin.site.get_app_list(request)
    ]
    return [{"title": "Front desk", "items": pages}, *lists]


def named(entry: dict) -> str:
    """Return the name of an app or a model of the admin's list as the menu says it."""
    return NAMES.get(entry["name"], entry["name"])
