"""Errors of an STK push, and rules of M-Pesa."""

import base64

import pytest
import requests

from payments.simulator.options import SANDBOX_PASSKEY

PUSH = "/mpesa/stkpush/v1/processrequest"


def password(shortcode, stamp, passkey=SANDBOX_PASSKEY):
    return base64.b64encode(f"{shortcode}{passkey}{stamp}".encode()).decode()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("BusinessShortCode", "paybill"),
        ("BusinessShortCode", None),
        ("BusinessShortCode", 12),
        ("Timestamp", "2021-06-28"),
        ("Timestamp", "20211328092408"),
        ("TransactionType", "CustomerPayBill"),
        ("TransactionType", "CustomerBuyGoodsOnline"),  # the sandbox's number is a paybill
        ("Amount", 0),
        ("Amount", -5),
        ("Amount", 1.5),
        ("Amount", "10.00"),
        ("Amount", 250_001),
        ("Amount", True),
        ("Amount", "٣"),
        ("PartyA", "0722000000"),
        ("PartyB", "x"),
        ("PhoneNumber", "+254722000000"),
        ("PhoneNumber", 254822000000),
        ("CallBackURL", "ftp://mydomain.com/path"),
        ("CallBackURL", "https://my domain.com/path"),
        ("CallBackURL", "https://mydomain.com:port/path"),
        ("CallBackURL", ""),
        ("AccountReference", ""),
        ("AccountReference", "x" * 13),
    ],
)
def test_wrong_field_is_named(client, field, value):
    answer = client.push(**{field: value})

    body = answer.json()
    assert answer.status_code == 400
    assert body.pop("requestId")
    assert body == {"errorCode": "400.002.02", "errorMessage": f"Bad Request - Invalid {field}"}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"BusinessShortCode": 123456}, "Merchant does not exist"),
        ({"Password": "wrong"}, "Wrong credentials"),
        ({"Password": None}, "Wrong credentials"),
        ({"Timestamp": "20210628092409"}, "Wrong credentials"),
        ({"Password": password("174379", "20210628092408", passkey="other")}, "Wrong credentials"),
    ],
)
def test_wrong_merchant_and_password_differ_by_text_only(client, fields, text):
    answer = client.push(**fields)

    assert answer.status_code == 500
    assert (answer.json()["errorCode"], answer.json()["errorMessage"]) == ("500.001.1001", text)


@pytest.mark.parametrize(
    "fields",
    [
        {"Amount": "1500", "PartyB": "174379", "BusinessShortCode": "174379", "PhoneNumber": "254700000001"},
        {"Amount": 250_000},
        {"PhoneNumber": 254112000001},
        {"TransactionDesc": ""},
        {"TransactionDesc": "Lipa na mpesa online"},  # longer than the portal's 13, as Safaricom's libraries send it
        {"CallBackURL": "https://196.201.214.200:8443/path"},
    ],
)
def test_numbers_and_strings_are_both_accepted(client, fields):
    assert client.push(**fields).status_code == 200


def test_too_long_text_ends_as_1025_without_a_prompt(client, listener):
    checkout = client.push(TransactionDesc="x" * 130).json()["CheckoutRequestID"]

    assert client.answer(checkout, "pay").status_code == 409
    assert listener.next()[1]["Body"]["stkCallback"]["ResultCode"] == 1025


def test_description_is_optional(client):
    body = client.push_body()
    del body["TransactionDesc"]

    assert client.post(PUSH, body).status_code == 200


def test_missing_json_content_type_is_a_wrong_shortcode(client):
    headers = {"Authorization": f"Bearer {client.token()}", "Content-Type": "text/plain"}

    answer = requests.post(client.url + PUSH, data="{}", headers=headers, timeout=5)

    assert (answer.status_code, answer.json()["errorMessage"]) == (400, "Bad Request - Invalid BusinessShortCode")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 100_000])
def test_broken_payload_is_refused(client, body):
    headers = {"Authorization": f"Bearer {client.token()}", "Content-Type": "application/json"}

    answer = requests.post(client.url + PUSH, data=body, headers=headers, timeout=5)

    assert (answer.status_code, answer.json()["errorCode"]) == (400, "400.002.05")


def test_production_requires_https_and_no_tunnel(start):
    client = start(mode="production")

    answers = [
        client.push(CallBackURL=url).status_code
        for url in ("http://mydomain.com/path", "https://abc.ngrok.io/path", "https://mydomain.com/path")
    ]

    assert answers == [400, 400, 200]


def test_till_accepts_its_store_number_and_buy_goods(start, listener):
    client = start(till="5550001")

    right = client.push(TransactionType="CustomerBuyGoodsOnline", PartyB=5550001)
    client.answer(right.json()["CheckoutRequestID"], "pay")
    _, paid = listener.next()
    client.push(TransactionType="CustomerPayBillOnline", PartyB=174379)
    _, wrong_type = listener.next()
    client.push(TransactionType="CustomerBuyGoodsOnline", PartyB=99999)
    _, wrong_party = listener.next()

    codes = [body["Body"]["stkCallback"]["ResultCode"] for body in (paid, wrong_type, wrong_party)]
    assert codes == [0, 2028, "SFC_IC0003"]


def test_second_push_is_refused_while_one_is_open(client):
    client.push()

    answer = client.push()

    assert answer.status_code == 500
    assert answer.json()["errorMessage"] == (
        "Unable to lock subscriber, a transaction is already in process for the current subscriber"
    )


def test_second_push_can_end_as_1001(start, listener):
    client = start(second_push="result")
    client.push()

    second = client.push()
    _, body = listener.next()

    assert second.status_code == 200
    assert body["Body"]["stkCallback"]["CheckoutRequestID"] == second.json()["CheckoutRequestID"]
    assert body["Body"]["stkCallback"]["ResultCode"] == 1001


@pytest.mark.parametrize(
    ("rule", "action", "amount", "code"),
    [
        ("paid", "pay", 1500, 17),
        ("any", "cancel", 1500, 17),
        ("paid", "cancel", 1500, 1037),
        ("off", "pay", 1500, 1037),
        ("any", "pay", 1501, 1037),
    ],
)
def test_rule_17_refuses_the_same_payment_for_two_minutes(start, listener, rule, action, amount, code):
    client = start(rule_17=rule, speed=200)
    client.answer(client.push().json()["CheckoutRequestID"], action)
    listener.next()

    client.push(Amount=amount)
    _, body = listener.next()

    assert body["Body"]["stkCallback"]["ResultCode"] == code


def test_phone_without_enough_money_ends_as_1(start, listener):
    client = start(opening_balance=1499)

    client.answer(client.push().json()["CheckoutRequestID"], "pay")
    _, body = listener.next()

    assert body["Body"]["stkCallback"]["ResultCode"] == 1
    assert client.control("book/").json() == {"debits": [], "payouts": []}


def test_daily_limit_ends_a_payment_as_4(start, listener):
    client = start(opening_balance=1_000_000)
    codes = []
    for amount in (250_000, 249_999, 2):
        client.answer(client.push(Amount=amount).json()["CheckoutRequestID"], "pay")
        codes.append(listener.next()[1]["Body"]["stkCallback"]["ResultCode"])

    assert codes == [0, 0, 4]


def test_busy_system_and_quota_have_live_texts(client):
    for name in ("busy_500", "spike_500", "quota_500"):
        client.control("faults/", {"next": [{"fault": name}]})

    answers = [client.push().json() for _ in range(3)]

    assert [(body["errorCode"], body["errorMessage"]) for body in answers] == [
        ("500.003.02", "System is busy. Please try again in few minutes."),
        ("500.003.02", "Error Occurred: Spike Arrest Violation"),
        ("500.003.03", "Quota Violation"),
    ]
