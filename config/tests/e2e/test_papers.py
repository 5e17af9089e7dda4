"""The owner's first page, and a receipt from the member who prints it to the stranger who checks it."""

import re

import pytest
from playwright.sync_api import expect

from config.dev.actors import STAFF_PASSWORD
from config.tests.e2e.conftest import DESKTOP, MOBILE

pytestmark = pytest.mark.e2e

DRAWN = "[...document.querySelectorAll('canvas.chart')].map((each) => Chart.getChart(each)?.data.labels.length)"


@pytest.mark.parametrize("viewport", [DESKTOP, MOBILE], ids=["desktop", "phone"])
def test_keyboard_opens_the_rows_of_figures_and_charts(arrive, viewport):
    owner = arrive(viewport=viewport)
    page = owner.page
    page.goto(f"{owner.club.url}/admin/")
    page.get_by_label("Username").fill("manager")
    page.get_by_label("Password").fill(STAFF_PASSWORD)
    page.keyboard.press("Enter")

    expect(page.get_by_label("Name, phone, member number, M-Pesa code or payment reference")).to_be_focused()
    expect(page.get_by_text("To renew within 7 days")).to_be_visible()
    expect(page.locator("#charts canvas")).to_have_count(3)
    assert page.evaluate(DRAWN) == [30, 52, 12]
    owner.take_picture("first-page")

    page.locator("#charts summary").first.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin/payments/receipt/?**")


def test_printed_receipt_links_to_a_page_that_confirms_it(member, arrive):
    member.buy()
    member.pay()
    (receipt,) = member.run("(await load('api.js')).call('GET', 'receipts/')")

    paper = member.context.request.get(f"{member.club.url}/api/v1/receipts/{receipt['id']}/pdf/")
    (link,) = re.findall(rb"/URI \((\S+/r/\S+)\)", paper.body())

    stranger = arrive(viewport=MOBILE)
    stranger.page.goto(link.decode())
    stranger.expect_heading("This receipt is genuine.")
    expect(stranger.page.get_by_text(receipt["code"])).to_be_visible()
    expect(stranger.page.get_by_text("Wanjiku K.")).to_be_visible()
    stranger.take_picture("genuine")

    stranger.page.goto(link.decode().replace("/r/", "/r/9"))
    stranger.expect_heading("We cannot confirm this receipt.")
    stranger.expect_complaints_of_refusals_only()
