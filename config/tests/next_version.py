"""Warnings that `make test-next` ignores: other libraries cause them on coming versions, each with its reason.

A warning that our own code causes is an error there too.
"""

import pytest

IGNORED = [
    # Unfold's ModelAdmin does not yet have the parameter that Django 6.1 adds. The actions of lists work all the same.
    r"ignore:Overriding get_action_choices\(\) without the 'action_location':PendingDeprecationWarning:unfold\.admin",
]


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config):
    """Add to pytest.ini's filters before any module of Django is imported."""
    for line in IGNORED:
        early_config.addinivalue_line("filterwarnings", line)
