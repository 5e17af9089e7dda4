"""`manage.py version`: one line for a bug report, also where no setting is right."""

import platform

import django
from django.core.management.base import BaseCommand

from api.version import VERSION


class Command(BaseCommand):
    help = "Show the version of Kilabu, and of Django and Python under it."
    requires_system_checks: list[str] = []

    def handle(self, *args: object, **options: object) -> None:
        self.stdout.write(f"Kilabu {VERSION} (Django {django.get_version()}, Python {platform.python_version()})")
