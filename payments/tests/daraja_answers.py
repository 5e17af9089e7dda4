"""Recorded answers of Safaricom, and the fake transport that returns them to our client."""

import json

import responses
from django.conf import settings

TOKEN = "0A8v1b2C3d4E5f6G7h8I9j0K1l2M"
ACCEPTED = {
    "MerchantRequestID": "2654-4b64-97ff-b827b542881d3130",
    "CheckoutRequestID": "ws_CO_23112026141500123712345678",
    "ResponseCode": "0",
    "ResponseDescription": "Success. Request accepted for processing",
    "CustomerMessage": "Success. Request accepted for processing",
}
OAUTH = "/oauth/v1/generate"
PUSH = "/mpesa/stkpush/v1/processrequest"
QUERY = "/mpesa/stkpushquery/v1/query"
STATUS = "/mpesa/transactionstatus/v1/query"


class Wire(responses.RequestsMock):
    """A fake Daraja with recorded answers. It refuses all other requests like a closed port."""

    def __init__(self):
        super().__init__(assert_all_requests_are_fired=False)

    def token(self, **answer) -> None:
        answer = answer or {"json": {"access_token": TOKEN, "expires_in": "3599"}}
        self.add("GET", settings.DARAJA_BASE_URL + OAUTH, **answer)

    def push(self, **answer) -> None:
        self.add("POST", settings.DARAJA_BASE_URL + PUSH, **(answer or {"json": ACCEPTED}))

    def query(self, **answer) -> None:
        self.add("POST", settings.DARAJA_BASE_URL + QUERY, **answer)

    def status(self, **answer) -> None:
        taken = {"OriginatorConversationID": "1", "ConversationID": "AG_20261102_1", "ResponseCode": "0"}
        self.add("POST", settings.DARAJA_BASE_URL + STATUS, **(answer or {"json": taken}))

    def sent(self, path: str) -> list:
        """Return the requests to a path."""
        return [call.request for call in self.calls if call.request.path_url.split("?")[0] == path]

    def bodies(self, path: str) -> list[dict]:
        """Return the bodies that were posted to a path."""
        return [json.loads(request.body) for request in self.sent(path)]


def refusal(code: str, text: str, status: int) -> dict:
    """Return Safaricom's error answer."""
    return {"json": {"requestId": "1c5b-4ba8-815c", "errorCode": code, "errorMessage": text}, "status": status}
