"""The phone page, the counter page and their control URLs."""

import re
import threading
import time
from pathlib import Path

import pytest
import requests

from payments.simulator.tests import samples

STATIC = Path(__file__).parents[1] / "static"
PAGES = ["", "phone.html", "phone.css", "phone.js", "handset.js", "api.js", "counter.html", "counter.js", "icon.svg"]


@pytest.mark.parametrize("name", PAGES)
def test_every_file_is_served_with_a_strict_policy(client, name):
    answer = requests.get(f"{client.url}/phone/{name}", timeout=5)

    assert answer.status_code == 200
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_only_pages_of_this_machine_may_frame_the_phone(client):
    policy = requests.get(f"{client.url}/phone/", timeout=5).headers["Content-Security-Policy"]

    ancestors = next(part.split()[1:] for part in policy.split(";") if part.split()[0] == "frame-ancestors")
    assert all(re.fullmatch(r"'self'|https?://(127\.0\.0\.1|localhost):\*", each) for each in ancestors)


def test_pages_have_no_inline_script_or_style():
    pages = "".join(path.read_text() for path in STATIC.glob("*.html"))

    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bon[a-z]+=|\bstyle=", pages) == []


@pytest.mark.parametrize("path", ["/phone/../book.py", "/phone/%2e%2e%2fbook.py", "/phone/none.js", "/phone/book"])
def test_other_files_are_not_served(client, path):
    session = requests.Session()
    request = requests.Request("GET", client.url).prepare()
    request.url = client.url + path  # because the client would normalise the dots

    assert session.send(request, timeout=5).status_code == 404
    session.close()


def test_root_redirects_to_the_phones(client):
    assert requests.get(client.url, timeout=5).url == f"{client.url}/phone/"


def test_waiting_page_is_updated_by_a_prompt_at_once(client):
    version = client.control("phones/").json()["version"]
    heard = []
    path = f"phones/?phones=254700000001&after={version}&wait=20"
    page = threading.Thread(target=lambda: heard.append(client.control(path).json()))
    page.start()

    began = time.monotonic()
    client.push()
    page.join(5)

    assert time.monotonic() - began < 2
    assert heard[0]["version"] > version


def test_phone_shows_prompt_messages_and_statement(client, listener):
    checkout = client.push().json()["CheckoutRequestID"]
    (before,) = client.control("phones/?phones=254700000001").json()["phones"]
    client.answer(checkout, "pay")
    (after,) = client.control("phones/?phones=254700000001").json()["phones"]

    (prompt,) = before["prompts"]
    assert (prompt["business"], prompt["amount"], prompt["reference"]) == ("Kilabu Fitness", 1500, "KX12")
    assert (before["balance"], after["balance"]) == (100_000, 98_500)
    assert after["prompts"] == []
    (paid,) = after["statement"]
    (message,) = after["messages"]
    assert re.fullmatch(
        rf"{paid['code']} Confirmed\. Ksh1,500\.00 sent to KILABU FITNESS for account KX12 on \d+/\d+/\d\d at "
        r"\d+:\d\d [AP]M\. New M-PESA balance is Ksh98,500\.00\. Transaction cost, Ksh0\.00\.",
        message["text"],
    )


def test_statement_adds_up_to_the_balance(client, listener):
    phone = "254700000001"
    client.control("deposit/", {"phone": phone, "amount": 5000})
    code = client.control("paybill/", {"phone": phone, "account": "KL-1", "amount": 700}).json()["code"]
    urls = {"ResultURL": f"{listener.url}/result", "QueueTimeOutURL": f"{listener.url}/timeout"}
    reversal = {**samples.C_SHARP[2][1], "TransactionID": code, "Amount": 700, "ReceiverParty": "174379", **urls}
    client.post(samples.REVERSAL, reversal)
    client.post(samples.B2C, {**samples.NODE[3][1], "PartyB": int(phone), **urls})
    client.control("paybill/", {"phone": phone, "account": "KL-2", "amount": 300})

    (state,) = client.control(f"phones/?phones={phone}").json()["phones"]

    moved = [(row["what"], row["account"], row["amount"]) for row in reversed(state["statement"])]
    assert moved == [
        ("Cash at an agent", "", 5000),
        ("Kilabu Fitness", "KL-1", -700),
        (f"Reversal of {code}", "", 700),
        ("From Safaricom Daraja 111", "", 100),
        ("Kilabu Fitness", "KL-2", -300),
    ]
    assert state["balance"] == 100_000 + sum(row["amount"] for row in state["statement"])
    assert len({row["code"] for row in state["statement"]}) == 5


def test_reading_a_phone_changes_nothing(client):
    first = client.control("phones/?phones=254700000001").json()
    second = client.control("phones/?phones=254700000001").json()

    assert first == second


def test_deposit_increases_the_balance(client):
    client.control("deposit/", {"phone": "254700000001", "amount": 5000})

    (phone,) = client.control("phones/?phones=254700000001").json()["phones"]
    assert phone["balance"] == 105_000


def test_prompts_of_one_phone_are_listed(client):
    checkout = client.push().json()["CheckoutRequestID"]
    client.push(PhoneNumber=254700000002)

    (prompt,) = client.control("prompts/?phone=254700000001").json()["prompts"]

    assert prompt["checkout_request_id"] == checkout
    assert {key: prompt[key] for key in ("phone", "amount", "reference", "business", "status")} == {
        "phone": "254700000001",
        "amount": 1500,
        "reference": "KX12",
        "business": "Kilabu Fitness",
        "status": "open",
    }


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("prompts/none/answer/", {"action": "pay"}, 404),
        ("prompts/none/answer/", {"action": "steal"}, 400),
        ("faults/", {"next": [{"fault": "none"}]}, 400),
        ("faults/", {"next": ["late"]}, 400),
        ("faults/", {"rates": {"late": 2}}, 400),
        ("faults/", {"rates": 1}, 400),
        ("faults/", {"speed": 1}, 400),
        ("options/", {"speed": 0}, 400),
        ("options/", {"rule_17": "sometimes"}, 400),
        ("options/", {"passkey": "x"}, 400),
        ("deposit/", {"phone": "x", "amount": 1}, 404),
        ("nowhere/", {}, 404),
    ],
)
def test_control_urls_refuse_invalid_requests(client, path, body, status):
    answer = client.control(path, body)

    assert (answer.status_code, set(answer.json())) == (status, {"error"})


def test_pages_of_other_sites_cannot_use_the_control_urls(client):
    checkout = client.push().json()["CheckoutRequestID"]
    url = f"{client.url}/control/prompts/{checkout}/answer/"

    plain = requests.post(url, data='{"action": "pay"}', headers={"Content-Type": "text/plain"}, timeout=5)
    preflight = requests.options(url, headers={"Origin": "https://evil.example"}, timeout=5)

    assert plain.status_code == 400
    assert "Access-Control-Allow-Origin" not in preflight.headers
    assert client.control("book/").json() == {"debits": [], "payouts": []}
