"""C2B: registered URLs, paybill payments, and confirmations of STK payments."""

import hashlib
import re

import pytest

from payments.simulator.faults import MAGIC_PHONES

V1, V2 = "/mpesa/c2b/v1/registerurl", "/mpesa/c2b/v2/registerurl"


def register(client, path=V2, **fields):
    body = {
        "ShortCode": "174379",
        "ResponseType": "Completed",
        "ConfirmationURL": f"{client.listener.url}/confirm",
        "ValidationURL": f"{client.listener.url}/validate",
        **fields,
    }
    return client.post(path, body)


def pay(client, **fields):
    return client.control("paybill/", {"phone": "254700000126", "account": " kx-12 ", "amount": 1500, **fields})


def test_registration_answers_with_the_misspelt_key(client):
    body = register(client, V1).json()

    assert body.pop("OriginatorCoversationID")
    assert body == {"ResponseCode": "0", "ResponseDescription": "success"}


@pytest.mark.parametrize(
    ("word", "code"),
    [("bare", {}), ("zeros", {"ResponseCode": "00000000"})],
)
def test_registration_can_answer_in_other_live_forms(start, word, code):
    body = register(start(registering=word), V1).json()

    assert body.pop("OriginatorCoversationID")
    assert body == {**code, "ResponseDescription": "success"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ShortCode", "999999"),
        ("ResponseType", "completed"),
        ("ConfirmationURL", ""),
        ("ValidationURL", ""),  # the sandbox's paybill uses validation
    ],
)
def test_registration_names_a_wrong_field(client, field, value):
    answer = register(client, **{field: value})

    assert answer.status_code == 400
    assert (answer.json()["errorCode"], answer.json()["errorMessage"]) == (
        "400.002.02",
        f"Bad Request - Invalid {field}",
    )


@pytest.mark.parametrize("path", ["mpesa/confirm", "Query"])
def test_production_refuses_some_words_in_registered_urls(start, client, path):
    urls = {"ConfirmationURL": f"https://club.example/{path}", "ValidationURL": "https://club.example/v"}

    sandbox, production = register(client, **urls), register(start(mode="production"), **urls)

    assert sandbox.status_code == 200  # Safaricom's own samples register such URLs
    assert (production.status_code, production.json()["errorMessage"]) == (
        400,
        "Bad Request - Invalid ConfirmationURL",
    )


def test_urls_can_be_replaced_in_the_sandbox_only(start, client):
    production = start(mode="production")
    urls = {"ConfirmationURL": "https://club.example/c", "ValidationURL": "https://club.example/v"}

    sandbox = [register(client).status_code for _ in range(2)]
    first, second = register(production, **urls), register(production, **urls)

    assert sandbox == [200, 200]
    assert first.status_code == 200
    assert (second.status_code, second.json()) == (
        500,
        {"errorCode": "500.003.1001", "errorMessage": "Urls are already registered."},
    )


def test_paybill_payment_is_validated_then_confirmed(client, listener):
    register(client)
    listener.replies["/validate"] = (200, b'{"ResultCode": "0", "ResultDesc": "Accepted", "ThirdPartyTransID": "77"}')

    code = pay(client).json()["code"]
    (first, validation), (second, confirmation) = listener.next(), listener.next()

    assert (first, second) == ("/validate", "/confirm")
    assert re.fullmatch(r"\d{14}", confirmation["TransTime"])
    assert confirmation == {
        "TransactionType": "Pay Bill",
        "TransID": code,
        "TransTime": confirmation["TransTime"],
        "TransAmount": "1500.00",
        "BusinessShortCode": "174379",
        "BillRefNumber": " kx-12 ",
        "InvoiceNumber": "",
        "OrgAccountBalance": "1500.00",
        "ThirdPartyTransID": "77",
        "MSISDN": "2547 ***** 126",
        "FirstName": confirmation["FirstName"],
        "MiddleName": "",
        "LastName": confirmation["LastName"],
    }
    assert validation == {**confirmation, "OrgAccountBalance": "", "ThirdPartyTransID": ""}
    (debit,) = client.control("book/").json()["debits"]
    assert (debit["code"], debit["channel"], debit["account"]) == (code, "c2b", " kx-12 ")
    assert listener.silent()


def test_version_1_has_a_hashed_number_and_the_first_name(client, listener):
    register(client, V1)

    pay(client)
    _, body = listener.next()

    assert body["MSISDN"] == hashlib.sha256(b"254700000126").hexdigest()
    assert {key for key in body if key.endswith("Name")} == {"FirstName"}


def test_rejected_payment_moves_no_money(client, listener):
    register(client)
    listener.replies["/validate"] = (200, b'{"ResultCode": "C2B00012", "ResultDesc": "Rejected"}')

    answer = pay(client)

    assert answer.status_code == 409
    assert "Invalid Account Number" in answer.json()["result_desc"]
    assert client.control("book/").json() == {"debits": [], "payouts": []}


@pytest.mark.parametrize(("response_type", "status"), [("Completed", 200), ("Cancelled", 409)])
@pytest.mark.parametrize("reply", [(500, b""), (200, b"oops"), (200, b"[]")])
def test_without_a_verdict_the_registered_default_decides(client, listener, response_type, status, reply):
    register(client, ResponseType=response_type)
    listener.replies["/validate"] = reply

    assert pay(client).status_code == status


def test_without_urls_a_payment_completes_silently(client, listener):
    assert pay(client).status_code == 200
    assert listener.silent()


def test_without_validation_only_the_confirmation_comes(start, listener):
    client = start(validation="off")
    register(client)

    pay(client)

    assert listener.next()[0] == "/confirm"
    assert listener.silent()


@pytest.mark.parametrize(
    ("magic", "order"),
    [
        ("254700000500", ["/validate", "/confirm", "/stk/token"]),  # confirmation_first
        ("254700000501", ["/validate", "/stk/token", "/confirm"]),  # confirmation_last
        ("254700000502", ["/validate", "/confirm"]),  # confirmation_only
        ("254700000503", ["/validate", "/stk/token"]),  # no_confirmation
    ],
)
def test_stk_payment_is_reported_on_both_channels_in_either_order(start, listener, magic, order):
    client = start(speed=10)
    register(client)

    client.push(PhoneNumber=magic)
    heard = [listener.next() for _ in order]

    assert [path for path, _ in heard] == order
    codes = {body["TransID"] for path, body in heard if path == "/confirm"} | {
        body["Body"]["stkCallback"]["CallbackMetadata"]["Item"][1]["Value"]
        for path, body in heard
        if path == "/stk/token"
    }
    assert codes == {debit["code"] for debit in client.control("book/").json()["debits"]}
    assert len(codes) == 1
    assert listener.silent()


@pytest.mark.parametrize(
    ("name", "msisdn", "empty", "amount"),
    [
        ("confirmation_nulls", "2547 ***** 506", None, "1500.00"),
        ("confirmation_full_phone", "254700000507", "", "1500.00"),
        ("confirmation_masked_hash", r"[0-9a-f]{8}\*{4}[0-9a-f]{8}", "", "1500.00"),
        ("confirmation_whole_amount", "2547 ***** 509", "", "1500"),
    ],
)
def test_confirmation_has_each_live_variant(start, listener, name, msisdn, empty, amount):
    client = start(validation="off")
    register(client)
    phone = next(phone for phone, how in MAGIC_PHONES.items() if how.confirmation == name)

    pay(client, phone=phone)
    _, body = listener.next()

    assert body["MSISDN"] == msisdn or re.fullmatch(msisdn, body["MSISDN"])
    assert (body["InvoiceNumber"], body["TransAmount"]) == (empty, amount)
    assert ("FirstName" in body) == (name != "confirmation_nulls")


def test_confirmation_can_be_lost_or_sent_twice(start, listener):
    client = start(validation="off")
    register(client)

    pay(client, phone="254700000503")
    assert listener.silent()
    pay(client, phone="254700000504")

    assert listener.next() == listener.next()
    assert listener.silent()


def test_rejected_validation_fails_the_stk_payment(client, listener):
    register(client)
    listener.replies["/validate"] = (200, b'{"ResultCode": "C2B00016", "ResultDesc": "Rejected"}')
    checkout = client.push().json()["CheckoutRequestID"]

    client.answer(checkout, "pay")
    heard = [listener.next() for _ in range(2)]

    assert [path for path, _ in heard] == ["/validate", "/stk/token"]
    assert heard[1][1]["Body"]["stkCallback"]["ResultCode"] == 14
    assert client.control("book/").json() == {"debits": [], "payouts": []}


def test_till_reports_customer_merchant_payments_without_account(start, listener):
    client = start(till="5550001", validation="off")
    register(client, ShortCode="5550001")

    pay(client, account="")
    _, body = listener.next()

    assert (body["TransactionType"], body["BillRefNumber"], body["BusinessShortCode"]) == (
        "Customer Merchant Payment",
        "",
        "5550001",
    )


def test_only_the_sandbox_simulates_a_payment(start, client, listener):
    body = {
        "ShortCode": 600984,
        "CommandID": "CustomerPayBillOnline",
        "Amount": 1,
        "Msisdn": 254708374149,
        "BillRefNumber": "Test Ref",
    }
    register(client, ShortCode="600984", ValidationURL="")

    sandbox = client.post("/mpesa/c2b/v2/simulate", body)
    production = start(mode="production").post("/mpesa/c2b/v2/simulate", body)
    _, confirmation = listener.next()

    assert sandbox.json()["ResponseDescription"] == "Accept the service request successfully."
    assert (confirmation["BillRefNumber"], confirmation["TransAmount"]) == ("Test Ref", "1.00")
    assert production.status_code == 404


@pytest.mark.parametrize(
    "fields",
    [
        {"phone": "0722000000"},
        {"amount": 0},
        {"amount": 250_001},
        {"amount": "100"},
        {"account": "x" * 21},
        {"business": "123456"},
    ],
)
def test_paybill_payment_out_of_bounds_is_refused(client, fields):
    assert pay(client, **fields).status_code in (400, 404)
    assert client.control("book/").json() == {"debits": [], "payouts": []}


def test_pull_transactions_lists_the_payments(client, listener):
    missing = client.post("/pulltransactions/v1/query", pull_body())
    registering = {
        "ShortCode": "174379",
        "RequestType": "Pull",
        "NominatedNumber": "0722000000",
        "CallBackURL": "https://domain/path",
    }
    first, second = (client.post("/pulltransactions/v1/register", registering).json() for _ in range(2))
    empty = client.post("/pulltransactions/v1/query", pull_body()).json()
    code = pay(client).json()["code"]
    found = client.post("/pulltransactions/v1/query", pull_body())

    assert missing.status_code == 500
    assert (first["ResponseStatus"], second["ResponseStatus"]) == ("1000", "1001")
    assert (empty["ResponseCode"], empty["Response"]) == ("1001", [[]])
    body = found.json()
    assert body["ResponseCode"] == "1000"
    ((row,),) = body["Response"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row.pop("trxDate"))
    assert row == {
        "transactionId": code,
        "msisdn": 700000126,
        "sender": "MPESA",
        "transactiontype": "c2b-pay-bill-debit",
        "billreference": " kx-12 ",
        "amount": 1500.0,
        "organizationname": "Kilabu Fitness",
    }


def pull_body():
    return {
        "ShortCode": "174379",
        "StartDate": "2020-08-04 8:36:00",
        "EndDate": "2099-08-16 10:10:000",
        "OffSetValue": "0",
    }
