"""The HTTP edge that every app shares; imports no other app."""

from django.apps import AppConfig


class ApiConfig(AppConfig):
    name = "api"
    verbose_name = "Exports"  # the one page of the admin that is ours

    def ready(self):
        from api import checks  # noqa: F401  a check is registered by being imported
