"""C2B validation: the answer to Safaricom's question whether a payment to the paybill may proceed.

Only a payment that is surely wrong is refused. Safaricom waits about 8 seconds (Daraja portal, "Customer To Business
Register URL"), and a refusal also fails an STK push of ours. So the answer is computed from the message alone, with
check characters, and needs no database.
"""

from django.conf import settings

from api.member_numbers import is_member_number
from payments.daraja.messages import C2bMessage, Malformed, parse_c2b
from payments.evidence.outcomes import our_shortcodes
from payments.matching import owners, references

ACCEPT = {"ResultCode": "0", "ResultDesc": "Accepted"}
INVALID_ACCOUNT = {"ResultCode": "C2B00012", "ResultDesc": "Rejected"}
INVALID_AMOUNT = {"ResultCode": "C2B00013", "ResultDesc": "Rejected"}
INVALID_SHORTCODE = {"ResultCode": "C2B00015", "ResultDesc": "Rejected"}


def answer(*, body: bytes) -> dict[str, str]:
    """Return the body that makes M-Pesa accept or refuse a payment. A body that cannot be read is accepted."""
    if not settings.C2B_VALIDATION:
        return ACCEPT
    try:
        return answer_to(parse_c2b(body))
    except Malformed:
        return ACCEPT


def answer_to(message: C2bMessage) -> dict[str, str]:
    """Return the answer to a message that could be read."""
    if message.shortcode not in our_shortcodes():
        return INVALID_SHORTCODE
    if message.amount > settings.MPESA_MAX_AMOUNT:
        return INVALID_AMOUNT
    return ACCEPT if is_possible_account(message.account) else INVALID_ACCOUNT


def is_possible_account(account: str) -> bool:
    """Return False for a member number or payment reference whose check character is wrong, True for all else."""
    number = owners.member_number_in(account)
    if number is not None:
        return is_member_number(number)
    return not references.resembles_reference(account) or references.repair(account) is not None
