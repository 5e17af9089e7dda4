"""Published sample requests, accepted unchanged: of the Daraja portal here, of other sources in samples.py.

Bodies as published on developer.safaricom.co.ke (December 2025; a copy: github.com/JacksCodeVault/mpesa-daraja-mcp,
daraja_docs_v3/docs). Placeholders such as "your confirmation URL" are filled in. The portal's sample of an STK query
cannot be accepted: its password lacks a character, and its prompt does not exist.
"""

import re

import pytest

from payments.simulator.tests import samples

EXPRESS = {
    "BusinessShortCode": 174379,
    "Password": (
        "MTc0Mzc5YmZiMjc5ZjlhYTliZGJjZjE1OGU5N2RkNzFhNDY3Y2QyZTBjODkzMDU5YjEwZjc4ZTZiNzJhZGExZWQyYzkx"
        "OTIwMjEwNjI4MDkyNDA4"
    ),
    "Timestamp": "20210628092408",
    "TransactionType": "CustomerPayBillOnline",
    "Amount": "1",
    "PartyA": "254722000000",
    "PartyB": "174379",
    "PhoneNumber": "254722111111",
    "CallBackURL": "https://mydomain.com/path",
    "AccountReference": "accountref",
    "TransactionDesc": "txndesc",
}
QUERY = {
    "BusinessShortCode": "174379",
    "Password": (
        "MTc0Mzc5YmZiMjc5TliZGJjZjE1OGU5N2RkNzFhNDY3Y2QyZTBjODkzMDU5YjEwZjc4ZTZiNzJhZGExZWQyYzkxOTIwMTYwMjE2MTY1NjI3"
    ),
    "Timestamp": "20160216165627",
    "CheckoutRequestID": "ws_CO_260520211133524545",
}
REGISTER_V1 = {
    "ShortCode": "601426",
    "ResponseType": "Completed",  # "[Cancelled/Completed]"
    "ConfirmationURL": "https://mydomain.com/confirmation",
    "ValidationURL": "https://mydomain.com/validation",
}
REGISTER_V2 = {**REGISTER_V1, "ShortCode": "600984", "ResponseType": "Cancelled"}
SIMULATE = {
    "ShortCode": 600984,
    "CommandID": "CustomerPayBillOnline",
    "Amount": 1,
    "Msisdn": 254708374149,
    "BillRefNumber": "Test Ref",
}
SIMULATE_BUY_GOODS = {**SIMULATE, "CommandID": "CustomerBuyGoodsOnline", "BillRefNumber": None}
B2C = {
    "OriginatorConversationID": "600997_Test_32et3241ed8yu",
    "InitiatorName": "testapi",
    "SecurityCredential": "RC6E9WDxXR4b9X2c6z3gp0oC5Th ==",
    "CommandID": "BusinessPayment",
    "Amount": "10",
    "PartyA": "600992",
    "PartyB": "254705912645",
    "Remarks": "remarked",
    "QueueTimeOutURL": "https://mydomain.com/path",
    "ResultURL": "https://mydomain.com/path",
    "Occassion": "ChristmasPay",
}
REVERSAL = {
    "Initiator": "apiop37",
    "SecurityCredential": ("jUb+dOXJiBDui8FnruaFckZJQup3kmmCH5XJ4NY/Oo3KaUTmJbxUiVgzBjqdL533u5Q435MT2VJwr/ /1fuZvA==="),
    "CommandID": "TransactionReversal",
    "TransactionID": "PDU91HIVIT",
    "Amount": "200",
    "ReceiverParty": "603021",
    "RecieverIdentifierType": "11",
    "ResultURL": "https://mydomain.com/reversal/result",
    "QueueTimeOutURL": "https://mydomain.com/reversal/queue",
    "Remarks": "Payment reversal",
}
BALANCE = {
    "Initiator": "testapiuser",
    "SecurityCredential": "SAFVNChNHfVtXEZMBuVo+a1Hwr+DtrUVN3zVg==",
    "CommandID": "AccountBalance",
    "PartyA": "600000",
    "IdentifierType": "4",
    "Remarks": "ok",
    "QueueTimeOutURL": "http://myservice:8080/queuetimeouturl",
    "ResultURL": "http://myservice:8080/result",
}
STATUS = {
    "Initiator": "testapiuser",
    "SecurityCredential": "ClONZiMYBpc65lmpJ7nvnrDmUe0WvHvA5QbOsPjEo92B6IGFwDdvdeJIFL0kgwsEKWu6SQKG4ZZUxjC",
    "Command ID": "TransactionStatusQuery",  # sic, with a space
    "Transaction ID": "NEF61H8J60",
    "OriginalConversationID": "7071-4170-a0e5-8345632bad442144258",
    "PartyA": "600782",
    "IdentifierType": "4",
    "ResultURL": "http://myservice:8080/transactionstatus/result",
    "QueueTimeOutURL": "http://myservice:8080/timeout",
    "Remarks": "OK",
    "Occasion": "OK",
}
STATUS_WITHOUT_SPACES = {key.replace(" ", ""): value for key, value in STATUS.items()}
PULL_REGISTER = {
    "ShortCode": "600000",
    "RequestType": "Pull",
    "NominatedNumber": "0722000000",
    "CallBackURL": "https://domain/path",
}
PULL = {
    "ShortCode": "600000",
    "StartDate": "2020-08-04 8:36:00",
    "EndDate": "2020-08-16 10:10:000",  # sic, three digits of seconds
    "OffSetValue": "0",
}
ACCEPTED = {"ResponseCode": "0", "ResponseDescription": "Accept the service request successfully."}
PATTERNS = {
    "MerchantRequestID": r"[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\d{7}",
    "CheckoutRequestID": r"ws_CO_\d{17}722111111",
    "OriginatorCoversationID": r"\S{30,40}",
    "OriginatorConversationID": r"\S{20,40}",
    "ConversationID": r"AG_\d{8}_[0-9a-f]{20}",
    "ResponseRefID": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
}
SAMPLES = [
    (
        "/mpesa/stkpush/v1/processrequest",
        EXPRESS,
        {
            "ResponseCode": "0",
            "ResponseDescription": "Success. Request accepted for processing",
            "CustomerMessage": "Success. Request accepted for processing",
        },
        {"MerchantRequestID", "CheckoutRequestID"},
    ),
    (
        "/mpesa/c2b/v1/registerurl",
        REGISTER_V1,
        {"ResponseCode": "0", "ResponseDescription": "success"},
        {"OriginatorCoversationID"},
    ),
    (
        "/mpesa/c2b/v2/registerurl",
        REGISTER_V2,
        {"ResponseCode": "0", "ResponseDescription": "Success"},
        {"OriginatorCoversationID"},
    ),
    ("/mpesa/c2b/v2/simulate", SIMULATE, ACCEPTED, {"OriginatorCoversationID"}),
    ("/mpesa/c2b/v1/simulate", SIMULATE_BUY_GOODS, ACCEPTED, {"OriginatorCoversationID"}),
    ("/mpesa/b2c/v3/paymentrequest", B2C, ACCEPTED, {"OriginatorConversationID", "ConversationID"}),
    ("/mpesa/b2c/v1/paymentrequest", B2C, ACCEPTED, {"OriginatorConversationID", "ConversationID"}),
    ("/mpesa/reversal/v1/request", REVERSAL, ACCEPTED, {"OriginatorConversationID", "ConversationID"}),
    ("/mpesa/accountbalance/v1/query", BALANCE, ACCEPTED, {"OriginatorConversationID", "ConversationID"}),
    ("/mpesa/transactionstatus/v1/query", STATUS, ACCEPTED, {"OriginatorConversationID", "ConversationID"}),
    (
        "/mpesa/transactionstatus/v1/query",
        STATUS_WITHOUT_SPACES,
        ACCEPTED,
        {"OriginatorConversationID", "ConversationID"},
    ),
    (
        "/pulltransactions/v1/register",
        PULL_REGISTER,
        {
            "ResponseStatus": "1000",
            "ShortCode": "600000",
            "ResponseDescription": "Shortcode Registered Successfully",
        },
        {"ResponseRefID"},
    ),
]


@pytest.mark.parametrize(("path", "body", "fixed", "generated"), SAMPLES)
def test_sample_of_the_portal_is_accepted(client, path, body, fixed, generated):
    answer = client.post(path, body)

    reply = answer.json()
    assert answer.status_code == 200
    assert set(reply) == set(fixed) | generated
    assert {key: reply[key] for key in fixed} == fixed
    for key in generated:
        assert re.fullmatch(PATTERNS[key], reply[key]), key


def test_pull_query_of_the_portal_is_accepted(client):
    client.post("/pulltransactions/v1/register", PULL_REGISTER)

    answer = client.post("/pulltransactions/v1/query", PULL)

    assert (answer.status_code, answer.json()["Response"]) == (200, [[]])


def test_stk_query_of_the_portal_has_a_wrong_password(client):
    answer = client.post("/mpesa/stkpushquery/v1/query", QUERY)

    assert (answer.status_code, answer.json()["errorMessage"]) == (500, "Wrong credentials")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param(path, body, id=f"{source} {path}")
        for source, requests in samples.ACCEPTED.items()
        for path, body in requests
    ],
)
def test_request_of_a_library_is_accepted(client, path, body):
    answer = client.post(path, body)

    assert (answer.status_code, answer.json()["ResponseCode"]) == (200, "0")


@pytest.mark.parametrize(("path", "body", "refusal"), samples.REFUSED)
def test_invalid_sample_has_the_published_error(client, path, body, refusal):
    answer = client.post(path, body)

    reply = answer.json()
    assert (answer.status_code, reply["errorCode"], reply["errorMessage"]) == refusal


@pytest.mark.parametrize(
    ("path", "desc"),
    [
        (samples.B2C, "The service request is processed successfully."),
        (samples.BALANCE, "The service request is processed successfully."),
        (samples.REVERSAL, "The OriginalTransactionID is invalid."),
        (samples.STATUS, "The format of parameter null is invalid."),
    ],
)
def test_node_library_receives_the_results_of_its_own_tests(client, listener, path, desc):
    body = dict(samples.NODE)[path]

    client.post(path, {**body, "ResultURL": f"{listener.url}/success", "QueueTimeOutURL": f"{listener.url}/timeout"})

    path_called, result = listener.next()
    assert (path_called, result["Result"]["ResultDesc"]) == ("/success", desc)
