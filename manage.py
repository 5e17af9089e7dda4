#!/usr/bin/env python
"""The command line of Kilabu. `python manage.py help` lists the commands."""

import os
import sys
import time

try:
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import OperationalError, ProgrammingError, connection
    from django.db.migrations.executor import MigrationExecutor
except ImportError:
    sys.exit("Django is not installed here. Run `make setup`, then use .venv/bin/python manage.py.")

# These commands connect in another thread or in a pool, so that run() does not get their errors.
CONNECT_FIRST = {"runserver", "procrastinate"}


def main():
    """Run one management command. End without a traceback when its output is closed, as by `| head`."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        try:
            run(sys.argv[1] if len(sys.argv) > 1 else "help")
        finally:
            print(end="", flush=True)  # without this, Python flushes at its end and prints a traceback
    except BrokenPipeError:
        devnull = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(devnull, stream)
        sys.exit(141)  # the exit code of a program that SIGPIPE ended


def run(command):
    """Run one management command. If the product cannot start, print the reason in one line."""
    if command == "test":
        # This comes before the settings are read, because the tests have their own.
        os.execv(sys.executable, [sys.executable, "-m", "pytest", *sys.argv[2:]])  # noqa: S606
    if command in ("version", "--version"):
        # Django would show its own version for these words.
        from config.management.commands.version import Command

        return Command().run_from_argv([sys.argv[0], "version", *sys.argv[2:]])
    try:
        if command in CONNECT_FIRST and not {"-h", "--help"} & set(sys.argv):
            connect()
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"Kilabu cannot start: {error}")
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None):
            raise  # PostgreSQL refused a statement. Without a code there was no connection
        remedy = " (start it, or correct DATABASE_URL)" if os.environ.get("DATABASE_URL") else ""
        sys.exit(f"Kilabu cannot reach its database{remedy}: {' '.join(str(error).split())}")
    except ProgrammingError as error:
        if command == "migrate" or not has_missing_migrations():
            raise
        sys.exit(f"The database is not up to date ({str(error).splitlines()[0]}): run `manage.py migrate` first.")


def connect():
    """Connect to the database once.

    In production, try for half a minute: systemd does not restart a service that failed five times in ten seconds.
    """
    deadline = time.monotonic() + (30 if settings.PRODUCTION else 0)
    while True:
        try:
            connection.ensure_connection()
            return connection.close()
        except OperationalError:
            if time.monotonic() > deadline:
                raise
        time.sleep(1)


def has_missing_migrations():
    """Return whether migrations are not applied to the database."""
    executor = MigrationExecutor(connection)
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


if __name__ == "__main__":
    main()
