"""Tests of what PostgreSQL itself does carry the mark `server`, by which .ci/run runs them on a second PostgreSQL."""

import re
from pathlib import Path

from django.conf import settings

DEPENDS = re.compile(
    r"transaction=True|cursor\(\)|IntegrityError|EXPLAIN|broken_invariants|audit_books|select_for_update"
)


def test_modules_with_sql_locks_or_commits_carry_the_mark():
    root = Path(settings.BASE_DIR)
    modules = {
        str(path.relative_to(root)): path.read_text()
        for app in ("accounts", "api", "config", "payments", "subscriptions")
        for path in root.glob(f"{app}/**/test_*.py")
    }

    unmarked = {name for name, text in modules.items() if DEPENDS.search(text) and "pytest.mark.server" not in text}

    assert unmarked == set()
