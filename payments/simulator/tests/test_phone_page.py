"""The phone in a real browser: what a person sees and does, by mouse, keyboard and screen reader's names."""

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


def test_a_prompt_is_paid_with_the_keyboard_alone(window, client, listener):
    phone = open_phones(window, client)
    client.push()

    prompt = phone.get_by_role("dialog", name="Do you want to pay Ksh1,500.00 to KILABU FITNESS Account no. KX12?")
    expect(prompt.get_by_label("Enter M-PESA PIN")).to_be_focused()
    window.keyboard.type("1234")
    window.keyboard.press("Enter")

    expect(prompt).to_be_hidden()
    expect(phone.get_by_role("listitem")).to_contain_text("Confirmed. Ksh1,500.00 sent to KILABU FITNESS")
    assert listener.next()[1]["Body"]["stkCallback"]["ResultCode"] == 0


def test_a_prompt_is_paid_on_the_pin_pad(window, client, listener):
    phone = open_phones(window, client)
    client.push()

    for digit in "4321":
        phone.get_by_role("button", name=digit, exact=True).click()
    phone.get_by_role("dialog").get_by_role("button", name="Send").click()

    assert listener.next()[1]["Body"]["stkCallback"]["ResultCode"] == 0


@pytest.mark.parametrize(
    ("deed", "code"),
    [
        (lambda prompt: prompt.press("Escape"), 1032),
        (lambda prompt: prompt.get_by_role("button", name="Cancel").click(), 1032),
        (lambda prompt: prompt.get_by_role("button", name="Not enough money").click(), 1),
        (lambda prompt: (prompt.get_by_label("Enter M-PESA PIN").fill("0000"), prompt.press("Enter")), 2001),
    ],
)
def test_a_prompt_can_be_refused_in_every_way(window, client, listener, deed, code):
    phone = open_phones(window, client)
    client.push()

    deed(phone.get_by_role("dialog"))

    assert listener.next()[1]["Body"]["stkCallback"]["ResultCode"] == code


def test_a_phone_that_is_prompted_comes_to_the_table_by_itself(window, client):
    open_phones(window, client, query="")
    client.push(PhoneNumber=254712345678)

    phone = window.get_by_role("article", name="Phone 0712 345 678")

    expect(phone.get_by_role("dialog")).to_be_visible()
    expect(window.get_by_role("status").first).to_contain_text("Phone 0712 345 678 asks")


def test_a_bill_is_paid_by_hand_and_stands_in_the_statement(window, client):
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


def test_a_fault_is_armed_behind_the_counter(window, client):
    window.goto(f"{client.url}/phone/counter.html")

    window.get_by_role("combobox", name="Fault", exact=True).select_option("busy_500")
    window.get_by_role("button", name="Arm it").click()
    expect(window.get_by_text("busy_500 is armed.")).to_be_visible()

    assert client.push().json()["errorCode"] == "500.003.02"


def test_a_result_is_broken_behind_the_counter(window, client):
    window.goto(f"{client.url}/phone/counter.html")

    window.get_by_role("combobox", name="Call").select_option("Account Balance")
    window.get_by_role("combobox", name="Fault", exact=True).select_option("result_lost")
    expect(window.get_by_text("The Result: never comes.")).to_be_visible()
    window.get_by_role("button", name="Arm it").click()
    expect(window.get_by_text("result_lost is armed.")).to_be_visible()

    assert [entry["endpoint"] for entry in client.control("faults/").json()["queue"]] == ["balance"]


def test_a_seeded_draw_is_set_behind_the_counter(window, client):
    window.goto(f"{client.url}/phone/counter.html")

    window.get_by_role("combobox", name="Fault of the draw").select_option("duplicate")
    window.get_by_label("Per cent of pushes").fill("25")
    window.get_by_role("button", name="Draw it").click()
    expect(window.get_by_role("row", name="duplicate 25 %")).to_be_visible()
    window.get_by_role("spinbutton", name="Seed").fill("7")
    window.get_by_role("button", name="Begin again").click()
    expect(window.get_by_text("Begun again with seed 7.")).to_be_visible()

    faults = client.control("faults/").json()
    assert (faults["seed"], faults["rates"]) == (7, {"duplicate": 0.25})


def test_a_small_screen_needs_no_sideways_scrolling(window, client):
    window.set_viewport_size({"width": 320, "height": 640})
    open_phones(window, client)
    client.push()
    expect(window.get_by_role("dialog")).to_be_visible()

    assert window.evaluate("document.documentElement.scrollWidth") <= 320
