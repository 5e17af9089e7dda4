"""The composition root: settings, addresses and the commands that run the whole product."""

from django.apps import AppConfig


class ConfigConfig(AppConfig):
    name = "config"

    def ready(self) -> None:
        from config import receivers  # noqa: F401  importing connects the receivers
