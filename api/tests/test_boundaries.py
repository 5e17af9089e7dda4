"""Which module may import which: between apps, and between the rooms of payments and config."""

import ast
import re
from pathlib import Path

import pytest
from django.conf import settings

# The apps that each app may import, in addition to itself and libraries.
ALLOWED = {
    "api": set(),
    "accounts": {"api"},
    "payments": {"api"},
    "subscriptions": {"payments", "api"},
}
OURS = {*ALLOWED, "config"}

# The rooms of payments, lowest first: a room imports only rooms before it.
PAYMENT_ROOMS = ["daraja", "models", "matching", "services", "pushes", "evidence", "desk", "callbacks"]

# Modules of payments that no room may import, because they are above all rooms.
ABOVE_THE_ROOMS = {"admin", "forms", "jobs", "permissions", "recovery", "serializers", "urls", "views", "management"}


def product_files(app):
    """Yield the app's Python files without tests."""
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


def text_of(path):
    """Yield each string of the file, docstrings too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_api_strings_name_no_other_app():
    upper = re.compile(rf"(^|[^\w./])({'|'.join(sorted(OURS - {'api'}))})[._]\w+(?!/)")
    named = {
        (path.relative_to(settings.BASE_DIR).as_posix(), text)
        for path in product_files("api")
        for text in text_of(path)
        if upper.search(text)
    }

    assert named == set()


def test_front_desk_pages_compare_no_roles():
    """The roles table decides (api/admin/roles.py)."""
    comparing = {
        (path.name, module)
        for path in product_files("config/desk")
        for module in imported_modules(path)
        if module.startswith(("api.roles", "api.permissions", "accounts.models.Role"))
    }

    assert comparing == set()


def room_of(module):
    """Return the part of a module's name below its app: `services` for `payments.services.locks`."""
    return [*module.split("."), ""][1]


@pytest.mark.parametrize("room", PAYMENT_ROOMS)
def test_a_room_of_payments_imports_only_lower_rooms(room):
    higher = {*PAYMENT_ROOMS[PAYMENT_ROOMS.index(room) + 1 :], *ABOVE_THE_ROOMS}
    strangers = {
        (path.relative_to(settings.BASE_DIR).as_posix(), module)
        for path in product_files(f"payments/{room}")
        for module in imported_modules(path)
        if module.startswith("payments.") and room_of(module) in higher
    }

    assert strangers == set()


def test_front_desk_imports_no_development_code():
    strangers = {
        (path.relative_to(settings.BASE_DIR).as_posix(), module)
        for path in product_files("config/desk")
        for module in imported_modules(path)
        if module.startswith("config.dev.") or module == "config.dev"
    }

    assert strangers == set()


@pytest.mark.parametrize(
    "package", ["payments/services", "payments/pushes", "payments/evidence", "subscriptions/services"]
)
def test_a_package_of_services_exports_no_names(package):
    tree = ast.parse((Path(settings.BASE_DIR) / package / "__init__.py").read_text())

    assert [node for node in tree.body if not isinstance(node, ast.Expr)] == []


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
