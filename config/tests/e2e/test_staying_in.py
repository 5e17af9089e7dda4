"""A member's days with the application: sessions, tabs, expiry, freezes and receipts."""

import re
import time
from base64 import b32decode

import pytest
from django_otp.oath import totp
from playwright.sync_api import expect

from config.dev.actors import PASSWORD, wait_for

pytestmark = pytest.mark.e2e

ACCESS = "__Host-Authentication"


def code_of_the_app(secret, drift=0):
    """Return what an authenticator app shows now, or so many half minutes later."""
    return f"{totp(b32decode(secret), drift=drift):06d}"


def refreshes(visitor):
    """Return a growing list of the calls that renew the session."""
    calls = []
    visitor.context.on("request", lambda call: calls.append(call) if call.url.endswith("/auth/refresh/") else None)
    return calls


def test_a_member_logs_out_and_in_again(member):
    page = member.page
    member.click("Account", "link")
    member.click("Log out")
    member.expect_heading("Strong starts here.")
    assert {cookie["name"] for cookie in member.context.cookies()} == {"__Host-csrftoken", "__Host-Device"}

    member.click("Log in", "link")
    page.get_by_label("Phone number, e-mail or username").fill(member.number)
    page.get_by_label("Password").fill("not this one")
    member.click("Log in")
    expect(page.get_by_role("alert")).to_have_text(
        "The username or password is wrong, or you have not confirmed your phone number or e-mail address yet."
    )
    page.get_by_label("Password").fill(PASSWORD)
    member.click("Log in")

    member.expect_heading("Habari, Wanjiku")
    member.expect_complaints_of_refusals_only()


def test_a_forgotten_password_is_set_anew_by_a_code(member):
    page = member.page
    member.click("Account", "link")
    member.click("Log out")
    member.click("Log in", "link")
    member.click("Forgot your password?", "link")
    page.get_by_label("Phone number or e-mail").fill(member.number)
    member.click("Send a code")
    member.expect_heading("Check your phone")
    message = member.handset.get_by_role("listitem").filter(has_text="your code for a new").first.inner_text()
    page.get_by_label("Code").fill(re.search(r"\d{6}", message).group())
    page.get_by_label("New password").fill("another-walk-to-the-gym")
    member.click("Set the password")

    member.expect_heading("Habari, Wanjiku")


def test_who_has_a_second_factor_is_asked_for_it(member):
    member.click("Account", "link")
    member.page.get_by_role("link", name="Second factor").click()
    member.click("Add an authenticator app")
    member.expect_heading("Add it to your app")
    secret = member.main.locator(".secret").inner_text().replace(" ", "")
    member.page.get_by_label("The code it shows").fill(code_of_the_app(secret))
    member.click("Turn it on")
    member.expect_heading("It is on")
    member.take_picture("light-second-factor")
    recovery_codes = member.main.get_by_role("listitem").all_inner_texts()

    # A code works once, so the app's next one.
    for code in (code_of_the_app(secret, drift=1), recovery_codes[0], "wrong-code"):
        member.click("Account", "link")
        member.click("Log out")
        member.click("Log in", "link")
        member.page.get_by_label("Phone number, e-mail or username").fill(member.number)
        member.page.get_by_label("Password").fill(PASSWORD)
        member.click("Log in")
        member.expect_heading("One more step")
        member.page.get_by_label("Code").fill(code)
        member.click("Continue")
        if code != "wrong-code":
            member.expect_heading("Habari, Wanjiku")

    expect(member.page.get_by_role("alert")).to_have_text("This code is wrong or was used before. Try another one.")
    member.expect_complaints_of_refusals_only()


def test_an_expired_access_token_is_renewed_without_a_word(member):
    renewed = refreshes(member)
    member.context.clear_cookies(name=ACCESS)  # as the browser does when its time is over

    member.click("Receipts", "link")

    member.expect_heading("Receipts")
    expect(member.main.get_by_text("Nothing paid yet.")).to_be_visible()
    assert len(renewed) == 1
    member.expect_complaints_of_refusals_only()


def test_a_purchase_survives_an_expired_access_token(member):
    member.click("Plans", "link")
    member.click("Choose Monthly", "link")
    member.context.clear_cookies(name=ACCESS)

    member.click("Pay KES 2,500")

    member.expect_heading("Look at your phone")
    member.pay()
    member.expect_complaints_of_refusals_only()


def test_two_tabs_renew_the_session_once(member):
    other = member.context.new_page()
    other.goto(f"{member.club.url}/#account")
    member.expect_heading("Account", other)
    renewed = refreshes(member)
    member.context.route("**/auth/refresh/", lambda route: (time.sleep(1), route.continue_()))
    member.context.clear_cookies(name=ACCESS)

    for tab in (member.page, other):
        tab.evaluate("() => { location.hash = '#receipts' }")

    member.expect_heading("Receipts")
    member.expect_heading("Receipts", other)
    assert len(renewed) == 1
    member.expect_complaints_of_refusals_only()


def test_a_csrf_token_that_another_tab_has_changed_is_fetched_anew(member):
    other = member.context.new_page()
    other.goto(f"{member.club.url}/#account")
    member.expect_heading("Account", other)
    log_in = "async ([name, password]) => (await import('/session.js')).logIn(name, password)"
    assert other.evaluate(log_in, [member.number, PASSWORD]) == "done"
    member.click("Account", "link")
    heard = []
    member.page.on("response", lambda answer: heard.append((answer.request.method, answer.url, answer.status)))

    member.click("Log out everywhere else")

    expect(member.page.get_by_role("button", name="Log out everywhere else")).to_have_count(0)
    logout = f"{member.club.url}/api/v1/auth/logout-all/"
    assert [(method, status) for method, url, status in heard if url == logout] == [("POST", 403), ("POST", 200)]
    member.expect_complaints_of_refusals_only()


def test_logging_out_in_one_tab_shows_in_the_other(member):
    other = member.context.new_page()
    other.goto(f"{member.club.url}/#account")
    member.expect_heading("Account", other)

    other.get_by_role("button", name="Log out", exact=True).click()

    member.expect_heading("Log in")


def test_ended_login_session_leads_to_login_and_back(arrive, member):
    elsewhere = arrive()
    elsewhere.click("Log in", "link")
    elsewhere.page.get_by_label("Phone number, e-mail or username").fill(member.number)
    elsewhere.page.get_by_label("Password").fill(PASSWORD)
    elsewhere.click("Log in")
    elsewhere.expect_heading("Habari, Wanjiku")
    elsewhere.click("Account", "link")
    expect(elsewhere.page.get_by_role("button", name=re.compile("^End the session"))).to_have_count(1)
    elsewhere.take_picture("light-account")
    elsewhere.page.get_by_role("button", name=re.compile("^End the session")).click()
    expect(elsewhere.page.get_by_role("button", name=re.compile("^End the session"))).to_have_count(0)

    member.click("Receipts", "link")
    member.expect_heading("Log in")
    member.page.get_by_label("Phone number, e-mail or username").fill(member.number)
    member.page.get_by_label("Password").fill(PASSWORD)
    member.click("Log in")

    member.expect_heading("Receipts")
    member.expect_complaints_of_refusals_only()


def test_a_club_out_of_reach_is_told_and_tried_again(member):
    member.context.set_offline(True)
    member.click("Receipts", "link")
    member.expect_heading("That did not work")
    expect(member.main.get_by_role("alert")).to_have_text(
        "The club cannot be reached. Check your connection and try again."
    )
    member.context.set_offline(False)

    member.click("Try again")

    member.expect_heading("Receipts")
    member.complaints.clear()  # the browser's own about the lost connection


def test_a_membership_is_frozen_and_taken_up_again(member):
    member.buy()
    member.pay()
    member.click("See my membership", "link")
    member.expect_heading("Habari, Wanjiku")
    until = member.main.get_by_text("until").first
    before = until.inner_text()

    member.page.get_by_text("Going away? Freeze it").click()
    member.take_picture("light-freeze")
    member.click("Freeze")
    expect(member.main.get_by_text("Frozen", exact=True)).to_be_visible()
    expect(until).not_to_have_text(before)
    member.click("I am back: end the freeze")

    expect(member.main.get_by_text("Active", exact=True)).to_be_visible()
    expect(until).to_have_text(before)


def test_money_paid_by_hand_is_seen_as_receipt_and_credit(member):
    number = member.run("(await (await load('session.js')).whoAmI()).member_number")
    code = member.phone.pay_bill(account=number, amount=700)
    wait_for(lambda: member.run("(await (await load('api.js')).call('GET', 'receipts/')).length"), "the receipt")

    member.click("Receipts", "link")
    expect(member.page.get_by_role("row").nth(1)).to_contain_text(
        re.compile(f"{code}.*Pay bill.*KES 700 credit.*KES 700")
    )
    member.take_picture("light-receipts")
    member.click("Membership", "link")

    expect(member.main.get_by_text("You have KES 700 of credit.")).to_be_visible()


def test_receipt_pdf_opens_after_the_access_token_expired(member):
    number = member.run("(await (await load('session.js')).whoAmI()).member_number")
    code = member.phone.pay_bill(account=number, amount=300)
    wait_for(lambda: member.run("(await (await load('api.js')).call('GET', 'receipts/')).length"), "the receipt")
    member.click("Receipts", "link")
    paper = member.page.get_by_role("button", name=f"Receipt {code} as PDF")
    expect(paper).to_be_visible()
    member.context.clear_cookies(name=ACCESS)

    with member.page.expect_response(lambda answer: answer.url.endswith("/pdf/")) as answered:
        paper.click()

    assert (answered.value.status, answered.value.headers["content-type"]) == (200, "application/pdf")
    member.expect_complaints_of_refusals_only()
