"""Rules for every URL of the API. The tests read the URLconf, so that they include new views."""

import re

import pytest
from django.urls import URLPattern, get_resolver
from rest_framework.permissions import AllowAny
from rest_framework.settings import api_settings
from rest_framework.test import APIClient

from accounts.tests.factories import UserFactory
from api.filters import StrictFilterBackend, StrictOrderingFilter
from api.tests.clients import logged_in_as

# Views that need no login. Adding a view to this list is a security decision.
OPEN = {
    "CsrfView", "LoginView", "LogoutView", "PasswordResetConfirmView", "PasswordResetView", "RefreshView",
    "RegisterView", "ResendView", "VerifyView", "SchemaView", "DocsView",
    "MfaRecoveryView", "MfaVerifyView", "ClubView",
}  # fmt: skip
PUBLIC_CATALOG = {"PlanListView", "PlanDetailView", "PlanGroupListView", "PlanGroupDetailView"}
UNSAFE = ("post", "put", "patch", "delete")


def api_views():
    """Return (path, view class, callback) of every REST framework view."""
    found = []

    def walk(patterns, prefix):
        for entry in patterns:
            path = prefix + str(entry.pattern)
            if isinstance(entry, URLPattern):
                cls = getattr(entry.callback, "cls", None)
                if cls is not None and path.startswith("api/"):
                    found.append((path, cls, entry.callback))
            else:
                walk(entry.url_patterns, path)

    walk(get_resolver().url_patterns, "")
    return found


def example_url(path):
    """Return a URL of the route, with example values for its placeholders."""
    path = re.sub(r"<uuid:\w+>", "00000000-0000-4000-8000-000000000000", path)
    path = re.sub(r"<int:\w+>", "1", path)
    path = re.sub(r"<(?:\w+:)?\w+>", "X", path)
    return f"/{path}"


def methods(cls, callback, names=UNSAFE):
    actions = getattr(callback, "actions", None)
    return [name for name in names if (name in actions if actions else hasattr(cls, name))]


def permissions(cls, callback):
    """Return the permission classes that the view defines itself, or an empty list if it uses the default."""
    named = getattr(callback, "initkwargs", {}).get("permission_classes")
    if named is not None:
        return named
    for base in cls.__mro__:
        if "permission_classes" in vars(base) and base.__module__.split(".")[0] != "rest_framework":
            return base.permission_classes
        if "get_permissions" in vars(base) and base.__module__.split(".")[0] != "rest_framework":
            return [object]
    return []


VIEWS = api_views()
IDS = [path for path, _, _ in VIEWS]


@pytest.mark.parametrize(("path", "cls", "callback"), VIEWS, ids=IDS)
def test_view_defines_its_permission(path, cls, callback):
    assert permissions(cls, callback), f"{cls.__name__} uses the default permission"


def test_only_listed_views_are_open_to_anyone():
    open_views = {cls.__name__ for _, cls, callback in VIEWS if AllowAny in permissions(cls, callback)}

    assert open_views - OPEN <= PUBLIC_CATALOG
    assert open_views >= OPEN


@pytest.mark.django_db
@pytest.mark.parametrize(("path", "cls", "callback"), VIEWS, ids=IDS)
def test_unsafe_call_without_login_is_refused(path, cls, callback):
    client = APIClient(enforce_csrf_checks=True)

    for method in methods(cls, callback):
        answer = getattr(client, method)(example_url(path), {}, format="json", secure=True)
        # Logout without cookies has nothing to protect (accounts/tests/test_csrf.py).
        expected = 200 if cls.__name__ == "LogoutView" else 403 if cls.__name__ in OPEN else 401
        assert answer.status_code == expected, (method, answer.status_code, answer.content[:200])
        assert answer.json()["status"] == ("success" if expected == 200 else "error")


@pytest.mark.django_db
@pytest.mark.parametrize(("path", "cls", "callback"), VIEWS, ids=IDS)
def test_protected_url_answers_401_without_login(path, cls, callback):
    if cls.__name__ in OPEN | PUBLIC_CATALOG or not methods(cls, callback, ["get"]):
        return

    answer = APIClient().get(example_url(path), secure=True)

    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, 'Cookie realm="api"')
    assert answer.json()["error"]["code"] == "not_authenticated"


@pytest.mark.django_db
@pytest.mark.parametrize("strange", ["9" * 5000, "-1", "%00", "%ED%A0%80", "..%2f", "%25", "x" * 2000, "'", "1e9"])
def test_strange_id_in_a_url_never_causes_a_server_error(strange):
    client = logged_in_as(UserFactory(role="Admin"))
    client.raise_request_exception = False

    answers = {
        path: client.generic(method.upper(), f"/{re.sub('<[^>]+>', strange, path)}", "{}", "application/json")
        for path, cls, callback in VIEWS
        if "<" in path
        for method in methods(cls, callback, ["get", *UNSAFE])
    }

    assert len(answers) > 20
    assert {path for path, answer in answers.items() if answer.status_code not in (400, 404, 405, 409, 414)} == set()
    assert {answer.json()["status"] for answer in answers.values()} == {"error"}


@pytest.mark.parametrize(("path", "cls", "callback"), VIEWS, ids=IDS)
def test_list_has_a_page_limit_and_ordering_fields(path, cls, callback):
    is_list = "list" in (getattr(callback, "actions", None) or {}).values() or hasattr(cls, "list")
    if not is_list:
        return

    assert cls.pagination_class is not None, cls.__name__
    assert (cls.pagination_class.max_page_size or 0) <= 100
    # Without `ordering_fields` every field would be allowed. A search field with $ takes regular expressions.
    assert getattr(cls, "ordering_fields", "__all__") != "__all__"
    assert not [name for name in getattr(cls, "search_fields", None) or () if name.startswith("$")]
    assert StrictFilterBackend in cls.filter_backends
    assert StrictOrderingFilter in cls.filter_backends


def test_default_permission_requires_login():
    assert [cls.__name__ for cls in api_settings.DEFAULT_PERMISSION_CLASSES] == ["IsAuthenticated"]
