"""The app config of accounts: people and their access."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "People"

    def ready(self):
        from accounts import receivers, schema  # noqa: F401  the import registers both
