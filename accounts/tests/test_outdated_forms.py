"""Forms of the admin that are sent from an outdated page: nothing is saved, and what was typed is kept."""

import re

import pytest
from django.test import Client

from accounts.models import CustomUser
from accounts.tests.factories import PASSWORD, UserFactory
from api.roles import Role
from subscriptions.models import PlanGroup

pytestmark = pytest.mark.django_db

ADD_GROUP, ADD_PERSON = "/admin/subscriptions/plangroup/add/", "/admin/accounts/customuser/add/"
AUTH = "/api/v1/auth/"
ORIGIN = "https://testserver"
TYPED = {"name": 'Swimming & "sauna"', "opens_gate": "on", "_save": "Save"}


class Tabs(Client):
    """One browser whose tabs have the admin and the app open, with real CSRF checks."""

    def __init__(self):
        super().__init__(enforce_csrf_checks=True, HTTP_ORIGIN=ORIGIN, HTTP_REFERER=f"{ORIGIN}/")

    def generic(self, *args, **kwargs):
        return super().generic(*args, **{**kwargs, "secure": True})

    def token_of(self, path):
        """Open a page of the admin, and return the CSRF token of its form."""
        return self.get(path).context["csrf_token"]

    def log_in(self, person):
        """Log in to the admin, anew if there is a login."""
        self.cookies.pop("sessionid", None)
        typed = {"username": person.username, "password": PASSWORD, "next": "/admin/"}
        answer = self.post("/admin/login/", {**typed, "csrfmiddlewaretoken": self.token_of("/admin/login/")})
        assert answer.status_code == 302

    def log_in_to_app(self, person):
        self.app_token = self.get(f"{AUTH}csrf/")["X-CSRFToken"]
        self.call("login/", {"identifier": person.username, "password": PASSWORD})

    def call(self, path, body=None):
        """Make an API call of the app."""
        answer = self.post(f"{AUTH}{path}", body or {}, "application/json", headers={"X-CSRFToken": self.app_token})
        assert answer.status_code == 200, answer.content
        self.app_token = answer.headers.get("X-CSRFToken", self.app_token)


@pytest.fixture
def owner():
    return UserFactory(role=Role.ADMIN, is_staff=True, is_superuser=True)


@pytest.fixture
def tabs(owner):
    tabs = Tabs()
    tabs.log_in(owner)
    return tabs


def fields_of(answer):
    """Return the hidden fields of the page, as its button sends them."""
    page = answer.content.decode()
    found = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page))
    return {name: value.replace("&quot;", '"').replace("&amp;", "&") for name, value in found.items()}


def test_app_in_the_same_browser_spoils_no_form_of_the_admin(tabs, owner):
    token = tabs.token_of(ADD_GROUP)

    tabs.log_in_to_app(owner)
    tabs.call("refresh/")
    tabs.call("logout/")

    answer = tabs.post(ADD_GROUP, {**TYPED, "csrfmiddlewaretoken": token})
    assert (answer.status_code, PlanGroup.objects.get().name) == (302, TYPED["name"])


def test_login_to_the_admin_keeps_the_csrf_token_of_the_app(owner):
    tabs = Tabs()
    tabs.log_in_to_app(owner)

    tabs.log_in(owner)

    tabs.call("refresh/")


def test_csrf_cookie_of_the_admin_has_the_flags_of_the_other():
    cookie = Tabs().get("/admin/login/").cookies["csrftoken-admin"]

    assert {name: cookie[name] for name in ("path", "samesite", "secure", "httponly")} == {
        "path": "/",
        "samesite": "Lax",
        "secure": True,
        "httponly": True,
    }


def test_outdated_form_keeps_its_input_and_can_be_sent_again(tabs, owner):
    token = tabs.token_of(ADD_GROUP)
    tabs.log_in(owner)  # in a second tab

    refused = tabs.post(ADD_GROUP, {**TYPED, "csrfmiddlewaretoken": token})

    page = refused.content.decode()
    assert (refused.status_code, PlanGroup.objects.exists()) == (403, False)
    assert "This page is out of date" in page
    assert "Nothing was saved yet. You have logged in again" in page
    assert "<dt>Name</dt><dd>Swimming &amp; &quot;sauna&quot;</dd>" in page
    assert "no-store" in refused["Cache-Control"]
    again = tabs.post(ADD_GROUP, fields_of(refused))
    assert (again.status_code, PlanGroup.objects.get().name) == (302, TYPED["name"])


def test_form_sent_after_the_login_ended_keeps_its_input(tabs, owner):
    token = tabs.token_of(ADD_GROUP)
    tabs.cookies.pop("sessionid")

    refused = tabs.post(ADD_GROUP, {**TYPED, "csrfmiddlewaretoken": token})

    assert refused.status_code == 403
    assert "you are not logged in any more" in refused.content.decode()
    tabs.log_in(owner)  # rotates the token, so the page is shown once more
    refused = tabs.post(ADD_GROUP, fields_of(refused))
    again = tabs.post(ADD_GROUP, fields_of(refused))
    assert (refused.status_code, again.status_code, PlanGroup.objects.get().name) == (403, 302, TYPED["name"])


def test_outdated_form_keeps_no_password(tabs, owner):
    token = tabs.token_of(ADD_PERSON)
    tabs.log_in(owner)
    typed = {"first_name": "Juma", "last_name": "Mwangi", "password": "a-long-secret", "role": "Member"}

    refused = tabs.post(ADD_PERSON, {**typed, "csrfmiddlewaretoken": token})

    assert fields_of(refused).keys() == {"csrfmiddlewaretoken", "first_name", "last_name", "role"}
    assert "a-long-secret" not in refused.content.decode()
    assert "Passwords and files are not kept" in refused.content.decode()


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://testserver"])
def test_form_of_another_site_gets_no_button_to_send_it(tabs, origin):
    refused = tabs.post(ADD_GROUP, TYPED, HTTP_ORIGIN=origin)

    assert refused.status_code == 403
    assert "Swimming" not in refused.content.decode()
    assert CustomUser.objects.count() == 1


def test_form_of_another_site_without_cookies_gets_no_button_either():
    refused = Tabs().post(ADD_GROUP, TYPED, HTTP_ORIGIN="https://evil.example")

    assert (refused.status_code, b"Swimming" in refused.content) == (403, False)
