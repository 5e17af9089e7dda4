"""`manage.py version`: the version in one line, for a bug report. It works without valid settings."""

import platform

import django
from django.core.management.base import BaseCommand

from api.version import VERSION


class Command(BaseCommand):
    help = "Show the versions of Kilabu, Django and Python."
    requires_system_checks: list[str] = []

    def handle(self, *args: object, **options: object) -> None:
        self.stdout.write(f"Kilabu {VERSION} (Django {django.get_version()}, Python {platform.python_version()})")
