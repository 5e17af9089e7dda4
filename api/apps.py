"""The app of everything that the other apps share: HTTP, roles, the admin's base classes. It imports no other app."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class ApiConfig(AppConfig):
    name = "api"
    verbose_name = "Records"  # the heading of its admin pages

    def ready(self):
        from api import checks  # noqa: F401  importing a check registers it

        autodiscover_modules("admin_roles")
