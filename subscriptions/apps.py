"""Plans, paid periods, freezes and the gate."""

from django.apps import AppConfig


class SubscriptionsConfig(AppConfig):
    name = "subscriptions"
    verbose_name = "Memberships"

    def ready(self):
        from subscriptions import receivers  # noqa: F401  the receivers are connected by being imported
