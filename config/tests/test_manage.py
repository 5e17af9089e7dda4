"""manage.py itself: what it answers before, after and around a command."""

import os
import platform
import subprocess
import sys

import django
import pytest
from django.conf import settings

from api.version import VERSION

NO_DOT_ENV = "import environ; environ.Env.read_env = lambda *a, **k: None; import manage; manage.main()"
NOBODY_THERE = "postgresql://kilabu:hush@127.0.0.1:1/kilabu"


def run(*words, **environment):
    """Run manage.py in a process of its own, without a developer's .env."""
    return run_into(subprocess.PIPE, *words, **environment)


def run_into(stdout, *words, **environment):
    return subprocess.run(  # noqa: S603
        [sys.executable, "-c", NO_DOT_ENV, *words],
        cwd=settings.BASE_DIR,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("word", ["version", "--version"])
def test_version_is_one_line_without_any_setting(word):
    done = run(word)

    line = f"Kilabu {VERSION} (Django {django.get_version()}, Python {platform.python_version()})\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, line, "")


def test_test_hands_its_arguments_to_pytest_and_no_setting():
    done = run("test", "--collect-only", "-q", "api/tests/test_phones.py", ENVIRONMENT="nonsense")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("api/tests/test_phones.py::test_")


# --- A reader that has gone ---


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["version", "doctor"])
def test_output_that_nobody_reads_ends_without_traceback(command, unbuffered):
    reader, writer = os.pipe()
    os.close(reader)

    done = run_into(writer, command, ENVIRONMENT="development", DATABASE_URL=NOBODY_THERE, PYTHONUNBUFFERED=unbuffered)
    os.close(writer)

    assert done.returncode == 141
    assert done.stderr in ("", "CommandError: 1 thing is missing.\n")
