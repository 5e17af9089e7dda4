"""The payments app: it collects and books money, and does not depend on the apps that sell for it."""

from dataclasses import asdict

from django.apps import AppConfig

from api import health


class PaymentsConfig(AppConfig):
    name = "payments"

    def ready(self) -> None:
        from payments.callbacks import spool  # needs the models

        health.DETAILS["spool"] = lambda: asdict(spool.status())
