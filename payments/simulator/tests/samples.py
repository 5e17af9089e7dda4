"""Sample requests of Safaricom's own libraries and of copies of its pages, by their source file.

Values that a source leaves to its reader (a URL, a credential, a blank " ") are filled in. Names, types, spelling and
the order of fields are those of the source.
"""

import base64

from payments.simulator.options import SANDBOX_PASSKEY

URLS = {"QueueTimeOutURL": "https://mydomain.com/timeout_url", "ResultURL": "https://mydomain.com/result_url"}
CREDENTIAL = "BVeDP3XWGFG+NCQri04jHp6c0rCajO1JAOccQ7Bsu/Mup3Rh2Gd9IHQEE0SeA1oBXAt=="
STK, QUERY = "/mpesa/stkpush/v1/processrequest", "/mpesa/stkpushquery/v1/query"
REGISTER, SIMULATE = "/mpesa/c2b/v1/registerurl", "/mpesa/c2b/v1/simulate"
B2C, REVERSAL = "/mpesa/b2c/v1/paymentrequest", "/mpesa/reversal/v1/request"
STATUS, BALANCE = "/mpesa/transactionstatus/v1/query", "/mpesa/accountbalance/v1/query"


def stamped(timestamp: str) -> dict:
    """Return Password and Timestamp of the sandbox's paybill, as all sources compute them."""
    password = base64.b64encode(f"174379{SANDBOX_PASSKEY}{timestamp}".encode()).decode()
    return {"Password": password, "Timestamp": timestamp}


# github.com/safaricom/mpesa-node-library: src/endpoints, called as in tests/integrations with tests/helpers/tests.env
NODE = [
    (
        STK,
        {
            "BusinessShortCode": "174379",
            **stamped("20190218134555"),
            "TransactionType": "CustomerPayBillOnline",
            "Amount": 100,
            "PartyA": 254708374149,
            "PartyB": "174379",
            "PhoneNumber": 254708374149,
            "CallBackURL": "https://mydomain.com/lipanampesa/success",
            "AccountReference": "h6dk0Ue",
            "TransactionDesc": "Lipa na mpesa online",
        },
    ),
    (
        REGISTER,
        {
            "ShortCode": "600111",
            "ResponseType": "Completed",
            "ConfirmationURL": "https://mydomain.com/c2b/validation",
            "ValidationURL": "https://mydomain.com/c2b/success",
        },
    ),
    (
        SIMULATE,
        {
            "ShortCode": "600111",
            "CommandID": "CustomerPayBillOnline",
            "Amount": 100,
            "Msisdn": 254708374149,
            "BillRefNumber": "h6dk0Ue2",
        },
    ),
    (
        B2C,
        {
            "InitiatorName": "testapi111",
            "SecurityCredential": CREDENTIAL,
            "CommandID": "BusinessPayment",
            "Amount": 100,
            "PartyA": "600111",
            "PartyB": 254708374149,
            "Remarks": "B2C Payment",
            "QueueTimeOutURL": "https://mydomain.com/b2c/timeout",
            "ResultURL": "https://mydomain.com/b2c/success",
        },
    ),
    (
        REVERSAL,
        {
            "Initiator": "testapi111",
            "SecurityCredential": CREDENTIAL,
            "CommandID": "TransactionReversal",
            "TransactionID": "LKXXXX1234",
            "Amount": 100,
            "ReceiverParty": "600111",
            "RecieverIdentifierType": "11",
            "ResultURL": "https://mydomain.com/reversal/success",
            "QueueTimeOutURL": "https://mydomain.com/reversal/timeout",
            "Remarks": "Reversal",
            "Occasion": "Reversal",
        },
    ),
    (
        STATUS,
        {
            "Initiator": "testapi111",
            "SecurityCredential": CREDENTIAL,
            "CommandID": "TransactionStatusQuery",
            "TransactionID": "LKXXXX1234",
            "PartyA": "600111",
            "IdentifierType": 4,
            "ResultURL": "https://mydomain.com/transactionstatus/success",
            "QueueTimeOutURL": "https://mydomain.com/transactionstatus/timeout",
            "Remarks": "TransactionReversal",
            "Occasion": "TransactionReversal",
        },
    ),
    (
        BALANCE,
        {
            "Initiator": "testapi111",
            "SecurityCredential": CREDENTIAL,
            "CommandID": "AccountBalance",
            "PartyA": "600111",
            "IdentifierType": 4,
            "Remarks": "Checking account balance",
            "QueueTimeOutURL": "https://mydomain.com/accountbalance/timeout",
            "ResultURL": "https://mydomain.com/accountbalance/success",
        },
    ),
]
# github.com/safaricom/mpesa-php-sdk: src/Mpesa.php, which also sends the TransactionType as description
PHP = [
    (
        STK,
        {
            "BusinessShortCode": "174379",
            **stamped("20190218014555"),
            "TransactionType": "CustomerPayBillOnline",
            "Amount": "1",
            "PartyA": "254708374149",
            "PartyB": "174379",
            "PhoneNumber": "254708374149",
            "CallBackURL": "https://mydomain.com/path",
            "AccountReference": "account",
            "TransactionDesc": "CustomerPayBillOnline",
        },
    ),
    (
        B2C,
        {
            "InitiatorName": "testapi",
            "SecurityCredential": CREDENTIAL,
            "CommandID": "SalaryPayment",
            "Amount": "10",
            "PartyA": "600134",
            "PartyB": "254708374149",
            "Remarks": "remarks",
            **URLS,
            "Occasion": "occasion",
        },
    ),
]
# github.com/safaricom/LNMOnlineAndroidSample: MainActivity.java and AppConstants.java
ANDROID = [
    (
        STK,
        {
            "BusinessShortCode": "174379",
            **stamped("20171127101500"),
            "TransactionType": "CustomerPayBillOnline",
            "Amount": "35",
            "PartyA": "254708374149",
            "PartyB": "174379",
            "PhoneNumber": "254708374149",
            "CallBackURL": "https://mydomain.com/pusher.php?title=stk_push&message=result&push_type=individual&regId=x",
            "AccountReference": "test",
            "TransactionDesc": "test",
        },
    )
]
# github.com/safaricom/mpesa-api-C-Sharp, and github.com/Ghostscypher/php-mpesa mpesa_endpoints.md with the same bodies
C_SHARP = [
    (
        REGISTER,
        {
            "ShortCode": "600134",
            "ResponseType": "Completed",
            "ValidationURL": "http://mydomain.com:8080/validation_url",
            "ConfirmationURL": "http://mydomain.com:8080/confirmation",
        },
    ),
    (
        SIMULATE,
        {
            "ShortCode": "600134",
            "CommandID": "CustomerPayBillOnline",
            "Amount": "10",
            "Msisdn": "254701234567",
            "BillRefNumber": "account",
        },
    ),
    (
        REVERSAL,
        {
            "Initiator": "testapi",
            "SecurityCredential": CREDENTIAL,
            "CommandID": "TransactionReversal",
            "TransactionID": "LGR219G3EY",
            "Amount": "10",
            "ReceiverParty": "600134",
            "RecieverIdentifierType": "11",
            "Occasion": "occasion",
            "Remarks": "remarks",
            **URLS,
        },
    ),
    (
        STATUS,
        {
            "Initiator": "testapi",
            "SecurityCredential": CREDENTIAL,
            "CommandID": "TransactionStatusQuery",
            "TransactionID": "LGR919G2AV",
            "PartyA": "254708374149",
            "IdentifierType": "1",
            "Remarks": "remarks",
            "Occasion": "occasion",
            **URLS,
        },
    ),
    (
        BALANCE,
        {
            "Initiator": "testapi",
            "SecurityCredential": CREDENTIAL,
            "CommandID": "AccountBalance",
            "PartyA": "600134",
            "IdentifierType": "4",
            "Remarks": "Remarks",
            **URLS,
        },
    ),
]
# github.com/safaricom/mpesa-java-sdk: Main.java and Mpesa.java
JAVA = [
    (
        STK,
        {
            "BusinessShortCode": "174379",
            **stamped("20170824155055"),
            "TransactionType": "CustomerPayBillOnline",
            "Amount": "1",
            "PhoneNumber": "254724513769",
            "PartyA": "254724513769",
            "PartyB": "174379",
            "CallBackURL": "http://mydomain.com/api/Mpesa/C2BValidation",
            "AccountReference": "sasas",
            "QueueTimeOutURL": "http://mydomain.com/api/Mpesa/C2BValidation",
            "TransactionDesc": "asdasd",
        },
    ),
    (
        REGISTER,
        {
            "ShortCode": "600576",
            "ResponseType": "Cancelled",
            "ConfirmationURL": "http://mydomain.com/api/Mpesa/C2BValidation",
            "ValidationURL": "http://mydomain.com/api/Mpesa/C2BValidation",
        },
    ),
    (
        B2C,
        {
            "InitiatorName": "testapi",
            "SecurityCredential": CREDENTIAL,
            "CommandID": "BusinessPayment",
            "Amount": "22",
            "PartyA": "600576",
            "PartyB": "254708374149",
            "Remarks": "This",
            "QueueTimeOutURL": "http://mydomain.com/api/Mpesa/C2BConfirmation",
            "ResultURL": "http://mydomain.com/api/Mpesa/C2BValidation",
            "Occassion": "http://mydomain.com/api/Mpesa/C2BValidation",
        },
    ),
]
# The portal's own generator of sample code, as found in many repositories (frank-chege/virtual_doctor mpesa.py).
GENERATOR = [
    (
        STK,
        {
            "BusinessShortCode": 174379,
            "Password": (
                "MTc0Mzc5YmZiMjc5ZjlhYTliZGJjZjE1OGU5N2RkNzFhNDY3Y2QyZTBjODkzMDU5YjEwZjc4ZTZiNzJhZGExZWQyYzkx"
                "OTIwMjQwMzMwMTIwNzEx"
            ),
            "Timestamp": "20240330120711",
            "TransactionType": "CustomerPayBillOnline",
            "Amount": 1,
            "PartyA": 254708374149,
            "PartyB": 174379,
            "PhoneNumber": 254708374149,
            "CallBackURL": "https://mydomain.com/path",
            "AccountReference": "CompanyXLTD",
            "TransactionDesc": "Payment of X",
        },
    )
]
# Copies of the portal's pages: judeokello/microbima mpesa_c2b_validation.md, amoskyalo/daraja-docs v2/b2c.mdx and
# account-balance.mdx, Deval123/nkap docs/providers/mpesa.md (run against the sandbox on 18 September 2026)
PAGES = [
    (
        REGISTER,
        {
            "ShortCode": "174379",
            "ResponseType": "Completed",
            "ConfirmationURL": "https://mydomain.com/api/public/mpayesa/confirmation",
            "ValidationURL": "https://mydomain.com/api/public/mpayesa/validation",
        },
    ),
    (
        "/mpesa/b2c/v3/paymentrequest",
        {
            "OriginatorConversationID": "feb5e3f2-fbbc-4745-844c-ee37b546f627",
            "InitiatorName": "testapi",
            "SecurityCredential": "EsJock7+NjqzPC3I3EO+TbVS+xVb9TymMwaKAboaZr/z/n0UysSs...",
            "CommandID": "BusinessPayment",
            "Amount": "10",
            "PartyA": "600996",
            "PartyB": "254728762287",
            "Remarks": "here are my remarks",
            "QueueTimeOutURL": "https://mydomain.com/b2c/queue",
            "ResultURL": "https://mydomain.com/b2c/result",
            "Occassion": "Christmas",
        },
    ),
    (
        BALANCE,
        {
            "Initiator": "testapiuser",
            "SecurityCredential": "SAFVNlChWJfVtXEZMBuVo+a1Hwr+Dtruv3/2v8=",
            "CommandID": "AccountBalance",
            "PartyA": "600000",
            "IdentifierType": "4",
            "Remarks": "ok",
            "QueueTimeOutURL": "http://myservice:3080/queuetimeouturl",
            "ResultURL": "http://myservice:3080/result",
        },
    ),
    (
        STK,
        {
            "BusinessShortCode": 174379,
            **stamped("20260918153000"),
            "TransactionType": "CustomerPayBillOnline",
            "Amount": "1",
            "PartyA": "254708374149",
            "PartyB": "174379",
            "PhoneNumber": "254708374149",
            "CallBackURL": "https://example.invalid/nkap/mpesa",
            "AccountReference": "merchant",
            "TransactionDesc": "merchant",
        },
    ),
]
ACCEPTED = {
    "node": NODE,
    "php": PHP,
    "android": ANDROID,
    "c-sharp": C_SHARP,
    "java": JAVA,
    "generator": GENERATOR,
    "pages": PAGES,
}

# Samples that Daraja cannot accept, and its errors.
REFUSED = [
    # A prompt that does not exist: mpesa-node-library README.md, mpesa-java-sdk Main.java.
    (
        QUERY,
        {"BusinessShortCode": "174379", **stamped("20190218134555"), "CheckoutRequestID": "ws_co_123456789"},
        (500, "500.001.1001", "The transaction does not Exist"),
    ),
    (
        QUERY,
        {"BusinessShortCode": "174379", **stamped("20170824155055"), "CheckoutRequestID": "ws_CO_27102017101215530"},
        (500, "500.001.1001", "The transaction does not Exist"),
    ),
    # A password that was copied wrongly: judeokello/microbima mpesa_express_stkpush.md.
    (
        STK,
        {
            **PAGES[-1][1],
            "Password": (
                "MTc0Mzc5YmZiMjc5Zj1hYTliZGJjZjE10GU5N2RkNzFhNDY3Y2QyZTBjODkzMDU5YjEwZjc4ZTZiNzJhZGExZWQyYzkxOTIw"
                "MjEwNjI4MDkyN"
            ),
            "Timestamp": "20210628092408",
        },
        (500, "500.001.1001", "Wrong credentials"),
    ),
    # A receipt of four digits: mpesa-java-sdk Main.java; the portal's Reversal page shows this error.
    (
        REVERSAL,
        {**C_SHARP[2][1], "TransactionID": "2121", "Amount": "2", "ReceiverParty": "22", "RecieverIdentifierType": "4"},
        (400, "400.002.02", "Bad Request - Invalid TransactionID"),
    ),
    # URLs of 2017, which mpesa-java-sdk still uses.
    ("/safaricom/c2b/v1/simulate", C_SHARP[1][1], (404, "404.001.01", "Resource not found")),
    ("/safaricom/accountbalance/v1/query", C_SHARP[4][1], (404, "404.001.01", "Resource not found")),
    # APIs that are not simulated.
    ("/mpesa/qrcode/v1/generate", {"MerchantName": "TEST SUPERMARKET"}, (404, "404.001.01", "Resource not found")),
    ("/mpesa/b2b/v1/paymentrequest", {"CommandID": "BusinessPayBill"}, (404, "404.001.01", "Resource not found")),
    ("/mpesa/b2b/v1/remittax", {"CommandID": "PayTaxToKRA"}, (404, "404.001.01", "Resource not found")),
    ("/standingorder/v1/createStandingOrderExternal", {}, (404, "404.001.01", "Resource not found")),
]
