"""Phone numbers: Kenyan mobile numbers, stored as M-Pesa writes them, 254 and nine digits."""

import re

import phonenumbers
from django.db.models import CharField, Func

from api.errors import Invalid


class InvalidPhoneNumber(Invalid):
    """The text is not a Kenyan mobile number."""

    code, message = "invalid_phone_number", "Enter a Kenyan mobile number, such as 0712 345 678."


def normalise(text: str) -> str:
    """Return a Kenyan mobile number as 2547XXXXXXXX or 2541XXXXXXXX.

    Accepts the usual forms: 07..., 01..., +254..., 254..., 00254..., with spaces, dashes or brackets.

    :raises InvalidPhoneNumber: the text is not a Kenyan mobile number
    """
    if not isinstance(text, str) or len(text) > 30 or not re.fullmatch(r"[0-9+() .-]+", text):
        raise InvalidPhoneNumber
    if re.match(r"\s*00", text):
        text = "+" + text.strip()[2:]
    try:
        number = phonenumbers.parse(text, "KE")
    except phonenumbers.NumberParseException as error:
        raise InvalidPhoneNumber from error
    digits = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:]
    if not re.fullmatch(r"254[17][0-9]{8}", digits):
        raise InvalidPhoneNumber
    return digits


def masked(phone: str) -> str:
    """Return a stored number with its middle hidden, such as 2547****678."""
    return f"{phone[:4]}****{phone[-3:]}" if len(phone) >= 9 else "****"


def masked_if_phone(text: str) -> str:
    """Return the text, masked when it is a phone number in any usual form."""
    try:
        return masked(normalise(text))
    except InvalidPhoneNumber:
        return text


class PhoneSha256(Func):
    """The SHA-256 of a phone number column in hexadecimal, computed by PostgreSQL.

    It finds the owner of a sender that Safaricom reports as a hash. The cast to bytea suits ASCII digits;
    `convert_to` would name the encoding, but an index does not allow it.
    """

    template = "encode(sha256((%(expressions)s)::bytea), 'hex')"
    output_field = CharField()
