"""People: who they are and how they sign in."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "People"

    def ready(self):
        from accounts import receivers, schema  # noqa: F401  both are registered by being imported
