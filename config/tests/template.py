"""The template of the test databases, and how a test database is emptied.

Migrating an empty database takes seven seconds. Copying the template takes one.
"""

from hashlib import sha256

import django
import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction
from psycopg import sql

from api import advisory_locks

# Each version of Django has its own, so that neither drops it while the tests of the other copy it.
PREFIX = "kilabu_template_{}_{}_".format(*django.VERSION)
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema AND tablename <> ALL(%s)"
KEPT = {"django_migrations", "django_content_type", "auth_permission"}  # what `migrate` writes, and no test
NAMES = "SELECT datname FROM pg_database WHERE starts_with(datname, %s)"


def migrated_template() -> str:
    """Return the name of a database in which all migrations have run. It is created once for each state of them.

    If another process is creating it, this waits.
    """
    name = PREFIX + state_of_migrations()
    name_before = connection.settings_dict["NAME"]
    # Without the timeouts of the settings, because waiting for the template may take longer.
    params = connection.get_connection_params() | {"dbname": "postgres", "options": ""}
    with psycopg.connect(**params, autocommit=True) as server:
        server.execute("SELECT pg_advisory_lock(%s)", [advisory_locks.TEST_TEMPLATE])  # until the connection ends
        found = [row[0] for row in server.execute(NAMES, [PREFIX])]
        if name in found:
            return name
        for other in found:  # templates of earlier migrations, or of a killed process
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(other)))
        unfinished = f"{PREFIX}half"
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(unfinished)))
        connection.close()
        connection.settings_dict["NAME"] = unfinished
        try:
            call_command("migrate", verbosity=0, interactive=False)
        finally:
            connection.close()
            connection.settings_dict["NAME"] = name_before
        server.execute(
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(unfinished), sql.Identifier(name))
        )
    return name


def empty_tables() -> None:
    """Delete every row that a test committed, from the tables of all apps and of the job queue.

    Django's flush takes twenty times as long: TRUNCATE creates new files for each table and index, and the content
    types and permissions are created again. Here they stay. The locks wait, as TRUNCATE does, for the transactions
    that another thread has open. Triggers and foreign keys are off meanwhile, because the ledger refuses DELETE;
    the role of the tests must be a superuser for that.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(TABLES, [list(KEPT)])
        tables = [sql.Identifier(name) for (name,) in cursor.fetchall()]
        deletions = [sql.SQL("DELETE FROM {}").format(table) for table in tables]
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(sql.SQL("LOCK TABLE {}; {}").format(sql.SQL(", ").join(tables), sql.SQL("; ").join(deletions)))


def state_of_migrations() -> str:
    """Return a hash of our migrations and of the pinned libraries, which have migrations too."""
    locks = [settings.BASE_DIR / f"requirements{which}.txt" for which in ("", "-next")]
    files = [*sorted(settings.BASE_DIR.glob("*/migrations/*.py")), *locks]
    return sha256(b"".join(str(each).encode() + each.read_bytes() for each in files)).hexdigest()[:16]
