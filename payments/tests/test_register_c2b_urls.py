"""The command register_c2b_urls."""

from io import StringIO

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from payments.daraja import limits
from payments.tests.daraja_answers import Wire, refusal

pytestmark = pytest.mark.django_db

REGISTER = "/mpesa/c2b/v2/registerurl"


@pytest.fixture
def wire(settings):
    settings.PUBLIC_URL, settings.C2B_SECRET = "https://club.example", "s" * 40
    with Wire() as wire:
        wire.token()
        limits.acquire()
        yield wire


def register(wire, answer, **options):
    wire.add("POST", settings.DARAJA_BASE_URL + REGISTER, **answer)
    said = StringIO()
    call_command("register_c2b_urls", stdout=said, **options)
    return said.getvalue()


@pytest.mark.parametrize(
    "answer",
    [
        {"OriginatorCoversationID": "7619-37765134-1", "ResponseCode": "0", "ResponseDescription": "success"},
        {"OriginatorCoversationID": "7619-37765134-1", "ResponseCode": "00000000", "ResponseDescription": "Success"},
        {"OriginatorCoversationID": "7619-37765134-1", "ResponseDescription": "Success"},
    ],
)
def test_both_urls_are_registered_and_the_answer_is_understood(wire, answer):
    said = register(wire, {"json": answer}, when_silent="Cancelled")

    assert said == "Registered for 174379, at https://club.example.\n"
    assert wire.bodies(REGISTER) == [
        {
            "ShortCode": "174379",
            "ResponseType": "Cancelled",
            "ConfirmationURL": f"https://club.example/api/v1/callbacks/c2b/{'s' * 40}/confirmation/",
            "ValidationURL": f"https://club.example/api/v1/callbacks/c2b/{'s' * 40}/validation/",
        }
    ]


@pytest.mark.parametrize("word", ["m-pesa", "mpesa", "safaricom", "exe", "exec", "cmd", "sql", "query"])
def test_urls_contain_no_word_that_safaricom_bars(wire, word):
    register(wire, {"json": {"OriginatorCoversationID": "7619-37765134-1"}})

    body = wire.bodies(REGISTER)[0]
    assert word not in (body["ConfirmationURL"] + body["ValidationURL"]).lower()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            refusal("500.003.1001", "Urls are already registered.", 500),
            "URLs are already registered. Delete them in Safaricom's portal first.",
        ),
        (
            refusal("400.002.02", "Bad Request - Invalid ConfirmationURL", 400),
            "The URLs were not registered. Safaricom answered 400 400.002.02 Bad Request - Invalid ConfirmationURL.",
        ),
        ({"json": {"ResponseCode": "0"}}, "The URLs were not registered. Safaricom did not confirm the registration."),
        (
            {"json": {"OriginatorCoversationID": "7", "ResponseCode": "1"}},
            "The URLs were not registered. Safaricom did not confirm the registration.",
        ),
    ],
)
def test_failed_registration_is_reported_in_one_line(wire, answer, said):
    with pytest.raises(CommandError, match=f"^{said}$"):
        register(wire, answer)
