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


def manage(*words, **environment):
    """Run manage.py in a process of its own, without a developer's .env."""
    return subprocess.run(  # noqa: S603
        [sys.executable, "-c", NO_DOT_ENV, *words],
        cwd=settings.BASE_DIR,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("word", ["version", "--version"])
def test_version_is_one_line_without_any_setting(word):
    run = manage(word)

    line = f"Kilabu {VERSION} (Django {django.get_version()}, Python {platform.python_version()})\n"
    assert (run.returncode, run.stdout, run.stderr) == (0, line, "")
