"""No value of any query parameter, of any list and any page, causes a server error. The URLconf names the URLs.

`make test` tries a sample of the values for each URL, the same ones each time. `make properties` tries all of them.
"""

import random

import pytest
from django.contrib import admin
from django.urls import reverse

from accounts.tests.factories import UserFactory
from api.tests.clients import BrowserClient, browser, logged_in_as
from api.tests.test_every_url import OPEN, PUBLIC_CATALOG, VIEWS, example_url, methods

pytestmark = pytest.mark.django_db

HOSTILE = [
    "",
    "-1",
    "1e400",
    "null",
    "٣",
    "9" * 20,
    "-" + "9" * 20,
    "9" * 5000,
    "2026-02-30",
    "10000-01-01",
    "0001-01-01",
    "--price",
    ",",
    "'%[]",
    "\U0001f600" * 300,
]
FEW_HOSTILE = ["", "9" * 20, "2026-02-30", "--price", "\U0001f600" * 300]  # a page of the admin is slow
COMMON = ["page", "page_size", "cursor", "format", "search", "ordering"]
LOOKUPS = ["", "__in", "__range", "__gte", "__year", "__month", "__date__year"]
OF_THE_ADMIN = ["q", "o", "p", "e", "all", "_to_field", "_popup", "_facets", "_changelist_filters"]

# How many pairs of a name and a value to try for each URL: None means all. A page of the admin is slow.
OF_THE_API = pytest.mark.parametrize("count", [5, pytest.param(None, marks=pytest.mark.long)], ids=["sample", "all"])
OF_AN_ADMIN_LIST = pytest.mark.parametrize(
    "count", [2, pytest.param(None, marks=pytest.mark.long)], ids=["sample", "all"]
)

READ = [(path, cls) for path, cls, callback in VIEWS if methods(cls, callback, ["get"])]


def sample(tried, count, seed):
    """Return `count` of the pairs, the same ones for the same `seed`."""
    return tried if count is None else random.Random(seed).sample(tried, min(count, len(tried)))


def parameters_of(cls):
    """Return the names of the parameters that a view takes, and those that every list takes."""
    names = list(COMMON)
    if not hasattr(cls, "ordering_fields"):
        names.remove("format")  # an unknown format is a 404, which no page of one object describes
    if hasattr(cls, "filter_backends"):
        view = cls()
        for backend in cls.filter_backends:
            filterset = getattr(backend(), "get_filterset_class", lambda *_: None)(view, getattr(cls, "queryset", None))
            names += getattr(filterset, "base_filters", {})
    return names


def orderings_of(cls):
    return [
        f"{before}{name}{after}"
        for name in getattr(cls, "ordering_fields", None) or []
        for before, after in [("--", ""), ("-", "-"), ("+", ""), ("-", "__isnull"), ("", ",,"), ("?", "")]
    ]


@OF_THE_API
@pytest.mark.parametrize(("path", "cls"), READ, ids=[path for path, _ in READ])
def test_no_parameter_of_the_api_causes_a_server_error(path, cls, count):
    is_public = cls.__name__ in OPEN | PUBLIC_CATALOG
    clients = [logged_in_as(UserFactory(role="Admin")), *([BrowserClient()] if is_public else [])]
    tried = [(name, value) for name in parameters_of(cls) for value in HOSTILE]
    tried += [("ordering", value) for value in orderings_of(cls)]
    failed = []

    for client in clients:
        client.raise_request_exception = False
        for name, value in sample(tried, count, path):
            answer = client.get(example_url(path), {name: value})
            if answer.status_code not in (200, 400, 404):
                failed.append((name, value[:30], answer.status_code))

    assert failed == []


@pytest.mark.parametrize("path", ["api/v1/schema/", "api/v1/docs/"])
@pytest.mark.parametrize("cookie", ["dead", "x" * 3000, "é", '"', "a.b.c"])
def test_dead_cookie_causes_no_server_error(path, cookie):
    client = browser()
    client.raise_request_exception = False
    client.cookies["Authentication"] = cookie

    assert client.get(f"/{path}").status_code < 500


def admin_lists():
    return sorted((model for model in admin.site._registry), key=lambda model: model._meta.label)


@pytest.fixture
def owner_client(client):
    client.force_login(UserFactory(role="Admin", is_staff=True, is_superuser=True))
    client.defaults["wsgi.url_scheme"] = "https"
    client.raise_request_exception = False
    return client


@OF_AN_ADMIN_LIST
@pytest.mark.parametrize("model", admin_lists(), ids=lambda model: model._meta.label)
def test_no_parameter_of_an_admin_list_causes_a_server_error(owner_client, model, count):
    page = admin.site._registry[model]
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    filters = [getattr(each, "parameter_name", each) for each in page.list_filter]
    names = [
        *OF_THE_ADMIN,
        *(f"{name}{lookup}" for name in ["pk", *filters, *getattr(page, "link_filters", [])] for lookup in LOOKUPS),
    ]
    tried = [(name, value) for name in names for value in FEW_HOSTILE]
    failed = []

    for name, value in sample(tried, count, model._meta.label):
        answer = owner_client.get(url, {name: value})
        if answer.status_code not in (200, 302, 400, 404):
            failed.append((name, value[:30], answer.status_code))

    assert failed == []


@pytest.mark.parametrize(
    "query",
    [
        "payments_receipt_changelist?paid_at__year=99999999999999999999",
        "payments_receipt_changelist?paid_at__date__year=99999999999999999999",
        "subscriptions_visit_changelist?at__month=99999999999999999999",
    ],
)
def test_year_far_away_causes_no_server_error_in_the_admin(owner_client, query):
    name, _, parameters = query.partition("?")

    assert owner_client.get(f"{reverse(f'admin:{name}')}?{parameters}").status_code in (302, 400)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("day", ["on"]), ("cash-desk", ["receipt"]), ("find", ["q"]), ("charts", ["on"]), ("members-today", ["on"])],
)
def test_no_parameter_of_a_desk_page_causes_a_server_error(owner_client, name, parameters):
    failed = []

    for parameter in parameters:
        for value in HOSTILE:
            answer = owner_client.get(reverse(name), {parameter: value})
            if answer.status_code >= 500:
                failed.append((parameter, value[:30], answer.status_code))

    assert failed == []
