"""The whole product over HTTPS with production's cookies, and a visitor with a real browser and a phone beside it."""

import os
import re
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
import requests
from django.conf import settings
from django.db import connection
from playwright.sync_api import BrowserContext, Locator, Page, expect

from config.dev import product
from config.dev.actors import PASSWORD, STAFF_PASSWORD, Phone, new_phone_number
from config.dev.processes import Supervisor
from config.tests.template import migrated_template

SCREENS = settings.BASE_DIR / "var" / "screens"
DESKTOP, MOBILE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PRODUCTION_COOKIES = {
    "SECURE_COOKIES": "True",
    "SECURE_SSL_REDIRECT": "True",
    "CSRF_COOKIE_NAME": "__Host-csrftoken",
    "AUTH_COOKIE": "__Host-Authentication",
    "AUTH_COOKIE_REFRESH": "__Secure-Refresh",
    "AUTH_COOKIE_DEVICE": "__Host-Device",
}
# What a browser writes to the console about an answer of ours that is a refusal.
REFUSED = re.compile(r"^Failed to load resource: the server responded with a status of 4\d\d")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate that signs itself; return its file and the key's."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.fail("make e2e needs openssl on the machine (Debian: apt-get install openssl).")
    command = (
        f"{openssl} req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(  # noqa: S603 - our own command line
        [*command.split(), "-out", str(certificate), "-keyout", str(key)], check=True, capture_output=True
    )
    return certificate, key


@dataclass
class Club:
    """The product as it runs for these tests."""

    url: str
    simulator: str
    logs: Path  # of its processes; e-mail is printed there


@pytest.fixture(scope="session")
def database(django_db_blocker, worker_id):
    """The URL of a migrated database without rows, one for each test process: a served product commits to it."""
    with django_db_blocker.unblock():
        template = migrated_template()
        place = connection.get_connection_params()
    name = f"{place['dbname']}_e2e_{worker_id}"
    server = {"dbname": "postgres", "user": place["user"], "host": place["host"], "autocommit": True}
    drop = f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'
    with psycopg.connect(**server) as outside:
        outside.execute(drop)
        outside.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    yield f"postgresql://{place['user']}@/{name}?host={place['host']}"
    with psycopg.connect(**server) as outside:
        outside.execute(drop)


@pytest.fixture(scope="session")
def club(database, tmp_path_factory):
    """Web server, worker and simulator with a small demo gym."""
    folder = tmp_path_factory.mktemp("club")
    certificate, key = make_certificate(folder)
    port = free_port()
    places = product.Places(port, free_port(), f"https://127.0.0.1:{port}", database)

    def is_up() -> bool:
        try:
            return requests.get(f"{places.public_url}/healthz", verify=certificate, timeout=2).ok
        except requests.RequestException:
            return False

    simulator, web, worker = product.programs(places, autoreload=False)
    programs = [
        replace(simulator, command=[*simulator.command, "--ca", str(certificate)]),
        replace(web, command=[*web.command, "--certfile", str(certificate), "--keyfile", str(key)], is_ready=is_up),
        worker,
    ]
    with pytest.MonkeyPatch.context() as outside:
        # The processes are a served product, no tests.
        for name in [name for name in os.environ if name.startswith("PYTEST")]:
            outside.delenv(name)
        for name, value in {"ENVIRONMENT": "development", **PRODUCTION_COOKIES}.items():
            outside.setenv(name, value)
        product.run_command(places, "seed_demo", "--members", "3")
        with Supervisor(programs, log_dir=folder, say=print) as running:
            running.wait_until_ready()
            product.run_command(places, "register_c2b_urls")
            yield Club(places.public_url, places.simulator, folder)


class Person:
    """One person with a browser of their own, and what the browser complained about."""

    def __init__(self, club: Club, context: BrowserContext):
        self.club, self.context = club, context
        self.complaints: list[str] = []
        context.set_default_timeout(15_000)
        context.on("console", self._note)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        self.page = context.new_page()

    def _note(self, message) -> None:
        # The phone's icon comes over the loopback without TLS, which only a simulator's may.
        is_phone = message.text.startswith(f"Mixed Content: The page at '{self.club.simulator}/")
        if message.type in ("error", "warning") and not is_phone:
            self.complaints.append(message.text)

    def expect_complaints_of_refusals_only(self) -> None:
        """Forget what the browser wrote about refusals that a test has provoked."""
        self.complaints = [each for each in self.complaints if not REFUSED.match(each)]

    def take_pictures(self, name: str) -> None:
        """Keep a picture of the page on a desk and, for a moment, on a phone."""
        usual = self.page.viewport_size
        for size in (DESKTOP, MOBILE):
            self.page.set_viewport_size(size)
            self.take_picture(name)
        self.page.set_viewport_size(usual)

    def take_picture(self, name: str) -> Path:
        """Keep a picture of the page for people to look at, and see that nothing hangs out of it sideways."""
        SCREENS.mkdir(parents=True, exist_ok=True)
        width = self.page.viewport_size["width"]
        self.page.wait_for_timeout(150)  # for what still moves
        path = SCREENS / f"{width}-{name}.png"
        self.page.screenshot(path=path, animations="disabled")
        assert self.page.evaluate("document.documentElement.scrollWidth") <= width
        return path


class Visitor(Person):
    """Somebody at the application, with a phone beside them."""

    def __init__(self, club: Club, context: BrowserContext):
        super().__init__(club, context)
        self.number = ""
        self.page.goto(club.url)
        self.expect_heading("Strong starts here.")

    @property
    def phone(self) -> Phone:
        """The phone's keys, through the simulator."""
        return Phone(self.club.simulator, self.number)

    @property
    def main(self):
        """The page's own content."""
        return self.page.get_by_role("main")

    @property
    def handset(self):
        """The phone as it is seen beside the club."""
        return self.page.frame_locator("iframe[title='Simulated phone']")

    def expect_heading(self, text: str, page: Page | None = None) -> None:
        expect((page or self.page).get_by_role("heading", level=1)).to_have_text(text, timeout=30_000)

    def click(self, name: str, role: str = "button") -> None:
        self.page.get_by_role(role, name=name, exact=True).click()

    def join(self, first_name: str = "Wanjiku") -> None:
        """Become a member, and be logged in, by the application's own modules: one test shows it by hand."""
        self.number = new_phone_number()
        person = {"first_name": first_name, "last_name": "Kamau", "phone_number": self.number, "consent": True}
        self.run("(await load('api.js')).ask('auth/register/', given)", {**person, "password": PASSWORD})
        proof = {"identifier": self.number, "password": PASSWORD, "code": self.phone.read_code()}
        self.run("(await load('api.js')).ask('auth/verify/', given)", proof)
        self.run("(await load('session.js')).logIn(given, password)".replace("password", repr(PASSWORD)), self.number)
        self.page.goto(f"{self.club.url}/#membership")
        self.expect_heading(f"Habari, {first_name}")

    def buy(self, plan: str = "Monthly") -> None:
        """Choose a plan and ask for the prompt."""
        self.click("Plans", "link")
        self.click(f"Choose {plan}", "link")
        self.page.get_by_role("button", name=re.compile("^Pay")).click()
        self.expect_heading("Look at your phone")

    def pay(self) -> None:
        """Enter the PIN, and see that the club knows."""
        self.phone.enter_pin(self.phone.wait_for_prompt())
        expect(self.page.get_by_role("heading", level=1)).to_contain_text("Karibu", timeout=30_000)

    def run(self, script: str, given: object = None):
        """Run a piece of the application in its page; `load` imports one of its modules."""
        return self.page.evaluate(
            f"async (given) => {{ const load = (name) => import(`/${{name}}`); return {script}; }}", given
        )


@pytest.fixture
def arrive(club, database, chromium):
    """Let visitors arrive: arrive(**how the browser is). None of them may leave with a complaint in the console."""
    visitors = []
    with psycopg.connect(database, autocommit=True) as outside:
        outside.execute(
            "DELETE FROM api_counter"
        )  # everybody here comes from one address, which a club's visitors do not

    def come(**how) -> Visitor:
        how = {"viewport": DESKTOP, "ignore_https_errors": True, **how}
        visitors.append(Visitor(club, chromium.new_context(**how)))
        return visitors[-1]

    yield come
    for visitor in visitors:
        visitor.context.close()
    assert [visitor.complaints for visitor in visitors] == [[] for _ in visitors]


class Clerk(Person):
    """Somebody of the staff, logged in to the admin."""

    def open(self, path: str) -> None:
        """Open a page of the admin."""
        self.page.goto(f"{self.club.url}/admin/{path}")

    def find(self, typed: str) -> None:
        """Find what a customer says or shows by the box on the first page."""
        self.open("")
        self.page.get_by_label("Name, phone, member number").fill(typed)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url(re.compile("/admin/(members|find|payments)/"))

    def act(self, title: str, **typed: str) -> Locator:
        """Fill in one of a page's folded forms, by the ids of its fields; return it, not yet sent."""
        form = self.page.locator("details").filter(has=self.page.get_by_text(title, exact=True))
        if form.get_attribute("open") is None:
            form.locator("summary").click()
        for name, value in typed.items():
            field = form.locator(f"[name={name}]")
            if field.evaluate("element => element.tagName") == "SELECT":
                field.select_option(field.locator("option", has_text=re.compile(value)).first.get_attribute("value"))
            else:
                field.fill(value)
        return form

    def do(self, title: str, said: str | re.Pattern, **typed: str) -> None:
        """Fill in one of a page's folded forms, send it, and see what the page says then."""
        self.act(title, **typed).get_by_role("button").click()
        self.expect_said(said)

    def expect_said(self, said: str | re.Pattern) -> None:
        expect(self.page.get_by_text(said).first).to_be_visible()


@pytest.fixture(scope="session")
def cookies_of(club, chromium):
    """Return the cookies of somebody who is logged in to the admin: by one log-in while it is fresh."""
    kept = {}

    def log_in(name: str):
        context = chromium.new_context(ignore_https_errors=True)
        page = context.new_page()
        page.goto(f"{club.url}/admin/")
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill(STAFF_PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(f"{club.url}/admin/")
        cookies = context.storage_state()
        context.close()
        return cookies

    def find(name: str):
        if name not in kept or time.monotonic() - kept[name][0] > settings.FRESH_LOGIN_LIFETIME.total_seconds() / 2:
            kept[name] = time.monotonic(), log_in(name)
        return kept[name][1]

    return find


@pytest.fixture
def staff(club, chromium, cookies_of):
    """Call staff to the desk: staff("reception", **how the browser is). None may leave with a complaint either."""
    clerks = []

    def come(name: str, **how) -> Clerk:
        how = {"viewport": DESKTOP, "ignore_https_errors": True, "storage_state": cookies_of(name), **how}
        clerks.append(Clerk(club, chromium.new_context(**how)))
        return clerks[-1]

    yield come
    for clerk in clerks:
        clerk.context.close()
    assert [clerk.complaints for clerk in clerks] == [[] for _ in clerks]


@pytest.fixture
def visitor(arrive):
    return arrive()


@pytest.fixture
def member(visitor):
    """Somebody who has joined and is logged in."""
    visitor.join()
    return visitor
