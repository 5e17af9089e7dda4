"""Payment references: `K`, six random characters and one that proves them, such as `K7F3QW9X`.

The payer sees it in the prompt and may type it as the paybill account, so it is short, has no look-alikes
(no O, I, L, U, Z) and carries a check character: weights are powers of 3 modulo the prime 31 (the pure
system of ISO 7064, with a smaller modulus), which catches every single wrong character and every swap of
two, neighbours or not.
"""

import secrets

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXY"
PREFIX = "K"
LENGTH = 8
MODULUS = len(ALPHABET)  # 31: prime, so that no difference of two characters can hide
RADIX = 3  # its powers are all different for 30 places
# What people type for a character that looks like it.
LOOK_ALIKES = str.maketrans({"O": "0", "I": "1", "L": "1", "U": "V", "Z": "2"})


def checksum(text: str) -> int:
    """Return the weighted sum of `text` modulo 31; zero for a whole reference.

    :raises ValueError: a character is not in the alphabet
    """
    total = 0
    for character in text:
        total = (total * RADIX + ALPHABET.index(character)) % MODULUS
    return total


def with_check_character(text: str) -> str:
    """Return `text` followed by the character that makes its checksum zero."""
    return text + ALPHABET[-checksum(text) * RADIX % MODULUS]


def draw() -> str:
    """Return a new random reference; one in 887 million, so the caller still asks whether it is taken."""
    return with_check_character(PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(LENGTH - 2)))


def is_reference(text: str) -> bool:
    """Say whether `text` is a reference exactly as we print it."""
    return (
        len(text) == LENGTH
        and text.startswith(PREFIX)
        and all(character in ALPHABET for character in text)
        and checksum(text) == 0
    )


def looks_like_one(typed: str) -> bool:
    """Say whether somebody surely meant to type a reference, right or wrong; `Kamau254` is a name with a number."""
    text = plain(typed)
    return len(text) == LENGTH and text.startswith(PREFIX) and any(character.isdigit() for character in text[1:5])


def repair(typed: str) -> str | None:
    """Return the reference that `typed` stands for, or None when its check character does not prove one.

    Case, spaces, dashes and look-alikes (O for 0, I or L for 1, U for V, Z for 2) are mended.
    """
    text = plain(typed)
    return text if is_reference(text) else None


def plain(typed: str) -> str:
    """Return what was typed without case, spaces, dashes and look-alikes; empty when it is not ASCII."""
    if not typed.isascii():
        return ""
    return "".join(character for character in typed.upper() if character.isalnum()).translate(LOOK_ALIKES)
