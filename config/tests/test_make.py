"""The Makefile."""

import configparser
import os
import re
import subprocess
import tomllib

import pytest
from django.conf import settings


def test_coverage_measures_every_app_with_tests():
    pytest_ini = configparser.ConfigParser()
    pytest_ini.read(settings.BASE_DIR / "pytest.ini")
    apps = pytest_ini["pytest"]["testpaths"].split()

    measured = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text())["tool"]["coverage"]["run"]["source"]
    shown = re.search(r"^APPS := (.+)$", (settings.BASE_DIR / "Makefile").read_text(), re.MULTILINE)[1].split()

    assert (measured, shown) == (apps, apps)


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["demo"], "demo"),
        (["demo", "PORT=8710", "ARGS=--members 5"], "demo --port 8710 --members 5"),
        (["walkthrough", "PORT=8710"], "demo --once --port 8710"),
        (["dev", "PORT=8710"], "dev --port 8710"),
    ],
)
def test_make_passes_port_and_arguments_on(words, command):
    shown = subprocess.run(  # noqa: S603
        ["make", "--dry-run", *words],  # noqa: S607
        cwd=settings.BASE_DIR,
        env={"PATH": os.environ["PATH"]},  # without the arguments of a make that runs this test
        capture_output=True,
        text=True,
        check=True,
    )

    assert " ".join(shown.stdout.splitlines()[-1].split()) == f".venv/bin/python manage.py {command}"
