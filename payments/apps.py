"""Collecting money; knows nothing of what the money is for."""

from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    name = "payments"
