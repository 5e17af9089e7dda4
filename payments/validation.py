"""C2B validation: may a payment to the paybill proceed? Refuses only what is surely wrong; any doubt is a yes.

Safaricom waits about 8 seconds (Daraja portal, "Customer To Business Register URL") and a refusal also fails a
prompt of ours, so the question is answered from two indexed reads under a time limit, or with yes.
"""

import logging

from django.conf import settings
from django.db import DatabaseError, connection, transaction

from payments import matching, references
from payments.daraja.messages import C2bMessage, Malformed, parse_c2b
from payments.evidence import our_shortcodes

logger = logging.getLogger(__name__)

ACCEPT = {"ResultCode": "0", "ResultDesc": "Accepted"}
INVALID_ACCOUNT = {"ResultCode": "C2B00012", "ResultDesc": "Rejected"}
INVALID_AMOUNT = {"ResultCode": "C2B00013", "ResultDesc": "Rejected"}
INVALID_SHORTCODE = {"ResultCode": "C2B00015", "ResultDesc": "Rejected"}
LONGEST_READ = "1s"  # of each of the two reads


def answer(*, body: bytes) -> dict[str, str]:
    """Return the body that tells M-Pesa to accept or refuse the payment it asks about."""
    if not settings.C2B_VALIDATION:
        return ACCEPT
    try:
        return judge(parse_c2b(body))
    except Malformed:
        return ACCEPT
    except DatabaseError:
        logger.warning("A validation could not be looked up in time; it was accepted.")
        return ACCEPT


def judge(message: C2bMessage) -> dict[str, str]:
    """Return the answer to one message; may raise DatabaseError."""
    if message.shortcode not in our_shortcodes():
        return INVALID_SHORTCODE
    if message.amount > settings.MPESA_MAX_AMOUNT:
        return INVALID_AMOUNT
    return ACCEPT if account_may_be_right(message.account) else INVALID_ACCOUNT


def account_may_be_right(account: str) -> bool:
    """Say whether money for this account could find its owner; only what looks like a number of ours is refused."""
    if matching.member_number_typed(account):
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [LONGEST_READ])
            return matching.member_typed(account) is not None
    return not references.looks_like_one(account) or references.repair(account) is not None
