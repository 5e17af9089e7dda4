"""Request bodies as Safaricom sends them, in the shapes of the Daraja portal and of live paybills."""

import json

from django.conf import settings

from api.business_days import NAIROBI


def stamp(moment):
    """Return a time as Safaricom writes it: yyyyMMddHHmmss in Nairobi."""
    return moment.astimezone(NAIROBI).strftime("%Y%m%d%H%M%S")


def stk_body(push, *, code="TKN1AB2C3D", amount=None, moved_at=None, result_code=0, desc="", items=None, **fields):
    """Return the result of a push, a success by default."""
    callback = {
        "MerchantRequestID": push.merchant_request_id or "2654-4b64-97ff",
        "CheckoutRequestID": push.checkout_request_id or "ws_CO_unknown",
        "ResultCode": result_code,
        "ResultDesc": desc or "The service request is processed successfully.",
        **fields,
    }
    if str(result_code) == "0":
        callback["CallbackMetadata"] = {
            "Item": items
            if items is not None
            else [
                {"Name": "Amount", "Value": float(push.amount if amount is None else amount)},
                {"Name": "MpesaReceiptNumber", "Value": code},
                {"Name": "Balance"},
                {"Name": "TransactionDate", "Value": int(stamp(moved_at or push.sent_at))},
                {"Name": "PhoneNumber", "Value": int(push.phone)},
            ]
        }
    return json.dumps({"Body": {"stkCallback": callback}}).encode()


def c2b_body(*, amount, account="", code="TKN1AB2C3D", moved_at, sender="2547 ***** 126", **fields):
    """Return a C2B confirmation or validation request of version 2."""
    return json.dumps(
        {
            "TransactionType": "Pay Bill",
            "TransID": code,
            "TransTime": stamp(moved_at),
            "TransAmount": f"{amount}.00",
            "BusinessShortCode": settings.DARAJA_SHORTCODE,
            "BillRefNumber": account,
            "InvoiceNumber": "",
            "OrgAccountBalance": "1234.00",
            "ThirdPartyTransID": "",
            "MSISDN": sender,
            "FirstName": "JANE",
            "MiddleName": "",
            "LastName": "WANJIRU",
            **fields,
        }
    ).encode()


def status_body(
    *,
    code="TKN1AB2C3D",
    amount=1500,
    state="Completed",
    paid_to=None,
    sender="254712345126",
    moved_at,
    conversation="AG_20261102_1",
    result_code=0,
    changes=None,
    **fields,
):
    """Return the result of a Transaction Status request. `changes` replaces parameters; None omits a value."""
    values = {
        "DebitPartyName": f"{sender} - JANE WANJIRU",
        "CreditPartyName": f"{paid_to or settings.DARAJA_SHORTCODE} - Kilabu",
        "OriginatorConversationID": None,
        "InitiatedTime": int(stamp(moved_at)),
        "DebitAccountType": "MMF Account For Customer",
        "DebitPartyCharges": None,
        "TransactionReason": None,
        "ReasonType": "Pay Bill Online",
        "TransactionStatus": state,
        "FinalisedTime": int(stamp(moved_at)),
        "Amount": amount,
        "ConversationID": None,
        "ReceiptNo": code,
        **(changes or {}),
    }
    result = {
        "ResultType": 0,
        "ResultCode": result_code,
        "ResultDesc": "The service request is processed successfully.",
        "OriginatorConversationID": "2654-4b64-97ff",
        "ConversationID": conversation,
        "TransactionID": "TKN0000000",
        **fields,
    }
    if str(result_code) == "0":
        items = [{"Key": key} | ({} if value is None else {"Value": value}) for key, value in values.items()]
        result["ResultParameters"] = {"ResultParameter": items}
    return json.dumps({"Result": result}).encode()
