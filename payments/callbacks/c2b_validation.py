"""C2B validation: may a payment to the paybill proceed? Refuses only what is surely wrong; any doubt is a yes.

Safaricom waits about 8 seconds (Daraja portal, "Customer To Business Register URL") and a refusal also fails a
prompt of ours. So the answer is arithmetic on the message alone: check characters prove what was mistyped, and no
database that is away or busy can hold it up.
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
    """Return the body that tells M-Pesa to accept or refuse the payment it asks about."""
    if not settings.C2B_VALIDATION:
        return ACCEPT
    try:
        return judge(parse_c2b(body))
    except Malformed:
        return ACCEPT


def judge(message: C2bMessage) -> dict[str, str]:
    """Return the answer to one message."""
    if message.shortcode not in our_shortcodes():
        return INVALID_SHORTCODE
    if message.amount > settings.MPESA_MAX_AMOUNT:
        return INVALID_AMOUNT
    return ACCEPT if account_may_be_right(message.account) else INVALID_ACCOUNT


def account_may_be_right(account: str) -> bool:
    """Say whether this account can be one of ours; only what looks like one and fails its check is refused."""
    number = owners.member_number_in(account)
    if number is not None:
        return is_member_number(number)
    return not references.resembles_reference(account) or references.repair(account) is not None
