"""The menu of the admin: the pages of the front desk first, then the lists of rows, each for whoever may open it."""

from django.contrib import admin
from django.urls import reverse

from api.roles import may
from payments.models import CashSession, ReviewItem, ReviewStatus


def navigation(request) -> list[dict]:
    """Return the menu as unfold takes it."""
    pages = [{"title": "First page", "icon": "home", "link": reverse("admin:index")}]
    if may(request.user, "view", CashSession):
        pages.append({"title": "Cash desk", "icon": "point_of_sale", "link": reverse("cash-desk")})
    if may(request.user, "view", ReviewItem):
        address = f"{reverse('admin:payments_reviewitem_changelist')}?status__exact={ReviewStatus.OPEN.value}"
        pages.append({"title": "Inbox of money", "icon": "inbox", "link": address})
    if may(request.user, "day", CashSession):
        pages.append({"title": "Close the day", "icon": "today", "link": reverse("day")})
    lists = [
        {
            "title": app["name"],
            "items": [{"title": model["name"], "link": model["admin_url"]} for model in app["models"]],
        }
        for app in admin.site.get_app_list(request)
    ]
    return [{"title": "Front desk", "items": pages}, *lists]
