"""The changelog and the version in pyproject.toml belong together."""

import re

from django.conf import settings

from api.version import VERSION


def test_changelog_describes_the_present_version_first():
    versions = re.findall(r"^## \[([0-9.]+)\] - ", (settings.BASE_DIR / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert versions[0] == VERSION
