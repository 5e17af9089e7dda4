"""`manage.py migrate`: Django's own, which a database of the migrations before the first release would confuse."""

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
