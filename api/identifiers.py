"""Identifiers that people type: usernames, e-mail addresses and phone numbers."""

import unicodedata
from contextlib import suppress

from api import phones


def fold(identifier: str) -> str:
    """Return the one spelling of an identifier by which it is looked up and counted.

    Usernames and e-mail addresses are plain ASCII, so an identifier that still has other letters after this belongs to
    nobody. A phone number becomes 254 and nine digits.
    """
    folded = unicodedata.normalize("NFKC", identifier).casefold().strip()
    with suppress(phones.InvalidPhoneNumber):
        return phones.normalise(folded)
    return folded
