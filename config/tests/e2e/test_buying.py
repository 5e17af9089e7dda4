"""From a stranger's first look to a membership, in a real browser."""

import re
import time
from datetime import date, timedelta

import pytest
from playwright.sync_api import expect

from config.dev.actors import PASSWORD, wait_for
from config.tests.e2e.conftest import DESKTOP, MOBILE

pytestmark = pytest.mark.e2e

MENU = "M-Pesa \u203a Lipa na M-Pesa \u203a "


@pytest.mark.parametrize(
    ("size", "scheme"), [(DESKTOP, "light"), (MOBILE, "light"), (DESKTOP, "dark")], ids=["desktop", "mobile", "dark"]
)
def test_a_stranger_buys_a_membership_in_under_a_minute(arrive, size, scheme):
    began = time.monotonic()
    visitor = arrive(viewport=size, color_scheme=scheme)
    page, handset = visitor.page, visitor.handset
    is_folded = size is MOBILE

    def picture(name):
        visitor.take_picture(f"{scheme}-{name}")

    picture("1-plans")
    visitor.click("Choose Monthly", "link")
    page.get_by_label("First name").fill("Wanjiku")
    page.get_by_label("Last name").fill("Kamau")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("I agree").check()
    picture("2-join")
    visitor.click("Join")
    visitor.expect_heading("Check your phone")
    if is_folded:
        visitor.click("Phone")
    code = re.search(r"\d{6}", handset.get_by_role("listitem").filter(has_text="code").inner_text()).group()
    picture("3-code")
    if is_folded:
        visitor.click("Back to the club")
    page.get_by_label("Code").fill(code)
    visitor.click("Continue")
    visitor.expect_heading("Monthly")
    picture("4-buy")
    visitor.click("Pay KES 2,500")
    visitor.expect_heading("Look at your phone")
    if is_folded:
        picture("5-waiting")
        visitor.click("Phone")
    expect(handset.get_by_role("dialog")).to_contain_text("Do you want to pay Ksh2,500.00 to KILABU FITNESS")
    expect(page.get_by_title("Simulated phone")).to_be_focused()
    picture("6-prompt")
    page.keyboard.type("1234")
    page.keyboard.press("Enter")
    visitor.expect_heading("Karibu, Wanjiku!")
    assert time.monotonic() - began < 60

    expect(visitor.main.get_by_text(re.compile(r"You are in until \w{3} \d+ \w{3,4} \d{4}"))).to_be_visible()
    picture("7-paid")
    visitor.click("See my membership", "link")
    expect(page.get_by_text("Active", exact=True)).to_be_visible()
    picture("8-membership")


def test_a_cancelled_prompt_is_told_in_plain_words_and_tried_again(member):
    member.buy()

    member.handset.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    member.expect_heading("Not paid yet")

    expect(
        member.main.get_by_text("The request was cancelled on the phone. Try again when you are ready.")
    ).to_be_visible()
    expect(member.page.locator("#announcements")).to_have_text(re.compile("^Not paid yet. The request was cancelled"))
    member.take_picture("light-not-paid")
    member.click("Try again")
    member.expect_heading("Look at your phone")
    member.pay()


def test_a_purchase_is_cancelled_instead(member):
    member.buy()
    member.handset.get_by_role("dialog").get_by_role("button", name="Not enough money").click()
    expect(member.main.get_by_text("There is not enough money in this M-Pesa account.")).to_be_visible()

    member.click("Cancel the purchase")

    member.expect_heading("Purchase cancelled")
    member.click("Membership", "link")
    expect(member.page.get_by_text("You have no membership yet.")).to_be_visible()


def test_what_was_left_unpaid_is_found_again_and_paid(member):
    member.buy()
    member.handset.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    member.expect_heading("Not paid yet")

    member.click("Membership", "link")
    expect(member.main.get_by_text("Still to pay")).to_be_visible()
    member.take_picture("light-owed")
    member.click("Pay KES 2,500 for Monthly for Wanjiku Kamau", "link")
    member.click("Try again")
    member.pay()

    member.click("See my membership", "link")
    expect(member.page.get_by_text("Still to pay")).to_have_count(0)


def test_payment_by_hand_shows_paybill_account_and_amount(member):
    member.buy()
    member.handset.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    member.expect_heading("Not paid yet")
    by_hand = member.main.locator(".by-hand")
    reference = by_hand.locator("dd").nth(1).inner_text()
    expect(by_hand).to_contain_text(MENU + "Pay Bill")
    assert by_hand.locator("dd").all_inner_texts() == ["174379", reference, "KES 2,500"]
    member.click("I have paid")
    expect(by_hand.get_by_role("status")).to_contain_text("The money is not here yet.")
    member.take_pictures("light-by-hand")

    member.phone.pay_bill(account=reference, amount=2500)
    wait_for(lambda: member.run("(await (await load('api.js')).call('GET', 'receipts/')).length"), "the receipt")
    member.click("I have paid")

    member.expect_heading("Karibu, Wanjiku!")


def test_locker_is_named_and_promises_no_entry(member):
    member.buy("Locker, a month")
    member.pay()

    expect(
        member.main.get_by_text(re.compile(r"^Locker, a month lasts until \w{3} \d+ \w{3,4} \d{4}\.$"))
    ).to_be_visible()
    expect(member.main).not_to_contain_text("You are in")
    member.click("See my membership", "link")
    expect(member.main.get_by_text("Nothing of this opens the gate. Choose a membership")).to_be_visible()
    member.take_pictures("light-locker-only")


def test_replaced_period_of_no_days_shows_no_dates(member):
    member.buy()
    member.pay()
    api = "(await load('api.js')).call"
    (bought,) = member.run(f"{api}('GET', 'subscriptions/')")
    upgrade = member.run(f"{api}('POST', `subscriptions/${{given}}/upgrade/`, {{ plan: 'year' }})", bought["id"])
    member.page.goto(f"{member.club.url}/#payment/{upgrade['payment']['reference']}")
    member.expect_heading("Look at your phone")
    member.pay()

    member.click("See my membership", "link")
    member.main.get_by_text("Earlier").click()

    today = in_words(date.fromisoformat(bought["starts_on"]))
    expect(member.main.get_by_text(f"Monthly: replaced on {today}")).to_be_visible()


def test_page_waits_for_the_push_for_the_rest(member):
    member.buy()
    member.handset.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    member.expect_heading("Not paid yet")
    reference = member.main.locator(".by-hand dd").nth(1).inner_text()
    member.phone.pay_bill(account=reference, amount=900)
    wait_for(lambda: member.run("(await (await load('api.js')).call('GET', 'receipts/')).length"), "the receipt")
    member.click("I have paid")
    member.expect_heading("KES 1,600 to go")
    expect(member.main.get_by_text("The request was cancelled on the phone.")).to_have_count(0)

    member.click("Pay KES 1,600")
    member.expect_heading("Look at your phone")
    member.handset.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    member.expect_heading("KES 1,600 to go")
    expect(member.main.get_by_text("The request was cancelled on the phone.")).to_be_visible()
    member.take_pictures("light-the-rest")

    member.click("Try again")
    member.expect_heading("Look at your phone")
    member.pay()


def test_payment_to_a_till_shows_no_account(member):
    answer_as_club(member, paybill=None, till="517000")
    member.page.reload()
    member.buy()
    member.handset.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    member.expect_heading("Not paid yet")

    by_hand = member.main.locator(".by-hand")
    expect(by_hand).to_contain_text(MENU + "Buy Goods and Services")
    assert by_hand.locator("dt").all_inner_texts() == ["Till number", "Amount"]
    expect(by_hand).to_contain_text("from another, show M-Pesa's message at the desk")


def test_receipts_page_explains_paying_ahead_and_missing_money(member):
    number = member.run("(await (await load('session.js')).whoAmI()).member_number")

    member.click("Receipts", "link")

    missing = member.main.locator(".missing")
    expect(missing).to_contain_text(f"Pay Bill 174379 with your member number {number} as account")
    expect(missing).to_contain_text("Show M-Pesa's message at the desk")


def test_purchase_during_a_freeze_shows_its_first_day(member):
    member.buy()
    member.pay()
    freeze = "(await load('api.js')).call('POST', `subscriptions/${given.id}/freeze/`, given.days)"
    mine = member.run("(await load('api.js')).call('GET', 'subscriptions/')")[0]
    today = date.fromisoformat(mine["starts_on"])
    days = {"starts_on": str(today), "ends_on": str(today + timedelta(days=7))}
    begins = in_words(date.fromisoformat(member.run(freeze, {"id": mine["id"], "days": days})["ends_on"]))

    member.click("Plans", "link")
    member.click("Choose Day pass", "link")
    expect(member.main.get_by_text(f"frozen now. What you buy here begins after it, on {begins}.")).to_be_visible()
    member.take_pictures("light-buy-while-frozen")
    member.click("Pay KES 300")
    member.pay()

    expect(member.main.get_by_text(f"It is for {begins}.")).to_be_visible()


def in_words(day):
    return f"{day:%a} {day.day} {day:%b %Y}".replace("Sep", "Sept")


def test_the_terms_can_be_read_where_they_are_agreed_to(visitor):
    visitor.click("Join", "link")
    visitor.expect_heading("Join the club")
    expect(visitor.main.get_by_text("I agree to the club's terms.")).to_be_visible()
    expect(visitor.main.get_by_role("link", name="the club's terms")).to_have_count(0)
    expect(visitor.main.get_by_text("Has the desk added you already?")).to_be_visible()

    answer_as_club(visitor, terms_url="https://club.example/terms", name="Simba Gym")
    visitor.page.reload()

    expect(visitor.main.get_by_role("link", name="the club's terms")).to_have_attribute(
        "href", "https://club.example/terms"
    )
    expect(visitor.page.get_by_role("banner")).to_contain_text("Simba Gym")
    expect(visitor.page).to_have_title("Join the club · Simba Gym")
    visitor.take_pictures("light-join-with-terms")


def answer_as_club(visitor, **told):
    """Let the visitor's browser hear something else of the club than this one tells."""
    known = {"name": "Kilabu Fitness", "terms_url": None, "paybill": "174379", "till": None, **told}
    visitor.context.route(
        "**/api/v1/club/", lambda route: route.fulfill(json={"status": "success", "data": known, "meta": {}})
    )


def test_a_lost_callback_heals_while_the_page_waits(member):
    member.phone.expect_faults("lost_callback", "no_confirmation")
    member.buy()

    member.phone.enter_pin(member.phone.wait_for_prompt())

    expect(member.page.get_by_role("heading", level=1)).to_contain_text("Karibu", timeout=60_000)


def test_a_membership_is_bought_with_the_keyboard_alone(visitor):
    page, keyboard = visitor.page, visitor.page.keyboard

    def tab_to(role, name):
        wanted = page.get_by_role(role, name=name, exact=True)
        expect(wanted).to_be_visible()
        for _ in range(40):
            if wanted.evaluate("element => element === document.activeElement"):
                return
            keyboard.press("Tab")
        raise AssertionError(f"Tab does not lead to {name}.")

    page.get_by_role("link", name="Skip to the content").press("Enter")
    expect(visitor.main).to_be_focused()
    tab_to("link", "Choose Day pass")
    keyboard.press("Enter")
    expect(page.get_by_label("First name")).to_be_focused()
    keyboard.type("Amina")
    keyboard.press("Tab")
    keyboard.type("Juma")
    tab_to("textbox", "Password")
    keyboard.type(PASSWORD)
    tab_to("checkbox", "I agree to the club's terms.")
    keyboard.press("Space")
    keyboard.press("Enter")
    expect(page.get_by_label("Code")).to_be_focused()
    message = visitor.handset.get_by_role("listitem").filter(has_text="code").inner_text()
    keyboard.type(re.search(r"\d{6}", message).group())
    keyboard.press("Enter")
    visitor.expect_heading("Day pass")
    tab_to("button", "Pay KES 300")
    keyboard.press("Enter")
    expect(visitor.handset.get_by_label("Enter M-PESA PIN")).to_be_visible(timeout=30_000)
    expect(page.get_by_title("Simulated phone")).to_be_focused()
    page.wait_for_timeout(300)  # a person needs longer to look over; the focus crosses two processes
    keyboard.type("1234")
    keyboard.press("Enter")

    visitor.expect_heading("Karibu, Amina!")
    expect(page.get_by_role("heading", level=1)).to_be_focused()


def test_a_form_says_beside_each_field_what_is_wrong(visitor):
    page = visitor.page
    visitor.click("Join", "link")
    page.get_by_label("First name").fill("Wanjiku")
    page.get_by_label("Last name").fill("Kamau")
    page.get_by_label("M-Pesa phone number").fill("12")
    page.get_by_label("Password").fill("wanjiku-kamau")
    page.get_by_label("I agree").check()

    visitor.click("Join")

    number = page.get_by_label("M-Pesa phone number")
    expect(number).to_be_focused()
    expect(number).to_have_attribute("aria-invalid", "true")
    expect(number).to_have_accessible_description(re.compile("Enter a Kenyan mobile number"))
    visitor.expect_complaints_of_refusals_only()


def test_nobody_is_asked_while_nobody_looks(arrive):
    visitor = arrive()
    visitor.context.add_init_script(
        "Object.defineProperty(document, 'hidden', { get: () => sessionStorage.getItem('hidden') === 'yes' })"
    )
    visitor.page.reload()
    visitor.join()
    visitor.buy()
    visitor.page.evaluate("sessionStorage.setItem('hidden', 'yes')")
    visitor.page.wait_for_timeout(1500)  # for a question that was on its way
    asked = []
    api = f"{visitor.club.url}/api/"
    visitor.page.on("request", lambda call: asked.append(call.url) if call.url.startswith(api) else None)

    visitor.phone.enter_pin(visitor.phone.wait_for_prompt())
    visitor.page.wait_for_timeout(4000)  # longer than any of the first pauses
    assert asked == []
    visitor.expect_heading("Look at your phone")
    visitor.page.evaluate(
        "() => { sessionStorage.removeItem('hidden'); document.dispatchEvent(new Event('visibilitychange')) }"
    )

    visitor.expect_heading("Karibu, Wanjiku!")
