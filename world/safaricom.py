"""Safaricom in the world: the confirmation of each payment to the paybill, as the product receives it."""

import hashlib
import json
from datetime import datetime
from random import Random

from django.conf import settings

from api.business_days import NAIROBI
from payments.callbacks import inbox
from payments.models import CallbackSource
from world.book import Money

# The forms in which live paybills report the sender.
SENDERS = ("masked", "hashed", "whole", "empty")


def confirmation(money: Money, sender: str) -> bytes:
    """Return the body of a C2B confirmation, version 2. `sender` is one of SENDERS."""
    phones = {
        "masked": f"{money.phone[:4]} ***** {money.phone[-3:]}",
        "hashed": hashlib.sha256(money.phone.encode()).hexdigest(),
        "whole": money.phone,
        "empty": "",
    }
    return json.dumps(
        {
            "TransactionType": "Pay Bill",
            "TransID": money.code,
            "TransTime": money.moved_at.astimezone(NAIROBI).strftime("%Y%m%d%H%M%S"),
            "TransAmount": f"{money.amount}.00",
            "BusinessShortCode": settings.DARAJA_SHORTCODE,
            "BillRefNumber": money.account,
            "InvoiceNumber": "",
            "OrgAccountBalance": "1234.00",
            "ThirdPartyTransID": "",
            "MSISDN": phones[sender],
            "FirstName": "JANE",
            "MiddleName": "",
            "LastName": "",
        }
    ).encode()


def deliver(money: Money, *, random: Random, now: datetime) -> None:
    """Send the confirmation to the product's callback inbox. The sender's form is random."""
    money.reports += 1
    inbox.receive(
        source=CallbackSource.C2B_CONFIRMATION,
        body=confirmation(money, random.choice(SENDERS)),
        headers={},
        peer="196.201.214.200",
        now=now,
    )
