"""The database that every test database is copied from: migrating an empty one takes seven seconds, copying one."""

from hashlib import sha256

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from psycopg import sql

PREFIX = "kilabu_template_"
NAMES = "SELECT datname FROM pg_database WHERE starts_with(datname, %s)"


def migrated_template() -> str:
    """Return the name of a database in which every migration has run; made once for each state of them.

    Whoever comes while another process makes it waits for that.
    """
    name = PREFIX + state_of_migrations()
    usual = connection.settings_dict["NAME"]
    # Without our own timeouts: whoever waits for the template waits as long as it takes.
    place = connection.get_connection_params() | {"dbname": "postgres", "options": ""}
    with psycopg.connect(**place, autocommit=True) as server:
        server.execute("SELECT pg_advisory_lock(hashtext(%s))", [PREFIX])  # until the connection ends
        found = [row[0] for row in server.execute(NAMES, [PREFIX])]
        if name in found:
            return name
        for other in found:  # of migrations that were, or half made when a process was killed
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(other)))
        half = f"{PREFIX}half"
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(half)))
        connection.close()
        connection.settings_dict["NAME"] = half
        try:
            call_command("migrate", verbosity=0, interactive=False)
        finally:
            connection.close()
            connection.settings_dict["NAME"] = usual
        server.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(half), sql.Identifier(name)))
    return name


def state_of_migrations() -> str:
    """Return a digest of all that decides what `migrate` makes: our migrations, and the locked libraries'."""
    files = [*sorted(settings.BASE_DIR.glob("*/migrations/*.py")), settings.BASE_DIR / "requirements.txt"]
    return sha256(b"".join(str(each).encode() + each.read_bytes() for each in files)).hexdigest()[:16]
