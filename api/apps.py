"""The HTTP edge that every app shares; imports no other app."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class ApiConfig(AppConfig):
    name = "api"
    verbose_name = "Exports"  # the one page of the admin that is ours

    def ready(self):
        from api import checks  # noqa: F401  a check is registered by being imported

        autodiscover_modules("admin_roles")
