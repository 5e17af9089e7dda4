"""What an application's developer is shown works as it is shown."""

import json
import re
import time
from pathlib import Path

import pytest
from django.conf import settings
from playwright.sync_api import expect

from config.dev.actors import PASSWORD
from config.tests.e2e.test_staying_in import ACCESS, refreshes

pytestmark = pytest.mark.e2e


@pytest.fixture
def kilabu(member):
    """Run a piece of JavaScript with the client that docs/api.md prints, in a page of ours, logged out."""
    text = (Path(settings.BASE_DIR) / "docs" / "api.md").read_text()
    client = re.search(r"```js\n// kilabu\.js\n(.*?)```", text, re.DOTALL)[1]
    member.context.route(
        "**/kilabu.js", lambda route: route.fulfill(body=client, content_type="application/javascript")
    )

    def run(script, page=member.page):
        return page.evaluate(f"async () => {{ const k = await import('/kilabu.js'); return {script}; }}")

    run("k.logOut()")
    return run


def test_the_client_of_the_documentation_logs_in_refreshes_and_logs_out(member, kilabu):
    renewed = refreshes(member)

    logged_in = kilabu(f"(await k.logIn('{member.number}', '{PASSWORD}')).user")
    member.context.clear_cookies(name=ACCESS)  # as the browser does when its time is over
    mine = kilabu("await k.call('GET', 'auth/me/')")
    kilabu("k.logOut()")

    assert mine == logged_in
    assert len(renewed) == 1
    refused = kilabu("await k.call('GET', 'auth/me/').catch((error) => error.code)")
    assert refused == "not_authenticated"
    assert len(renewed) == 2  # tried once, and not again
    member.expect_complaints_of_refusals_only()


def test_client_fetches_the_csrf_token_that_another_tab_changed(member, kilabu):
    other = member.context.new_page()
    other.goto(f"{member.club.url}/kilabu.js")  # our origin, and no application that would refresh meanwhile
    kilabu(f"k.logIn('{member.number}', '{PASSWORD}')")

    kilabu("k.call('POST', 'auth/refresh/')", other)
    ended = kilabu("await k.call('POST', 'auth/logout-all/', {keep_current: true})")

    assert ended.keys() == {"revoked"}
    member.expect_complaints_of_refusals_only()


def test_tabs_refresh_an_expired_access_token_once(member, kilabu):
    other = member.context.new_page()
    other.goto(f"{member.club.url}/kilabu.js")
    kilabu(f"k.logIn('{member.number}', '{PASSWORD}')")
    renewed = refreshes(member)
    refused = []

    def late(route):
        """Let the first refusal of a call come after the refresh that the others have asked for."""
        answer = route.fetch()
        if answer.status == 401 and not refused:
            refused.append(answer)
            time.sleep(1)
        route.fulfill(response=answer)

    member.context.route("**/payments/", late)
    member.context.clear_cookies(name=ACCESS)
    calls = "Promise.all([k.call('GET', 'auth/me/'), k.call('GET', 'auth/sessions/'), k.call('GET', 'payments/')])"

    kilabu(f"void (window.calls = {calls})", other)
    kilabu(calls)
    other.evaluate("() => window.calls")

    assert (len(renewed), len(refused)) == (1, 1)
    member.expect_complaints_of_refusals_only()


def test_a_wrong_password_is_told_and_refreshes_nothing(member, kilabu):
    renewed = refreshes(member)

    told = kilabu(f"await k.logIn('{member.number}', 'not this one').catch((error) => error.code)")

    assert (told, renewed) == ("invalid_credentials", [])
    member.expect_complaints_of_refusals_only()


def operation(page, method, path):
    """Open an operation of the page that shows the API, ready to be tried."""
    found = page.locator(f".opblock-{method}").filter(has=page.locator(f"[data-path='{path}']"))
    found.locator(".opblock-summary-control").click()
    found.get_by_role("button", name="Try it out").click()
    return found


def answered(page, method, path, body=None):
    """Try an operation and return the status it was answered with."""
    shown = operation(page, method, path)
    if body is not None:
        shown.locator("textarea").fill(json.dumps(body))
    with page.expect_response(lambda answer: answer.url.endswith(path)) as found:
        shown.get_by_role("button", name="Execute").click()
    expect(shown.locator(".live-responses-table tbody .response-col_status").first).to_contain_text(
        str(found.value.status)
    )
    return found.value.status


def test_swagger_page_logs_in_changes_data_and_logs_out(member):
    page = member.page
    member.context.clear_cookies()
    page.goto(f"{member.club.url}/api/v1/docs/")
    expect(page.get_by_role("heading", name="Kilabu")).to_be_visible()

    statuses = [
        answered(page, "post", "/api/v1/auth/login/", {"identifier": member.number, "password": PASSWORD}),
        answered(page, "get", "/api/v1/auth/me/"),
        answered(page, "patch", "/api/v1/auth/me/", {"emergency_contact": "Juma, 0722 000 000"}),
        answered(page, "post", "/api/v1/auth/logout/"),
    ]

    assert statuses == [200, 200, 200, 200]
    member.take_picture("light-documentation")
