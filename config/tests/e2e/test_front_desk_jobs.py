"""The ten everyday jobs of docs/front-desk.md, as staff do them in a real browser.

Each keeps the picture that the page shows of it: `make pictures` draws those anew.
"""

import csv
import itertools
import os
import re

import pytest
from django.conf import settings
from PIL import Image
from playwright.sync_api import expect

from config.dev.actors import PASSWORD, Phone, new_phone_number
from config.tests.e2e.conftest import MOBILE

pytestmark = pytest.mark.e2e

PICTURES = settings.BASE_DIR / "docs" / "images" / "front-desk"
WIDTH = 960  # pixels of a picture in the docs
LAST_NAMES = itertools.cycle(["Kamau", "Achieng", "Mwangi", "Njeri", "Otieno", "Wambui", "Kiptoo", "Halima", "Omondi"])


def picture(clerk, name):
    """Keep a picture of the page; for the docs, if they are being drawn."""
    taken = clerk.take_picture(f"front-desk-{name}")
    if os.environ.get("DRAW_PICTURES"):
        PICTURES.mkdir(parents=True, exist_ok=True)
        with Image.open(taken) as shot:
            small = shot.resize((WIDTH, round(shot.height * WIDTH / shot.width)), Image.Resampling.LANCZOS)
            small.save(PICTURES / f"{name}.webp", quality=72, method=6)


def add_member(clerk, first_name="Wanjiku"):
    """Add a member with a phone of their own, and stand on their member page; return the phone and their name."""
    phone, last_name = Phone(clerk.club.simulator, new_phone_number()), next(LAST_NAMES)
    clerk.open("accounts/customuser/add/")
    clerk.page.get_by_label("First name").fill(first_name)
    clerk.page.get_by_label("Last name").fill(last_name)
    clerk.page.get_by_label("Phone number").fill(phone.number)
    clerk.page.get_by_label("They agree").check()
    clerk.page.get_by_role("button", name="Add", exact=True).click()
    clerk.expect_said(f"{first_name} {last_name} is added")
    return phone, f"{first_name} {last_name}"


def open_drawer(clerk):
    """Open the clerk's drawer, unless it is open from a job before."""
    clerk.open("cash-desk/")
    if clerk.page.get_by_text("Your cash drawer is closed").is_visible():
        clerk.do("Open the cash drawer", "The cash drawer is open with KES 2,000.", opening_float="2000")


def reload_until(clerk, text):
    """Open the page again and again, as people do, until it shows the text."""
    for _ in range(30):
        if clerk.page.get_by_text(text).first.is_visible():
            return
        clerk.page.wait_for_timeout(500)
        clerk.page.reload()
    raise AssertionError(f"{text} is not shown.")


def test_1_sell_a_plan(staff):
    clerk = staff("reception")
    phone, _ = add_member(clerk)

    clerk.find(phone.number)
    clerk.act("Sell a plan", plan="^Monthly")
    picture(clerk, "sell")
    clerk.do("Sell a plan", re.compile("Monthly is sold: KES 2,500 to pay as K"))
    phone.enter_pin(phone.wait_for_prompt())

    reload_until(clerk, "Gym access: Monthly, until")
    expect(clerk.page.get_by_role("link", name=re.compile("^Print KES 2,500, M-Pesa"))).to_be_visible()


def test_2_take_cash(staff):
    clerk = staff("reception")
    open_drawer(clerk)
    add_member(clerk)
    clerk.do("Sell a plan", "Off-peak month is sold", plan="^Off-peak", phone_number="")

    clerk.do("Take money", re.compile("KES 1,800 taken: receipt 20"), amount="1800")

    expect(clerk.page.get_by_text("Gym access: Off-peak month, until")).to_be_visible()
    picture(clerk, "take-cash")


def test_3_money_to_the_wrong_account(staff):
    manager = staff("manager")
    owner, name = add_member(manager, "Amina")
    manager.do("Sell a plan", "Monthly is sold", plan="^Monthly", phone_number="")
    stranger = Phone(manager.club.simulator, new_phone_number())
    code = stranger.pay_bill(account=name, amount=2500)

    manager.page.get_by_role("link", name="Unmatched payments and reviews").click()
    reload_until(manager, code)
    manager.page.get_by_role("row").filter(has_text=code).get_by_role("link", name="unknown account number").click()
    expect(manager.page.get_by_text(f"“{name.upper()}” is their name")).to_be_visible()
    picture(manager, "wrong-account")
    manager.page.get_by_role("button", name=f"Assign to {name}").click()

    manager.expect_said("The money is assigned to its owner.")
    manager.page.get_by_role("button", name="Undo the assignment").click()
    manager.expect_said("The assignment is undone")
    manager.page.get_by_role("button", name=f"Assign to {name}").click()
    manager.find(owner.number)
    expect(manager.page.get_by_text("Gym access: Monthly, until")).to_be_visible()


def test_4_a_member_says_i_paid(staff):
    clerk = staff("reception")
    add_member(clerk, "Baraka")
    clerk.do("Sell a plan", "Monthly is sold", plan="^Monthly", phone_number="")
    member_page = clerk.page.url
    brother = Phone(clerk.club.simulator, new_phone_number())
    code = brother.pay_bill(account="for my brother", amount=2500)
    clerk.open(f"payments/receipt/?q={code}")
    reload_until(clerk, "2,500")  # its code is not told to the desk

    clerk.page.goto(member_page)
    clerk.act("Enter an M-Pesa code", code=code.lower())
    picture(clerk, "i-paid")
    clerk.do("Enter an M-Pesa code", f"The money of {code} is here", code=code.lower())

    expect(clerk.page.get_by_text("Gym access: Monthly, until")).to_be_visible()


def test_5_freeze(staff):
    clerk = staff("reception")
    open_drawer(clerk)
    add_member(clerk, "Chebet")
    clerk.do("Sell a plan", "Monthly is sold", plan="^Monthly", phone_number="")
    clerk.do("Take money", "KES 2,500 taken", amount="2500")
    standing = clerk.page.get_by_text("Gym access: Monthly, until")
    before = standing.text_content()

    first = clerk.page.locator("#freeze-starts_on").input_value()
    back_on = clerk.page.evaluate("day => new Date(Date.parse(day) + 7 * 864e5).toISOString().slice(0, 10)", first)
    clerk.act("Freeze", ends_on=back_on, reason="Travels for a week")
    picture(clerk, "freeze")
    clerk.do(
        "Freeze",
        "Frozen for 7 days. They are added to the end of the period.",
        ends_on=back_on,
        reason="Travels for a week",
    )
    expect(clerk.page.get_by_text("frozen", exact=True).first).to_be_visible()
    clerk.do("End the freeze", "The freeze has ended. Monthly runs until")

    expect(standing).to_have_text(before)


def test_6_a_refund_is_asked_for(staff):
    manager = staff("manager")
    add_member(manager, "Juma")
    manager.do("Sell a plan", "Monthly is sold", plan="^Monthly", phone_number="")
    manager.do("Take money", "KES 2,500 taken", amount="2500", channel="Bank transfer", note="FT26330XYZ")

    how = {"paid_from": "Bank transfer", "reason": "Moves to Mombasa"}
    manager.act("Record a refund", given_of="^KES 2,500", **how)
    picture(manager, "refund")
    manager.do("Record a refund", "KES 2,500 is recorded as refunded.", given_of="^KES 2,500", **how)

    expect(manager.page.get_by_text("KES 2,500 refunded: Moves to Mombasa")).to_be_visible()
    expect(manager.page.get_by_text("refunded", exact=True).first).to_be_visible()


def test_7_close_the_day(staff):
    clerk, manager = staff("reception"), staff("manager")
    open_drawer(clerk)
    _, name = add_member(clerk, "Kevin")
    clerk.do("Take money", "KES 500 taken", amount="500")

    clerk.page.get_by_role("link", name="Cash desk").click()
    expect(clerk.page.get_by_text(name)).to_be_visible()
    cash = clerk.page.locator("dt", has_text="Cash").locator("+ dd").inner_text()
    expected = 2000 + int(cash.removeprefix("KES ").replace(",", ""))
    count = {"counted": str(expected - 50), "note": "A 50 note is torn"}
    clerk.act("Count and close", **count)
    clerk.page.locator("#close").scroll_into_view_if_needed()
    picture(clerk, "close-drawer")
    clerk.do("Count and close", "The cash drawer is closed: KES 50 short", **count)

    manager.page.goto(f"{manager.club.url}/admin/day/")
    expect(manager.page.get_by_text("KES 50 short").first).to_be_visible()
    picture(manager, "close-the-day")


def test_8_export_for_the_accountant(staff):
    manager = staff("manager")
    add_member(manager, "Grace")
    manager.do("Take money", "KES 700 taken", amount="700", channel="Bank transfer", note="FT26331ABC")

    manager.open("payments/receipt/?channel__exact=bank")
    manager.page.locator("#action-toggle").check()
    manager.page.locator("select[name=action]").select_option(label="Export as CSV")
    picture(manager, "export")
    with manager.page.expect_download() as started:
        manager.page.get_by_role("button", name="Run").click()

    with open(started.value.path(), newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert {"channel": "bank", "amount (KES)": "700", "account typed": "FT26331ABC"}.items() <= rows[0].items()


def test_9_a_new_receptionist(staff, arrive):
    manager, username = staff("manager"), f"reception-{new_phone_number()[-6:]}"
    manager.page.goto(f"{manager.club.url}/admin/accounts/customuser/add/")
    typed = {"First name": "Naliaka", "Last name": "Wekesa", "Username": username, "Password": PASSWORD}
    for label, text in typed.items():
        manager.page.get_by_label(label).fill(text)
    manager.page.get_by_label("Role").select_option("Receptionist")
    picture(manager, "new-receptionist")
    manager.page.get_by_role("button", name="Add", exact=True).click()
    manager.expect_said("Naliaka Wekesa is added")

    page = arrive().page
    page.goto(f"{manager.club.url}/admin/")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name="Cash desk").click()

    expect(page.get_by_text("Your cash drawer is closed")).to_be_visible()


def test_10_a_lost_phone(staff, member):
    manager, number = staff("manager"), new_phone_number()
    manager.find(member.number)

    typed = {"reason": "Her ID card and the picture", "phone_number": number}
    manager.act("Phone lost or stolen", **typed)
    picture(manager, "lost-phone")
    manager.do("Phone lost or stolen", "1 login session ended, the number is changed", **typed)

    member.click("Receipts", "link")
    member.expect_heading("Log in")
    member.page.get_by_label("Phone number, e-mail or username").fill(number)
    member.page.get_by_label("Password").fill(PASSWORD)
    member.expect_complaints_of_refusals_only()


def test_a_receipt_typed_by_mistake_is_voided_by_a_second_person(staff):
    clerk, manager = staff("reception"), staff("manager")
    open_drawer(clerk)
    add_member(clerk, "Peter")
    clerk.do("Sell a plan", "Off-peak month is sold", plan="^Off-peak", phone_number="")
    clerk.do("Take money", re.compile("KES 1,800 taken: receipt 20"), amount="1800")
    told = clerk.page.get_by_text(re.compile("KES 1,800 taken: receipt 20")).first.inner_text()
    number = re.search(r"receipt (\d{4}-\d+)", told)[1]
    confirm = f"Confirm the void of receipt {number}"

    clerk.page.get_by_role("link", name="Cash desk").click()
    clerk.page.get_by_role("link", name=f"Ask to void receipt {number}").click()
    stands = f"A second person must confirm the void of receipt {number}."
    clerk.do("Ask to void a receipt", stands, reason="Typed twice")
    expect(clerk.page.get_by_role("button", name=f"Withdraw the void of receipt {number}")).to_be_visible()
    expect(clerk.page.get_by_role("button", name=confirm)).to_have_count(0)
    manager.open("cash-desk/")
    expect(manager.page.get_by_role("button", name=confirm)).to_be_visible()
    picture(manager, "void")
    manager.page.get_by_role("button", name=confirm).click()

    manager.expect_said(f"Receipt {number} is void.")
    manager.find(number)
    expect(manager.page.get_by_text("reversed", exact=True).first).to_be_visible()
    expect(manager.page.get_by_text("active", exact=True)).to_have_count(0)


def test_the_member_page_and_the_cash_desk_fit_a_phone(staff):
    clerk = staff("reception", viewport=MOBILE, has_touch=True)
    add_member(clerk, "Esther")
    clerk.do("Sell a plan", "Monthly is sold", plan="^Monthly", phone_number="")

    clerk.take_picture("front-desk-member")
    open_drawer(clerk)
    clerk.take_picture("front-desk-cash-desk")


def test_a_sale_and_its_cash_need_no_mouse(staff):
    clerk = staff("reception")
    open_drawer(clerk)
    _, name = add_member(clerk, "Fatuma")
    clerk.open("")
    keyboard = clerk.page.keyboard

    def tab_to(target):
        for _ in range(60):
            if target.evaluate("element => element === document.activeElement"):
                return
            keyboard.press("Tab")
        raise AssertionError(f"Tab does not lead to {target}.")

    expect(clerk.page.get_by_label("Name, phone, member number")).to_be_focused()
    keyboard.type(name)
    keyboard.press("Enter")
    clerk.page.wait_for_url("**/members/**")
    for title, keys in (("Sell a plan", ["Tab", "Day pass"]), ("Take money", ["Tab", "300"])):
        summary = clerk.page.locator("summary").filter(has_text=title)
        tab_to(summary)
        keyboard.press("Enter")
        keyboard.press(keys[0])
        keyboard.type(keys[1])
        tab_to(clerk.page.get_by_role("button", name=title, exact=True))
        keyboard.press("Enter")
        clerk.expect_said(re.compile("Day pass is sold|KES 300 taken"))

    clerk.expect_said("Gym access: Day pass, until")
