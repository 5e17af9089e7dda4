"""The validator of new passwords that compares them with what others know of the user."""

import re
import unicodedata

from django.core.exceptions import ValidationError

# A password needs this many letters and digits beside the user's own names and numbers.
LEAST_BESIDE = 6
SHORTEST_COMPARED = 3  # letters: a shorter name is part of many words


class PersonalDataValidator:
    """Refuses a password that consists of the user's own names, username, e-mail address and numbers, in any order."""

    def validate(self, password, user=None):
        """:raises ValidationError: less than six letters and digits are left without the user's own data"""
        rest = letters_and_digits(password)
        known = known_of(user) if user is not None else []
        for piece in sorted(known, key=len, reverse=True):
            rest = rest.replace(piece, "")
        if rest != letters_and_digits(password) and len(rest) < LEAST_BESIDE:
            raise ValidationError(
                "Your own name, phone number or member number is easy to guess. Choose another password.",
                code="password_too_personal",
            )

    def get_help_text(self):
        return "Your password must not consist of your own name, phone number or member number."


def known_of(user) -> set[str]:
    """Return the user's own names and numbers as they may be typed, without spaces and in lower case."""
    phone = (user.phone_number or "").removeprefix("254")
    email = user.email or ""
    texts = [user.first_name, user.last_name, *re.split(r"\W+", f"{user.first_name} {user.last_name}")]
    texts += [user.username, email, *email.split("@"), *re.split(r"\W+", email), user.member_number]
    texts += [f"{start}{phone}" for start in ("254", "0", "") if phone]
    return {piece for piece in map(letters_and_digits, texts) if len(piece) >= SHORTEST_COMPARED}


def letters_and_digits(text: str) -> str:
    """Return the letters and digits of a text, in lower case."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))
