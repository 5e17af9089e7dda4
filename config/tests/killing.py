"""A job in another process that is killed, like by a power failure, at a place that a test chooses."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable

import django
from django.apps import apps
from django.conf import settings
from django.db import connection

if not apps.ready:  # in the fork server
    django.setup()

processes = multiprocessing.get_context("forkserver")


def preload(modules: Iterable[str]) -> None:
    """Import these modules, which have the jobs, in the fork server."""
    processes.set_forkserver_preload([__name__, *modules])


def run(job: Callable[[], object], *, killed_at: int) -> bool:
    """Run a picklable job on the test's database. Return whether it finished.

    The places are numbered from 0: one before each SQL statement, one before and one after each commit. The job is
    killed at the place `killed_at`, unless it finishes earlier.
    """
    process = processes.Process(
        target=_run, args=(job, killed_at, connection.settings_dict["NAME"], settings.STATE_DIR), daemon=True
    )
    process.start()
    process.join(60)
    if process.exitcode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"The job ended with the exit code {process.exitcode}. See its traceback above.")
    return process.exitcode == 0


def _run(job: Callable[[], object], killed_at: int, database: str, state_dir: object) -> None:
    connection.settings_dict["NAME"], settings.STATE_DIR = database, state_dir
    settings.CLUB_CLOCK_FILE = None
    places_left, commit = killed_at, connection._commit

    def pass_place() -> None:
        nonlocal places_left
        if places_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        places_left -= 1

    def execute_or_die(execute, sql, params, many, context):
        pass_place()
        return execute(sql, params, many, context)

    def commit_or_die() -> None:
        pass_place()
        commit()
        pass_place()

    connection._commit = commit_or_die
    with connection.execute_wrapper(execute_or_die):
        job()
