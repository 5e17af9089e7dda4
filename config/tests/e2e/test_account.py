"""What a member changes of themselves, in a real browser."""

import io
import re
from datetime import timedelta

import psycopg
import pytest
from django.conf import settings
from PIL import Image
from playwright.sync_api import expect

from config.dev.actors import PASSWORD, Phone, new_phone_number, wait_for
from config.tests.e2e.conftest import MOBILE
from config.tests.e2e.test_front_desk_jobs import add_member
from config.tests.e2e.test_staying_in import code_of_the_app

pytestmark = pytest.mark.e2e


@pytest.fixture
def long_ago(database):
    """Let everybody's log-ins be of longer ago than what changes an address takes."""

    def age():
        with psycopg.connect(database, autocommit=True) as outside:
            earlier = settings.FRESH_LOGIN_LIFETIME + timedelta(minutes=1)
            outside.execute("UPDATE accounts_loginsession SET auth_time = auth_time - %s", [earlier])

    return age


def open_account(member, change):
    """Go from any page to the account, and on to one of its changes."""
    member.click("Account", "link")
    member.expect_heading("Account")
    member.click(change, "link")


def picture():
    drawn = io.BytesIO()
    Image.new("RGB", (640, 480), (190, 60, 20)).save(drawn, "PNG")
    return {"name": "me.png", "mimeType": "image/png", "buffer": drawn.getvalue()}


def fact(member, name):
    return member.main.locator("dl.facts > div").filter(has_text=name).locator("dd")


def test_member_added_by_the_desk_joins_and_finds_the_membership(staff, arrive):
    clerk = staff("reception")
    phone, name = add_member(clerk, "Nyambura")
    number = re.search(r"Member number (\d{7})", clerk.page.content())[1]
    visitor = arrive()
    visitor.number = phone.number
    visitor.click("Join", "link")
    expect(visitor.main.get_by_text("Has the desk added you already?")).to_be_visible()
    visitor.page.get_by_label("First name").fill("Nyambura")
    visitor.page.get_by_label("Last name").fill(name.split()[1])
    visitor.page.get_by_label("M-Pesa phone number").fill(phone.number)
    visitor.page.get_by_label("Password").fill(PASSWORD)
    visitor.page.get_by_label("I agree").check()
    visitor.click("Join")
    visitor.expect_heading("Check your phone")
    visitor.page.get_by_label("Code").fill(phone.read_code())
    visitor.click("Continue")
    visitor.expect_heading("Habari, Nyambura")

    visitor.click("Account", "link")

    expect(fact(visitor, "Member number")).to_have_text(number)


@pytest.mark.parametrize("size", [None, MOBILE], ids=["desktop", "mobile"])
def test_a_member_writes_down_who_they_are_and_whom_to_call(arrive, size):
    member = arrive(**({"viewport": size} if size else {}))
    member.join()
    open_account(member, "Change your name, birthday, emergency contact or picture")
    member.page.get_by_label("Last name").fill("Njoroge")
    member.page.get_by_label("Birthday").fill("1990-02-28")
    member.page.get_by_label("Emergency contact").fill("Mama, 0722 000 000")
    member.take_picture("light-profile")
    member.page.keyboard.press("Enter")

    member.expect_heading("Account")
    expect(fact(member, "Name")).to_have_text("Wanjiku Njoroge")
    expect(fact(member, "Birthday")).to_have_text("Wed 28 Feb 1990")
    expect(fact(member, "In an emergency")).to_have_text("Mama, 0722 000 000")
    member.take_picture("light-account-of-a-member")
    member.page.reload()
    expect(fact(member, "Name")).to_have_text("Wanjiku Njoroge")


def test_invalid_birthday_shows_an_error_and_an_empty_one_is_removed(member):
    open_account(member, "Change your name, birthday, emergency contact or picture")
    member.page.get_by_label("Birthday").fill("2090-02-28")
    member.click("Save")
    expect(member.page.get_by_label("Birthday")).to_have_attribute("aria-invalid", "true")

    member.page.get_by_label("Birthday").fill("")
    member.click("Save")

    member.expect_heading("Account")
    expect(member.main.get_by_text("Birthday", exact=True)).to_have_count(0)


def test_a_picture_is_put_up_and_taken_away(member):
    change = "Change your name, birthday, emergency contact or picture"
    open_account(member, change)
    member.page.get_by_label("A new picture").set_input_files(
        {"name": "me.png", "mimeType": "image/png", "buffer": b"none"}
    )
    member.click("Upload")
    expect(member.page.get_by_text("Choose a JPEG, PNG or WebP picture.")).to_be_visible()

    member.page.get_by_label("A new picture").set_input_files(picture())
    member.click("Upload")
    member.expect_heading("Account")
    shown = member.main.get_by_role("img", name="You")
    expect(shown).to_have_js_property("naturalWidth", 512)
    member.take_pictures("light-account-with-picture")

    open_account(member, change)
    member.click("Remove the picture")

    member.expect_heading("Account")
    expect(shown).to_have_count(0)
    member.expect_complaints_of_refusals_only()


def test_a_password_is_changed_by_who_knows_it(member):
    open_account(member, "Change your password")
    member.page.get_by_label("The password you have").fill("not this one")
    member.page.get_by_label("A new one").fill("another-walk-to-the-gym")
    member.click("Change it")
    current = member.page.get_by_label("The password you have")
    expect(current).to_be_focused()
    expect(current).to_have_accessible_description("This is not your password.")
    member.take_pictures("light-password")
    current.fill(PASSWORD)
    new = member.page.get_by_label("A new one")
    new.fill("password123")
    member.click("Change it")
    expect(new).to_have_accessible_description(re.compile("too common"))
    new.fill("another-walk-to-the-gym")
    member.click("Change it")
    member.expect_heading("Your password is changed")

    member.click("Back", "link")
    member.click("Log out")
    member.click("Log in", "link")
    member.page.get_by_label("Phone number, e-mail or username").fill(member.number)
    member.page.get_by_label("Password").fill("another-walk-to-the-gym")
    member.click("Log in")

    member.expect_heading("Habari, Wanjiku")
    member.expect_complaints_of_refusals_only()


def test_new_phone_number_needs_the_password_and_a_code(member, long_ago):
    long_ago()
    new = new_phone_number()
    open_account(member, "Change your phone number")
    member.page.get_by_label("New phone number").fill("12")
    member.click("Send a code to it")
    # Who they are is asked first, then what they typed is looked at.
    member.expect_heading("Your password, please")
    member.page.go_back()
    open_account(member, "Change your phone number")
    member.page.get_by_label("New phone number").fill(new)
    member.click("Send a code to it")
    member.expect_heading("Your password, please")
    member.take_pictures("light-password-again")
    member.page.get_by_label("Password").fill("not this one")
    member.click("Continue")
    expect(member.page.get_by_role("alert").filter(has_text="is wrong")).to_be_visible()
    member.page.get_by_label("Password").fill(PASSWORD)
    member.page.keyboard.press("Enter")
    member.expect_heading("Type the code")
    expect(member.page.get_by_label("Code")).to_be_focused()
    member.page.keyboard.type(Phone(member.club.simulator, new).read_code())
    member.page.keyboard.press("Enter")

    member.expect_heading("Account")
    expect(fact(member, "Phone")).to_have_text(re.sub(r"^254(...)(...)(...)$", r"0\1 \2 \3", new))
    expect(member.main.locator(".sessions li")).to_have_count(1)  # the one before it has ended
    member.expect_complaints_of_refusals_only()


def test_change_of_contact_needs_the_second_factor(member, long_ago):
    secret = member.run("(await load('api.js')).call('POST', 'auth/mfa/totp/')")["secret"]
    member.run(
        "(await load('api.js')).call('POST', 'auth/mfa/totp/confirm/', given)", {"code": code_of_the_app(secret)}
    )
    long_ago()
    address = f"wanjiku{member.number}@club.example"
    open_account(member, "Add an e-mail address")
    member.page.get_by_label("New e-mail address").fill(address)
    member.click("Send a code to it")
    member.page.get_by_label("Password").fill(PASSWORD)
    member.click("Continue")
    member.expect_heading("One more step")
    member.page.get_by_label("Code").fill(code_of_the_app(secret, drift=1))
    member.click("Continue")
    member.expect_heading("Type the code")
    member.page.get_by_label("Code").fill(wait_for(lambda: code_mailed(member.club, address), "the code by e-mail"))
    member.click("Change it")

    member.expect_heading("Account")
    expect(fact(member, "E-mail")).to_have_text(address)
    member.expect_complaints_of_refusals_only()


def code_mailed(club, address):
    """Return the code in the e-mail to an address, once it is printed."""
    printed = "".join(file.read_text() for file in club.logs.glob("*.log"))
    found = re.search(rf"To: {re.escape(address)}.*?\b(\d{{6}})\b", printed, re.DOTALL)
    return found and found[1]
