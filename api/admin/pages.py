"""Views of the admin that belong to no ModelAdmin."""

from collections.abc import Callable
from functools import wraps

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model

from api.admin.roles import may


def admin_page(page: str | type[Model], action: str = "") -> Callable:
    """Return a decorator for a view of the admin, which the roles table opens or refuses.

    Without login it redirects to the login page. A role that may not do the action is answered 403. Without
    `action`, the view's argument `name` is the action.
    """

    def decorate(view):
        @wraps(view)
        def allowed(request, *args, **kwargs):
            if not may(request.user, action or kwargs["name"], page):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return admin.site.admin_view(allowed)

    return decorate
