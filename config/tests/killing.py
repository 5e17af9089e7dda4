"""A process of its own that is killed, as by power loss, at whatever place a test chooses."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable

import django
from django.apps import apps
from django.conf import settings
from django.db import connection

if not apps.ready:  # in the server that the processes are forked from
    django.setup()

processes = multiprocessing.get_context("forkserver")


def preload(modules: Iterable[str]) -> None:
    """Have the processes start with these modules, which hold the jobs, already imported."""
    processes.set_forkserver_preload([__name__, *modules])


def run(job: Callable[[], object], *, killed_at: int) -> bool:
    """Run a picklable job on the test's database; return whether it came to its end alive.

    It is killed at its n-th place (from 0): before each SQL statement, and on both sides of each commit.
    """
    process = processes.Process(
        target=_run, args=(job, killed_at, connection.settings_dict["NAME"], settings.STATE_DIR), daemon=True
    )
    process.start()
    process.join(60)
    if process.exitcode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"The job ended by itself with {process.exitcode}; see its traceback above.")
    return process.exitcode == 0


def _run(job: Callable[[], object], killed_at: int, database: str, state_dir: object) -> None:
    connection.settings_dict["NAME"], settings.STATE_DIR = database, state_dir
    settings.CLUB_CLOCK_FILE = None
    places_left, commit = killed_at, connection._commit

    def reach() -> None:
        nonlocal places_left
        if places_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        places_left -= 1

    def statement(execute, sql, params, many, context):
        reach()
        return execute(sql, params, many, context)

    def commit_between() -> None:
        reach()
        commit()
        reach()

    connection._commit = commit_between
    with connection.execute_wrapper(statement):
        job()
