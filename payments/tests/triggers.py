"""Rows that are changed without their triggers, as a wrong restore or the owner of the database could."""

from contextlib import contextmanager

from django.db import connection


@contextmanager
def triggers_off():
    """Switch off all triggers of this transaction in the block, also those of foreign keys."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        yield
        cursor.execute("SET LOCAL session_replication_role = origin")
