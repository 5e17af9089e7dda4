"""The subscriptions app: plans, subscriptions, freezes, closures and the gate."""

from django.apps import AppConfig


class SubscriptionsConfig(AppConfig):
    name = "subscriptions"
    verbose_name = "Memberships"

    def ready(self):
        from subscriptions import receivers  # noqa: F401  importing connects the receivers
