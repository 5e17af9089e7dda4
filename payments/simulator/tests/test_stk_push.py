"""STK push and query, over real HTTP."""

import re

import pytest


def test_accepted_push_has_the_answer_of_safaricom(client):
    answer = client.push()

    body = answer.json()
    assert answer.status_code == 200
    assert re.fullmatch(r"[0-9a-f]{4}(-[0-9a-f]{4}){2}-[0-9a-f]{12}\d{7}", body.pop("MerchantRequestID"))
    assert re.fullmatch(r"ws_CO_\d{17}700000001", body.pop("CheckoutRequestID"))
    assert body == {
        "ResponseCode": "0",
        "ResponseDescription": "Success. Request accepted for processing",
        "CustomerMessage": "Success. Request accepted for processing",
    }


def test_paid_prompt_sends_one_callback(client, listener):
    accepted = client.push().json()

    client.answer(accepted["CheckoutRequestID"], "pay")
    path, headers, body = listener.next_raw()

    (debit,) = client.control("book/").json()["debits"]
    assert path == "/stk/token"
    assert headers["content-type"] == "application/json;charset=UTF-8"
    assert headers["businessshortcode"] == "174379"
    assert re.fullmatch(
        rb'\{"Body":\{"stkCallback":\{"MerchantRequestID":"%s","CheckoutRequestID":"%s","ResultCode":0,'
        rb'"ResultDesc":"The service request is processed successfully\.","CallbackMetadata":\{"Item":\['
        rb'\{"Name":"Amount","Value":1500\.00\},\{"Name":"MpesaReceiptNumber","Value":"%s"\},\{"Name":"Balance"\},'
        rb'\{"Name":"TransactionDate","Value":\d{14}\},\{"Name":"PhoneNumber","Value":254700000001\}\]\}\}\}\}'
        % (accepted["MerchantRequestID"].encode(), accepted["CheckoutRequestID"].encode(), debit["code"].encode()),
        body,
    )
    assert (debit["amount"], debit["phone"], debit["shortcode"], debit["account"], debit["channel"]) == (
        1500,
        "254700000001",
        "174379",
        "KX12",
        "stk",
    )
    assert debit["checkout_request_id"] == accepted["CheckoutRequestID"]
    assert listener.silent()


@pytest.mark.parametrize(
    ("action", "code", "desc"),
    [
        ("cancel", 1032, "Request cancelled by user"),
        ("wrong_pin", 2001, "The initiator information is invalid."),
        ("no_funds", 1, "The balance is insufficient for the transaction."),
    ],
)
def test_callback_of_an_unpaid_prompt_has_no_metadata(client, listener, action, code, desc):
    accepted = client.push().json()

    client.answer(accepted["CheckoutRequestID"], action)
    _, body = listener.next()

    assert body == {
        "Body": {
            "stkCallback": {
                "MerchantRequestID": accepted["MerchantRequestID"],
                "CheckoutRequestID": accepted["CheckoutRequestID"],
                "ResultCode": code,
                "ResultDesc": desc,
            }
        }
    }
    assert client.control("book/").json() == {"debits": [], "payouts": []}


def test_ignored_prompt_expires(start, listener):
    client = start(speed=200)
    accepted = client.push().json()

    client.answer(accepted["CheckoutRequestID"], "ignore")
    _, body = listener.next()

    assert body["Body"]["stkCallback"]["ResultCode"] == 1037
    assert body["Body"]["stkCallback"]["ResultDesc"] == "No response from user."
    assert client.answer(accepted["CheckoutRequestID"], "pay").status_code == 409


def test_failed_callback_is_not_repeated(client, listener):
    listener.replies["/stk/token"] = (500, b"")
    accepted = client.push().json()

    client.answer(accepted["CheckoutRequestID"], "pay")

    assert listener.next()
    assert listener.silent(0.5)


def test_query_answers_with_live_texts(client, listener):
    checkout = client.push().json()["CheckoutRequestID"]
    waiting = client.query(checkout)
    client.answer(checkout, "cancel")
    over = client.query(checkout)

    assert (waiting.status_code, waiting.json()) == (
        500,
        {
            "requestId": checkout,
            "errorCode": "500.001.1001",
            "errorMessage": "The transaction is being processed",
        },
    )
    body = over.json()
    assert over.status_code == 200
    assert body.pop("MerchantRequestID")
    assert body == {
        "ResponseCode": "0",
        "ResponseDescription": "The service request has been accepted successsfully",
        "CheckoutRequestID": checkout,
        "ResultCode": "1032",
        "ResultDesc": "Request cancelled by user",
    }


def test_query_has_another_text_for_a_timeout(start, listener):
    client = start(speed=200)
    checkout = client.push().json()["CheckoutRequestID"]
    listener.next()

    answer = client.query(checkout).json()

    assert (answer["ResultCode"], answer["ResultDesc"]) == ("1037", "DS timeout user cannot be reached.")


def test_query_of_an_unknown_prompt_answers_500(client):
    answer = client.query("ws_CO_01012026000000000700000001")

    body = answer.json()
    assert answer.status_code == 500
    assert body.pop("requestId")
    assert body == {"errorCode": "500.001.1001", "errorMessage": "The transaction does not Exist"}
