"""Comparison of the product's receipts with the debits that the simulator has in its book.

It finds money that was lost, invented or counted twice, other amounts, and reversals that only one side knows.
"""

from collections.abc import Iterable

import requests
from django.conf import settings

from payments.models import Channel, Receipt

MPESA = (Channel.MPESA_STK, Channel.MPESA_C2B)


def simulator_debits() -> list[dict]:
    """Return the debits in the simulator's book for our shortcode and till.

    :raises requests.RequestException: the simulator does not answer, or not with its book
    """
    answer = requests.get(f"{settings.DARAJA_SIMULATOR_URL}/control/book/", timeout=30)
    answer.raise_for_status()
    shortcodes = {settings.DARAJA_SHORTCODE, settings.DARAJA_TILL}
    return [debit for debit in answer.json()["debits"] if debit["shortcode"] in shortcodes]


def differences(debits: Iterable[dict]) -> list[str]:
    """Return one line for each difference between the receipts and the debits.

    A receipt that was created by a query has no code until its callback or confirmation arrives. It is found by the
    CheckoutRequestID of its push.
    """
    receipts = list(Receipt.objects.filter(channel__in=MPESA).select_related("push").order_by("pk"))
    by_code = {receipt.code: receipt for receipt in receipts if receipt.code}
    by_push = {
        receipt.push.checkout_request_id: receipt
        for receipt in receipts
        if receipt.push and receipt.push.checkout_request_id and not receipt.code
    }
    found, lines = set(), []
    for debit in debits:
        money = f"{debit['code']}, KES {debit['amount']}"
        receipt = by_code.get(debit["code"]) or by_push.get(debit["checkout_request_id"])
        if receipt is None:
            lines.append(f"lost: {money} left a phone, but has no receipt")
            continue
        if receipt.pk in found:
            lines.append(f"lost: {money} shares receipt {receipt.pk} with another debit")
        found.add(receipt.pk)
        if receipt.amount != debit["amount"]:
            lines.append(f"amount: {money}, but receipt {receipt.pk} has KES {receipt.amount}")
        if (receipt.reversed_at is None) != (debit["reversed_at"] is None):
            where = "at Safaricom only" if receipt.reversed_at is None else "in our books only"
            lines.append(f"reversed: {money} was reversed {where}")
    lines += [
        f"invented: receipt {receipt.pk} ({receipt.code or 'no code'}, KES {receipt.amount}) has no debit"
        for receipt in receipts
        if receipt.pk not in found
    ]
    return lines
