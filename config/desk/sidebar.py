"""The menu of the admin: the pages of the front desk, then the lists of each app. It shows what the caller may open."""

from django.contrib import admin
from django.urls import reverse

from api.admin.roles import may
from config.admin_roles import DAY
from payments.models import CashSession, ReviewItem, ReviewStatus

# Plain names for the apps and models of libraries.
NAMES = {"Procrastinate": "Background jobs", "Procrastinate jobs": "Jobs"}


def navigation(request) -> list[dict]:
    """Return the menu in the format of unfold."""
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
            "title": menu_name(app),
            "items": [{"title": menu_name(model), "link": model["admin_url"]} for model in app["models"]],
        }
        for app in admin.site.get_app_list(request)
    ]
    return [{"title": "Front desk", "items": pages}, *lists]


def menu_name(entry: dict) -> str:
    """Return the name of an app or a model in the menu."""
    return NAMES.get(entry["name"], entry["name"])
