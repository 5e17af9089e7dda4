"""The walkthrough: stories of a member and a payment, told over real HTTP. `manage.py demo` prints each step.

A newcomer can learn the API from the printed calls. Each story is one function. STORIES has their order.
"""

import re
import time
from collections.abc import Callable
from typing import Any

import requests

from config.dev.actors import (
    RECOVERY_TIMEOUT,
    STAFF_PASSWORD,
    Club,
    Member,
    Phone,
    WalkFailed,
    masked,
    new_phone_number,
    wait_for,
)

# The fields of the gate's answer that are printed.
GATE_ANSWER = ["decision", "reason", "until", "amount_to_pay", "reference"]


def buy_a_membership(club: Club, phone: str | None = None) -> None:
    """A visitor registers, pays, and may enter the gym."""
    member = Member(club, first_name="Wanjiku", quiet=False, phone=phone)
    club.step("The app fetches a CSRF token. Every call that changes something needs it.")
    member.start()
    club.step("Wanjiku registers, enters the code from an SMS, and logs in. Her login session is in HttpOnly cookies.")
    member.join()
    club.step("The app asks who is logged in.")
    member.browser.get("auth/me/", show=["id", "username", "role", "member_number"])
    club.step("She looks at the plans and their prices.")
    plans = member.browser.get("plans/", show=["*.code", "*.name", "*.price"])
    plan = next((each["code"] for each in plans if each["code"] == "month"), plans[0]["code"])
    club.step("She buys a plan. The answer comes at once, and a worker sends an STK push to her phone.")
    bought = member.subscribe(plan)
    reference = bought["payment"]["reference"]
    if member.simulated_phone is None:
        club.step(f"The phone {masked(member.number)} shows the M-Pesa prompt. Enter the PIN there.")
        member.wait_for_payment(reference, "paid", seconds=RECOVERY_TIMEOUT)
    else:
        prompt = member.phone.wait_for_prompt()
        club.step(
            f"Her phone shows: pay KES {prompt['amount']:,} to {prompt['business']}, account {prompt['reference']}."
            " She enters her PIN."
        )
        entered = time.perf_counter()
        member.phone.enter_pin(prompt)
        wait_for(
            lambda: member.subscription(bought["id"], printed=False)["status"] == "active",
            "the active subscription",
        )
        took = (time.perf_counter() - entered) * 1000
        club.say(f"   From PIN to access: {took:.0f} ms. This includes half a second of M-Pesa itself.")
    club.step("The app polls the payment until it is paid.")
    member.wait_for_payment(reference, "paid")
    club.step("The membership is active.")
    require(member.subscription(bought["id"]), status="active")
    club.step("She comes to the gym. The receptionist enters her member number.")
    check_in = club.staff("reception").post("checkins/", {"member_number": member.profile["member_number"]})
    require(check_in, decision="allow")
    club.step("The administrator finds her subscription in the admin.")
    find_in_admin(club, member.profile["member_number"])


def recover_a_lost_callback(club: Club) -> None:
    """M-Pesa's callback never arrives."""
    member = club.member("Otieno")
    club.step("Otieno buys and pays, but M-Pesa's callback is lost. After 20 seconds Kilabu queries the push itself.")
    member.phone.expect_faults("lost_callback", "no_confirmation")
    bought = member.subscribe("month")
    member.phone.enter_pin(member.phone.wait_for_prompt())
    started = time.perf_counter()
    member.wait_for_payment(bought["payment"]["reference"], "paid", seconds=RECOVERY_TIMEOUT)
    require(member.subscription(bought["id"]), status="active")
    club.say(f"   Kilabu recovered the payment after {time.perf_counter() - started:.0f} s.")


def pay_in_two_parts(club: Club) -> None:
    """A member pays too little, then the rest."""
    member = club.member("Amina")
    club.step("Amina buys without an STK push and pays to the paybill, but KES 1,000 too little.")
    bought = member.subscribe("month", push=False)
    reference, owed = bought["payment"]["reference"], bought["payment"]["amount_owed"]
    pay_bill(club, member, account=reference, amount=owed - 1000)
    member.wait_for_payment(reference, "partially_paid")
    require(member.subscription(bought["id"], printed=False), status="pending")
    club.step("She pays the rest.")
    pay_bill(club, member, account=reference, amount=1000)
    member.wait_for_payment(reference, "paid")
    require(member.subscription(bought["id"]), status="active")


def pay_from_credit(club: Club) -> None:
    """A member pays too much, and the rest pays the next purchase."""
    member = club.member("Kamau")
    club.step("Kamau buys a month and pays KES 500 too much, under his member number. The rest becomes his credit.")
    bought = member.subscribe("month", push=False)
    pay_bill(club, member, account=member.profile["member_number"], amount=bought["payment"]["amount_owed"] + 500)
    member.wait_for_payment(bought["payment"]["reference"], "paid")
    require(member.browser.get("payments/credit/"), credit=500)
    club.step("He rents a locker for KES 500. His credit pays for it, without an STK push.")
    locker = member.subscribe("locker-month")
    require(locker, status="active")
    require(member.browser.get("payments/credit/"), credit=0)


def pay_what_the_gate_asks(club: Club) -> None:
    """The gate names an amount and an account. Whoever pays that to the paybill opens the gate."""
    member = club.member("Njeri")
    tap = {"member_number": member.profile["member_number"]}
    club.step("Njeri buys a month without an STK push, and comes to the gym. The gate says what to pay, and where.")
    member.subscribe("month", push=False)
    reception = club.staff("reception")
    denied = reception.post("checkins/", tap, show=GATE_ANSWER)
    require(denied, decision="deny")
    club.step("She pays exactly that to the paybill, and comes again.")
    amount = denied["amount_to_pay"]
    pay_bill(club, member, account=denied["reference"], amount=amount)

    def is_let_in() -> bool:
        return reception.call("POST", "checkins/", tap, printed=False)["decision"] == "allow"

    wait_for(is_let_in, "the open gate")
    require(reception.post("checkins/", tap, show=GATE_ANSWER), decision="allow")
    club.step("A friend pays the same amount under her member number. That buys the month after this one.")
    friend = Phone(club.simulator or "", new_phone_number())
    code = friend.pay_bill(account=tap["member_number"], amount=amount)
    club.say(f"   Paybill: KES {amount:,}, account {tap['member_number']}, M-Pesa code {code}")
    wait_for(lambda: len(member.browser.get("subscriptions/", printed=False)) == 2, "the second month")
    member.browser.get("subscriptions/", show=["*.status", "*.starts_on", "*.ends_on"])


def keep_access_after_a_void(club: Club) -> None:
    """Money was recorded twice. After a void, the member's other money pays for the membership."""
    member = club.member("Baraka")
    club.step("Baraka buys a month. His bank transfer of KES 1,000 is recorded twice. He pays the rest to the paybill.")
    bought = member.subscribe("month", push=False)
    reference, owed = bought["payment"]["reference"], bought["payment"]["amount_owed"]
    reception = club.staff("reception")
    transfer = {"channel": "bank", "amount": 1000, "payment": reference, "note": "FT26336"}
    shown = ["number", "channel", "amount"]
    reception.post("receipts/", transfer, show=shown)
    twice = reception.post("receipts/", transfer, show=[*shown, "id"])
    pay_bill(club, member, account=reference, amount=owed - 1000)
    member.wait_for_payment(reference, "paid")
    require(member.browser.get("payments/credit/"), credit=1000)
    club.step("The manager voids the second entry. The credit takes its place, and Baraka stays a member.")
    club.staff("manager").post(
        f"receipts/{twice['id']}/void/", {"reason": "recorded twice"}, show=["number", "reversed_at"]
    )
    require(member.payment(reference), status="paid", amount_paid=owed)
    require(member.browser.get("payments/credit/"), credit=0)
    require(member.subscription(bought["id"]), status="active")


def match_an_unknown_account(club: Club) -> None:
    """Money arrives under an account number that matches no member and no payment."""
    member = club.member("Zawadi")
    club.step("Zawadi's brother pays for her from his phone, under an account that matches nobody.")
    bought = member.subscribe("month", push=False)
    brother = Phone(club.simulator or "", new_phone_number())
    amount = bought["payment"]["amount_owed"]
    code = brother.pay_bill(account="my sister", amount=amount)
    club.say(f"   Paybill: KES {amount:,}, account 'my sister', M-Pesa code {code}")
    club.step("The manager finds it among the review items, and assigns it to Zawadi's payment in one call.")
    manager = club.staff("manager")

    def find_review_item() -> dict | None:
        items = manager.get("review-items/?status=open", printed=False)
        return next((each for each in items if (each.get("receipt") or {}).get("code") == code), None)

    item = wait_for(find_review_item, f"the review item of {code}")
    manager.post(
        f"review-items/{item['id']}/assign/",
        {"payment": bought["payment"]["reference"]},
        show=["id", "status", "resolution"],
    )
    member.wait_for_payment(bought["payment"]["reference"], "paid")
    require(member.subscription(bought["id"]), status="active")


def count_repeated_reports_once(club: Club) -> None:
    """M-Pesa reports the same money several times."""
    member = club.member("Hassan")
    club.step("Hassan pays once. M-Pesa reports it in three callbacks and in one confirmation of the paybill.")
    member.phone.expect_faults("duplicate")
    bought = member.subscribe("month")
    member.phone.enter_pin(member.phone.wait_for_prompt())
    paid = member.wait_for_payment(bought["payment"]["reference"], "paid")
    time.sleep(2)  # until the repeated reports have arrived
    again = member.payment(bought["payment"]["reference"], printed=False)
    require(again, amount_paid=paid["amount_due"])
    if len(again["receipts"]) != 1 or member.browser.get("payments/credit/", printed=False)["credit"] != 0:
        raise WalkFailed("the same money was counted twice.")
    club.say("   There is one receipt, and the money was counted once.")


STORIES = [
    recover_a_lost_callback,
    pay_in_two_parts,
    pay_from_credit,
    pay_what_the_gate_asks,
    keep_access_after_a_void,
    match_an_unknown_account,
    count_repeated_reports_once,
]


def walk(web: str, *, simulator: str | None, phone: str | None, main_only: bool, say: Callable[[str], None]) -> None:
    """Run the first story and, with the simulator, the other STORIES. `say` prints.

    :raises WalkFailed: a step failed
    """
    if simulator is None and not phone:
        raise WalkFailed("without the simulator, --phone must name a real Safaricom phone.")
    club = Club(web, simulator, say)
    buy_a_membership(club, phone)
    if simulator and not main_only:
        for story in STORIES:
            story(club)


def pay_bill(club: Club, member: Member, *, account: str, amount: int) -> None:
    """Pay from the member's phone to the paybill, and print it."""
    code = member.phone.pay_bill(account=account, amount=amount)
    club.say(f"   Paybill: KES {amount:,}, account {account}, M-Pesa code {code}")


def find_in_admin(club: Club, member_number: str) -> None:
    """Log in to the admin with its form, as a browser does, and find the member's subscription.

    :raises WalkFailed: it is not there
    """
    session = requests.Session()
    session.trust_env = False
    login = f"{club.web}/admin/login/?next=/admin/"
    form = session.get(login, timeout=30)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form.text)
    if not token:
        raise WalkFailed(f"GET /admin/login/ was answered {form.status_code} without a login form.")
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


def require(answer: dict, **expected: Any) -> None:
    """Check fields of an answer.

    :raises WalkFailed: a field has another value
    """
    for name, value in expected.items():
        if answer.get(name) != value:
            raise WalkFailed(f"{name} is {answer.get(name)!r}, but must be {value!r}.")
