"""What `make` runs."""

import configparser
import re
import tomllib

from django.conf import settings


def test_coverage_measures_every_app_with_tests():
    pytest_ini = configparser.ConfigParser()
    pytest_ini.read(settings.BASE_DIR / "pytest.ini")
    apps = pytest_ini["pytest"]["testpaths"].split()

    measured = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text())["tool"]["coverage"]["run"]["source"]
    shown = re.search(r"^APPS := (.+)$", (settings.BASE_DIR / "Makefile").read_text(), re.MULTILINE)[1].split()

    assert (measured, shown) == (apps, apps)
