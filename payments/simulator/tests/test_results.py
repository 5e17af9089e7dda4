"""B2C, Reversal, Transaction Status and Account Balance: acknowledgements and Results."""

import re

import pytest

ASYNC = {"SecurityCredential": "RC6E9WDxXR4b9X2c6z3gp0oC5Th ==", "Remarks": "ok"}


def urls(client):
    return {"ResultURL": f"{client.listener.url}/result", "QueueTimeOutURL": f"{client.listener.url}/timeout"}


def b2c(client, path="/mpesa/b2c/v3/paymentrequest", **fields):
    body = {
        **ASYNC,
        **urls(client),
        "OriginatorConversationID": "600997_Test_1",
        "InitiatorName": "testapi",
        "CommandID": "BusinessPayment",
        "Amount": "10",
        "PartyA": "600992",
        "PartyB": "254705912645",
        "Occassion": "ChristmasPay",
        **fields,
    }
    return client.post(path, body)


def reverse(client, receipt, **fields):
    body = {
        **ASYNC,
        **urls(client),
        "Initiator": "apiop37",
        "CommandID": "TransactionReversal",
        "TransactionID": receipt,
        "Amount": "1500",
        "ReceiverParty": "174379",
        "RecieverIdentifierType": "11",
        **fields,
    }
    return client.post("/mpesa/reversal/v1/request", body)


def status(client, **fields):
    body = {
        **ASYNC,
        **urls(client),
        "Initiator": "testapi",
        "CommandID": "TransactionStatusQuery",
        "PartyA": "174379",
        "IdentifierType": "4",
        "Occasion": "OK",
        **fields,
    }
    return client.post("/mpesa/transactionstatus/v1/query", body)


def paid(client):
    return client.control("paybill/", {"phone": "254700000126", "account": "A", "amount": 1500}).json()["code"]


def parameters(result):
    return {item["Key"]: item.get("Value") for item in result["ResultParameters"]["ResultParameter"]}


def test_b2c_pays_a_phone_and_sends_a_result(client, listener):
    acknowledged = b2c(client).json()
    path, body = listener.next()

    assert re.fullmatch(r"AG_\d{8}_[0-9a-f]{20}", acknowledged["ConversationID"])
    assert acknowledged == {
        "OriginatorConversationID": "600997_Test_1",
        "ConversationID": acknowledged["ConversationID"],
        "ResponseCode": "0",
        "ResponseDescription": "Accept the service request successfully.",
    }
    result = body["Result"]
    reported = parameters(result)
    assert path == "/result"
    assert (result["ResultType"], result["ResultCode"]) == (0, 0)
    assert result["ConversationID"] == acknowledged["ConversationID"]
    assert reported["TransactionReceipt"] == result["TransactionID"]
    assert re.fullmatch(r"\d\d\.\d\d\.\d{4} \d\d:\d\d:\d\d", reported["TransactionCompletedDateTime"])
    assert (reported["TransactionAmount"], reported["B2CUtilityAccountAvailableFunds"]) == (10, 999_990.0)
    assert reported["B2CChargesPaidAccountAvailableFunds"] == -1980.0
    assert result["ReferenceData"]["ReferenceItem"]["Key"] == "QueueTimeoutURL"
    (phone,) = client.control("phones/?phones=254705912645").json()["phones"]
    assert phone["balance"] == 100_010
    (payout,) = client.control("book/").json()["payouts"]
    assert (payout["code"], payout["phone"], payout["amount"]) == (result["TransactionID"], "254705912645", 10)


def test_used_originator_conversation_id_is_refused(client, listener):
    b2c(client)
    listener.next()

    again = b2c(client)

    assert again.status_code == 500
    assert again.json()["errorCode"] == "500.002.1001"
    assert again.json()["errorMessage"] == "Duplicate OriginatorConversationID."
    assert listener.silent()


def test_version_1_creates_the_id(client, listener):
    first = b2c(client, "/mpesa/b2c/v1/paymentrequest").json()
    second = b2c(client, "/mpesa/b2c/v1/paymentrequest").json()

    assert first["OriginatorConversationID"] != second["OriginatorConversationID"]


def test_existing_book_repeats_no_id_with_the_same_seed(start, listener, tmp_path):
    answers = [b2c(start(book=tmp_path / "book.sqlite3", seed=42), "/mpesa/b2c/v1/paymentrequest") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert len({answer.json()["ConversationID"] for answer in answers}) == 2


def test_same_seed_gives_the_same_results(start, listener):
    def run_simulator():
        client = start(seed=42)
        answers = [b2c(client, "/mpesa/b2c/v1/paymentrequest").json() for _ in range(2)]
        results = sorted((listener.next()[1]["Result"] for _ in answers), key=lambda each: each["ConversationID"])
        order = [[item["Key"] for item in each["ResultParameters"]["ResultParameter"]] for each in results]
        return answers, [each["TransactionID"] for each in results], order

    first, again = run_simulator(), run_simulator()

    assert first == again
    assert first[0][0] != first[0][1]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"PartyA": "174379"}, 1),  # has no money yet
        ({"PartyA": "999999"}, 2028),
        ({"InitiatorName": "wrong"}, 2001),
        ({"InitiatorName": "norole"}, 21),
        ({"InitiatorName": "locked"}, 8006),
    ],
)
def test_failed_b2c_has_no_parameters(client, listener, fields, code):
    b2c(client, **fields)
    _, body = listener.next()

    assert body["Result"]["ResultCode"] == code
    assert "ResultParameters" not in body["Result"]


@pytest.mark.parametrize(
    ("fault", "paths"),
    [
        ("result_lost", []),
        ("result_duplicate", ["/result", "/result"]),
        ("queue_timeout", ["/timeout"]),
        ("result_late", ["/result"]),
    ],
)
def test_faulty_results(start, listener, fault, paths):
    client = start(speed=500)
    client.control("faults/", {"next": [{"fault": fault, "endpoint": "b2c"}]})

    b2c(client)

    assert [listener.next()[0] for _ in paths] == paths
    assert listener.silent()


def test_reference_item_can_be_a_list(client, listener):
    client.control("faults/", {"next": [{"fault": "reference_list", "endpoint": "b2c"}]})

    b2c(client)
    _, body = listener.next()

    items = body["Result"]["ReferenceData"]["ReferenceItem"]
    assert [set(item) for item in items] == [{"Key", "Value"}, {"Key"}]


def test_reversal_returns_the_money_once(client, listener):
    receipt = paid(client)

    reverse(client, receipt)
    _, first = listener.next()
    reverse(client, receipt)
    _, second = listener.next()

    assert first["Result"]["ResultCode"] == 0
    assert parameters(first["Result"])["OriginalTransactionID"] == receipt
    assert second["Result"]["ResultCode"] == "R000001"
    (debit,) = client.control("book/").json()["debits"]
    assert debit["reversed_at"] is not None
    (phone,) = client.control("phones/?phones=254700000126").json()["phones"]
    assert phone["balance"] == 100_000


def test_unknown_receipt_is_not_reversed(client, listener):
    reverse(client, "PDU91HIVIT")
    _, body = listener.next()

    assert body["Result"]["ResultCode"] == "R000002"
    assert body["Result"]["ResultDesc"] == "The OriginalTransactionID is invalid."


def test_malformed_receipt_is_refused_at_once(client):
    answer = reverse(client, "short")

    assert (answer.status_code, answer.json()["errorMessage"]) == (400, "Bad Request - Invalid TransactionID")


def test_transaction_status_finds_a_receipt(client, listener):
    receipt = paid(client)

    status(client, TransactionID=receipt)
    _, body = listener.next()

    reported = parameters(body["Result"])
    assert (reported["ReceiptNo"], reported["Amount"], reported["TransactionStatus"]) == (receipt, 1500.0, "Completed")
    assert reported["CreditPartyName"] == "174379 - Kilabu Fitness"
    assert isinstance(reported["FinalisedTime"], int)
    assert body["Result"]["ReferenceData"] == {"ReferenceItem": {"Key": "Occasion"}}


def test_transaction_status_finds_a_payout_by_conversation_id(client, listener):
    b2c(client)
    listener.next()

    status(client, OriginalConversationID="600997_Test_1")
    _, body = listener.next()

    assert parameters(body["Result"])["Amount"] == 10.0


def test_transaction_status_of_an_unknown_receipt_fails(client, listener):
    status(client, TransactionID="PDU91HIVIT")
    _, body = listener.next()

    assert body["Result"]["ResultCode"] == 25


def test_account_balance_reports_codes_as_strings(client, listener):
    paid(client)
    body = {
        **ASYNC,
        **urls(client),
        "Initiator": "testapiuser",
        "CommandID": "AccountBalance",
        "PartyA": "174379",
        "IdentifierType": "4",
    }

    client.post("/mpesa/accountbalance/v1/query", body)
    _, heard = listener.next()

    assert (heard["Result"]["ResultType"], heard["Result"]["ResultCode"]) == ("0", "0")
    assert "Utility Account|KES|1500.00|1500.00|0.00|0.00" in parameters(heard["Result"])["AccountBalance"]
