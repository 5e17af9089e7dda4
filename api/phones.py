"""Phone numbers as M-Pesa writes them: 254 and nine digits."""

import re

import phonenumbers
from django.db.models import CharField, Func

from api.errors import Invalid


class InvalidPhoneNumber(Invalid):
    code, message = "invalid_phone_number", "Enter a Kenyan mobile number, such as 0712 345 678."


def normalise(text: str) -> str:
    """Return a Kenyan mobile number as 2547XXXXXXXX or 2541XXXXXXXX.

    Takes what people type: 07..., 01..., +254..., 254..., 00254..., with spaces, dashes or brackets.

    :raises InvalidPhoneNumber: it is no Kenyan mobile number
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
    """Return a number fit for logs and strangers' eyes: 2547****678."""
    return f"{phone[:4]}****{phone[-3:]}" if len(phone) >= 9 else "****"


def masked_if_phone(text: str) -> str:
    """Return what somebody typed, masked when it is a phone number in any usual form."""
    try:
        return masked(normalise(text))
    except InvalidPhoneNumber:
        return text


class PhoneSha256(Func):
    """PostgreSQL's SHA-256 of a phone number's column, in hexadecimal: how Safaricom's hashed senders are looked up.

    `convert_to` would say the encoding, but may not stand in an index; the digits have no other encoding.
    """

    template = "encode(sha256((%(expressions)s)::bytea), 'hex')"
    output_field = CharField()
