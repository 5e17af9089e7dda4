"""What the cookies of production settings keep from scripts, other addresses and other sites; and the admin."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import expect

from config.dev.actors import STAFF_PASSWORD

pytestmark = pytest.mark.e2e


@pytest.fixture
def other_site():
    """The origin of another site that a member visits; it answers every address with an empty page."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            page = b"<!doctype html><title>Win a phone</title><link rel=icon href=data:,>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    yield f"http://localhost:{server.server_address[1]}"  # to a browser, another site than 127.0.0.1
    server.shutdown()
    server.server_close()


def test_no_script_can_read_a_cookie(member):
    cookies = {
        cookie["name"]: (cookie["httpOnly"], cookie["secure"], cookie["sameSite"], cookie["path"])
        for cookie in member.context.cookies()
    }

    assert cookies == {
        "__Host-Authentication": (True, True, "Lax", "/"),
        "__Secure-Refresh": (True, True, "Strict", "/api/v1/auth/"),
        "__Host-csrftoken": (True, True, "Lax", "/"),
        "__Host-Device": (True, True, "Strict", "/"),
    }
    assert member.page.evaluate("document.cookie") == ""
    stored = member.page.evaluate("JSON.stringify([localStorage, sessionStorage])")
    assert [cookie["value"] for cookie in member.context.cookies() if cookie["value"] in stored] == []


def test_the_refresh_cookie_leaves_the_browser_for_its_own_addresses_only(member):
    sent = {}
    member.context.on("request", lambda call: sent.setdefault(call.url, call.all_headers().get("cookie", "")))

    for page in ("Plans", "Receipts", "Account", "Membership"):
        member.click(page, "link")
        member.expect_heading("Habari, Wanjiku" if page == "Membership" else page)

    with_refresh = {url.removeprefix(member.club.url) for url, cookies in sent.items() if "__Secure-Refresh" in cookies}
    without = {url.removeprefix(member.club.url) for url, cookies in sent.items() if "__Secure-Refresh" not in cookies}
    assert with_refresh == {"/api/v1/auth/sessions/"}
    assert {"/api/v1/plans/?page_size=100", "/api/v1/payments/credit/"} <= without


@pytest.mark.parametrize("name", ["toString", "constructor", "__proto__", "nothing"])
def test_link_to_an_unknown_page_shows_the_plans(visitor, name):
    visitor.page.goto(f"{visitor.club.url}/#login")
    visitor.expect_heading("Log in")

    visitor.page.goto(f"{visitor.club.url}/#{name}")

    visitor.expect_heading("Strong starts here.")


SEND_FORM = """async ([url, body]) => {
  const form = document.createElement("form");
  Object.assign(form, { action: url, method: "post", enctype: "text/plain" });
  const input = document.createElement("input");
  [input.name, input.value] = body;
  form.append(input);
  document.body.append(form);
  form.submit();
}"""
# Written so that text/plain's name=value makes JSON of it.
PURCHASE = ['{"plan": "month", "x": "', '"}']


@pytest.mark.parametrize("address", ["subscriptions/", "auth/logout/"])
def test_a_form_of_another_site_changes_nothing(member, other_site, address):
    bait = member.context.new_page()
    bait.goto(other_site)

    with bait.expect_response(lambda answer: answer.url.endswith(address)) as answered:
        bait.evaluate(SEND_FORM, [f"{member.club.url}/api/v1/{address}", PURCHASE])

    assert answered.value.status in (401, 403)
    member.page.reload()
    expect(member.main.get_by_text("You have no membership yet.")).to_be_visible()
    member.expect_complaints_of_refusals_only()


@pytest.mark.parametrize("mode", ["cors", "no-cors"])
def test_a_script_of_another_site_changes_nothing_and_reads_nothing(member, other_site, mode):
    bait = member.context.new_page()
    bait.goto(other_site)
    said = bait.evaluate(
        """async ([url, mode]) => {
          const heard = [];
          const type = mode === "cors" ? "application/json" : "text/plain";
          for (const [path, options] of [
            ["auth/me/", {}],
            ["auth/csrf/", {}],
            ["subscriptions/", { method: "POST", headers: { "Content-Type": type }, body: '{"plan": "month"}' }],
          ]) {
            heard.push(await fetch(url + path, { mode, credentials: "include", ...options }).then(
              (answer) => answer.text(), () => "refused"));
          }
          return heard;
        }""",
        [f"{member.club.url}/api/v1/", mode],
    )

    assert said == (["refused"] * 3 if mode == "cors" else [""] * 3)
    member.page.reload()
    expect(member.main.get_by_text("You have no membership yet.")).to_be_visible()
    member.complaints.clear()  # the browser tells the other site's author what it refused


def test_the_pages_cannot_be_framed_by_another_site(member, other_site):
    bait = member.context.new_page()
    bait.goto(other_site)

    bait.evaluate(
        "url => { const frame = document.createElement('iframe'); frame.src = url; document.body.append(frame) }",
        member.club.url,
    )

    expect(bait.frame_locator("iframe").locator("body")).not_to_contain_text("Kilabu")
    member.complaints.clear()


def test_staff_log_in_to_the_admin(visitor):
    page = visitor.page
    page.goto(f"{visitor.club.url}/admin/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(STAFF_PASSWORD)
    page.get_by_role("button", name="Log in").click()

    expect(page.get_by_role("link", name="Payments", exact=True).first).to_be_visible()
    session = next(cookie for cookie in visitor.context.cookies() if cookie["name"] == "sessionid")
    assert (session["httpOnly"], session["secure"], session["sameSite"]) == (True, True, "Strict")
    visitor.take_picture("light-admin")
