"""The actors of the walkthrough: a browser, a phone of the simulator, a member and the club's staff.

They use HTTP only, as real clients do, and import no product code.
"""

import json
import re
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any

import requests

PASSWORD = "a-long-walk-to-the-gym"  # noqa: S105 - the password of members who exist only in the demo
STAFF_PASSWORD = "kilabu-demo-1"  # noqa: S105 - the same as in config/dev/demo_gym.py
TIMEOUT = 30.0  # seconds
RECOVERY_TIMEOUT = 120.0  # seconds. Kilabu queries a push after 20 s without a callback
MAX_PRINTED = 600  # characters of an answer


class WalkFailed(Exception):
    """A step of the walkthrough failed. The text says which one and how."""


class Browser:
    """A browser with its cookies and its CSRF token. It prints its calls unless it is `quiet`."""

    def __init__(self, base: str, say: Callable[[str], None], *, quiet: bool = False):
        self.base, self.say, self.quiet = base, say, quiet
        self.session = requests.Session()
        self.session.trust_env = False  # no proxy on the way to this machine itself
        self.csrf_token = ""

    def get(self, path: str, *, show: Iterable[str] = (), printed: bool = True) -> Any:
        """Send a GET request, and return the data of the answer. `show` limits the printed data to these fields."""
        return self.call("GET", path, show=show, printed=printed)

    def post(self, path: str, body: dict | None = None, *, show: Iterable[str] = ()) -> Any:
        """Send a POST request as a browser does, with CSRF token and Origin, and return the data of the answer."""
        return self.call("POST", path, body or {}, show=show)

    def call(self, method: str, path: str, body: dict | None = None, *, show: Iterable[str] = (), printed: bool = True):
        """Send one request and print it.

        :raises WalkFailed: the answer is an error
        """
        headers = {"Accept": "application/json"}
        if method != "GET":
            headers |= {"Origin": self.base, "X-CSRFToken": self.csrf_token}
        url = f"{self.base}/api/v1/{path}"
        try:
            answer = self.session.request(method, url, json=body, headers=headers, timeout=30)
        except requests.RequestException as error:
            raise WalkFailed(f"{method} /api/v1/{path} got no answer ({type(error).__name__}).") from None
        self.csrf_token = answer.headers.get("X-CSRFToken") or self.csrf_token
        try:
            envelope = answer.json() if answer.content else {}
        except ValueError:
            envelope = {}
        data = envelope.get("data")
        if printed and not self.quiet:
            self.print_call(method, path, body, answer.status_code, selected(data, show) if answer.ok else envelope)
        if not answer.ok:
            raise WalkFailed(f"{method} /api/v1/{path} was answered {answer.status_code}: {compact(envelope)}")
        return data

    def print_call(self, method: str, path: str, body: dict | None, status: int, data: Any) -> None:
        self.say(f"   {method} /api/v1/{path}")
        if body:
            self.say(f"        {compact(without_secrets(body))}")
        self.say(f"   {status}  {compact(data)}")


class Phone:
    """A phone on the simulated network, used through the simulator's control URLs."""

    def __init__(self, simulator: str, number: str):
        self.simulator, self.number = simulator, number
        self.session = requests.Session()
        self.session.trust_env = False

    def call(self, method: str, path: str, body: dict | None = None) -> Any:
        """Send one request to the simulator.

        :raises WalkFailed: it did not answer, or refused the request
        """
        try:
            answer = self.session.request(method, f"{self.simulator}/control/{path}", json=body, timeout=30)
        except requests.RequestException as error:
            raise WalkFailed(f"The simulator did not answer ({type(error).__name__}).") from None
        if not answer.ok:
            raise WalkFailed(f"The simulator refused {method} /control/{path}: {answer.text[:300]}")
        return answer.json()

    def read_code(self) -> str:
        """Wait for a text message with a six-digit code, and return the code."""

        def find_code() -> str:
            messages = self.call("GET", f"phones/?phones={self.number}")["phones"][0]["messages"]
            found = re.search(r"\b[0-9]{6}\b", messages[0]["text"]) if messages else None
            return found.group() if found else ""

        return wait_for(find_code, "the text message with the code")

    def wait_for_prompt(self) -> dict:
        """Wait until the phone shows an M-Pesa prompt, and return the prompt."""

        def find_prompt() -> dict | None:
            prompts = self.call("GET", f"prompts/?phone={self.number}")["prompts"]
            return next((each for each in prompts if each["status"] == "open"), None)

        return wait_for(find_prompt, "the M-Pesa prompt on the phone")

    def enter_pin(self, prompt: dict) -> None:
        """Pay the prompt."""
        self.call("POST", f"prompts/{prompt['checkout_request_id']}/answer/", {"action": "pay"})

    def pay_bill(self, *, account: str, amount: int) -> str:
        """Pay to the club's paybill under this account number, and return the M-Pesa code."""
        return self.call("POST", "paybill/", {"phone": self.number, "account": account, "amount": amount})["code"]

    def expect_faults(self, *faults: str) -> None:
        """Let the simulator make these faults with this phone's next prompt."""
        self.call("POST", "faults/", {"next": [{"fault": fault, "phone": self.number} for fault in faults]})


class Member:
    """A member of the club, with a browser and a phone."""

    def __init__(self, club: "Club", *, first_name: str, quiet: bool, phone: str | None = None):
        self.first_name = first_name
        self.number = phone or new_phone_number()
        self.browser = Browser(club.web, club.say, quiet=quiet)
        self.simulated_phone = Phone(club.simulator, self.number) if club.simulator else None
        self.profile: dict = {}

    @property
    def phone(self) -> Phone:
        """The member's simulated phone.

        :raises WalkFailed: the member has a real phone
        """
        if self.simulated_phone is None:
            raise WalkFailed("this story needs a phone of the simulator.")
        return self.simulated_phone

    def start(self) -> None:
        """Fetch the CSRF token, which every later unsafe call needs."""
        self.browser.get("auth/csrf/", show=["csrf_token"])

    def join(self) -> None:
        """Register, confirm the phone number with the code that is sent to it, and log in."""
        browser = self.browser
        person = {"first_name": self.first_name, "last_name": "Walker", "phone_number": self.number}
        browser.post("auth/register/", {**person, "password": PASSWORD, "consent": True}, show=["next"])
        if self.simulated_phone is None:
            code = input(f"   Enter the code that was sent to {self.number}: ").strip()
        else:
            code = self.phone.read_code()
        browser.post("auth/verify/", {"identifier": self.number, "password": PASSWORD, "code": code})
        self.log_in()

    def log_in(self) -> None:
        """Log in. The answer sets the tokens as cookies."""
        credentials = {"identifier": self.number, "password": PASSWORD}
        self.profile = self.browser.post(
            "auth/login/", credentials, show=["user.id", "user.role", "user.member_number"]
        )["user"]

    def subscribe(self, plan: str, *, push: bool = True) -> dict:
        """Buy a plan, and return the subscription with its payment. Without `push`, no STK push is sent."""
        body: dict = {"plan": plan} if push else {"plan": plan, "phone_number": None}
        return self.browser.post(
            "subscriptions/", body, show=["id", "status", "payment.reference", "payment.status", "payment.amount_owed"]
        )

    def payment(self, reference: str, *, printed: bool = True) -> dict:
        """Fetch a payment."""
        show = ["status", "amount_due", "amount_paid", "amount_owed", "receipts"]
        return self.browser.get(f"payments/{reference}/", show=show, printed=printed)

    def wait_for_payment(self, reference: str, status: str, *, seconds: float = TIMEOUT) -> dict:
        """Poll a payment, as an app does, until it has the status. Print and return the last answer."""

        def has_status() -> bool:
            return self.payment(reference, printed=False)["status"] == status

        wait_for(has_status, f"payment {reference} with the status {status}", seconds=seconds)
        return self.payment(reference)

    def subscription(self, subscription_id: int, *, printed: bool = True) -> dict:
        """Fetch a subscription."""
        show = ["status", "plan.name", "starts_on", "ends_on"]
        return self.browser.get(f"subscriptions/{subscription_id}/", show=show, printed=printed)


class Club:
    """The club: where the product and the simulator run, its staff and its members."""

    def __init__(self, web: str, simulator: str | None, say: Callable[[str], None]):
        self.web, self.simulator, self.say = web, simulator, say
        self.steps = 0

    def step(self, text: str) -> None:
        """Print the number and title of the next step."""
        self.steps += 1
        self.say(f"\n{self.steps}. {text}")

    def staff(self, username: str) -> Browser:
        """Return a browser in which this member of staff has logged in."""
        browser = Browser(self.web, self.say, quiet=True)
        browser.get("auth/csrf/")
        browser.post("auth/login/", {"identifier": username, "password": STAFF_PASSWORD})
        browser.quiet = False
        return browser

    def member(self, first_name: str) -> Member:
        """Return a new member of the club. Joining is not printed, because the first story shows it."""
        member = Member(self, first_name=first_name, quiet=True)
        member.start()
        member.join()
        member.browser.quiet = False
        return member


def wait_for(find: Callable[[], Any], name: str, *, seconds: float = TIMEOUT) -> Any:
    """Call `find` until it returns something true, and return that.

    :raises WalkFailed: it did not within `seconds`
    """
    deadline = time.monotonic() + seconds
    while True:
        found = find()
        if found:
            return found
        if time.monotonic() > deadline:
            raise WalkFailed(f"{name} did not come within {seconds:.0f} seconds.")
        time.sleep(0.05)


def new_phone_number() -> str:
    """Return a random Safaricom number, which is very probably new."""
    return f"25472{secrets.randbelow(10**7):07d}"


def masked(number: str) -> str:
    """Return a phone number with its middle hidden."""
    return f"{number[:4]}****{number[-3:]}"


def without_secrets(body: dict) -> dict:
    """Return the body of a request with its password and code hidden."""
    return {name: "********" if name in ("password", "code") else value for name, value in body.items()}


def selected(data: Any, names: Iterable[str]) -> Any:
    """Return only these fields of an answer, by dotted names. `*` means each item of a list."""
    names = list(names)
    if not names:
        return data
    if isinstance(data, list):
        return [selected(each, [name.removeprefix("*.") for name in names]) for each in data]
    found = {}
    for name in names:
        value = data
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        found[name] = value
    return found


def compact(data: Any) -> str:
    """Return the data as JSON in one line, cut to MAX_PRINTED characters."""
    text = json.dumps(data, ensure_ascii=False)
    return text if len(text) <= MAX_PRINTED else text[:MAX_PRINTED] + "..."
