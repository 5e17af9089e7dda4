"""Parsing of messages from Safaricom: valid, varied, hostile."""

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payments.daraja import messages
from payments.daraja.messages import C2bMessage, Malformed, PushAccepted, StatusResult, StkResult

SUCCESS = [
    {"Name": "Amount", "Value": 1500.00},
    {"Name": "MpesaReceiptNumber", "Value": "UKN7XK41ZQ"},
    {"Name": "Balance"},
    {"Name": "TransactionDate", "Value": 20261123141500},
    {"Name": "PhoneNumber", "Value": 254712345678},
]
CONFIRMATION = {
    "TransactionType": "Pay Bill",
    "TransID": "UKN7XK41ZQ",
    "TransTime": "20261123141500",
    "TransAmount": "1500.00",
    "BusinessShortCode": "174379",
    "BillRefNumber": "K012V2AX",
    "InvoiceNumber": "",
    "OrgAccountBalance": "49197.00",
    "ThirdPartyTransID": None,
    "MSISDN": "2547 ***** 678",
    "FirstName": "WANJIKU",
    "MiddleName": "",
    "LastName": "O'KAMAU",
}


def stk(code=0, items=None, **changes):
    callback = {
        "MerchantRequestID": "2654-4b64-97ff-b827b542881d3130",
        "CheckoutRequestID": "ws_CO_23112026141500123712345678",
        "ResultCode": code,
        "ResultDesc": "The service request is processed successfully.",
    }
    if items is not None:
        callback["CallbackMetadata"] = {"Item": items}
    return json.dumps({"Body": {"stkCallback": {**callback, **changes}}}).encode()


def with_item(name, value):
    return [{"Name": name, "Value": value} if item["Name"] == name else item for item in SUCCESS]


def without_item(name):
    return [item for item in SUCCESS if item["Name"] != name]


def c2b(**changes):
    return json.dumps({**CONFIRMATION, **changes}).encode()


# --- The result of an STK push ---


def test_success_has_all_fields():
    assert messages.parse_stk_callback(stk(items=SUCCESS)) == StkResult(
        merchant_request_id="2654-4b64-97ff-b827b542881d3130",
        checkout_request_id="ws_CO_23112026141500123712345678",
        result_code="0",
        result_desc="The service request is processed successfully.",
        amount=1500,
        receipt_code="UKN7XK41ZQ",
        moved_at=datetime(2026, 11, 23, 11, 15, tzinfo=UTC),
        phone="254712345678",
    )


@pytest.mark.parametrize("code", [1, 17, 26, 1001, 1019, 1025, 1031, 1032, 1036, 1037, 2001, 2028, 4999, "SFC_IC0003"])
def test_failure_has_its_code_as_text_and_no_amount(code):
    result = messages.parse_stk_callback(stk(code))

    assert (result.result_code, result.amount, result.receipt_code) == (str(code), None, None)


def test_failure_with_metadata_has_no_amount():
    assert messages.parse_stk_callback(stk(1032, items=SUCCESS)).amount is None


def test_success_code_as_text_is_a_success():
    assert messages.parse_stk_callback(stk("0", items=SUCCESS)).amount == 1500


@pytest.mark.parametrize("raw", ["1500", "1500.0", "1500.00", '"1500"', '"1500.00"'])
def test_whole_shillings_are_parsed_in_every_form(raw):
    body = stk(items=with_item("Amount", "HERE")).replace(b'"HERE"', raw.encode())

    assert messages.parse_stk_callback(body).amount == 1500


@pytest.mark.parametrize(
    "raw",
    [
        "0",
        "-1",
        "1500.5",
        "1e3",
        "true",
        "null",
        '"1e3"',
        '"10 "',
        '"\\u0661\\u0665"',
        '""',
        "[]",
        "{}",
        "1E400",
        "100000001",
        "9" * 30,
        "NaN",
        "Infinity",
        '"1,500"',
        '"+5"',
        "1500.0000000001",
    ],
)
def test_amount_that_is_not_whole_shillings_is_malformed(raw):
    body = stk(items=with_item("Amount", "HERE")).replace(b'"HERE"', raw.encode())

    with pytest.raises(Malformed):
        messages.parse_stk_callback(body)


@pytest.mark.parametrize(
    "items",
    [
        SUCCESS[::-1],
        without_item("Balance"),
        without_item("TransactionDate"),
        without_item("PhoneNumber"),
        with_item("Balance", "200"),
        with_item("Balance", "{Amount={CurrencyCode=KES,BasicAmount=200.00}}"),
        with_item("PhoneNumber", "2547 ***** 678"),
        with_item("TransactionDate", "20261123141500"),
        with_item("MpesaReceiptNumber", " ukn7xk41zq "),
        [*SUCCESS, {"Name": "FutureThing", "Value": {"a": [1]}}],
    ],
)
def test_order_and_number_of_items_do_not_matter(items):
    result = messages.parse_stk_callback(stk(items=items))

    assert (result.amount, result.receipt_code) == (1500, "UKN7XK41ZQ")


@pytest.mark.parametrize(
    "items",
    [
        [],
        {},
        "Amount",
        [None],
        [{"Value": 1}],
        without_item("Amount"),
        without_item("MpesaReceiptNumber"),
        with_item("MpesaReceiptNumber", "0000000000"),
        with_item("MpesaReceiptNumber", 12345),
        with_item("MpesaReceiptNumber", "UKN7 XK41"),
        with_item("MpesaReceiptNumber", "U" * 17),
        [*SUCCESS, {"Name": "Amount", "Value": 1}],
        [*SUCCESS, *({"Name": f"n{number}"} for number in range(30))],
    ],
)
def test_success_with_unclear_items_is_malformed(items):
    with pytest.raises(Malformed):
        messages.parse_stk_callback(stk(items=items))


def test_success_without_metadata_is_malformed():
    with pytest.raises(Malformed):
        messages.parse_stk_callback(stk())


@pytest.mark.parametrize(
    "raw", ["false", "true", "null", "0.0", '""', '"1 or 1=1"', "[]", "{}", "9" * 20, '"%s"' % ("1" * 33)]
)
def test_invalid_result_code_is_malformed(raw):
    with pytest.raises(Malformed):
        messages.parse_stk_callback(stk("HERE", items=SUCCESS).replace(b'"HERE"', raw.encode()))


@pytest.mark.parametrize("moment", ["garbage", "", 0, 19700101000000, 20261332256199, 2026, None, 20261123141500.5])
def test_unreadable_transaction_time_is_none(moment):
    assert messages.parse_stk_callback(stk(items=with_item("TransactionDate", moment))).moved_at is None


def test_long_description_becomes_one_line_that_fits():
    result = messages.parse_stk_callback(stk(1, ResultDesc="no\r\nmoney " + "x" * 500))

    assert result.result_desc.startswith("no money xxx")
    assert len(result.result_desc) == 255


@pytest.mark.parametrize("name", ["MerchantRequestID", "CheckoutRequestID"])
@pytest.mark.parametrize("value", [None, 5, "", "x" * 65, "a b", "a\r\nb", "é"])
def test_invalid_identifier_is_malformed(name, value):
    with pytest.raises(Malformed):
        messages.parse_stk_callback(stk(1032, **{name: value}))


# --- Hostile bytes ---


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b'"text"',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b'{"Body": {}}',
        b'{"Body": []}',
        b'{"Body": {"stkCallback": 1}}',
        b'{"Body": {"a": 1, "a": 1}}',
        b"[" * 5000,
        b'{"a":' * 3000,
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": 1e999}',
        b'{"a": -Infinity}',
        b"x" * (16 * 1024 + 1),
        b"{" + b",".join(b'"%d":1' % number for number in range(65)) + b"}",
        stk(1032, ResultDesc="\x00"),
        stk(1032, ResultDesc="\ud800"),
        stk(1032, ResultDesc="x" * 1025),
        b'{"Envelope": {"Body": {"stkCallback": {"ResultCode": 3002}}}}',
        b"<html><body>403 Forbidden</body></html>",
    ],
)
def test_hostile_bytes_are_malformed(body):
    with pytest.raises(Malformed):
        messages.parse_stk_callback(body)
    with pytest.raises(Malformed):
        messages.parse_c2b(body)


def test_error_text_never_contains_the_body():
    with pytest.raises(Malformed) as caught:
        messages.parse_stk_callback(b'{"PhoneNumber": 254712345678')

    assert "2547" not in str(caught.value)
    assert caught.value.__cause__ is None


# Long enough for a busy machine; a parser that hangs still fails.
slow_machine = settings(deadline=5_000)  # milliseconds of one example


@slow_machine
@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_only_malformed(body):
    for parse in (messages.parse_stk_callback, messages.parse_c2b, messages.parse_status_result):
        with pytest.raises(Malformed):
            parse(body)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)


@slow_machine
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(CONFIRMATION, anything)), anything)
def test_arbitrary_json_raises_only_malformed(body, inner):
    for parse, value in ((messages.parse_c2b, body), (messages.parse_stk_callback, {"Body": {"stkCallback": inner}})):
        try:
            parse(json.dumps(value).encode())
        except Malformed:
            continue


def test_parser_is_fast_on_unclosed_strings():
    with pytest.raises(Malformed):
        messages.read_object(b'{"' + b'\\"' * 30_000 + b"\\", limit=messages.MAX_ANSWER)


# --- C2B ---


def test_confirmation_has_all_fields():
    assert messages.parse_c2b(c2b()) == C2bMessage(
        code="UKN7XK41ZQ",
        moved_at=datetime(2026, 11, 23, 11, 15, tzinfo=UTC),
        amount=1500,
        shortcode="174379",
        account="K012V2AX",
        sender="2547 ***** 678",
        payer_name="WANJIKU O'KAMAU",
        transaction_type="Pay Bill",
        third_party_id="",
    )


@pytest.mark.parametrize(
    ("sent", "invoice"), [("JANE\nWANJIRU", "JANE WANJIRU"), ("0", ""), (None, ""), ("1000350", "1000350")]
)
def test_invoice_number_is_kept_unless_it_is_zero(sent, invoice):
    assert messages.parse_c2b(c2b(InvoiceNumber=sent)).invoice == invoice


@pytest.mark.parametrize(
    "sender", ["254712345678", "25470****149", "2547 ***** 126", "a" * 64, "a" * 20 + "****" + "b" * 20, None]
)
def test_sender_is_kept_as_received(sender):
    assert messages.parse_c2b(c2b(MSISDN=sender)).sender == (sender or "")


def test_till_confirmation_has_no_account():
    body = {key: CONFIRMATION[key] for key in ("TransID", "TransTime", "TransAmount", "BusinessShortCode", "FirstName")}

    message = messages.parse_c2b(json.dumps(body).encode())

    assert (message.account, message.payer_name, message.sender) == ("", "WANJIKU", "")


@pytest.mark.parametrize(
    "changes",
    [
        {"TransID": None},
        {"TransID": ""},
        {"TransID": "0000000000"},
        {"TransID": "\u017fKN7XK41ZQ"},  # its upper case would be SKN7XK41ZQ, another code
        {"TransAmount": "0.50"},
        {"TransAmount": "10.505"},
        {"TransAmount": "-10"},
        {"TransAmount": None},
        {"BusinessShortCode": "17437x"},
        {"BusinessShortCode": None},
    ],
)
def test_confirmation_without_code_amount_or_shortcode_is_malformed(changes):
    with pytest.raises(Malformed):
        messages.parse_c2b(c2b(**changes))


# --- Answers ---

ANSWER = {
    "MerchantRequestID": "2654-4b64-97ff-b827b542881d3130",
    "CheckoutRequestID": "ws_CO_23112026141500123712345678",
    "ResponseCode": "0",
    "ResponseDescription": "Success. Request accepted for processing",
    "CustomerMessage": "Success. Request accepted for processing",
}


def test_accepted_push_has_both_ids():
    assert messages.parse_push_answer(ANSWER) == PushAccepted(
        "2654-4b64-97ff-b827b542881d3130", "ws_CO_23112026141500123712345678"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"ResponseCode": "1"},
        {"ResponseCode": None},
        {"ResponseCode": False},
        {"errorCode": "500.001.1001"},
        {"CheckoutRequestID": ""},
        {"CheckoutRequestID": ["ws_CO_1"]},
        {"MerchantRequestID": None},
    ],
)
def test_other_answers_do_not_accept_the_push(changes):
    with pytest.raises(Malformed):
        messages.parse_push_answer({**ANSWER, **changes})


def test_query_answer_has_its_result_code():
    answer = {**ANSWER, "ResultCode": "1032", "ResultDesc": "Request cancelled by user"}

    assert messages.parse_query_answer(answer) == StkResult(
        merchant_request_id="2654-4b64-97ff-b827b542881d3130",
        checkout_request_id="ws_CO_23112026141500123712345678",
        result_code="1032",
        result_desc="Request cancelled by user",
    )


def test_messages_use_no_clock_and_no_database():
    source = Path(messages.__file__).read_text()

    assert "django" not in source
    assert ".now(" not in source


# --- Transaction Status ---


STATUS = [
    {"Key": "DebitPartyName", "Value": "254712345678 - WANJIKU O'KAMAU"},
    {"Key": "CreditPartyName", "Value": "174379 - Kilabu - Westlands"},
    {"Key": "OriginatorConversationID"},
    {"Key": "InitiatedTime", "Value": 20261123141459},
    {"Key": "TransactionReason"},
    {"Key": "ReasonType", "Value": "Pay Bill Online"},
    {"Key": "TransactionStatus", "Value": "Completed"},
    {"Key": "FinalisedTime", "Value": "20261123141500"},
    {"Key": "Amount", "Value": 1500.00},
    {"Key": "ReceiptNo", "Value": "ukn7xk41zq "},
]


def status_result(items=STATUS, **changes):
    result = {
        "ResultType": 0,
        "ResultCode": 0,
        "ResultDesc": "The service request is processed successfully.",
        "OriginatorConversationID": "2654-4b64-97ff",
        "ConversationID": "AG_20261123_0000493344ae97d86f75",
        "TransactionID": "UKN0000000",
        "ReferenceData": {"ReferenceItem": {"Key": "Occasion"}},
    }
    if items is not None:
        result["ResultParameters"] = {"ResultParameter": items}
    return json.dumps({"Result": result | changes}).encode()


def without(*keys):
    return [item for item in STATUS if item["Key"] not in keys]


def test_known_transaction_is_parsed_in_any_order():
    for items in (STATUS, STATUS[::-1]):
        assert messages.parse_status_result(status_result(items)) == StatusResult(
            conversation_id="AG_20261123_0000493344ae97d86f75",
            result_code="0",
            result_desc="The service request is processed successfully.",
            state="Completed",
            code="UKN7XK41ZQ",
            amount=1500,
            moved_at=datetime(2026, 11, 23, 11, 15, tzinfo=UTC),
            paid_to="174379",
            sender="254712345678",
            payer_name="WANJIKU O'KAMAU",
            kind="Pay Bill Online",
        )


@pytest.mark.parametrize("code", [25, "25", 2001, "SFC_IC0003"])
def test_result_of_unknown_transaction_has_only_its_code(code):
    result = messages.parse_status_result(status_result(None, ResultCode=code))

    assert (result.result_code, result.state, result.amount) == (str(code), "", 0)


def test_initiated_time_replaces_a_missing_finalised_time():
    result = messages.parse_status_result(status_result(without("FinalisedTime")))

    assert result.moved_at == datetime(2026, 11, 23, 11, 14, 59, tzinfo=UTC)


@pytest.mark.parametrize("debtor", [None, True, "WANJIKU", "no number - WANJIKU", ["254712345678"]])
def test_unreadable_debit_party_is_empty(debtor):
    items = [*without("DebitPartyName"), {"Key": "DebitPartyName", "Value": debtor}]

    result = messages.parse_status_result(status_result(items))

    assert (result.sender, result.payer_name) == ("", "")


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'{"Result": 1}',
        status_result(None),
        status_result("Amount"),
        status_result([*STATUS, 7]),
        status_result([*STATUS, {"Value": 7}]),
        *(status_result(without(key)) for key in ("CreditPartyName", "TransactionStatus", "Amount", "ReceiptNo")),
        *(status_result([*STATUS, {"Key": key, "Value": 1}]) for key in ("CreditPartyName", "Amount", "ReceiptNo")),
        status_result([*without("Amount"), {"Key": "Amount", "Value": 0.5}]),
        status_result([*without("CreditPartyName"), {"Key": "CreditPartyName", "Value": "Kilabu - 174379"}]),
        status_result(ConversationID=""),
        status_result(ResultCode=True),
    ],
)
def test_known_transaction_with_unclear_fields_is_malformed(body):
    with pytest.raises(Malformed):
        messages.parse_status_result(body)


@slow_machine
@given(items=st.lists(st.dictionaries(st.sampled_from(["Key", "Value"]), st.text() | st.floats() | st.booleans())))
def test_arbitrary_parameters_raise_only_malformed(items):
    with contextlib.suppress(Malformed):
        messages.parse_status_result(status_result(items))
