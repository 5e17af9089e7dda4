"""People: who they are and how they sign in."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "People"

    def ready(self):
        from accounts import receivers  # noqa: F401  the receivers are connected by being imported
