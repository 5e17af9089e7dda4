"""A validator for e-mail addresses."""

from django.core.exceptions import ValidationError


def plain_email(address: str) -> None:
    """Check that an e-mail address is in ASCII.

    Other letters can look like ASCII letters: with a dotless i, "gmail.com" is another mail server.

    :raises ValidationError: the address has a letter outside ASCII
    """
    if not address.isascii():
        raise ValidationError("Use plain letters only, without accents.", code="invalid")
