"""The phone page and the counter page in a real browser."""

import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.e2e


@pytest.fixture
def window(chromium):
    window = chromium.new_page()
    window.set_default_timeout(10_000)
    yield window
    window.close()


@pytest.fixture
def client(start):
    return start(speed=1)


def open_phones(window, client, query="?phones=254700000001"):
    window.goto(f"{client.url}/phone/{query}")
    return window.get_by_role("article", name="Phone 0700 000 001")


def test_prompt_is_paid_with_the_keyboard(window, client, listener):
    phone = open_phones(window, client)
    client.push()

    prompt = phone.get_by_role("dialog", name="Do you want to pay Ksh1,500.00 to KILABU FITNESS Account no. KX12?")
    expect(prompt.get_by_label("Enter M-PESA PIN")).to_be_focused()
    window.keyboard.type("1234")
    window.keyboard.press("Enter")

    expect(prompt).to_be_hidden()
    expect(phone.get_by_role("listitem")).to_contain_text("Confirmed. Ksh1,500.00 sent to KILABU FITNESS")
    assert listener.next()[1]["Body"]["stkCallback"]["ResultCode"] == 0


def test_prompt_is_paid_with_the_pin_pad(window, client, listener):
    phone = open_phones(window, client)
    client.push()

    for digit in "4321":
        phone.get_by_role("button", name=digit, exact=True).click()
    phone.get_by_role("dialog").get_by_role("button", name="Send").click()

    assert listener.next()[1]["Body"]["stkCallback"]["ResultCode"] == 0


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (lambda prompt: prompt.press("Escape"), 1032),
        (lambda prompt: prompt.get_by_role("button", name="Cancel").click(), 1032),
        (lambda prompt: prompt.get_by_role("button", name="Not enough money").click(), 1),
        (lambda prompt: (prompt.get_by_label("Enter M-PESA PIN").fill("0000"), prompt.press("Enter")), 2001),
    ],
)
def test_prompt_can_be_refused_in_every_way(window, client, listener, act, code):
    phone = open_phones(window, client)
    client.push()

    act(phone.get_by_role("dialog"))

    assert listener.next()[1]["Body"]["stkCallback"]["ResultCode"] == code


def test_phone_with_a_prompt_is_added_to_the_page(window, client):
    open_phones(window, client, query="")
    client.push(PhoneNumber=254712345678)

    phone = window.get_by_role("article", name="Phone 0712 345 678")

    expect(phone.get_by_role("dialog")).to_be_visible()
    expect(window.get_by_role("status").first).to_contain_text("Phone 0712 345 678 asks")


def test_paybill_payment_is_in_the_statement(window, client):
    phone = open_phones(window, client)

    phone.get_by_role("tab", name="Pay bill").click()
    phone.get_by_label("Account number").fill("KL-2207")
    phone.get_by_label("Amount (Ksh)").fill("900")
    phone.get_by_role("button", name="Send").click()
    expect(phone.get_by_text(re.compile(r"Sent\. Receipt [A-Z0-9]{10}\."))).to_be_visible()
    phone.get_by_role("tab", name="Pay bill").press("ArrowRight")

    expect(phone.get_by_role("tab", name="Statement")).to_be_focused()
    expect(phone.get_by_role("row").nth(1)).to_contain_text(
        re.compile(r"Kilabu Fitness · KL-2207[A-Z0-9]{10} · \d+ \w{3,4}, \d\d:\d\d.900\.00")
    )
    expect(phone.get_by_text("Ksh99,100.00", exact=True)).to_be_visible()


def test_fault_of_a_push_is_armed(window, client):
    window.goto(f"{client.url}/phone/counter.html")

    window.get_by_role("combobox", name="Fault", exact=True).select_option("busy_500")
    window.get_by_role("button", name="Arm it").click()
    expect(window.get_by_text("busy_500 is armed.")).to_be_visible()

    assert client.push().json()["errorCode"] == "500.003.02"


def test_fault_of_a_result_is_armed(window, client):
    window.goto(f"{client.url}/phone/counter.html")

    window.get_by_role("combobox", name="Call").select_option("Account Balance")
    window.get_by_role("combobox", name="Fault", exact=True).select_option("result_lost")
    expect(window.get_by_text("The Result: is never sent.")).to_be_visible()
    window.get_by_role("button", name="Arm it").click()
    expect(window.get_by_text("result_lost is armed.")).to_be_visible()

    assert [entry["endpoint"] for entry in client.control("faults/").json()["queue"]] == ["balance"]


def test_seed_and_share_of_a_fault_are_set(window, client):
    window.goto(f"{client.url}/phone/counter.html")

    window.get_by_role("combobox", name="Fault of the draw").select_option("duplicate")
    window.get_by_label("Per cent of pushes").fill("25")
    window.get_by_role("button", name="Set the share").click()
    expect(window.get_by_role("row", name="duplicate 25 %")).to_be_visible()
    window.get_by_role("spinbutton", name="Seed").fill("7")
    window.get_by_role("button", name="Set the seed").click()
    expect(window.get_by_text("The seed is 7.")).to_be_visible()

    faults = client.control("faults/").json()
    assert (faults["seed"], faults["rates"]) == (7, {"duplicate": 0.25})


def test_small_screen_needs_no_horizontal_scrolling(window, client):
    window.set_viewport_size({"width": 320, "height": 640})
    open_phones(window, client)
    client.push()
    expect(window.get_by_role("dialog")).to_be_visible()

    assert window.evaluate("document.documentElement.scrollWidth") <= 320
