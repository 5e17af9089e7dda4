"""The payments app: it collects and books money, and does not depend on the apps that sell for it."""

from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    name = "payments"
