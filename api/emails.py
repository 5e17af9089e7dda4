"""Which e-mail addresses we take."""

from django.core.exceptions import ValidationError


def plain_email(address: str) -> None:
    """Refuse letters that look like others: with a dotless i, gmail is another host to the mail and to no reader.

    :raises ValidationError: there is a letter that is not of ASCII
    """
    if not address.isascii():
        raise ValidationError("Use plain letters only, without accents.", code="invalid")
