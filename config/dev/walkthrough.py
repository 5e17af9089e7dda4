"""The main job over real HTTP, printed so that a newcomer learns the API from it.

A walk is a browser (cookies, CSRF) and a phone (the simulator's), nothing more: it imports nothing of the product. Each
story below is one function over those two, and says what people do; STORIES is their order.
"""

import json
import re
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any

import requests

PASSWORD = "a-long-walk-to-the-gym"  # noqa: S105 - of people made up on the spot
STAFF_PASSWORD = "kilabu-demo-1"  # noqa: S105 - config/dev/demo_gym.py's
PATIENCE = 30.0  # seconds for what takes a moment
HEALING_PATIENCE = 120.0  # a lost callback is asked about after 20 s
LONGEST_SHOWN = 600  # characters of an answer


class WalkFailed(Exception):
    """A step did not end as it must; the text says which and how."""


# --- What a person has in their hands ---------------------------------------------------------------------------------


class Browser:
    """One person's browser: a cookie jar, the CSRF token in memory, and everything said aloud unless `quiet`."""

    def __init__(self, base: str, say: Callable[[str], None], *, quiet: bool = False):
        self.base, self.say, self.quiet = base, say, quiet
        self.session = requests.Session()
        self.session.trust_env = False  # no proxy stands between this machine and itself
        self.csrf_token = ""

    def get(self, path: str, *, show: Iterable[str] = (), aloud: bool = True) -> Any:
        """Fetch something; return the answer's data."""
        return self.call("GET", path, show=show, aloud=aloud)

    def post(self, path: str, body: dict | None = None, *, show: Iterable[str] = ()) -> Any:
        """Send something, with the CSRF token and the Origin a browser would send; return the answer's data."""
        return self.call("POST", path, body or {}, show=show)

    def call(self, method: str, path: str, body: dict | None = None, *, show: Iterable[str] = (), aloud: bool = True):
        """Make one call and print it.

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
            said = answer.json() if answer.content else {}
        except ValueError:
            said = {}
        data = said.get("data")
        if aloud and not self.quiet:
            self.print_call(method, path, body, answer.status_code, shown(data, show) if answer.ok else said)
        if not answer.ok:
            raise WalkFailed(f"{method} /api/v1/{path} was answered {answer.status_code}: {compact(said)}")
        return data

    def print_call(self, method: str, path: str, body: dict | None, status: int, data: Any) -> None:
        self.say(f"   {method} /api/v1/{path}")
        if body:
            self.say(f"        {compact(hidden(body))}")
        self.say(f"   {status}  {compact(data)}")


class Phone:
    """A phone on the simulated network, through the simulator's control addresses."""

    def __init__(self, simulator: str, number: str):
        self.simulator, self.number = simulator, number
        self.session = requests.Session()
        self.session.trust_env = False

    def call(self, method: str, path: str, body: dict | None = None) -> Any:
        """Make one call to the simulator.

        :raises WalkFailed: it refused
        """
        try:
            answer = self.session.request(method, f"{self.simulator}/control/{path}", json=body, timeout=30)
        except requests.RequestException as error:
            raise WalkFailed(f"The simulator got lost ({type(error).__name__}).") from None
        if not answer.ok:
            raise WalkFailed(f"The simulator refused {method} /control/{path}: {answer.text[:300]}")
        return answer.json()

    def read_code(self) -> str:
        """Wait for a text message with a code, and return the code."""

        def look() -> str:
            messages = self.call("GET", f"phones/?phones={self.number}")["phones"][0]["messages"]
            found = re.search(r"\b[0-9]{6}\b", messages[0]["text"]) if messages else None
            return found.group() if found else ""

        return eventually(look, "the text message with the code")

    def wait_for_prompt(self) -> dict:
        """Wait until the phone shows an M-Pesa prompt, and return it."""

        def look() -> dict | None:
            prompts = self.call("GET", f"prompts/?phone={self.number}")["prompts"]
            return next((each for each in prompts if each["status"] == "open"), None)

        return eventually(look, "the M-Pesa prompt on the phone")

    def enter_pin(self, prompt: dict) -> None:
        """Pay what the prompt asks."""
        self.call("POST", f"prompts/{prompt['checkout_request_id']}/answer/", {"action": "pay"})

    def pay_bill(self, *, account: str, amount: int) -> str:
        """Pay to the club's paybill under an account number typed by hand; return M-Pesa's code."""
        return self.call("POST", "paybill/", {"phone": self.number, "account": account, "amount": amount})["code"]

    def expect_faults(self, *faults: str) -> None:
        """Have M-Pesa misbehave with this phone's next prompt."""
        self.call("POST", "faults/", {"next": [{"fault": fault, "phone": self.number} for fault in faults]})


class Member:
    """Somebody with a browser and a phone, who has joined the club."""

    def __init__(self, club: "Club", *, first_name: str, quiet: bool, phone: str | None = None):
        self.first_name = first_name
        self.number = phone or new_phone_number()
        self.browser = Browser(club.web, club.say, quiet=quiet)
        self.simulated_phone = Phone(club.simulator, self.number) if club.simulator else None
        self.profile: dict = {}

    @property
    def phone(self) -> Phone:
        """The member's phone, where we can press its keys.

        :raises WalkFailed: it is a real one
        """
        if self.simulated_phone is None:
            raise WalkFailed("this story needs the simulator's phones.")
        return self.simulated_phone

    def start(self) -> None:
        """Fetch the CSRF token that every later call that changes something must carry."""
        self.browser.get("auth/csrf/", show=["csrf_token"])

    def join(self) -> None:
        """Register, confirm the phone number by the code sent to it, and log in."""
        browser = self.browser
        person = {"first_name": self.first_name, "last_name": "Walker", "phone_number": self.number}
        browser.post("auth/register/", {**person, "password": PASSWORD, "consent": True}, show=["next"])
        if self.simulated_phone is None:
            code = input(f"   The code that was sent to {self.number}: ").strip()
        else:
            code = self.phone.read_code()
        browser.post("auth/verify/", {"identifier": self.number, "password": PASSWORD, "code": code})
        self.log_in()

    def log_in(self) -> None:
        """Log in; the session comes back as cookies, never in the body."""
        credentials = {"identifier": self.number, "password": PASSWORD}
        self.profile = self.browser.post(
            "auth/login/", credentials, show=["user.id", "user.role", "user.member_number"]
        )["user"]

    def subscribe(self, plan: str, *, prompt: bool = True) -> dict:
        """Buy a plan; return the subscription with its payment."""
        body: dict = {"plan": plan} if prompt else {"plan": plan, "phone_number": None}
        return self.browser.post(
            "subscriptions/", body, show=["id", "status", "payment.reference", "payment.status", "payment.amount_owed"]
        )

    def payment(self, reference: str, *, aloud: bool = True) -> dict:
        """Look at a payment."""
        show = ["status", "amount_due", "amount_paid", "amount_owed", "receipts"]
        return self.browser.get(f"payments/{reference}/", show=show, aloud=aloud)

    def wait_for_payment(self, reference: str, status: str, *, seconds: float = PATIENCE) -> dict:
        """Ask again and again, as the app does, until a payment has the status; print the last answer."""

        def look() -> bool:
            return self.payment(reference, aloud=False)["status"] == status

        eventually(look, f"payment {reference} to be {status}", seconds=seconds)
        return self.payment(reference)

    def subscription(self, subscription_id: int, *, aloud: bool = True) -> dict:
        """Look at a subscription."""
        show = ["status", "plan.name", "starts_on", "ends_on"]
        return self.browser.get(f"subscriptions/{subscription_id}/", show=show, aloud=aloud)


class Club:
    """Where the walk happens, and its staff."""

    def __init__(self, web: str, simulator: str | None, say: Callable[[str], None]):
        self.web, self.simulator, self.say = web, simulator, say
        self.steps = 0

    def step(self, text: str) -> None:
        """Print what happens next."""
        self.steps += 1
        self.say(f"\n{self.steps}. {text}")

    def staff(self, username: str) -> Browser:
        """Return the browser of somebody of the staff, logged in."""
        browser = Browser(self.web, self.say, quiet=True)
        browser.get("auth/csrf/")
        browser.post("auth/login/", {"identifier": username, "password": STAFF_PASSWORD})
        browser.quiet = False
        return browser

    def member(self, first_name: str) -> Member:
        """Return somebody who has joined without our watching; the first story shows how."""
        member = Member(self, first_name=first_name, quiet=True)
        member.start()
        member.join()
        member.browser.quiet = False
        return member


# --- Stories ----------------------------------------------------------------------------------------------------------


def buy_a_membership(club: Club, phone: str | None = None) -> None:
    """A stranger becomes a member who is let in."""
    member = Member(club, first_name="Wanjiku", quiet=False, phone=phone)
    club.step("The app asks for a CSRF token: every call that changes something carries it.")
    member.start()
    club.step(
        f"{member.first_name} joins; a code comes by SMS, and she logs in. The session lives in HttpOnly cookies."
    )
    member.join()
    club.step("The app asks who is logged in.")
    member.browser.get("auth/me/", show=["id", "username", "role", "member_number"])
    club.step("She looks at the price list.")
    plans = member.browser.get("plans/", show=["*.code", "*.name", "*.price"])
    plan = next((each["code"] for each in plans if each["code"] == "month"), plans[0]["code"])
    club.step("She buys. The answer comes at once; a worker sends the prompt to her phone.")
    bought = member.subscribe(plan)
    reference = bought["payment"]["reference"]
    if member.simulated_phone is None:
        club.step(f"The prompt is on {masked(member.number)}: answer it there.")
        member.wait_for_payment(reference, "paid", seconds=HEALING_PATIENCE)
    else:
        prompt = member.phone.wait_for_prompt()
        club.step(
            f"Her phone shows: pay KES {prompt['amount']:,} to {prompt['business']}, account {prompt['reference']}."
            " She enters her PIN."
        )
        entered = time.perf_counter()
        member.phone.enter_pin(prompt)
        eventually(
            lambda: member.subscription(bought["id"], aloud=False)["status"] == "active",
            "the subscription to be active",
        )
        took = (time.perf_counter() - entered) * 1000
        club.say(f"   From PIN to access: {took:.0f} ms, M-Pesa's own half second included.")
    club.step("The app asked for the payment until it was paid.")
    member.wait_for_payment(reference, "paid")
    club.step("The membership is active.")
    require(member.subscription(bought["id"]), status="active")
    club.step("She comes to the gym; the receptionist types her member number.")
    let_in = club.staff("reception").post("checkins/", {"member_number": member.profile["member_number"]})
    require(let_in, decision="allow")
    club.step("The administrator finds her in the admin.")
    see_in_admin(club, member.profile["member_number"])


def heal_a_lost_callback(club: Club) -> None:
    """M-Pesa's callback never comes."""
    member = club.member("Otieno")
    club.step("Otieno buys and pays, but M-Pesa's callback is lost. After 20 seconds Kilabu asks by itself.")
    member.phone.expect_faults("lost_callback", "no_twin")
    bought = member.subscribe("month")
    member.phone.enter_pin(member.phone.wait_for_prompt())
    started = time.perf_counter()
    member.wait_for_payment(bought["payment"]["reference"], "paid", seconds=HEALING_PATIENCE)
    require(member.subscription(bought["id"]), status="active")
    club.say(f"   Healed by itself after {time.perf_counter() - started:.0f} s.")


def top_up_by_paybill(club: Club) -> None:
    """Too little money comes, then the rest."""
    member = club.member("Amina")
    club.step("Amina buys without a prompt and pays to the paybill, but KES 1,000 short.")
    bought = member.subscribe("month", prompt=False)
    reference, owed = bought["payment"]["reference"], bought["payment"]["amount_owed"]
    pay_bill(club, member, account=reference, amount=owed - 1000)
    member.wait_for_payment(reference, "partially_paid")
    require(member.subscription(bought["id"], aloud=False), status="pending")
    club.step("She pays the rest.")
    pay_bill(club, member, account=reference, amount=1000)
    member.wait_for_payment(reference, "paid")
    require(member.subscription(bought["id"]), status="active")


def keep_and_spend_a_surplus(club: Club) -> None:
    """Too much money comes."""
    member = club.member("Kamau")
    club.step("Kamau owes for a month and pays KES 500 too much, under his member number. The rest is his credit.")
    bought = member.subscribe("month", prompt=False)
    pay_bill(club, member, account=member.profile["member_number"], amount=bought["payment"]["amount_owed"] + 500)
    member.wait_for_payment(bought["payment"]["reference"], "paid")
    require(member.browser.get("payments/credit/"), credit=500)
    club.step("He rents a locker for KES 500: his credit pays it, and no phone rings.")
    locker = member.subscribe("locker-month")
    require(locker, status="active")
    require(member.browser.get("payments/credit/"), credit=0)


def find_an_owner(club: Club) -> None:
    """Money comes under an account that means nothing."""
    member = club.member("Zawadi")
    club.step("Zawadi's brother pays for her from his phone and types an account that means nothing.")
    bought = member.subscribe("month", prompt=False)
    brother = Phone(club.simulator or "", new_phone_number())
    amount = bought["payment"]["amount_owed"]
    code = brother.pay_bill(account="my sister", amount=amount)
    club.say(f"   Paybill: KES {amount:,}, account 'my sister', M-Pesa code {code}")
    club.step("The money waits in the manager's list; she gives it to its owner in one act.")
    manager = club.staff("manager")

    def look() -> dict | None:
        items = manager.get("review-items/?status=open", aloud=False)
        return next((each for each in items if (each.get("receipt") or {}).get("code") == code), None)

    item = eventually(look, f"the review item of {code}")
    manager.post(
        f"review-items/{item['id']}/assign/",
        {"payment": bought["payment"]["reference"]},
        show=["id", "status", "resolution"],
    )
    member.wait_for_payment(bought["payment"]["reference"], "paid")
    require(member.subscription(bought["id"]), status="active")


def count_once(club: Club) -> None:
    """The same money is reported again and again."""
    member = club.member("Hassan")
    club.step(
        "Hassan pays once; M-Pesa reports it three times by callback and once more by the paybill's confirmation."
    )
    member.phone.expect_faults("duplicate")
    bought = member.subscribe("month")
    member.phone.enter_pin(member.phone.wait_for_prompt())
    paid = member.wait_for_payment(bought["payment"]["reference"], "paid")
    time.sleep(2)  # for the repeats
    again = member.payment(bought["payment"]["reference"], aloud=False)
    require(again, amount_paid=paid["amount_due"])
    if len(again["receipts"]) != 1 or member.browser.get("payments/credit/", aloud=False)["credit"] != 0:
        raise WalkFailed("the same money was counted twice.")
    club.say("   One receipt, nothing counted twice.")


STORIES = [heal_a_lost_callback, top_up_by_paybill, keep_and_spend_a_surplus, find_an_owner, count_once]


def walk(web: str, *, simulator: str | None, phone: str | None, main_only: bool, say: Callable[[str], None]) -> None:
    """Walk the main job, then (on the simulator) the stories of money that comes late, short, over, astray or twice.

    :raises WalkFailed: something did not end as it must
    """
    if simulator is None and not phone:
        raise WalkFailed("without the simulator, --phone must name a real Safaricom phone.")
    club = Club(web, simulator, say)
    buy_a_membership(club, phone)
    if simulator and not main_only:
        for story in STORIES:
            story(club)


# --- Helpers ----------------------------------------------------------------------------------------------------------


def pay_bill(club: Club, member: Member, *, account: str, amount: int) -> None:
    code = member.phone.pay_bill(account=account, amount=amount)
    club.say(f"   Paybill: KES {amount:,}, account {account}, M-Pesa code {code}")


def see_in_admin(club: Club, member_number: str) -> None:
    """Log in to the admin with its form, as a browser does, and find the member's subscription."""
    session = requests.Session()
    session.trust_env = False
    login = f"{club.web}/admin/login/?next=/admin/"
    form = session.get(login, timeout=30)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form.text)
    if not token:
        raise WalkFailed(f"GET /admin/login/ was answered {form.status_code} without a log-in form.")
    fields = {
        "username": "admin",
        "password": STAFF_PASSWORD,
        "csrfmiddlewaretoken": token.group(1),
        "next": "/admin/",
    }
    session.post(login, data=fields, headers={"Referer": login}, timeout=30)
    path = f"/admin/subscriptions/subscription/?q={member_number}"
    page = session.get(club.web + path, timeout=30)
    club.say(f"   GET {path}\n   {page.status_code}")
    if page.status_code != 200 or not re.search(r"1\s+(subscription|result)", page.text):
        raise WalkFailed(f"the admin does not show the subscription of {member_number}.")


def eventually(look: Callable[[], Any], what: str, *, seconds: float = PATIENCE) -> Any:
    """Look again and again until there is something to see; return it.

    :raises WalkFailed: there is nothing in time
    """
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise WalkFailed(f"waited {seconds:.0f} seconds in vain for {what}.")
        time.sleep(0.05)


def require(found: dict, **wanted: Any) -> None:
    """Make sure that an answer says what it must.

    :raises WalkFailed: it does not
    """
    for name, value in wanted.items():
        if found.get(name) != value:
            raise WalkFailed(f"{name} is {found.get(name)!r}, and must be {value!r}.")


def new_phone_number() -> str:
    """Return a Safaricom number that nobody has yet, with a likelihood good enough for a demo."""
    return f"25472{secrets.randbelow(10**7):07d}"


def masked(number: str) -> str:
    return f"{number[:4]}****{number[-3:]}"


def hidden(body: dict) -> dict:
    """Return a request's body as it may be printed."""
    return {name: "********" if name in ("password", "code") else value for name, value in body.items()}


def shown(data: Any, names: Iterable[str]) -> Any:
    """Return the parts of an answer that matter here, by dotted names; `*` stands for each of a list."""
    names = list(names)
    if not names:
        return data
    if isinstance(data, list):
        return [shown(each, [name.removeprefix("*.") for name in names]) for each in data]
    found = {}
    for name in names:
        value = data
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        found[name] = value
    return found


def compact(data: Any) -> str:
    text = json.dumps(data, ensure_ascii=False)
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "..."
