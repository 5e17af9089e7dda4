"""Every page of the admin as each role in a real browser: opened or refused as the roles table says, without errors."""

import re

import pytest
from django.contrib.admin.sites import site
from django.urls import reverse

from api.admin.roles import page_for
from api.roles import Role, rank
from config.dev.demo_gym import STAFF
from config.tests.e2e.conftest import DESKTOP, MOBILE

pytestmark = pytest.mark.e2e

# Pages that belong to no model, each with the least role that opens it.
OWN_PAGES = {
    "": Role.TRAINER,
    "find/": Role.TRAINER,
    "cash-desk/": Role.RECEPTIONIST,
    "day/": Role.MANAGER,
    "password_change/": Role.TRAINER,
}
# What the browser says on its own page of a refusal that we provoked.
A_REFUSAL = re.compile("the server responded with a status of 403")


def addresses():
    """Every list and form of the admin, each with the least role that opens it; None is nobody's."""
    yield from OWN_PAGES.items()
    for model in site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        yield reverse(f"{name}_changelist").removeprefix("/admin/"), page_for(model).view
        yield reverse(f"{name}_add").removeprefix("/admin/"), page_for(model).add


def is_for(role, least):
    return least is not None and rank(role) <= rank(least)


@pytest.mark.parametrize("username", STAFF)
def test_each_admin_page_follows_the_roles_table(staff, username):
    clerk, role = staff(username), STAFF[username]
    found, expected = {}, {}

    for path, least in addresses():
        answer = clerk.page.goto(f"{clerk.club.url}/admin/{path}")
        found[path], expected[path] = answer.status, 200 if is_for(role, least) else 403

    assert found == expected
    clerk.complaints = [each for each in clerk.complaints if not A_REFUSAL.search(each)]


@pytest.mark.parametrize("size", [DESKTOP, MOBILE], ids=["desktop", "phone"])
def test_newest_row_of_each_list_fits_the_screen(staff, size):
    clerk = staff("admin", viewport=size)

    for path, least in addresses():
        if least is None or path in OWN_PAGES or path.endswith("add/"):
            continue
        clerk.open(path)
        clerk.take_picture(f"admin-{path.strip('/').replace('/', '-')}")
        row = clerk.page.locator("#result_list tbody th a, #result_list tbody td a").first
        if row.count():
            clerk.page.goto(f"{clerk.club.url}{row.get_attribute('href')}")
            clerk.take_picture(f"admin-{path.strip('/').replace('/', '-')}-row")


def test_admin_content_policy_allows_only_what_is_documented(staff):
    clerk = staff("admin")
    policies = {
        clerk.page.goto(f"{clerk.club.url}/admin/{path}").headers["content-security-policy"] for path in OWN_PAGES
    }

    (policy,) = policies
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["script-src"] == "'self' 'unsafe-eval'"
    assert rules["style-src"] == "'self' 'unsafe-inline'"
    assert (rules["default-src"], rules["object-src"], rules["frame-ancestors"]) == ("'self'", "'none'", "'none'")
