"""Compares the product's receipts with what really left the phones, by Safaricom's own account of it.

In development that account is the simulator's book. Nothing may be lost, invented, counted twice, or of another amount.
"""

from collections.abc import Iterable

import requests
from django.conf import settings

from payments.models import Channel, Receipt

MPESA = (Channel.MPESA_STK, Channel.MPESA_C2B)


def simulator_debits() -> list[dict]:
    """Return the simulator's book, for the shortcode and till that are ours.

    :raises requests.RequestException: it does not answer, or not with its book
    """
    answer = requests.get(f"{settings.DARAJA_SIMULATOR_URL}/control/book/", timeout=30)
    answer.raise_for_status()
    ours = {settings.DARAJA_SHORTCODE, settings.DARAJA_TILL}
    return [debit for debit in answer.json()["debits"] if debit["shortcode"] in ours]


def differences(debits: Iterable[dict]) -> list[str]:
    """Say, in a line each, where the books and the debits disagree; an empty list is what one hopes for.

    A receipt learnt by query has no code until its callback or confirmation comes: it is found by its prompt.
    """
    receipts = list(Receipt.objects.filter(channel__in=MPESA).select_related("push").order_by("pk"))
    by_code = {receipt.code: receipt for receipt in receipts if receipt.code}
    by_prompt = {
        receipt.push.checkout_request_id: receipt
        for receipt in receipts
        if receipt.push and receipt.push.checkout_request_id and not receipt.code
    }
    found, lines = set(), []
    for debit in debits:
        what = f"{debit['code']}, KES {debit['amount']}"
        receipt = by_code.get(debit["code"]) or by_prompt.get(debit["checkout_request_id"])
        if receipt is None:
            lines.append(f"lost: {what} left a phone, and no receipt has it")
            continue
        if receipt.pk in found:
            lines.append(f"lost: {what} shares receipt {receipt.pk} with another debit")
        found.add(receipt.pk)
        if receipt.amount != debit["amount"]:
            lines.append(f"amount: {what}, but receipt {receipt.pk} says KES {receipt.amount}")
        if (receipt.reversed_at is None) != (debit["reversed_at"] is None):
            where = "at Safaricom only" if receipt.reversed_at is None else "in our books only"
            lines.append(f"reversed: {what} was reversed {where}")
    lines += [
        f"invented: receipt {receipt.pk} ({receipt.code or 'no code'}, KES {receipt.amount}) and no debit"
        for receipt in receipts
        if receipt.pk not in found
    ]
    return lines
