"""The house's walls: who may import whom."""

import ast
from pathlib import Path

import pytest
from django.conf import settings

# Whose modules a module of each app may import, besides its own and libraries.
ALLOWED = {
    "api": set(),
    "accounts": {"api"},
    "payments": {"api"},
    "subscriptions": {"payments", "api"},
}
OURS = {*ALLOWED, "config"}


def product_files(app):
    """Yield the app's own Python files, tests left out."""
    for path in sorted((Path(settings.BASE_DIR) / app).rglob("*.py")):
        if "tests" not in path.relative_to(settings.BASE_DIR).parts:
            yield path


def imported_modules(path):
    """Yield each module that the file names in an import, at any depth."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports by dots; write the whole name"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("app", sorted(ALLOWED))
def test_an_app_imports_only_the_apps_below_it(app):
    strangers = {
        (path.relative_to(settings.BASE_DIR).as_posix(), module)
        for path in product_files(app)
        for module in imported_modules(path)
        if module.split(".")[0] in OURS - ALLOWED[app] - {app}
    }

    assert strangers == set()


def test_no_product_code_imports_the_simulator():
    strangers = {
        path.relative_to(settings.BASE_DIR).as_posix()
        for app in ALLOWED
        for path in product_files(app)
        if "simulator" not in path.parts
        for module in imported_modules(path)
        if module.startswith("payments.simulator")
    }

    assert strangers == set()


def test_the_simulator_imports_no_product_code():
    strangers = {
        (path.name, module)
        for path in (Path(settings.BASE_DIR) / "payments" / "simulator").rglob("*.py")
        for module in imported_modules(path)
        if module.split(".")[0] in OURS and not module.startswith("payments.simulator")
    }

    assert strangers == set()
