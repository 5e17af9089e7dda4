#!/usr/bin/env python
"""Kilabu's command line: `python manage.py help` lists what it can do."""

import os
import sys

try:
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import OperationalError
except ImportError:
    sys.exit("Django is not installed here. Run `make setup`, then use .venv/bin/python manage.py.")


def main():
    """Run one management command. End quietly when nobody reads its output any longer (`| head`)."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        try:
            run(sys.argv[1] if len(sys.argv) > 1 else "help")
        finally:
            print(end="", flush=True)  # left to Python's own end, a failure here prints a traceback
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        sys.exit(141)  # what a shell reports for a program that SIGPIPE ended


def run(command):
    """Run one management command. When the product cannot start, say why in one line."""
    if command == "test":
        # Before a setting is read: the tests have settings of their own.
        os.execv(sys.executable, [sys.executable, "-m", "pytest", *sys.argv[2:]])  # noqa: S606
    if command in ("version", "--version"):
        # Django would show its own version before it looks for a command of ours.
        from config.management.commands.version import Command

        return Command().run_from_argv([sys.argv[0], "version", *sys.argv[2:]])
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"Kilabu cannot start: {error}")
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None):
            raise  # a statement that PostgreSQL refused; without a code there was no connection at all
        sys.exit(f"Kilabu cannot reach its database: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
