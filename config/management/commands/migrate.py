"""`manage.py migrate`: Django's command, which here refuses a database from before the first release."""

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import connections

from config import adoption


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        if refusal := adoption.refusal(connections[options["database"]]):
            raise CommandError(refusal)
        super().handle(*args, **options)
