"""docs/front-desk.md and the browser tests of its jobs agree."""

import re

from django.conf import settings

DOCS = settings.BASE_DIR / "docs"
PAGE = (DOCS / "front-desk.md").read_text()
TESTS = (settings.BASE_DIR / "config" / "tests" / "e2e" / "test_front_desk_jobs.py").read_text()


def test_each_documented_job_has_a_browser_test():
    jobs = re.findall(r"^## (\d+)\. ", PAGE, re.MULTILINE)
    tests = re.findall(r"^def test_(\d+)_", TESTS, re.MULTILINE)

    assert jobs == tests == [str(number) for number in range(1, 11)]


def test_each_picture_exists_is_small_and_is_drawn_by_a_test():
    shown = re.findall(r"\]\(images/front-desk/([a-z-]+)\.webp\)", PAGE)
    drawn = re.findall(r'picture\(\w+, "([a-z-]+)"\)', TESTS)
    files = {file.stem: file.stat().st_size for file in (DOCS / "images" / "front-desk").iterdir()}

    assert sorted(shown) == sorted(drawn) == sorted(files)
    assert max(files.values()) < 40_000
